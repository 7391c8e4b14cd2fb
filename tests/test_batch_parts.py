"""Parts of batch jobs: bytes become lines, and rows parts within limits or a sample."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from serving.batch.bytestream import Meter, chunks, lines
from serving.batch.formats import read_rows
from serving.batch.options import BatchOptions
from serving.batch.parts import chosen, cut
from serving.batch.rows import Row
from serving.batch.sources import find_sources
from tests.batch_files import JSONL, line
from tests.files import write


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_lines_do_not_depend_on_where_chunks_end(size: int) -> None:
    content = f"{JSONL}\n\r\nخبر".encode()
    pieces = [content[i : i + size] for i in range(0, len(content), size)]
    found = [line.data for line in lines(pieces, 10_000)]
    assert found == content.split(b"\n")


def test_chunks_count_what_was_read() -> None:
    meter = Meter()
    packed = gzip.compress(b"x" * 1000_000)
    assert b"".join(chunks(io.BytesIO(packed), meter)) == b"x" * 1000_000
    assert meter.bytes_read == len(packed)


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_a_file_is_read_to_its_end_with_its_last_part_alone(tmp_path: Path, name: str) -> None:
    noise = Random(7)
    rows = "".join(line(text="".join(noise.choices("ابتثجح ", k=99))) + "\n" for _ in range(1500))
    content = gzip.compress(rows.encode()) if name.endswith("gz") else rows.encode()
    sources = find_sources([str(write(tmp_path / name, content))], None)
    options, meter = BatchOptions(part_rows=100), Meter()
    read = [part.bytes_read for part in cut(read_rows(sources, options, meter), options, meter)]
    assert len(read) == 15 and read[-1] == len(content)
    assert all(abs(n - len(content) * (i + 1) / 15) <= 2 * 16 * 1024 for i, n in enumerate(read))
    assert read == sorted(read) and read[-2] < len(content)


def plain(count: int, size: int = 10) -> Iterator[Row]:
    return (Row("a.jsonl", i + 1, b"x" * size) for i in range(count))


def test_parts_hold_every_row_once_within_both_limits() -> None:
    options = BatchOptions(part_rows=4, part_bytes=25)
    rows = [*plain(7), Row("b", 1, b"y" * 100), *plain(2, 1)]
    parts = list(cut(rows, options, Meter()))
    assert [row for part in parts for row in part.rows] == rows
    assert [len(part.rows) for part in parts] == [2, 2, 2, 1, 1, 2]
    assert [part.number for part in parts] == list(range(6))


def test_the_digest_of_a_part_tells_rows_places_and_problems_apart() -> None:
    row = Row("a", 1, b"x")
    others = [
        [Row("b", 1, b"x")], [Row("a", 2, b"x")], [Row("a", 1, b"y")], [Row("a", 1, b"x", "text")],
        [Row("a", 1, b"x", problem=("c", "r"))], [Row("a", 1, b"x", encoding="cp1256")], [row, row],
    ]  # fmt: skip
    digests = {next(cut(r, BatchOptions(), Meter())).digest for r in [[row], *others]}
    assert len(digests) == 8
    assert next(cut([row], BatchOptions(), Meter())).digest in digests


def test_a_sample_is_a_share_drawn_by_the_seed() -> None:
    def draw(seed: int, **options: Any) -> list[int | None]:
        found = chosen(plain(2000), BatchOptions(sample=0.25, seed=seed, **options))
        return [row.line for row in found]

    assert draw(1) == draw(1) != draw(2)
    assert 400 < len(draw(1)) < 600
    assert draw(1, limit=10) == draw(1)[:10]
    assert not set(range(1, 2001)) - {row.line for row in chosen(plain(2000), BatchOptions())}
