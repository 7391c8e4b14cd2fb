"""Articles from files, folders and standard input, and what is no article."""

from __future__ import annotations

import io
import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from annotations.errors import FormatError
from serving.batch.sources import find_sources
from serving.inputs import left_out_words, read_articles
from serving.prediction import Article

ARABIC = "أوصلت القوات العراقية\nإلى مدينة القائم 😀\n"


def line(**fields: object) -> str:
    return json.dumps({"id": "a", "text": ARABIC} | fields, ensure_ascii=False)


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    def give(data: bytes) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data), encoding="ascii"))

    return give


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def read(*names: object) -> list[Article]:
    return [Article.of(found) for found in read_articles([str(name) for name in names])]


@pytest.mark.parametrize(
    "text", [ARABIC, "", "  \n", "{ ليس JSON }", "a\r\nb\x00\ufeffc", "\ufeffحمص", '{"id": "a"}']
)
def test_a_text_file_is_one_article_as_received(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "خبر.txt", text)
    assert read(path) == [Article(text, id=str(path))]


def test_a_file_without_a_known_suffix_is_read_as_text(tmp_path: Path) -> None:
    path = write(tmp_path / "article", ARABIC)
    assert read(path) == [Article(ARABIC, id=str(path))]


def test_jsonl_holds_an_article_a_line(tmp_path: Path) -> None:
    text = "\n".join([line(), "", line(id="b", title="عنوان"), "  ", line(id="c", text="\u2028x")])
    assert read(write(tmp_path / "a.jsonl", text)) == [
        Article(ARABIC, id="a"),
        Article(ARABIC, id="b", title="عنوان"),
        Article("\u2028x", id="c"),  # a line separator inside a text ends no line
    ]


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_jsonl_from_other_systems_is_read(tmp_path: Path, ending: str, mark: str) -> None:
    text = mark + line() + ending + line(id="b") + ending
    assert [a.id for a in read(write(tmp_path / "a.jsonl", text))] == ["a", "b"]


def test_gold_in_a_document_is_not_looked_at(tmp_path: Path) -> None:
    gold = {"entities": [{"start": 0, "end": 5, "label": "GPE"}], "topic": "sports"}
    assert read(write(tmp_path / "a.jsonl", line(**gold))) == [Article(ARABIC, id="a")]


def test_a_folder_gives_its_articles_by_name(tmp_path: Path) -> None:
    write(tmp_path / "b.txt", "ب")
    write(tmp_path / "c.jsonl", f"{line(id='c1')}\n{line(id='c2')}\n")
    write(tmp_path / "a.txt", "ا")
    write(tmp_path / "notes.md", "لا تقرأ")
    (tmp_path / "deeper").mkdir()
    write(tmp_path / "deeper" / "d.txt", "د")
    write(tmp_path / "deeper" / "e.PNG", "لا تقرأ")
    write(tmp_path / "deeper" / "notes.md", "لا تقرأ")
    write(tmp_path / "README", "لا تقرأ")
    write(tmp_path / ".hidden.txt", "لا تقرأ")
    left_out = Counter[str]()
    found = [document.id for document in read_articles([str(tmp_path)], left_out)]
    texts = [str(tmp_path / name) for name in ("a.txt", "b.txt", "deeper/d.txt")]
    assert found == [*texts[:2], "c1", "c2", texts[2]]
    assert left_out == {".md": 2, ".png": 1, "no suffix": 1}
    words = "4 files of other kinds were left out: .md, .png, no suffix"
    assert left_out_words(left_out) == words


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        (line(), ["a"]),
        (json.dumps(json.loads(line()), indent=1), ["a"]),
        ("\ufeff" + json.dumps(json.loads(line()), indent=1), ["a"]),
        (f"{line()}\n\n{line(id='b')}\n", ["a", "b"]),
    ],
)
def test_json_holds_an_article_or_one_a_line(tmp_path: Path, text: str, ids: list[str]) -> None:
    write(tmp_path / "a.json", text)
    assert [article.id for article in read(tmp_path)] == ids


def test_json_that_holds_no_article_is_named(tmp_path: Path) -> None:
    for content, words in (
        (f"[{line()}]", "a.json: got a JSON list"),
        ("{\n", "a.json:1: not JSON"),
    ):
        with pytest.raises(FormatError, match=words):
            read(write(tmp_path / "a.json", content))


def test_names_are_read_in_the_order_given(tmp_path: Path) -> None:
    first, second = write(tmp_path / "b.txt", "ب"), write(tmp_path / "a.txt", "ا")
    assert [article.text for article in read(first, second, first)] == ["ب", "ا", "ب"]


