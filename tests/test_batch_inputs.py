"""Inputs of batch jobs: which files are found, their rows, and the article or reject of each."""

from __future__ import annotations

import base64
import gzip
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from serving.batch import formats, rows
from serving.batch.bytestream import Meter, chunks, lines
from serving.batch.errors import UsageError
from serving.batch.formats import read_rows
from serving.batch.options import BatchOptions
from serving.batch.parts import chosen, cut
from serving.batch.rows import Reject, RejectError, Row, article_of
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


def write(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def line(identifier: str | None = "a", **fields: object) -> str:
    row = {"text": TEXT} | ({} if identifier is None else {"id": identifier}) | fields
    return json.dumps(row, ensure_ascii=False)


JSONL = f"{line()}\n\n{line('b')}\n"
BOTH = [Article(TEXT, id="a"), Article(TEXT, id="b")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", JSONL.encode()),
        ("a.jsonl", b"\xef\xbb\xbf" + JSONL.replace("\n", "\r\n").encode()),
        ("a.jsonl.gz", gzip.compress(JSONL.encode())),
        ("a.jsonl.gz", gzip.compress(line().encode()) + gzip.compress(f"\n{line('b')}".encode())),
        ("a.jsonl.gz", JSONL.encode()),  # what is called so and is not packed
        ("a.jsonl.zst", zstandard.compress(JSONL.encode())),
        ("unnamed", JSONL.encode()),
        ("a.csv", f'id,text\r\na,"{TEXT}"\r\nb,{TEXT}\r\n'.encode()),
        ("a.tsv", f"text\tid\n{TEXT}\ta\n{TEXT}\tb".encode()),
    ],
)
def test_articles_come_from_every_kind_of_file(tmp_path: Path, name: str, content: bytes) -> None:
    assert read(write(tmp_path / name, content)) == BOTH


def parquet(rows: Sequence[dict[str, Any]]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows)), sink)
    return sink.getvalue()


@pytest.mark.parametrize("name", ["a.parquet", "unnamed"])
def test_articles_come_from_parquet(tmp_path: Path, name: str) -> None:
    table = [
        {"id": 7, "text": TEXT, "title": None, "targets": ["محمد"], "other": b"\xff"},
        {"id": 8, "text": None, "title": "عنوان", "targets": [], "other": b""},
    ]
    path = write(tmp_path / name, parquet(table))
    assert read(path) == [Article(TEXT, id="7", targets=("محمد",)), ("type", name, 2)]


def test_columns_are_mapped(tmp_path: Path) -> None:
    row = {"url": "u", "body": TEXT, "head": "عنوان", "text": 5}
    path = write(tmp_path / "a.jsonl", json.dumps(row))
    columns = {"id": "url", "text": "body", "title": "head"}
    assert read(path, columns=columns) == [Article(TEXT, id="u", title="عنوان")]
    table = write(tmp_path / "a.csv", f"url,body,head\nu,{TEXT},عنوان\n")
    assert read(table, columns=columns) == [Article(TEXT, id="u", title="عنوان")]


def test_questions_of_a_row_go_before_those_of_the_job(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl",
        "\n".join(
            [line(), line(targets=["بغداد"], claims=["زار"]), line(targets="auto", claims=[])]
        ),
    )
    found = read(path, targets=("محمد",), claims=("غادر",))
    assert [(a.targets, a.claims) for a in found if isinstance(a, Article)] == [
        (("محمد",), ("غادر",)),
        (("بغداد",), ("زار",)),
        ("auto", ("غادر",)),
    ]


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


