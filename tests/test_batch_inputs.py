"""Inputs of batch jobs: the articles of every kind of file, whatever its encoding and columns."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import zstandard

from serving.batch.errors import UsageError
from serving.batch.options import BatchOptions
from serving.prediction import Article
from tests.batch_files import BOTH, JSONL, TEXT, line, parquet, read
from tests.files import write

# as `zstd --long=28` makes it
LONG = zstandard.ZstdCompressor(
    compression_params=zstandard.ZstdCompressionParameters.from_level(3, window_log=28)
).compressobj()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", JSONL.encode()),
        ("a.jsonl", b"\xef\xbb\xbf" + JSONL.replace("\n", "\r\n").encode()),
        ("a.jsonl.gz", gzip.compress(JSONL.encode())),
        ("a.jsonl.gz", gzip.compress(line().encode()) + gzip.compress(f"\n{line('b')}".encode())),
        (  # tape pads with zeros, more than are read at once
            "a.jsonl.gz",
            gzip.compress(line().encode())
            + bytes(40_000)
            + gzip.compress(f"\n{line('b')}".encode())
            + bytes(40_000),
        ),
        ("a.jsonl.zst", zstandard.compress(JSONL.encode()) + bytes(40_000)),
        ("a.jsonl.gz", JSONL.encode()),  # what is called so and is not packed
        ("a.jsonl.zst", zstandard.compress(JSONL.encode())),
        ("a.jsonl.zst", b"\x50\x2a\x4d\x18\4\0\0\0skip" + zstandard.compress(JSONL.encode())),
        ("a.jsonl.zst", LONG.compress(JSONL.encode()) + LONG.flush()),
        ("unnamed", JSONL.encode()),
        ("a.json", JSONL.encode()),
        ("a.json.gz", gzip.compress(JSONL.encode())),
        ("a.csv", f'id,text\r\na,"{TEXT}"\r\nb,{TEXT}\r\n'.encode()),
        ("a.csv", f"id,text\na,{TEXT}\n\nb,{TEXT}\n\n".encode()),
        ("a.tsv", f"text\tid\n{TEXT}\ta\n{TEXT}\tb".encode()),
    ],
)
def test_articles_come_from_every_kind_of_file(tmp_path: Path, name: str, content: bytes) -> None:
    assert read(write(tmp_path / name, content)) == BOTH


@pytest.mark.parametrize("name", ["a.json", "unnamed"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_one_object_over_several_lines_is_an_article(
    tmp_path: Path, name: str, encoding: str
) -> None:
    for indent in (0, 4):
        text = json.dumps(json.loads(line(None)), indent=indent, ensure_ascii=False)
        path = write(tmp_path / name, text.encode(encoding))
        given = {"input_format": "json", "encoding": encoding} if encoding == "utf-16" else {}
        assert read(path, **given) == [Article(TEXT, id=name)]


def test_a_folder_of_articles_as_json_is_read(tmp_path: Path) -> None:
    for i in range(3):
        write(tmp_path / f"{i}.json", line(str(i)))
    write(tmp_path / "x.jsonl", line())
    assert [a.id for a in read(tmp_path) if isinstance(a, Article)] == ["0", "1", "2", "a"]


@pytest.mark.parametrize("name", ["a.parquet", "unnamed"])
def test_articles_come_from_parquet(tmp_path: Path, name: str) -> None:
    table = [
        {"id": 7, "text": TEXT, "title": None, "targets": ["محمد"], "other": b"\xff"},
        {"id": 8, "text": None, "title": "عنوان", "targets": [], "other": b""},
    ]
    path = write(tmp_path / name, parquet(table))
    assert read(path) == [Article(TEXT, id="7", targets=("محمد",)), ("type", name, 2)]


def test_text_that_parquet_holds_as_bytes_is_text(tmp_path: Path) -> None:
    rows = [
        {"id": b"a", "text": TEXT.encode(), "targets": ["محمد".encode()]},
        {"id": b"b", "text": TEXT.encode("utf-16"), "targets": []},
    ]
    path = write(tmp_path / "a.parquet", parquet(rows))
    assert read(path) == [
        Article(TEXT, id="a", targets=("محمد",)),
        ("encoding", "a.parquet", 2),
    ]


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
            [
                line(),
                line(targets=["بغداد"], claims=["زار"]),
                line(targets="auto", claims=[]),
                line(targets=["auto"]),
            ]
        ),
    )
    found = read(path, targets=("محمد",), claims=("غادر",))
    assert [(a.targets, a.claims) for a in found if isinstance(a, Article)] == [
        (("محمد",), ("غادر",)),
        (("بغداد",), ("زار",)),
        ("auto", ("غادر",)),
        ("auto", ("غادر",)),
    ]


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


def test_empty_files_hold_nothing_or_an_empty_article(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl.gz", "c.csv"):
        assert read(write(tmp_path / name, b"")) == []
    assert read(write(tmp_path / "d.txt", b"")) == [Article("", id="d.txt")]
    assert read(write(tmp_path / "e.parquet", b"")) == [("damaged", "e.parquet", None)]


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


@pytest.mark.parametrize("declared", ["undefined", "hex", "rot13", "none-such"])
def test_a_page_that_declares_no_encoding_of_text_is_read_as_undeclared(
    tmp_path: Path, declared: str
) -> None:
    pytest.importorskip("trafilatura", exc_type=ImportError)
    (article,) = read(write(tmp_path / "a.html", PAGE.format(declared)))
    assert isinstance(article, Article) and "تستغرق يومين كاملين." in article.text


def test_a_page_that_its_encoding_cannot_read_is_rejected(tmp_path: Path) -> None:
    path = write(tmp_path / "a.html", f"<meta charset=idna>{'a' * 70}.xn--a")
    assert read(path) == [("encoding", "a.html", None)]


def test_a_page_that_the_search_fails_on_harms_no_other(tmp_path: Path) -> None:
    page = f'<math><script type="application/ld+json"></script><p>{TEXT}</p>'
    write(tmp_path / "a.html", page)
    write(tmp_path / "b.txt", TEXT)
    assert read(tmp_path) == [("no_main_text", "a.html", None), Article(TEXT, id="b.txt")]


def test_a_page_without_a_text_is_rejected(tmp_path: Path) -> None:
    pytest.importorskip("trafilatura", exc_type=ImportError)
    for content in ("", "<html></html>"):
        assert read(write(tmp_path / "a.html", content)) == [("no_main_text", "a.html", None)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"columns": {"body": "text"}}, "no field 'body'; use id, text"),
        ({"sample": 0.0}, "a share of the rows"),
        ({"encoding": "latin-arabic"}, "unknown; use utf-8, cp1256"),
        ({"encoding": "undefined"}, "unknown; use utf-8, cp1256"),
        ({"encoding": "hex"}, "unknown; use utf-8, cp1256"),
        ({"output_format": "xml"}, "use jsonl, parquet"),
        ({"input_format": "xml"}, "use jsonl, csv"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        BatchOptions(**options)