def test_articles_are_read_one_by_one(tmp_path: Path) -> None:
    good = write(tmp_path / "a.txt", ARABIC)
    articles = read_articles([str(good), str(tmp_path / "missing.txt")])
    assert next(articles).text == ARABIC  # before the error of the next file
    with pytest.raises(FormatError):
        next(articles)


def test_standard_input_is_an_article(stdin: Callable[[bytes], None]) -> None:
    stdin(ARABIC.encode())
    assert read("-") == [Article(ARABIC, id="standard input")]


@pytest.mark.parametrize("before", ["", "\n  ", "\ufeff"])
def test_standard_input_that_begins_with_a_brace_is_jsonl(
    stdin: Callable[[bytes], None], before: str
) -> None:
    stdin(f"{before}{line()}\n{line(id='b')}\n".encode())
    assert [article.id for article in read("-")] == ["a", "b"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("زار محمد بغداد".encode("cp1256"), "not UTF-8 (byte 0xd2 at offset 0)"),
        ("خبر".encode() + b"\xff", "not UTF-8 (byte 0xff at offset 6)"),
        ("خبر".encode("utf-16"), "not UTF-8 (byte 0xff at offset 0)"),
        ("حمص".encode()[:-1], "not UTF-8 (byte 0xd8 at offset 4)"),
    ],
)
def test_what_is_not_utf8_is_refused_with_its_place(
    tmp_path: Path, stdin: Callable[[bytes], None], data: bytes, words: str
) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    with pytest.raises(FormatError) as caught:
        read(path)
    assert str(caught.value) == f"{path}: {words}; convert the file to UTF-8"
    stdin(data)
    with pytest.raises(FormatError, match=r"^standard input: not UTF-8"):
        read("-")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", ":1: not JSON"),
        (f"{line()}\n{line()[:-1]}", ":2: not JSON"),
        (f"{line()}\n\n[]", ":3: got a JSON list"),
        (line(id=5), ":1: field 'id' must be a string, got int"),
        (line(text=None), ":1: field 'text' must be a string, got NoneType"),
        (line(title=["عنوان"]), ":1: field 'title' must be a string"),
        (line(body="x"), ":1: unknown field 'body'"),
        (line(entities=[{"start": 0}]), ":1: an annotation is malformed"),
        ('"text"', ":1: got a JSON str"),
    ],
)
def test_a_line_that_is_no_document_is_named(tmp_path: Path, content: str, words: str) -> None:
    path = write(tmp_path / "a.jsonl", content)
    with pytest.raises(FormatError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}{words}")
    assert "القوات" not in str(caught.value)  # never the text of an article


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"missing\.txt: cannot be read \(No such file"):
        read(tmp_path / "missing.txt")


def test_a_folder_that_is_called_like_a_file_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()
    write(tmp_path / "a.txt" / "b.txt", ARABIC)
    assert [article.text for article in read(tmp_path)] == [ARABIC]


def test_a_folder_without_articles_is_named(tmp_path: Path) -> None:
    write(tmp_path / "notes.md", "x")
    with pytest.raises(FormatError, match=r"no \.txt, \.jsonl, \.ndjson, \.json file in"):
        read(tmp_path)


def test_a_suffix_is_read_in_any_case_and_ndjson_is_jsonl(tmp_path: Path) -> None:
    rows = "".join(json.dumps({"id": f"{i}", "text": ARABIC}) + "\n" for i in range(2))
    for name in ("A.JSONL", "b.ndjson", "c.Json"):
        write(tmp_path / name, rows)
        assert [article.id for article in read(tmp_path / name)] == ["0", "1"]
    write(tmp_path / "D.TXT", ARABIC)
    assert len(read(tmp_path)) == 7
    os.mkfifo(tmp_path / "e.txt")
    assert len(read(tmp_path)) == 7


@pytest.mark.parametrize("name", ["a.csv", "a.TSV", "a.parquet", "a.html", "a.jsonl.gz"])
def test_what_batch_alone_reads_is_not_taken_for_a_text(tmp_path: Path, name: str) -> None:
    with pytest.raises(FormatError, match="only `khabar batch` reads articles"):
        read(write(tmp_path / name, "id,text"))


def test_a_closed_standard_input_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(FormatError, match="standard input: is closed"):
        read("-")
    with pytest.raises(FormatError, match="standard input: is closed"):
        find_sources(["-"], None)
