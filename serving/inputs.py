"""Articles from files: plain text, khabar JSONL, folders of them, or standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from annotations.errors import FormatError
from annotations.jsonl import parse_document
from annotations.schema import Document

STANDARD_INPUT = "-"
SUFFIXES = (".txt", ".jsonl")  # of the articles in a folder
_BYTE_ORDER_MARK = "\ufeff"  # stays in an article, whose offsets count it; JSON has no place for it


def read_articles(names: Sequence[str]) -> Iterator[Document]:
    """The articles of files as documents, in their order, with all that JSONL says of them: a
    `.jsonl` holds one a line, a folder its .txt and .jsonl files by name.

    Standard input (`-`) is JSONL when it begins with a brace, else one article.
    """
    for name in names:
        if name == STANDARD_INPUT:
            yield from _of_text(
                _decode(sys.stdin.buffer.read(), "standard input"), "standard input", None
            )
            continue
        path = Path(name)
        if path.is_dir():
            files = sorted(found for found in path.iterdir() if found.suffix in SUFFIXES)
            if not files:
                raise FormatError(f"{path}: no .txt or .jsonl file in this folder")
        else:
            files = [path]
        for file in files:
            yield from _of_file(file)


def _of_file(path: Path) -> Iterator[Document]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FormatError(
            f"{path}: cannot be read ({error.strerror}); give a text file, a .jsonl or a folder"
        ) from None
    yield from _of_text(_decode(data, str(path)), str(path), path.suffix == ".jsonl")


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