@pytest.mark.parametrize("encoding", ["cp1256", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.txt"])
def test_other_encodings_are_read_when_they_are_named(
    tmp_path: Path, name: str, encoding: str
) -> None:
    text = "زار محمد بغداد"
    content = {"a.jsonl": line(text=text), "a.csv": f"id,text\na,{text}\n", "a.txt": text}[name]
    path = write(tmp_path / name, content.encode(encoding))
    identifier = "a.txt" if name == "a.txt" else "a"
    assert read(path, encoding=encoding) == [Article(text, id=identifier)]
    if encoding != "utf-16-le":  # which has no mark to know it by
        ((code, *_),) = read(path)
        assert code == "encoding"


def test_a_folder_is_searched_through_in_order(tmp_path: Path) -> None:
    write(tmp_path / "2024" / "b.txt", "ب")
    write(tmp_path / "2023" / "c.txt", "ج")
    write(tmp_path / "a.jsonl", line())
    write(tmp_path / "readme.md", "لا")
    write(tmp_path / ".hidden.txt", "لا")
    found = read(tmp_path)
    assert found == [
        Article("ج", id="2023/c.txt"),
        Article("ب", id="2024/b.txt"),
        Article(TEXT, id="a"),
    ]


def test_globs_name_files_below_their_fixed_part(tmp_path: Path) -> None:
    write(tmp_path / "x" / "a.txt", "ا")
    write(tmp_path / "y" / "a.txt", "ب")
    write(tmp_path / "y" / "b.md", "لا")
    assert [a.id for a in read(tmp_path / "*" / "*.txt")] == ["x/a.txt", "y/a.txt"]


def test_urls_are_read() -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/urls/a.jsonl.gz", gzip.compress(JSONL.encode()))
    assert read("memory://urls/a.jsonl.gz") == read("memory://urls") == BOTH


@pytest.mark.parametrize("content", [JSONL.encode(), gzip.compress(JSONL.encode())])
def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert read("-") == BOTH


def test_empty_files_hold_nothing_or_an_empty_article(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl.gz", "c.csv"):
        assert read(write(tmp_path / name, b"")) == []
    assert read(write(tmp_path / "d.txt", b"")) == [Article("", id="d.txt")]
    assert read(write(tmp_path / "e.parquet", b"")) == [("damaged", "e.parquet", None)]


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


def test_an_unreadable_file_in_a_folder_is_a_reject(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.txt", "ا")
    gone = write(tmp_path / "b.txt", "ب")
    write(tmp_path / "c.txt", "ج")
    sources = find_sources([str(tmp_path)], None)
    gone.unlink()
    rows = list(read_rows(sources, BatchOptions(), Meter()))
    assert [(r.source, r.problem and r.problem[0]) for r in rows] == [
        ("a.txt", None),
        ("b.txt", "unreadable"),
        ("c.txt", None),
    ]


def test_links_are_followed_and_one_to_nowhere_is_a_reject(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside.txt", TEXT)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").symlink_to(outside)
    (tmp_path / "in" / "b.txt").symlink_to(tmp_path / "nowhere.txt")
    assert read(tmp_path / "in") == [Article(TEXT, id="a.txt"), ("unreadable", "b.txt", None)]


def test_a_missing_input_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"b\.jsonl: cannot be read \(No such file"):
        read(tmp_path / "b.jsonl")
    with pytest.raises(UsageError, match="no input file"):
        read(tmp_path)
    with pytest.raises(UsageError, match="no input file"):
        read(tmp_path / "*.txt")
    with pytest.raises(UsageError, match="Protocol not known: nowhere"):
        read("nowhere://a")


PAGE = """<html><head><meta charset="{}"><title>عنوان الخبر</title></head><body>
<nav><a href="/">الرئيسية</a></nav><article><h1>عنوان الخبر</h1>
<p>وصل الرئيس محمد إلى بغداد يوم الأحد في زيارة رسمية تستغرق يومين كاملين.</p>
<p>والتقى رئيس الوزراء وعددا من المسؤولين في العاصمة العراقية بغداد.</p></article>
<footer>جميع الحقوق محفوظة</footer></body></html>"""


@pytest.mark.parametrize("encoding", ["utf-8", "windows-1256"])
def test_the_main_text_of_a_page_is_the_article(tmp_path: Path, encoding: str) -> None:
    pytest.importorskip("trafilatura", exc_type=ImportError)
    path = write(tmp_path / "a.html", PAGE.format(encoding).encode(encoding))
    (article,) = read(path)
    assert isinstance(article, Article)
    assert "تستغرق يومين كاملين." in article.text and "الحقوق" not in article.text
    assert (article.id, article.title) == ("a.html", "عنوان الخبر")


def test_a_page_without_a_text_is_rejected(tmp_path: Path) -> None:
    pytest.importorskip("trafilatura", exc_type=ImportError)
    for content in ("", "<html></html>"):
        assert read(write(tmp_path / "a.html", content)) == [("no_main_text", "a.html", None)]


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


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"columns": {"body": "text"}}, "no field 'body'; use id, text"),
        ({"sample": 0.0}, "a share of the rows"),
        ({"encoding": "latin-arabic"}, "unknown; use utf-8, cp1256"),
        ({"output_format": "xml"}, "use jsonl, parquet"),
        ({"input_format": "xml"}, "use jsonl, csv"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        BatchOptions(**options)


def test_row_limits_agree() -> None:
    assert formats.MAX_ROW_BYTES == rows.MAX_ROW_BYTES
