"""Conversion: any format to any other by its name, and what is lost on the way is counted."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.conll import (
    Sentence,
    document_sentences,
    read_sentences,
    word_spans,
    write_sentences,
)
from annotations.convert import Conversion, format_of
from annotations.errors import FormatError
from annotations.jsonl import read_documents, write_documents
from annotations.schema import Claim, Document, Span, Stance
from annotations.seed import seed_document
from annotations.text import words
from tests.documents import documents


def sentences_of(document: Document, flat: bool = False) -> tuple[list[Sentence], Counter[str]]:
    notes: Counter[str] = Counter()
    return list(document_sentences(document, flat, notes)), notes


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.markup", "a"])
def test_the_seed_goes_through_every_whole_format(tmp_path: Path, name: str) -> None:
    conversion = Conversion()
    assert conversion.write(tmp_path / name, [seed_document()] * 3) == 3
    assert list(conversion.read(tmp_path / name)) == [seed_document()] * 3
    assert conversion.notes == {}


@settings(max_examples=100, deadline=None)
@given(documents())
def test_khabar_jsonl_is_the_same_to_the_byte(document: Document) -> None:
    with TemporaryDirectory() as name:
        path, again = Path(name) / "a.jsonl", Path(name) / "b.jsonl"
        write_documents(path, [document])
        write_documents(again, read_documents(path))
        assert path.read_bytes() == again.read_bytes()


@settings(max_examples=200, deadline=None)
@given(documents(), st.booleans())
def test_conll_holds_every_word_once_and_counts_the_rest(document: Document, flat: bool) -> None:
    found, notes = sentences_of(document, flat)
    assert not flat or all(len(tags) == 1 for sentence in found for tags in sentence.tags)
    held = sum(len(word_spans(sentence)) for sentence in found)
    lost = sum(
        count for note, count in notes.items() if note.startswith("entity") and "left" in note
    )
    assert held + lost == len(document.entities or ())
    assert notes["stance left out: CoNLL has none"] == len(document.stances or ())
    with TemporaryDirectory() as name:
        path = Path(name) / "a.conll"
        assert write_sentences(path, found) == len(found)
        assert list(read_sentences(path)) == found
    assert [w for s in found for w in s.words] == [
        document.text[a:b] for a, b in words(document.text)
    ]


def test_nested_columns_and_the_flat_view() -> None:
    spans = (Span(4, 14, "OCC"), Span(9, 14, "ORG"), Span(15, 19, "PERS"))
    document = Document("d", "قال وزير الصحة سالم.", entities=spans, topic="health")
    (nested,), notes = sentences_of(document)
    assert nested.words == ("قال", "وزير", "الصحة", "سالم", ".")
    assert nested.tags == (("O",), ("B-OCC",), ("I-OCC", "B-ORG"), ("B-PERS",), ("O",))
    assert notes == {"topic left out: CoNLL has none": 1}
    (flat,), notes = sentences_of(document, flat=True)
    assert flat.tags == (("O",), ("B-OCC",), ("I-OCC",), ("B-PERS",), ("O",))
    assert notes["entity inside another left out: flat CoNLL holds one tag"] == 1


def test_what_conll_cannot_hold_is_said() -> None:
    document = Document(
        "d",
        "وبالعراق وزارة وزارة",
        entities=(Span(2, 8, "GPE"), Span(9, 20, "ORG"), Span(15, 20, "ORG")),
        stances=(Stance("العراق", "favor"),),
        claims=(Claim("س", "agree"),),
    )
    _, notes = sentences_of(document)
    assert notes == {
        "entity widened to whole words": 1,
        "entity inside another of its type left out: CoNLL holds one a type": 1,
        "stance left out: CoNLL has none": 1,
        "claim left out: CoNLL has none": 1,
    }


def test_a_format_is_told_by_its_name(tmp_path: Path) -> None:
    assert format_of(tmp_path) == "brat"
    assert format_of(Path("a.bio")) == "conll-flat"
    with pytest.raises(FormatError, match=r"no format has the suffix '\.csv'; rename it"):
        format_of(Path("a.csv"))
    with pytest.raises(FormatError, match="no such file or folder"):
        list(Conversion().read(tmp_path / "a.json"))


def test_flat_a_word_that_two_entities_touch_has_one_tag() -> None:
    spans = (Span(5, 11, "ORG"), Span(12, 20, "GPE"))
    document = Document("d", "فاز #الهلال_السعودية أمس", entities=spans)
    (flat,), notes = sentences_of(document, flat=True)
    assert [tags for tags in flat.tags if tags != ("O",)] == [("B-ORG",)]
    assert notes["entity sharing a word with another left out: flat CoNLL holds one tag"] == 1
    assert notes["entity widened to whole words"] == 1


def test_each_field_that_conll_cannot_hold_is_said() -> None:
    fields = ("title", "source", "date", "license", "topic", "form")
    document = Document("d", "عمان", entities=(), label_set="coarse", **dict.fromkeys(fields, "س"))
    _, notes = sentences_of(document)
    assert notes == {
        **{f"{name} left out: CoNLL has none": 1 for name in fields},
        "label set coarse left out: CoNLL names none": 1,
    }


@pytest.mark.parametrize(
    ("label_set", "labels", "read"),
    [
        ("coarse", ("PER", "LOC"), ("coarse", ("PER", "LOC"))),
        ("coarse", ("MISC", "ORG"), ("coarse", ("MISC", "ORG"))),
        ("fine", ("PERS", "LOC"), ("fine", ("PERS", "LOC"))),
        ("fine", ("ORG", "LOC"), ("fine", ("ORG", "LOC"))),
        ("own", ("PER", "GPE"), ("fine", ("PERS", "GPE"))),
    ],
)
def test_coarse_labels_come_back_from_conll_as_coarse(
    tmp_path: Path, label_set: str, labels: tuple[str, str], read: tuple[str, tuple[str, str]]
) -> None:
    spans = (Span(0, 4, labels[0]), Span(8, 12, labels[1]))
    path = tmp_path / "a.bio"
    Conversion().write(path, [Document("d", "سالم في عمان", entities=spans, label_set=label_set)])
    (document,) = Conversion().read(path)
    assert (document.label_set, tuple(s.label for s in document.entities or ())) == read


def test_conll_is_read_from_a_pipe() -> None:
    end, start = os.pipe()
    os.write(start, "سالم B-PER\n\nعمان B-LOC\n".encode())
    os.close(start)
    found = list(Conversion().read(Path(f"/dev/fd/{end}"), "conll"))
    os.close(end)
    assert [document.text for document in found] == ["سالم", "عمان"]
    assert {document.label_set for document in found} == {"coarse"}


@pytest.mark.parametrize("name", ["a.json", "a.markup", "a"])
def test_a_target_elsewhere_than_its_place_is_refused(tmp_path: Path, name: str) -> None:
    document = Document("d", "قال الوزير", stances=(Stance("وزير الصحة", "favor", 4, 10),))
    with pytest.raises(FormatError, match=r"^d: .*\[4, 10\) is no[t ]"):
        Conversion().write(tmp_path / name, [document])


def test_an_entity_that_begins_between_sentences_and_a_document_without_words_are_told() -> None:
    text = "قال. عاد"
    made, notes = sentences_of(Document("a", text, entities=(Span(4, 8, "ORG"),)))
    assert [s.tags for s in made] == [(("O",), ("O",)), (("B-ORG",),)]
    assert notes == {"entity widened to whole words": 1}
    made, notes = sentences_of(Document("b", " \n", entities=()))
    assert made == [] and notes == {"document without a word left out": 1}


def test_what_is_said_of_label_studio_is_not_said_of_another_format(tmp_path: Path) -> None:
    document, path = seed_document(), tmp_path / "a.jsonl"
    with pytest.raises(FormatError, match="leave --model-version out"):
        Conversion().write(path, [document], model_version="m")
    Conversion().write(path, [document])
    for conversion in (Conversion(annotator="7"), Conversion(predictions=True)):
        with pytest.raises(FormatError, match="leave --annotator and --predictions out"):
            list(conversion.read(path))
