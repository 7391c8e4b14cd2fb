"""Parts: the rows of a job cut into numbered pieces of work, the same way every time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice

from serving.batch.bytestream import Meter
from serving.batch.options import BatchOptions
from serving.batch.rows import Row


@dataclass(frozen=True, slots=True)
class Part:
    """Consecutive rows that are read, written and entered in the manifest together.

    `digest` is over all of its rows; `bytes_read` is how far the inputs were read for it.
    """

    number: int
    rows: tuple[Row, ...]
    digest: str
    bytes_read: int = 0


def chosen(rows: Iterable[Row], options: BatchOptions) -> Iterator[Row]:
    """The rows that are asked for: a share drawn by their places, then at most the limit."""
    if options.sample < 1:
        rows = (row for row in rows if _drawn(row, options))
    return islice(rows, options.limit)


def _drawn(row: Row, options: BatchOptions) -> bool:
    found = blake2b(f"{options.seed}\0{row.place}".encode(), digest_size=8).digest()
    return int.from_bytes(found, "big") < options.sample * 2**64


def cut(rows: Iterable[Row], options: BatchOptions, meter: Meter) -> Iterator[Part]:
    """Parts of at most `part_rows` rows and `part_bytes` bytes; a longer row is a part alone."""
    number, size = 0, 0
    held: list[Row] = []
    for row in rows:
        full = len(held) == options.part_rows or size + len(row.raw) > options.part_bytes
        if held and full:
            yield _part(number, held, meter)
            number, size = number + 1, 0
            held.clear()
        held.append(row)
        size += len(row.raw)
    if held:
        yield _part(number, held, meter)


def _part(number: int, rows: Iterable[Row], meter: Meter) -> Part:
    kept = tuple(rows)
    digest = blake2b(digest_size=16)
    for row in kept:
        digest.update(row.digest())
    return Part(number, kept, digest.hexdigest(), meter.bytes_read)
