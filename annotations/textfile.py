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


@contextmanager
def opened_bytes(path: Path) -> Iterator[BufferedReader | gzip.GzipFile]:
    """A file to be read, unpacked where its name ends in .gz.

    Raises FormatError, as late as the bytes are read, where they are no whole gzip file.
    """
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as raw:
        try:
            yield raw
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise FormatError(f"{path}: no whole gzip file ({error}); get it again") from None


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
