"""From one format to another, a document at a time; what a format cannot hold is counted and said.

The format of a path is told by its name: `.jsonl` khabar JSONL, `.json` Label Studio, `.markup`
markup, `.conll` CoNLL (`.bio` flat CoNLL), a folder brat. A file may be packed (`.jsonl.gz`) to be
read, not to be written.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Literal

from annotations.brat import read_folder, write_folder
from annotations.conll import (
    Sentence,
    document_sentences,
    entity_types,
    read_sentences,
    sentence_document,
    write_sentences,
)
from annotations.errors import FormatError
from annotations.jsonl import read_documents, write_documents
from annotations.labels import label_schema
from annotations.labelstudio import TaskReader, read_tasks, write_tasks
from annotations.markup import read_markup, write_markup
from annotations.schema import Document
from annotations.textfile import PACKED

Format = Literal["khabar", "labelstudio", "markup", "conll", "conll-flat", "brat"]
_SUFFIXES: dict[str, Format] = {
    ".jsonl": "khabar",
    ".json": "labelstudio",
    ".markup": "markup",
    ".conll": "conll",
    ".bio": "conll-flat",
    "": "brat",
}


def format_of(path: Path) -> Format:
    """The format that the name of a file or folder stands for."""
    suffix = "" if path.is_dir() else _unpacked(path).suffix
    if suffix not in _SUFFIXES:
        known = ", ".join(f"{kind} {suffix or 'a folder'}" for suffix, kind in _SUFFIXES.items())
        raise FormatError(
            f"{path}: no format has the suffix {suffix!r}; rename it ({known}), or name its format "
            "to `convert` with --from or --to"
        )
    return _SUFFIXES[suffix]


def _unpacked(path: Path) -> Path:
    """The name that a packed file has when it is unpacked."""
    return path.with_suffix("") if path.suffix == PACKED else path


@contextmanager
def replacing(path: Path, folder: bool = False) -> Iterator[Path]:
    """A path to write a file (or a `folder`) to that takes the place of `path` when all is written,
    and not before; a link stays one, and a file keeps its mode. A pipe or a device is written to.

    What stands at `path` may be what is being read, and stays whole when something goes wrong.
    """
    if path.is_dir():
        if not folder:
            raise FormatError(f"{path}: is a folder; give the name of a file")
        if any(path.iterdir()):
            raise FormatError(f"{path}: the folder is not empty; give a new one")
    elif path.exists():
        if folder:
            raise FormatError(f"{path}: is no folder; give a new one")
        if not path.is_file():
            yield path
            return
    place = Path(os.path.realpath(path))
    partial = place.with_name(f".{place.name}.partial")
    try:
        _remove(partial)
        yield partial
        if place.is_dir():
            place.rmdir()
        elif place.is_file():
            shutil.copymode(place, partial)
        partial.replace(place)
    except OSError as error:
        if error.filename == str(partial):
            error.filename = str(path)  # the one that a user gave
        raise
    finally:
        with suppress(OSError):  # what kept it from being made keeps it from being removed
            _remove(partial)


def require_there(*paths: Path) -> None:
    """Refuse paths at which nothing stands."""
    for path in paths:
        if not path.exists():
            raise FormatError(f"{path}: no such file or folder; give one to read")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _documents(sentences: Iterable[Sentence], name: str, label_set: str) -> Iterator[Document]:
    """Sentences as documents, whose ids are `name` and their number."""
    for number, sentence in enumerate(sentences, 1):
        yield sentence_document(sentence, f"{name}-{number}", label_set)


def _label_set(sentences: Iterable[Sentence]) -> str:
    """`coarse` where all types are coarse ones and not all are fine ones too, else `fine`."""
    types = {label for sentence in sentences for label in entity_types(sentence)}
    schema = label_schema()
    coarse = types <= schema.coarse.keys() and not types <= schema.entities.keys()
    return "coarse" if coarse else "fine"


@dataclass
class Conversion:
    """How documents are read and written; `notes` counts what was repaired, widened or left out."""

    annotator: str | None = None
    predictions: bool = False
    notes: Counter[str] = field(default_factory=Counter)

    def read(
        self, path: Path, kind: Format | None = None, name: str | None = None
    ) -> Iterator[Document]:
        """The documents of a file or folder, one at a time.

        Sentences of CoNLL, which have no ids, are `name` (by default the file's) and their number.
        """
        kind = kind or format_of(path)
        require_there(path)
        if kind != "labelstudio" and (self.annotator is not None or self.predictions):
            raise FormatError(
                f"{path}: annotators and predictions are of Label Studio tasks, this is {kind}; "
                "leave --annotator and --predictions out"
            )
        if kind == "khabar":
            yield from read_documents(path)
        elif kind == "markup":
            yield from read_markup(path)
        elif kind == "brat":
            yield from read_folder(path, self.notes)
        elif kind == "labelstudio":
            reader = TaskReader(self.annotator, self.predictions)
            reader.notes = self.notes
            for number, task in enumerate(read_tasks(path), 1):
                yield reader.document(task, f"{path}: task {number}")
        else:
            # a pipe can be read once only
            held = None if path.is_file() else list(read_sentences(path))
            label_set = _label_set(read_sentences(path) if held is None else held)
            found = read_sentences(path) if held is None else held
            yield from _documents(found, name or _unpacked(path).stem, label_set)

    def read_two(self, first: Path, second: Path) -> tuple[list[Document], list[Document]]:
        """Two annotations of the same documents; sentences of CoNLL are paired by their number, and
        the types of both tell which labels they use.
        """
        name = _unpacked(first).stem
        if {format_of(first), format_of(second)} <= {"conll", "conll-flat"}:
            require_there(first, second)
            one, other = list(read_sentences(first)), list(read_sentences(second))
            label_set = _label_set(chain(one, other))
            return list(_documents(one, name, label_set)), list(_documents(other, name, label_set))
        return list(self.read(first)), list(self.read(second, name=name))

    def write(
        self,
        path: Path,
        documents: Iterable[Document],
        kind: Format | None = None,
        model_version: str | None = None,
    ) -> int:
        """Write documents as they come; returns how many documents (of CoNLL: sentences).

        `model_version` makes Label Studio tasks with predictions, to be corrected by a person.
        """
        kind = kind or format_of(path)
        if model_version is not None and kind != "labelstudio":
            raise FormatError(
                f"{path}: predictions of a model are of Label Studio tasks, this is {kind}; "
                "leave --model-version out"
            )
        if path.suffix == PACKED and kind != "brat":
            raise FormatError(
                f"{path}: what is written is not packed; leave {PACKED} out of its name"
            )
        with replacing(path, folder=kind == "brat") as partial:
            return self._write(partial, documents, kind, model_version)

    def _write(
        self, path: Path, documents: Iterable[Document], kind: Format, model_version: str | None
    ) -> int:
        if kind == "khabar":
            return write_documents(path, documents)
        if kind == "markup":
            return write_markup(path, documents)
        if kind == "brat":
            return write_folder(path, documents)
        if kind == "labelstudio":
            return write_tasks(path, documents, model_version)
        flat = kind == "conll-flat"
        found = (
            s for document in documents for s in document_sentences(document, flat, self.notes)
        )
        return write_sentences(path, found)
