"""Rejects of batch jobs: what is no article, or half of one, harms no other and keeps its place."""

from __future__ import annotations

import base64
import gzip
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from serving.batch import formats, opened, rows, tables
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
        (line(targets=["auto", "بغداد"]), "targets"),
        ('{"id": "\\ud800", "text": "x"}', "surrogates"),
        (line(text="ا" * 51), "too_long"),
        (line(title="ا" * 51), "too_long"),
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


def test_the_row_in_which_a_truncated_table_ends_is_no_article(tmp_path: Path) -> None:
    noise = Random(7)
    texts = ["".join(noise.choices("ابتثجحخد ", k=400)) for _ in range(40)]
    rows = "".join(f"{i},{text}\n" for i, text in enumerate(texts))
    content = gzip.compress(f"id,text\n{rows}".encode())
    *whole, cut, end = read(write(tmp_path / "a.csv.gz", content[: len(content) * 3 // 4]))
    assert len(whole) > 20
    assert whole == [Article(text, id=str(i)) for i, text in enumerate(texts[: len(whole)])]
    assert cut == ("not_csv", "a.csv.gz", len(whole) + 2)
    assert end == ("truncated", "a.csv.gz", None)


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
        ("not_csv", "a.csv", 7),  # a quote that is never closed
    ]


@pytest.mark.parametrize("row", ['2,"{0}\n3,{0}\n4,{0}\n', '2,"{0}\n\n3', '2,"'])
def test_a_quote_that_is_never_closed_is_no_answer(tmp_path: Path, row: str) -> None:
    path = write(tmp_path / "a.csv", f'id,text\na,{TEXT}\nb,"{TEXT}"\n{row.format(TEXT)}')
    assert read(path) == [*BOTH, ("not_csv", "a.csv", 4)]


def test_an_open_quote_is_named_by_its_lines_and_kept(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'id,text\n1,x\n2,"y\n3,z')
    *_, row = read_rows(find_sources([str(path)], None), BatchOptions(), Meter())
    assert (row.line, row.raw) == (3, b'2,"y\n3,z')
    assert row.problem is not None and "never closed" in row.problem[1]
    assert "from line 3 to the end of the file, line 4" in row.problem[1]
    path = write(tmp_path / "b.csv", 'id,"text\n1,x\n')
    assert read(path) == [("not_csv", "b.csv", 1)]


def test_a_stray_quote_takes_no_other_row_in(tmp_path: Path) -> None:
    rows = f'1\t"{TEXT}\n2\t{TEXT}\n3\tقال "نعم" ثم\nb\t{TEXT}\n'
    path = write(tmp_path / "a.tsv", f"id\ttext\na\t{TEXT}\n{rows}")
    assert read(path) == [BOTH[0], ("not_csv", "a.tsv", 3), BOTH[1]]
    _, row, _ = read_rows(find_sources([str(path)], None), BatchOptions(), Meter())
    assert row.raw.decode() == "\n".join(rows.split("\n")[:3])
    assert row.problem is not None and "line 3 to line 5" in row.problem[1]


def test_a_quote_within_a_cell_is_a_letter(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'id,text\n1,بطول 5" و"ب\n2,"قال ""لا"" نعم"\n')
    assert read(path) == [Article('بطول 5" و"ب', id="1"), Article('قال "لا" نعم', id="2")]


@pytest.mark.parametrize("cell", ['"خطة" الحكومة', '"قال "نعم" في بغداد"', '"قال ""لا"" "نعم'])
def test_a_quote_that_is_closed_inside_of_a_cell_is_a_reject(tmp_path: Path, cell: str) -> None:
    path = write(tmp_path / "a.csv", f"id,text\na,{TEXT}\n1,{cell}\nb,{TEXT}\n")
    assert read(path) == [BOTH[0], ("not_csv", "a.csv", 3), BOTH[1]]
    _, row, _ = read_rows(find_sources([str(path)], None), BatchOptions(), Meter())
    assert row.problem is not None and "closed inside of a cell; double" in row.problem[1]
    assert row.raw.decode() == f"1,{cell}"


def test_rows_that_an_open_quote_took_in_are_kept_where_the_file_breaks_off(tmp_path: Path) -> None:
    numbers = Random(0).sample(range(10**9), 600)
    text = f'id,text\na,{TEXT}\n1,"{TEXT}\n' + "".join(f"{n},{TEXT}\n" for n in numbers)
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(text.encode())[:-20])
    first, row, last = read_rows(find_sources([str(path)], None), BatchOptions(), Meter())
    assert (first.line, row.line) == (2, 3) and row.problem is not None
    assert "breaks off inside of the row from line 3; a quote may be open" in row.problem[1]
    assert row.raw.count(b"\n") > 100 and row.raw in text.encode()
    assert last.problem is not None and "compressed data ends early" in last.problem[1]


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_two_columns_of_the_name_to_read_are_refused(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, f"id,text,text\n1,{TEXT},\n")
    if name.endswith("parquet"):
        twice = pa.table([["1"], [TEXT], [""]], names=["id", "text", "text"])
        pq.write_table(twice, path)
    (row,) = read_rows(find_sources([str(path)], None), BatchOptions(), Meter())
    assert row.problem is not None and row.problem[0] == "columns"
    assert "2 columns are named 'text'" in row.problem[1]


@pytest.mark.parametrize("value", [253402300800000000, -(2**62)])
def test_a_value_that_python_cannot_hold_is_a_reject_of_its_row(tmp_path: Path, value: int) -> None:
    days = pa.array([1, value], pa.timestamp("us"))
    pq.write_table(pa.table({"text": [TEXT, TEXT], "id": days}), tmp_path / "a.parquet")
    first, second = read(tmp_path / "a.parquet")
    assert first == Article(TEXT, id="1970-01-01 00:00:00.000001")
    assert second == ("type", "a.parquet", 2)


def test_half_a_surrogate_pair_harms_no_other_line(tmp_path: Path) -> None:
    before = "".join(line(str(i)) + "\n" for i in range(1000)).encode("utf-16-le")
    after = f"\n{line('b')}\n".encode("utf-16-le")
    path = write(tmp_path / "a.jsonl", b"\xff\xfe" + before + b"\x00\xd8" + after)
    found = read(path, encoding="utf-16")
    assert found[:1000] == [Article(TEXT, id=str(i)) for i in range(1000)]
    assert found[1000:] == [("encoding", "a.jsonl", 1001), BOTH[1]]


@pytest.mark.parametrize(("encoding", "cut"), [("utf-16", 1), ("utf-32", 2)])
def test_what_stands_before_a_cut_off_letter_is_read(
    tmp_path: Path, encoding: str, cut: int
) -> None:
    content = (JSONL + "س").encode(encoding)
    found = read(write(tmp_path / "a.jsonl", content[:-cut]), encoding=encoding)
    assert found == [*BOTH, ("encoding", "a.jsonl", None)]


def test_bytes_that_mean_nothing_end_the_text_and_lose_nothing_before(tmp_path: Path) -> None:
    content = ("".join(line(str(i)) + "\n" for i in range(99)) + "س\n").encode("utf-32-le")
    path = write(tmp_path / "a.jsonl", content + b"\xff\xff\xff\x7f" + line().encode("utf-32-le"))
    found = read(path, encoding="utf-32-le")
    assert found[:99] == [Article(TEXT, id=str(i)) for i in range(99)]
    assert found[99:] == [("not_json", "a.jsonl", 100), ("encoding", "a.jsonl", None)]


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    (row,) = read_rows(
        find_sources([str(write(tmp_path / "a.csv", "id,body\n1,x\n"))], None),
        BatchOptions(),
        Meter(),
    )
    assert row.problem is not None
    assert row.problem[1] == "no column 'text', only id, body; map it with --column text=NAME"


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_a_first_article_is_not_taken_for_columns_and_quoted(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, f"7,{TEXT},b\n8,{TEXT},b\n".replace(",", "\t,"[name == "a.csv"]))
    (row,) = read_rows(find_sources([str(path)], None), BatchOptions(), Meter())
    assert row.problem is not None and "محمد" not in row.problem[1]
    assert "no column 'text' among the 3 of the first line; is it a header?" in row.problem[1]


@pytest.mark.parametrize("name", ["a.json", "a.JSON.gz"])
def test_an_array_of_articles_is_no_article(tmp_path: Path, name: str) -> None:
    content = f" [{line()}]".encode()
    content = gzip.compress(content) if name.endswith("gz") else content
    path = write(tmp_path / name, content)
    assert read(path) == [("not_object", name, None)]
    assert read(path, input_format="text") == [Article(f" [{line()}]", id=name)]


def test_a_text_may_begin_with_a_bracket(tmp_path: Path) -> None:
    for name in ("a.txt", "unnamed"):
        assert read(write(tmp_path / name, f"[1] {TEXT}")) == [Article(f"[1] {TEXT}", id=name)]


@pytest.mark.parametrize("name", ["a.jsonl", "a.txt", "a.csv"])
def test_a_row_that_is_too_large_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for module in (formats, opened, tables):
        monkeypatch.setattr(module, "MAX_ROW_BYTES", 1000)
    head = "id,text\n" if name == "a.csv" else ""
    large = {"a.jsonl": line(text="ا" * 2000), "a.txt": "ا" * 2000, "a.csv": "b," + "ا" * 2000}
    after = "" if name == "a.txt" else {"a.jsonl": line(), "a.csv": f"a,{TEXT}"}[name]
    found = read(write(tmp_path / name, f"{head}{large[name]}\n{after}"))
    assert [f[0] for f in found if isinstance(f, tuple)] == ["oversized"]
    assert [f for f in found if isinstance(f, Article)] == ([] if name == "a.txt" else BOTH[:1])


def test_row_limits_agree() -> None:
    assert formats.MAX_ROW_BYTES == rows.MAX_ROW_BYTES
