"""A source while it is read: its bytes, its lines, and what may be wrong with all of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import BinaryIO

from serving.batch.bytestream import DamagedError, Line, lines, recoded
from serving.batch.options import FIELDS, BatchOptions
from serving.batch.rows import MAX_ROW_BYTES, Row
from serving.batch.sources import Source

_UTF8_MARK, _UTF16_MARKS = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True)
class Opened:
    """A source with its file, the chunks of its unpacked bytes, and what is asked of the job."""

    source: Source
    file: BinaryIO
    raw: Iterator[bytes]
    options: BatchOptions

    @property
    def name(self) -> str:
        """What the output calls the source."""
        return self.source.name


def lines_of(opened: Opened) -> tuple[Iterator[Line], str]:
    """The lines of a text file and their encoding."""
    encoding = opened.options.encoding
    raw: Iterable[bytes] = opened.raw
    if "\n".encode(encoding) != b"\n":
        raw, encoding = recoded(raw, encoding), "utf-8"
    head = next(iter_raw := iter(raw), b"")
    if encoding == "utf-8" and head.startswith(_UTF16_MARKS):
        raise DamagedError(
            "encoding", "UTF-16 by its first bytes; convert the file or name --encoding utf-16"
        )
    return lines(chain([head.removeprefix(_UTF8_MARK)], iter_raw), MAX_ROW_BYTES), encoding


def require_text(opened: Opened, columns: Sequence[str]) -> None:
    """Refuse columns without a text, or with two of one name."""
    wanted = opened.options.column("text")
    if wanted not in columns:
        raise DamagedError(
            "no_text",
            f"no column {wanted!r}, only {', '.join(columns)}; map it with --column text=NAME",
        )
    for name in map(opened.options.column, FIELDS):
        if columns.count(name) > 1:
            raise DamagedError(
                "columns",
                f"{columns.count(name)} columns are named {name!r}; rename all but the one to read",
            )


def oversized(name: str, line: int | None, size: int) -> Row:
    """The row that stands for one of more bytes than are read."""
    reason = f"the row has {size} bytes, the limit is {MAX_ROW_BYTES}; it is left in the input"
    return Row(name, line, b"", problem=("oversized", reason))
