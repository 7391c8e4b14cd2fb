"""khabar JSONL: what is written is read back, and a malformed line is named by file and number."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.errors import FormatError
from annotations.jsonl import document_to_dict, parse_document, read_documents, write_documents
from annotations.schema import Claim, Document, Span, Stance

quick = settings(max_examples=150, deadline=None, database=None)
# st.text() draws no lone surrogates: these are refused before anything is written.
texts = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        ["مُحَمَّد ـ ﻻ 😀", "سطر\r\nسطر\u2028سطر\x85\x00", '"\\ \u202e</script>', "\ufeff"]
    ),
)
ranges = st.tuples(st.integers(0, 50), st.integers(1, 50)).map(lambda r: (r[0], r[0] + r[1]))
labels = st.text(min_size=1, max_size=8)
optional = st.none() | texts
stances = st.builds(
    lambda target, label, place, scope, holder, evidence: Stance(
        target, label, *(place or (None, None)), scope, holder, evidence
    ),
    texts.filter(lambda text: bool(text.strip())),
    labels,
    st.none() | ranges,
    st.none() | ranges,
    st.none() | texts.filter(lambda text: bool(text.strip())),
    st.none() | st.lists(ranges, max_size=3).map(tuple),
)
documents = st.builds(
    Document,
    id=texts,
    text=texts,
    title=optional,
    source=optional,
    date=optional,
    license=optional,
    entities=st.none()
    | st.lists(st.builds(lambda r, label: Span(*r, label), ranges, labels), max_size=4).map(tuple),
    label_set=labels,
    stances=st.none() | st.lists(stances, max_size=3).map(tuple),
    claims=st.none() | st.lists(st.builds(Claim, texts, labels), max_size=3).map(tuple),
    topic=optional,
)


@quick
@given(found=st.lists(documents, max_size=4))
def test_documents_are_read_as_they_were_written(
    found: list[Document], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "round.jsonl"
    assert write_documents(path, found) == len(found)
    assert list(read_documents(path)) == found
    assert path.read_bytes().count(b"\n") == len(found)


def test_a_written_file_shows_its_arabic_to_who_opens_it(tmp_path: Path) -> None:
    path = tmp_path / "gold.jsonl"
    write_documents(path, [Document("a", "سقوط داعش")])
    assert "سقوط داعش" in path.read_text(encoding="utf-8")


def test_a_written_document_has_the_fields_of_the_design() -> None:
    document = Document(
        "seed-1",
        "سقوط داعش",
        date="2017-11-03",
        entities=(Span(5, 9, "ORG"),),
        stances=(Stance("داعش", "against", 5, 9, (0, 9), None, ((0, 4),)),),
        claims=(Claim("سقط داعش", "agree"),),
        topic="politics",
    )
    stance = {
        "target": "داعش", "start": 5, "end": 9, "label": "against", "scope": [0, 9],
        "holder": None, "evidence": [[0, 4]],
    }  # fmt: skip
    assert json.loads(json.dumps(document_to_dict(document))) == {
        "id": "seed-1",
        "text": "سقوط داعش",
        "title": None,
        "source": None,
        "date": "2017-11-03",
        "license": None,
        "entities": [{"start": 5, "end": 9, "label": "ORG"}],
        "label_set": "fine",
        "stances": [stance],
        "claims": [{"text": "سقط داعش", "label": "agree"}],
        "topic": "politics",
    }


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({}, Document("a", "بغداد")),
        ({"entities": None, "stances": None, "claims": None}, Document("a", "بغداد")),
        (
            {"entities": [], "stances": [], "claims": []},
            Document("a", "بغداد", entities=(), stances=(), claims=()),
        ),
        ({"label_set": None}, Document("a", "بغداد", label_set="fine")),
        (
            {"stances": [{"target": "بغداد", "label": "neutral"}]},
            Document("a", "بغداد", stances=(Stance("بغداد", "neutral"),)),
        ),
    ],
)
def test_absent_means_not_annotated_and_empty_means_none_there(
    row: dict[str, Any], expected: Document
) -> None:
    assert parse_document(json.dumps({"id": "a", "text": "بغداد", **row}), "x:1") == expected


def with_field(**fields: Any) -> str:
    return json.dumps({"id": "a", "text": "دخلت القوات القائم", **fields}, ensure_ascii=False)


def with_entity(**fields: Any) -> str:
    return with_field(entities=[{"start": 12, "end": 18, "label": "GPE", **fields}])


def with_stance(**fields: Any) -> str:
    return with_field(stances=[{"target": "القائم", "label": "neutral", **fields}])


MALFORMED = [
    ("{'id': 'a'}", r"not JSON \(.* at column 2\); one object a line is needed"),
    ('{"id": "a", "text": "نص"', "not JSON .*; one object a line is needed"),
    ('{"id": "a"} {"id": "b"}', "not JSON"),
    ("نص بلا أقواس", "not JSON"),
    ("[" * 100_000, "not JSON"),
    ('{"id": ' + "1" * 5_000 + "}", "not JSON"),
    ("[]", "got a JSON list, need an object with id and text"),
    ('"نص"', "got a JSON str, need an object"),
    ("null", "got a JSON NoneType, need an object"),
    ("{}", "field 'id' must be a string, got NoneType"),
    (with_field(id=7), "field 'id' must be a string, got int"),
    (with_field(text=None), "field 'text' must be a string, got NoneType"),
    (with_field(text=["نص"]), "field 'text' must be a string, got list"),
    (with_field(txt="نص"), "unknown field 'txt'; a document has claims, date"),
    (with_field(title=5), "field 'title' must be a string or null, got int"),
    (with_field(topic=["politics"]), "field 'topic' must be a string or null, got list"),
    (with_field(label_set=1), "field 'label_set' must be a string or null, got int"),
    (with_field(entities=5), "an annotation is malformed .*list, got int"),
    (with_field(entities={}), "an annotation is malformed .*list, got dict"),
    (with_field(entities="GPE"), "an annotation is malformed .*list, got str"),
    (with_field(entities=["GPE"]), "an annotation is malformed"),
    (with_field(entities=[None]), "an annotation is malformed"),
    (with_field(entities=[{"start": 0, "end": 4}]), "an annotation is malformed .*'label'"),
    (with_entity(start="12"), "an annotation is malformed .*integer, got str"),
    (with_entity(start=12.0), "an annotation is malformed .*integer, got float"),
    (with_entity(start=True), "an annotation is malformed .*integer, got bool"),
    (with_entity(end=None), "an annotation is malformed .*integer, got NoneType"),
    (with_entity(label=None), "an annotation is malformed .*'label' must be a string"),
    (with_entity(start=18), "'GPE': need 0 <= start < end, got 18, 18"),
    (with_entity(start=-1), "'GPE': need 0 <= start < end, got -1, 18"),
    (with_stance(target=None), "an annotation is malformed .*'target' must be a string"),
    (with_stance(target=5), "an annotation is malformed .*'target' must be a string"),
    (with_stance(target=" "), "the target is empty"),
    (with_stance(start=3), "start and end are set together"),
    (with_stance(scope=[0]), "an annotation is malformed"),
    (with_stance(scope=[0, 4, 9]), "an annotation is malformed"),
    (with_stance(scope=[0, 4.5]), "an annotation is malformed .*integer, got float"),
    (with_stance(scope=7), "an annotation is malformed"),
    (with_stance(evidence=[[0, 4], 5]), "an annotation is malformed"),
    (with_stance(evidence=[["a", "b"]]), "an annotation is malformed .*integer, got str"),
    (with_stance(evidence=[[0, float("inf")]]), "an annotation is malformed .*integer, got float"),
    (with_stance(holder=4), "an annotation is malformed .*'holder' must be a string"),
    (with_field(stances=[["القائم", "neutral"]]), "an annotation is malformed"),
    (with_field(claims=[{"text": "دخلت"}]), "an annotation is malformed .*'label'"),
    (with_field(claims=[{"text": 5, "label": "agree"}]), "malformed .*'text' must be a string"),
    (with_field(claims=["دخلت"]), "an annotation is malformed"),
    (with_entity(lable="GPE"), "unknown field 'lable'; an entity has end, label, start, text"),
    (with_stance(hodler="علي"), "unknown field 'hodler'; a stance has end, evidence, holder"),
    (
        with_field(claims=[{"text": "دخلت", "label": "agree", "id": 1}]),
        "unknown field 'id'; a claim has label, text",
    ),
    (with_entity(text="القوات"), r"GPE \[12, 18\) is not its text; correct the offsets"),
    (with_entity(text=5), "an annotation is malformed .*'text' must be a string"),
]


@pytest.mark.parametrize(("line", "expected"), MALFORMED, ids=range(len(MALFORMED)))
def test_a_malformed_line_is_named_by_file_and_number(
    line: str, expected: str, tmp_path: Path
) -> None:
    path = tmp_path / "gold.jsonl"
    path.write_text(f"{with_field()}\n\n  \n{line}\n{with_field()}\n", encoding="utf-8")
    found = read_documents(path)
    assert next(found).id == "a"
    with pytest.raises(FormatError, match=rf"gold\.jsonl:4: .*{expected}") as caught:
        next(found)
    assert "دخلت القوات القائم" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["cp1256", "utf-16"])
def test_a_line_in_another_encoding_is_named(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "gold.jsonl"
    path.write_bytes(with_field().encode() + b"\n" + with_field().encode(encoding))
    found = read_documents(path)
    assert next(found).text == "دخلت القوات القائم"
    with pytest.raises(FormatError, match=r"gold\.jsonl:2: not UTF-8 .*convert the file to UTF-8"):
        next(found)


def test_line_ends_of_windows_and_blank_lines_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "gold.jsonl"
    path.write_bytes(b"\r\n" + with_field(id="b").encode() + b"\r\n\r\n" + with_field().encode())
    assert [document.id for document in read_documents(path)] == ["b", "a"]


def test_an_entity_may_bring_its_surface() -> None:
    line = with_entity(text="القائم")
    assert parse_document(line, "x:1") == parse_document(with_entity(), "x:1")


def test_a_byte_order_mark_is_passed_over_at_the_beginning_alone(tmp_path: Path) -> None:
    path = tmp_path / "gold.jsonl"
    line = b"\xef\xbb\xbf" + with_field().encode() + b"\n"
    path.write_bytes(line)
    assert [document.id for document in read_documents(path)] == ["a"]
    path.write_bytes(line * 2)
    with pytest.raises(FormatError, match=r"gold\.jsonl:2: not JSON"):
        list(read_documents(path))
