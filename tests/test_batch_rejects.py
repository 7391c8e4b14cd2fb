"""Rejects of batch jobs: what is no article, or half of one, harms no other and keeps its place."""

from __future__ import annotations

import base64
import gzip
from pathlib import Path
from random import Random
from typing import Any

import pytest
import zstandard

from serving.batch import formats, rows
from serving.batch.bytestream import Meter
from serving.batch.formats import read_rows
from serving.batch.options import BatchOptions
from serving.batch.rows import Reject, Row
from serving.batch.sources import find_sources
from serving.prediction import Article
from tests.batch_files import BOTH, JSONL, TEXT, line, parquet, read
from tests.files import write


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("{", "not_json"),
        (f"{line()}x", "not_json"),
        ("[" * 100_000, "not_json"),
        ("[1]", "not_object"),
        ("{}", "no_text"),
        (line(text=None), "type"),
        (line(id=["a"]), "type"),
        (line(title=5), "type"),
        (line(targets={"a": 1}), "type"),
        (line(claims=[1]), "type"),
        ('{"id": "\\ud800", "text": "x"}', "surrogates"),
        (line(text="ا" * 51), "too_long"),
        (line().encode("cp1256", "ignore"), "encoding"),
    ],
)
def test_a_line_that_is_no_article_is_rejected_and_harms_no_other(
    tmp_path: Path, content: str | bytes, code: str
) -> None:
    raw = content if isinstance(content, bytes) else content.encode()
    path = write(tmp_path / "a.jsonl", f"{line()}\n".encode() + raw + f"\n{line('b')}".encode())
    assert read(path, max_code_points=50) == [BOTH[0], (code, "a.jsonl", 2), BOTH[1]]


@pytest.mark.parametrize("raw", ["{ ليس JSON".encode(), "زار محمد".encode("cp1256")])
def test_a_reject_holds_the_row_as_received(raw: bytes) -> None:
    found = Reject(Row("a.jsonl", 3, raw), "not_json", "why").to_dict()
    kept = found["raw"].encode() if "raw" in found else base64.b64decode(found["raw_base64"])
    assert kept == raw and (found["source"], found["line"]) == ("a.jsonl", 3)


@pytest.mark.parametrize(
    ("name", "pack"), [("a.jsonl.gz", gzip.compress), ("a.jsonl.zst", zstandard.compress)]
)
def test_a_truncated_file_gives_what_is_left_and_says_so(
    tmp_path: Path, name: str, pack: Any
) -> None:
    noise = Random(7)
    texts = ["".join(noise.choices("ابتثجحخد ", k=400)) for _ in range(200)]
    content = pack("".join(line(str(i), text=t) + "\n" for i, t in enumerate(texts)).encode())
    found = read(write(tmp_path / name, content[: len(content) * 3 // 4]))
    whole = [a for a in found if isinstance(a, Article)]
    assert whole == [Article(text, id=str(i)) for i, text in enumerate(texts[: len(whole)])]
    assert found[-1] == ("truncated", name, None)
    assert name.endswith("zst") or len(whole) > 100  # a frame may be one block


def test_damaged_data_is_named(tmp_path: Path) -> None:
    content = bytearray(gzip.compress(JSONL.encode() * 100))
    content[40] ^= 0xFF
    found = read(write(tmp_path / "a.jsonl.gz", bytes(content)))
    assert found[-1] == ("damaged", "a.jsonl.gz", None)
    broken = parquet([{"text": TEXT}] * 9)
    assert read(write(tmp_path / "a.parquet", broken[:-9])) == [("damaged", "a.parquet", None)]


def test_rows_of_a_table_that_do_not_fit_are_rejected_whole(tmp_path: Path) -> None:
    content = f'id,text\na,{TEXT}\nb\nc,"سطر\nثان"\nd,x,y\ne,"لا نهاية\nf,{TEXT}\n'
    path = write(tmp_path / "a.csv", content)
    found = read(path)
    assert found == [
        Article(TEXT, id="a"),
        ("not_csv", "a.csv", 3),
        Article("سطر\nثان", id="c"),
        ("not_csv", "a.csv", 6),
        Article(f"لا نهاية\nf,{TEXT}\n", id="e"),  # a quote that is never closed
    ]


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    (row,) = read_rows(
        find_sources([str(write(tmp_path / "a.csv", "id,body\n1,x\n"))], None),
        BatchOptions(),
        Meter(),
    )
    assert row.problem is not None
    assert row.problem[1] == "no column 'text', only id, body; map it with --column text=NAME"


@pytest.mark.parametrize("name", ["a.jsonl", "a.txt", "a.csv"])
def test_a_row_that_is_too_large_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(formats, "MAX_ROW_BYTES", 1000)
    head = "id,text\n" if name == "a.csv" else ""
    large = {"a.jsonl": line(text="ا" * 2000), "a.txt": "ا" * 2000, "a.csv": "b," + "ا" * 2000}
    after = "" if name == "a.txt" else {"a.jsonl": line(), "a.csv": f"a,{TEXT}"}[name]
    found = read(write(tmp_path / name, f"{head}{large[name]}\n{after}"))
    assert [f[0] for f in found if isinstance(f, tuple)] == ["oversized"]
    assert [f for f in found if isinstance(f, Article)] == ([] if name == "a.txt" else BOTH[:1])


def test_row_limits_agree() -> None:
    assert formats.MAX_ROW_BYTES == rows.MAX_ROW_BYTES
