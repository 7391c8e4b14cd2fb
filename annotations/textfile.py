"""Files of lines, plain or gzip by their name, with errors that say what to do."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from typing import TextIO

from annotations.errors import FormatError, not_utf8

PACKED = ".gz"


@contextmanager
def opened_bytes(path: Path) -> Iterator[BufferedReader | gzip.GzipFile]:
    """A file to be read, unpacked where its name ends in .gz.

    Raises FormatError, as late as the bytes are read, where they are no whole gzip file.
    """
    packed = path.suffix == PACKED
    with gzip.open(path) if packed else path.open("rb") as raw:
        try:
            if packed and not raw.peek(1):
                _require_any_bytes(path)
            yield raw
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise FormatError(f"{path}: no whole gzip file ({error}); get it again") from None


def _require_any_bytes(path: Path) -> None:
    """Refuse a packed file of no bytes, which gzip takes for one of an empty file."""
    if path.stat().st_size == 0:
        raise EOFError("it is empty")


@contextmanager
def opened_text(path: Path, newline: str | None = None) -> Iterator[TextIO]:
    """A file of UTF-8 to be read by lines, plain or gzip; a byte order mark is passed over.

    `newline` is that of `open`. Raises FormatError, as late as the lines are read, where they are
    not UTF-8 or no whole gzip file.
    """
    with opened_bytes(path) as raw, TextIOWrapper(raw, "utf-8-sig", newline=newline) as lines:
        try:
            yield lines
        except UnicodeDecodeError as error:
            raise not_utf8(str(path), error) from None
