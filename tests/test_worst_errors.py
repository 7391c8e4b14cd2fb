"""The worst errors of a report: the surest first, shared among heads, each with its passage."""

from __future__ import annotations

from dataclasses import replace

import pytest

from annotations.schema import Span
from serving.bundle import Head
from tests.report_items import LEXICON, entity_item, label_item
from training.evaluation.development import DEV_SPLITS
from training.report.answers import Answers, EntityItem, LabelItem, ScoredSpan
from training.report.worst import worst_errors

HEAD = Head(name="khabar", kind="nested", labels=("GPE", "ORG", "PERS"))
TOPIC = Head(name="topic", kind="text", labels=("politics", "sports"))


def answers_of(head: Head, items: list[EntityItem] | list[LabelItem]) -> Answers:
    return Answers(head, "authored", DEV_SPLITS["authored"], tuple(items), len(items))


def test_the_surest_errors_come_first_and_every_third_is_a_missed_one() -> None:
    text = "زار أحمد مدينة بغداد ثم دمشق وبيروت"
    spans = {word: Span(text.index(word), text.index(word) + len(word), "GPE")
             for word in ("أحمد", "بغداد", "دمشق", "بيروت")}  # fmt: skip
    wrong = [
        ScoredSpan(replace(spans["أحمد"], label="ORG"), 0.7, 0.7),
        ScoredSpan(replace(spans["بغداد"], label="ORG"), 0.9, 0.9),
    ]
    item = EntityItem("d", text, None, tuple(spans.values()), tuple(wrong))
    taught = {"khabar": {"بيروت": 9, "دمشق": 2}}
    errors = worst_errors([answers_of(HEAD, [item])], taught, LEXICON)
    assert [(e.outcome, e.surface) for e in errors] == [
        ("type", "بغداد"),
        ("type", "أحمد"),
        ("missed", "بيروت"),
        ("missed", "دمشق"),
    ]
    assert [e.confidence for e in errors] == [0.9, 0.7, None, None]
    assert [e.taught for e in errors] == [None, None, 9, 2]


def test_heads_share_the_places_of_the_worst() -> None:
    many = [label_item("نص", "politics", "sports", 0.5 + i / 100) for i in range(40)]
    few = [entity_item("بغداد", [Span(0, 5, "GPE")], [Span(0, 5, "ORG")]) for _ in range(3)]
    right = [label_item("نص", "politics", "politics", 0.99)]
    group = [answers_of(TOPIC, right + many), answers_of(HEAD, few)]
    errors = worst_errors(group, {}, LEXICON, most=10)
    assert [e.head for e in errors] == ["topic"] * 7 + ["khabar"] * 3
    assert [e.confidence for e in errors[:7]] == pytest.approx([0.89 - i / 100 for i in range(7)])


def test_passages_keep_their_entities_where_texts_are_cut() -> None:
    word = "بغداد"
    for before, after in [(0, 0), (5, 400), (400, 5), (400, 400), (20, 20)]:
        text = "كلماتي " * before + word + " كلماتي" * after
        span = Span(text.index(word), text.index(word) + len(word), "GPE")
        item = entity_item(text, [span], [replace(span, label="ORG")])
        (error,) = worst_errors([answers_of(HEAD, [item])], {}, LEXICON)
        for found in (*error.gold_spans, *error.predicted_spans):
            assert error.passage[found.start : found.end] == word
        assert len(error.gold_spans) == len(error.predicted_spans) == 1
        assert len(error.passage) < 350
        assert error.passage.startswith("… ") == (before > 20)
        assert error.passage.endswith(" …") == (after > 20)
        assert set(error.passage.split()) <= {"كلماتي", word, "…"}  # no word is cut


def test_a_passage_about_a_target_begins_where_it_is_spoken_of() -> None:
    text = "جملة لا تقول شيئا. " * 40 + "غضب الناس من الشركة الوطنية. ثم عادوا."
    item = replace(label_item(text, "politics", "sports"), about="الشركة الوطنية")
    (error,) = worst_errors([answers_of(TOPIC, [item])], {}, LEXICON)
    assert error.passage == "… غضب الناس من الشركة الوطنية. ثم عادوا."
    (error,) = worst_errors([answers_of(TOPIC, [replace(item, about=None)])], {}, LEXICON)
    assert error.passage.startswith("جملة لا تقول")
    assert error.passage.endswith(" …")
    assert set(error.passage.split()) <= {*text.split(), "…"}
