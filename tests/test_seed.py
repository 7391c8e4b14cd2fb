"""The seed article: its text untouched, its gold valid and complete, its annotators' agreement."""

from __future__ import annotations

import re
from collections import Counter
from itertools import combinations

import pytest

from annotations.agreement import agreement_report, paragraphs
from annotations.labels import label_schema
from annotations.schema import Span, crossing_pairs
from annotations.seed import FOLDER, blind_annotations, later_annotation, seed_document, seed_text
from annotations.validate import problems

ACTORS = {
    "تنظيم الدولة الإسلامية", "القوات العراقية", "التحالف الدولي", "الحشد الشعبي", "الجيش السوري",
    "قوات سوريا الديمقراطية",
}  # fmt: skip


def gold_spans() -> tuple[Span, ...]:
    spans = seed_document().entities
    assert spans
    return spans


def test_the_gold_annotates_the_article_byte_for_byte() -> None:
    article = (FOLDER / "article.txt").read_bytes()
    assert seed_document().text.encode() == article
    assert seed_text().encode() == article
    assert len(seed_text()) == 3410
    assert {document.text.encode() for document in blind_annotations()} == {article}


def test_the_gold_and_both_annotations_keep_the_rules() -> None:
    for document in (seed_document(), *blind_annotations()):
        assert list(problems([document])) == []


def test_the_gold_is_nested_and_uses_its_types_as_the_guidelines_say() -> None:
    spans = gold_spans()
    assert len(spans) == 129
    assert crossing_pairs(spans) == []
    assert any(a.start <= b.start and b.end <= a.end for a, b in combinations(spans, 2))
    types = Counter(span.label for span in spans)
    assert set(types) <= set(label_schema().entities)
    assert {"PERS", "ORG", "GPE", "LOC", "NORP", "OCC", "EVENT", "DATE", "ORDINAL"} <= set(types)


@pytest.mark.parametrize(
    ("before", "surface", "label"),
    [
        ("المتاخمة ل", "لقائم", "GPE"),
        ("القائم و", "البوكمال", "GPE"),
        ("مركز ", "مدينة القائم", "GPE"),
        ("مدينتي ", "الرقة", "GPE"),
        ("الرقة و", "الموصل", "GPE"),
        ("(", "العراق", "GPE"),
        ("بقيادة ", "واشنطن", "GPE"),
        ("الغربية ل", "نهر الفرات", "LOC"),
        ("قال ", "المتحدث باسم قوات مكافحة الإرهاب", "OCC"),
        ("باسم ", "قوات مكافحة الإرهاب", "ORG"),
        ("الإرهاب ", "صباح النعمان", "PERS"),
        ("من ", "معركة تلعفر", "EVENT"),
        ("معركة ", "تلعفر", "GPE"),
        ("قائد ", "الفرقة السابعة", "ORG"),
        ("الفرقة ", "السابعة", "ORDINAL"),
        ("صفوف ", "الدواعش", "NORP"),
        ("بعد ", "12 يوما", "DATE"),
        ("على ", "35 في المئة", "PERCENT"),
    ],
)
def test_the_examples_of_the_guidelines_are_in_the_gold(
    before: str, surface: str, label: str
) -> None:
    text = seed_text()
    starts = [found.end() for found in re.finditer(re.escape(before) + f"(?={surface})", text)]
    assert starts
    spans = set(gold_spans())
    assert any(Span(start, start + len(surface), label) in spans for start in starts)


@pytest.mark.parametrize("name", ["القائم", "تنظيم الدولة الإسلامية", "القوات العراقية"])
def test_every_occurrence_of_a_name_lies_inside_a_gold_span(name: str) -> None:
    places = [found.span() for found in re.finditer(name, seed_text())]
    assert len(places) >= 5
    spans = gold_spans()
    missed = [
        (start, end)
        for start, end in places
        if not any(span.start <= start and end <= span.end for span in spans)
    ]
    assert missed == []


@pytest.mark.parametrize("bare", ["التنظيم المتطرف", "خلافته", "الجهاديين", "طيران"])
def test_common_nouns_are_in_no_gold_span(bare: str) -> None:
    places = [found.start() for found in re.finditer(bare, seed_text())]
    assert places
    assert not [s for s in gold_spans() for place in places if s.start <= place < s.end]


def test_the_coarse_view_is_flat_and_of_coarse_types() -> None:
    view = label_schema().coarse_view(gold_spans())
    assert all(before.end <= after.start for before, after in combinations(view, 2))
    assert {span.label for span in view} == {"PER", "LOC", "ORG", "MISC"}
    covered = {i for span in view for i in range(span.start, span.end)}
    for span in gold_spans():
        if span.label in ("PERS", "GPE", "ORG"):
            assert covered.issuperset(range(span.start, span.end))


def test_every_actor_has_a_stance_of_the_whole_text() -> None:
    seed = seed_document()
    whole = [s for s in seed.stances or () if s.scope in (None, (0, len(seed.text)))]
    assert Counter(stance.target for stance in whole) == Counter(ACTORS)
    assert {stance.target: stance.label for stance in whole if stance.label != "neutral"} == {
        "تنظيم الدولة الإسلامية": "against",
        "القوات العراقية": "favor",
    }


def test_stances_of_parts_judge_a_paragraph_and_show_their_evidence_in_it() -> None:
    seed = seed_document()
    lines = paragraphs(seed.text)
    for stance in seed.stances or ():
        scope = stance.scope or (0, len(seed.text))
        assert scope == (0, len(seed.text)) or scope in lines
        assert stance.target in ACTORS
        assert bool(stance.evidence) == (stance.label != "neutral")
        for start, end in stance.evidence or ():
            assert scope[0] <= start < end <= scope[1]
            assert seed.text[start:end] == seed.text[start:end].strip()


def test_two_claims_stand_for_each_answer_and_none_is_a_line_of_the_article() -> None:
    seed = seed_document()
    claims = seed.claims or ()
    expected = {"agree": 2, "disagree": 2, "discuss": 2, "unrelated": 2}
    assert Counter(claim.label for claim in claims) == expected
    assert len({claim.text for claim in claims}) == 8
    assert not [claim for claim in claims if claim.text in seed.text]
    assert seed.topic == "politics"
    assert seed.date == "2017-11-03"


def test_the_annotators_agree_as_the_guidelines_report() -> None:
    first, second = blind_annotations()
    report = agreement_report([first], [second])
    assert report["spans"] == {"first": 129, "second": 129, "both": 129, "f1": 1.0}
    assert report["stance_of_text"]["kappa"] == 0.6
    assert report["stance_of_paragraphs"] == {"items": 144, "same": 0.9722, "kappa": 0.7659}
    assert report["stance_of_holders"] == {"items": 5, "same": 0.2, "kappa": 0.0909}
    assert report["claims"]["kappa"] == 0.8333


def test_a_later_annotator_agrees_with_the_gold_as_the_guidelines_report() -> None:
    report = agreement_report([seed_document()], [later_annotation()])
    assert report["spans"] == {"first": 129, "second": 130, "both": 129, "f1": 0.9961}
    assert report["stance_of_text"]["same"] == 1.0
    assert report["stance_of_paragraphs"]["kappa"] == 0.8692
    assert report["stance_of_holders"] == {"items": 5, "same": 0.8, "kappa": 0.6667}
    assert report["claims"]["same"] == 1.0
    assert list(problems([later_annotation()])) == []
