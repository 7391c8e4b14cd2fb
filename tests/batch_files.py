"""Files of articles for tests of batch jobs, and what is read of them."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from serving.batch.bytestream import Meter
from serving.batch.formats import read_rows
from serving.batch.options import BatchOptions
from serving.batch.rows import RejectError, article_of
from serving.batch.sources import find_sources
from serving.prediction import Article

TEXT = "زار محمد بغداد 😀"


def read(*names: object, **options: Any) -> list[Article | tuple[str, str, int | None]]:
    """The articles of inputs; of a reject its code and place."""
    asked = BatchOptions(**options)
    sources = find_sources([str(name) for name in names], asked.input_format)
    found: list[Article | tuple[str, str, int | None]] = []
    for row in read_rows(sources, asked, Meter()):
        try:
            found.append(article_of(row, asked))
        except RejectError as error:
            assert "محمد" not in error.reason  # never the text of an article
            found.append((error.code, row.source, row.line))
    return found


def line(identifier: str | None = "a", **fields: object) -> str:
    row = {"text": TEXT} | ({} if identifier is None else {"id": identifier}) | fields
    return json.dumps(row, ensure_ascii=False)


JSONL = f"{line()}\n\n{line('b')}\n"
BOTH = [Article(TEXT, id="a"), Article(TEXT, id="b")]


def parquet(rows: Sequence[dict[str, Any]]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows)), sink)
    return sink.getvalue()
