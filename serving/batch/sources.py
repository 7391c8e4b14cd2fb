"""Sources: the files of an input, found by path, glob, folder or URL, in a fixed order."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from serving.batch.errors import UsageError, extra
from serving.batch.options import InputFormat

STANDARD_INPUT = "-"
_PACKED = (".gz", ".zst")
_FORMATS: dict[str, InputFormat] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".txt": "text",
    ".html": "html",
    ".htm": "html",
}


@dataclass(frozen=True, slots=True)
class Source:
    """A file of the input; `name` is what the output calls it, and says nothing of the machine.

    `format` None is found out by content, `size` None (bytes) is not known.
    """

    name: str
    path: str
    format: InputFormat | None
    size: int | None
    filesystem: Any = None

    @property
    def is_local(self) -> bool:
        """Whether it is a file of this machine."""
        return self.filesystem is not None and "file" in self.filesystem.protocol

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """The file's bytes as they lie there."""
        if self.path == STANDARD_INPUT:
            yield sys.stdin.buffer
            return
        with self.filesystem.open(self.path, "rb") as file:
            yield file


def find_sources(names: Sequence[str], given: InputFormat | None) -> list[Source]:
    """The sources of all inputs, those of a folder or glob sorted by path; folders are searched
    through for files of known kinds.
    """
    found = [source for name in names for source in _of_name(name, given)]
    called = [source.name for source in found]
    if len(set(called)) == len(called):
        return found
    return [Source(_printable(s.path), s.path, s.format, s.size, s.filesystem) for s in found]


def fingerprint(sources: Sequence[Source]) -> dict[str, Any]:
    """Names and sizes of the sources, by which a change of the input is seen at once.

    It is only the first look: each part's own digest is over all of its rows, and is compared when
    a job goes on.
    """
    found = blake2b(digest_size=16)
    for source in sources:
        found.update(f"{source.name}\0{source.size}\0".encode())
    return {"files": len(sources), "digest": found.hexdigest()}


def _of_name(name: str, given: InputFormat | None) -> list[Source]:
    if name == STANDARD_INPUT:
        return [Source("stdin", STANDARD_INPUT, given, None)]
    try:
        filesystem, path = extra("fsspec.core").url_to_fs(name)
    except (ImportError, ValueError) as error:
        raise UsageError(f"{name}: {error}") from None
    if any(sign in path for sign in "*?[") and not filesystem.exists(path):
        fixed = path[: min(path.find(sign) for sign in "*?[" if sign in path)]
        root = fixed.rpartition("/")[0]
        found = [
            (place, info.get("size"))
            for place, info in filesystem.glob(path, detail=True).items()
            if info["type"] != "directory"
        ]
    elif filesystem.isdir(path):
        root = path
        found = [file for file in _walked(filesystem, path) if _is_input(file[0])]
    else:
        return [_of_file(name, filesystem, path, given)]
    if not found:
        kinds = " ".join(_FORMATS)
        raise UsageError(f"{name}: no input file; in a folder these are read: {kinds} (.gz, .zst)")
    return [
        Source(_relative(place, root), place, given or _format(place), size, filesystem)
        for place, size in sorted(found)
    ]


def _walked(filesystem: Any, folder: str) -> Iterator[tuple[str, int | None]]:
    """The files below a folder with their sizes; of a million here no more is held than that."""
    if "file" not in filesystem.protocol:
        for place, info in filesystem.find(folder, detail=True).items():
            yield place, info.get("size")
        return
    for above, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(above, name)
            try:
                yield path, os.stat(path).st_size
            except OSError:  # a link to nowhere, say: reading it will tell
                yield path, None


def _is_input(path: str) -> bool:
    return _format(path) is not None and not PurePosixPath(path).name.startswith(".")


def _of_file(name: str, filesystem: Any, path: str, given: InputFormat | None) -> Source:
    try:
        info = filesystem.info(path)
        with filesystem.open(path, "rb"):
            pass
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UsageError(f"{name}: cannot be read ({reason}); give a file or folder") from None
    name = _printable(PurePosixPath(path).name)
    return Source(name, path, given or _format(path), info.get("size"), filesystem)


def _format(path: str) -> InputFormat | None:
    name = PurePosixPath(path.lower())
    return _FORMATS.get(PurePosixPath(name.stem).suffix if name.suffix in _PACKED else name.suffix)


def _relative(path: str, root: str) -> str:
    return _printable(os.path.relpath(path, root).replace(os.sep, "/"))


def _printable(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
