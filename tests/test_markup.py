"""Markup: what a person types becomes spans and quotations, and every document comes back whole."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.errors import FormatError
from annotations.markup import parse_markup, read_markup, to_markup, write_markup
from annotations.schema import Claim, Document, Span, Stance
from annotations.seed import seed_document
from tests.documents import documents

TYPED = """@ id: n1
@ topic: health
@ title: عنوان
أعلنت [ORG وزارة الصحة] و[OCC وزير [ORG الصحة]] خطة، ثم قالت وزارة الصحة شيئا\\]\\@.
\\@سطر ثان
@ stance: favor | وزارة الصحة#2 | holder: سالم | شيئا | خطة
@ stance: neutral | الخطة | -
@ claim: agree | الوزارة \\| أعلنت خطة.

@ id: n2
@ entities: none
@ stances: none

نص
"""


def test_what_is_typed_is_read() -> None:
    first, second = parse_markup(TYPED.split("\n"), "a")
    text = "أعلنت وزارة الصحة ووزير الصحة خطة، ثم قالت وزارة الصحة شيئا]@.\n@سطر ثان"
    assert (first.text, first.topic, first.title) == (text, "health", "عنوان")
    assert [(first.surface(s), s.label) for s in first.entities or ()] == [
        ("وزارة الصحة", "ORG"),
        ("وزير الصحة", "OCC"),
        ("الصحة", "ORG"),
    ]
    favor, neutral = first.stances or ()
    assert (favor.start, favor.holder) == (text.rindex("وزارة الصحة"), "سالم")
    assert [text[a:b] for a, b in favor.evidence or ()] == ["شيئا", "خطة"]
    assert (neutral.start, neutral.evidence) == (None, ())
    assert first.claims == (Claim("الوزارة | أعلنت خطة.", "agree"),)
    assert second == Document("n2", "نص", stances=())


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("نص", "a:1: a line before the first document"),
        ("@ id: x\n@id: y", "a:2: an @ line reads"),
        ("@ id: x\n@ tpoic: health", "a:2: unknown field 'tpoic'"),
        (
            "@ id: x\n@ topic: health\nعمان\n@ topic: sports\nبغداد",
            "a:4: topic is given twice; is an `@ id:` line missing",
        ),
        ("@ id: x\n[GPE عمان", r"a:2: \[GPE at code point 0 is not closed"),
        (
            "@ id: x\n\n@ topic: health\n\nخبر\n[GPE عمان\nخبر\n\n",
            r"a:6: \[GPE at code point 4 is not closed",
        ),
        ("@ id: x\nعمان]", r"a:2: a \] that closes nothing"),
        ("@ id: x\n\\n\n[GPE عمان]\n@ topic: health\n]", r"a:5: a \] that closes nothing"),
        ("@ id: x\n[GPE ]", r"a:2: \[GPE \] holds no word"),
        ("@ id: x\nخبر\n[] عمان", r"a:3: a \[ without a type"),
        ("@ id: x\nعمان\n@ stance: favor", "a:3: a stance reads"),
        (
            "@ id: x\nعمان\n@ stance: favor | عمان#0",
            r"'عمان' does not stand in the text a 0\. time",
        ),
        ("@ id: x\n@ entities: none\n[GPE عمان]", "a:2: entities: none beside marked entities"),
        ("@ id: x\nعمان\n@ claim: agree", "a:3: a claim reads"),
        ("@ id: x\nعمان\n@ stance: favor | عمان | قال", "'قال' does not stand in the text;"),
        (
            "@ id: x\nعمان\n@ stance: favor | عمان#2",
            r"'عمان' does not stand in the text a 2\. time",
        ),
        (
            "@ id: x\nقال وقال\n@ stance: favor | عمان | قال",
            "'قال' stands 2 times in the text; add",
        ),
    ],
)
def test_what_cannot_be_read_is_told(typed: str, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        list(parse_markup(typed.split("\n"), "a"))


@pytest.mark.parametrize(
    ("spans", "words"),
    [
        ((Span(0, 3, "GPE"), Span(2, 4, "ORG")), r"d: GPE \[0, 3\) crosses ORG \[2, 4\)"),
        ((Span(0, 9, "GPE"),), r"d: 'GPE' \[0, 9\): brackets need"),
        ((Span(0, 2, "A B"),), r"d: 'A B' \[0, 2\): brackets need"),
    ],
)
def test_what_brackets_cannot_show_is_refused(spans: tuple[Span, ...], words: str) -> None:
    with pytest.raises(FormatError, match=words):
        to_markup(Document("d", "عمان ا", entities=spans))


def test_a_target_elsewhere_than_its_place_is_refused() -> None:
    document = Document("d", "عمان ا", stances=(Stance("عمان", "favor", 1, 5),))
    with pytest.raises(FormatError, match=r"d: \[1, 5\) is no place of 'عمان'"):
        to_markup(document)


@settings(max_examples=400, deadline=None)
@given(st.lists(documents(), max_size=3))
def test_documents_come_back_as_they_were(found: list[Document]) -> None:
    written = "\n\n".join(to_markup(document) for document in found)
    assert list(parse_markup(written.split("\n"), "a")) == found


@pytest.mark.parametrize("words", ["-", "holder: علي", "scope: عمان", "\\\\", "ا|ب", "ا#2"])
def test_evidence_that_reads_like_markup_comes_back(words: str) -> None:
    text = f"عمان {words}"
    stance = Stance("عمان", "favor", 0, 4, evidence=((5, len(text)),))
    document = Document("d", text, stances=(stance,))
    assert list(parse_markup(to_markup(document).split("\n"), "a")) == [document]


def test_the_seed_survives_a_file(tmp_path: Path) -> None:
    path = tmp_path / "seed.markup"
    assert write_markup(path, [seed_document(), seed_document()]) == 2
    first, second = read_markup(path)
    assert first == second == seed_document()


def test_a_file_from_windows_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.markup"
    path.write_bytes(b"\xef\xbb\xbf" + TYPED.replace("\n", "\r\n").encode())
    assert list(read_markup(path)) == list(parse_markup(TYPED.split("\n"), "a"))
