"""Articles from files: plain text, khabar JSONL or JSON, folders of them, or standard input."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import TextIO

from annotations.errors import FormatError
from annotations.jsonl import parse_document
from annotations.schema import Document
from serving.batch.folders import below, is_special

STANDARD_INPUT = "-"
SUFFIXES = (".txt", ".jsonl", ".ndjson", ".json")  # of the articles in a folder
_OF_BATCH = (".csv", ".tsv", ".parquet", ".html", ".htm", ".gz", ".zst")
_KINDS_TOLD = 10
_BYTE_ORDER_MARK = "\ufeff"  # stays in an article, whose offsets count it; JSON has no place for it


def read_articles(names: Sequence[str], left_out: Counter[str] | None = None) -> Iterator[Document]:
    """The articles of files as documents, in their order, with all that JSONL says of them: a
    `.jsonl` holds one a line, a `.json` too or one alone, a folder and those in it such files and
    `.txt` by name; `left_out` counts the others by suffix. Hidden ones are no articles.

    Standard input (`-`) is JSONL when it begins with a brace, else one article.
    """
    for name in names:
        if name == STANDARD_INPUT:
            data = standard_input().buffer.read()
            yield from _of_text(_decode(data, "standard input"), "standard input", None)
            continue
        path = Path(name)
        if path.is_dir():
            files = _in_folder(path, Counter() if left_out is None else left_out)
        else:
            files = [path]
        for file in files:
            yield from _of_file(file)


def standard_input() -> TextIO:
    """Standard input, where somebody left it open."""
    if sys.stdin is None:
        raise FormatError("standard input: is closed; write articles to it, or give a file")
    return sys.stdin


def kind_of(name: str) -> str:
    """The kind of a file that is left out, by which it is counted."""
    return PurePath(name).suffix.lower() or "no suffix"


def left_out_words(kinds: Mapping[str, int]) -> str:
    """How many files were left out, and the commonest of their kinds."""
    ranked = sorted(kinds, key=lambda kind: (-kinds[kind], kind))
    told = ranked[:_KINDS_TOLD] + ["…"] * (len(ranked) > _KINDS_TOLD)
    words = f"{sum(kinds.values())} files of other kinds were left out: {', '.join(told)}"
    return words.encode("utf-8", "backslashreplace").decode("utf-8")


def _in_folder(folder: Path, left_out: Counter[str]) -> list[Path]:
    found = []
    for name, is_folder in below([str(folder)]):
        path = Path(name)
        if is_folder or path.name.startswith("."):
            continue
        if path.suffix.lower() in SUFFIXES and not is_special(name):
            found.append(path)
        else:
            left_out[kind_of(name)] += 1
    if not found:
        raise FormatError(f"{folder}: no {', '.join(SUFFIXES)} file in this folder")
    return sorted(found)


def _of_file(path: Path) -> Iterator[Document]:
    suffix = path.suffix.lower()
    if suffix in _OF_BATCH:
        raise FormatError(f"{path}: of {suffix} files only `khabar batch` reads articles; use that")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FormatError(
            f"{path}: cannot be read ({error.strerror}); give a text file, a .jsonl or a folder"
        ) from None
    text, where = _decode(data, str(path)), str(path)
    if suffix == ".json" and _is_one_value(text := text.removeprefix(_BYTE_ORDER_MARK)):
        yield parse_document(text, where)
    else:
        yield from _of_text(text, where, suffix in (".jsonl", ".ndjson", ".json"))


def _is_one_value(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _of_text(text: str, where: str, is_jsonl: bool | None) -> Iterator[Document]:
    unmarked = text.removeprefix(_BYTE_ORDER_MARK)
    if is_jsonl is None:
        is_jsonl = unmarked.lstrip().startswith("{")
    if not is_jsonl:
        yield Document(where, text)
        return
    for number, line in enumerate(unmarked.split("\n"), 1):
        if line.strip():
            yield parse_document(line, f"{where}:{number}")


def _decode(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(
            f"{where}: not UTF-8 (byte {data[error.start]:#04x} at offset {error.start}); "
            "convert the file to UTF-8"
        ) from None
