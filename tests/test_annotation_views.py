"""Views and counts of annotated documents: nested marks, evidence, differences, all escaped."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

from hypothesis import given, settings

from annotations.counts import counts
from annotations.schema import Claim, Document, Span, Stance
from annotations.seed import blind_annotations, seed_document
from annotations.view import diff_html, documents_html
from tests.documents import documents

TEXT = "قال وزير <b>الصحة</b> سالم كلاما جميلا."
DOCUMENT = Document(
    "d<1>",
    TEXT,
    title="عنوان & خبر",
    entities=(Span(4, 21, "OCC"), Span(12, 17, "ORG"), Span(22, 26, "PERS")),
    stances=(Stance("سالم", "favor", 22, 26, evidence=((22, 38),)),),
    claims=(Claim("تكلم سالم.", "agree"),),
    topic="health",
)


class Marks(HTMLParser):
    """The texts of a page's `text` blocks, and each mark in them as (type, words)."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.marks: list[tuple[str, str]] = []
        self.open: list[list[str]] = []
        self.depth = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "div":
            self.depth = 1 if given.get("class") == "text" else self.depth
            self.texts += [""] * (given.get("class") == "text")
        if tag == "mark":
            self.open.append([str(given["data-type"]), ""])

    def handle_endtag(self, tag: str) -> None:
        if tag == "div":
            self.depth = 0
        if tag == "mark":
            label, words = self.open.pop()
            self.marks.append((label, words))

    def handle_data(self, data: str) -> None:
        if self.depth:
            self.texts[-1] += data
            for mark in self.open:
                mark[1] += data


def marks(page: str) -> Marks:
    found = Marks()
    found.feed(page)
    assert found.open == []
    return found


def test_entities_nest_evidence_is_underlined_and_all_is_escaped() -> None:
    page = documents_html([DOCUMENT], "a&b")
    found = marks(page)
    assert found.texts == [TEXT]
    assert sorted(found.marks) == [
        ("OCC", "وزير <b>الصحة</b>"),
        ("ORG", "الصحة"),
        ("PERS", "سالم"),
    ]
    underlined = re.findall(r'<u class="favor">(.*?)</u>', page)
    assert "".join(underlined) == TEXT[22:38]
    for shown in ("d&lt;1&gt;", "عنوان &amp; خبر", "صحة", "مؤيد", "تكلم سالم.", "a&amp;b"):
        assert shown in page
    assert '<html lang="ar" dir="rtl">' in page and "<script" not in page and "http:" not in page


@settings(max_examples=150, deadline=None)
@given(documents())
def test_every_text_is_shown_whole(document: Document) -> None:
    found = marks(documents_html([document], "a"))
    carriage = document.text.replace("\r\n", "\n").replace("\r", "\n")  # as HTML reads them
    shown = found.texts[0].replace("\r\n", "\n").replace("\r", "\n")
    assert shown == carriage
    assert len(found.marks) == len(document.entities or ())


def test_crossing_spans_are_named_and_unannotated_texts_say_so() -> None:
    crossing = Document("d", "واحد اثنان", entities=(Span(0, 6, "ORG"), Span(5, 10, "GPE")))
    page = documents_html([crossing, Document("e", "نص")], "a")
    assert "ORG [0, 6) crosses GPE [5, 10)" in page
    assert "entities: null" in page


def test_two_annotations_stand_side_by_side_with_their_differences() -> None:
    other = Document("d<1>", TEXT, entities=(Span(4, 21, "OCC"), Span(22, 26, "ORG")))
    page = diff_html([DOCUMENT], [other], "a")
    assert marks(page).texts == [TEXT, TEXT]
    only = re.findall(r'<mark class="only"[^>]*data-type="(\w+)"', page)
    assert only == ["ORG", "PERS", "ORG"]
    assert page.count('<tr class="only">') == 2  # the stance and the claim
    assert page.count('<p class="only">') == 1  # the topic
    same = replace(other, stances=DOCUMENT.stances, claims=DOCUMENT.claims, topic=DOCUMENT.topic)
    agreed = diff_html([DOCUMENT], [same], "a")
    assert '<tr class="only">' not in agreed and '<p class="only">' not in agreed
    told = replace(same, claims=(Claim("تكلم سالم.", "disagree"),), topic="economy")
    page = diff_html([DOCUMENT], [told], "a")
    assert page.count('<tr class="only">') == page.count('<p class="only">') == 2


def test_the_blind_annotations_can_be_compared() -> None:
    first, second = blind_annotations()
    assert diff_html([first], [second], "seed").count('class="text"') == 2


def test_counts_tell_what_is_annotated() -> None:
    found = counts([seed_document(), Document("e", "نص"), DOCUMENT])
    assert (found["documents"], found["documents_not_annotated_for_entities"]) == (3, 1)
    assert found["entities"]["GPE"] == 49
    assert found["nested_entities"] == 8 + 1
    assert found["topics"] == {"politics": 1, "health": 1}
    assert found["claims"]["agree"] == 3
    assert sum(found["stances_of_holders"].values()) == 5
