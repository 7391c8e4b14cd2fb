"""The files of a part: results and a flat table of entities, as JSONL or Parquet, and its rejects.

The same rows give the same bytes: no times, no random order, fixed settings of Parquet.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from serving.batch.errors import extra
from serving.batch.options import BatchOptions

RESULTS, ENTITIES, REJECTS = "parts", "entities", "rejects"
Results = Sequence[Mapping[str, Any]]

_ENTITY: tuple[tuple[str, str], ...] = (
    ("id", "string"),
    ("start", "int32"),
    ("end", "int32"),
    ("text", "string"),
    ("label", "string"),
    ("coarse", "string"),
    ("confidence", "float64"),
    ("normalized", "string"),
    ("mention_of", "string"),
)


def part_file(folder: str, number: int, suffix: str) -> str:
    """The name of a part's file below the output."""
    return f"{folder}/part-{number:05}.{suffix}"


def encode_part(
    number: int, results: Results, rejects: Results, options: BatchOptions
) -> dict[str, bytes]:
    """The files of a part by name. A part always has results, be they none; rejects only if any."""
    suffix = options.output_format
    files = {part_file(RESULTS, number, suffix): _encoded(results, suffix, result_schema)}
    if options.entity_table:
        table = list(entity_rows(results))
        files[part_file(ENTITIES, number, suffix)] = _encoded(table, suffix, entity_schema)
    if rejects:
        files[part_file(REJECTS, number, "jsonl")] = jsonl(rejects)
    return files


def decode_results(data: bytes, suffix: str) -> Iterable[dict[str, Any]]:
    """The results of a part's file."""
    if suffix == "jsonl":
        return (json.loads(line) for line in data.splitlines())
    table = extra("pyarrow.parquet").read_table(io.BytesIO(data), use_threads=False)
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def entity_rows(results: Results) -> Iterable[dict[str, Any]]:
    """The mentions of all results, one a row, for those who ask in SQL."""
    for result in results:
        place = {"source": result["source"], "line": result["line"], "article_id": result["id"]}
        for entity in result["entities"]:
            kept = {name: entity[name] for name, _ in _ENTITY if name != "id"}
            yield place | {"entity_id": entity["id"]} | kept


def result_schema() -> Any:
    """The Arrow schema of results: that of the API, nested, with the place in the input.

    Offsets are code points, end exclusive; evidence is a list of [start, end]. `text` is null
    unless it was asked for or is the main text of a page.
    """
    pa = extra("pyarrow")
    ranges = pa.list_(pa.list_(pa.int32()))
    label, confidence = pa.field("label", pa.string()), pa.field("confidence", pa.float64())

    def attitudes(kind: str) -> Any:
        about = pa.field(kind, pa.string())
        return pa.list_(pa.struct([about, label, confidence, pa.field("evidence", ranges)]))

    group = [
        *((name, pa.string()) for name in ("id", "name", "label", "coarse")),
        ("mentions", pa.list_(pa.string())),
        ("confidence", pa.float64()),
        ("salience", pa.float64()),
    ]
    return pa.schema(
        [
            *_place(pa),
            ("id", pa.string()),
            ("entities", pa.list_(pa.struct(_entity_fields(pa)))),
            ("groups", pa.list_(pa.struct(group))),
            ("topics", pa.list_(pa.struct([label, confidence]))),
            ("stances", attitudes("target")),
            ("claims", attitudes("claim")),
            ("tokens", pa.int32()),
            ("error", pa.string()),
            ("text", pa.string()),
        ]
    )


def entity_schema() -> Any:
    """The Arrow schema of the flat table of entities."""
    pa = extra("pyarrow")
    ids = [("article_id", pa.string()), ("entity_id", pa.string())]
    return pa.schema([*_place(pa), *ids, *_entity_fields(pa)[1:]])


def _entity_fields(pa: Any) -> list[tuple[str, Any]]:
    return [(name, getattr(pa, kind)()) for name, kind in _ENTITY]


def _place(pa: Any) -> list[tuple[str, Any]]:
    return [("source", pa.string()), ("line", pa.int64())]


def _encoded(rows: Results, suffix: str, schema: Any) -> bytes:
    if suffix == "jsonl":
        return jsonl(rows)
    pa, sink = extra("pyarrow"), io.BytesIO()
    extra("pyarrow.parquet").write_table(
        pa.Table.from_pylist(list(rows), schema=schema()),
        sink,
        version="2.6",
        compression="zstd",
        compression_level=3,
        data_page_version="1.0",
        row_group_size=64 * 1024,
    )
    return sink.getvalue()


def jsonl(rows: Results) -> bytes:
    """Rows as JSON, one a line."""
    return b"".join(_json(row) + b"\n" for row in rows)


def _json(row: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(row, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except UnicodeEncodeError:  # a target or key of the input that is no Unicode
        return json.dumps(row, allow_nan=False).encode("ascii")
