"""Agreement of two annotations: kappa as scikit-learn has it, span F1 as counting by hand does."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from annotations.agreement import (
    agreement_report,
    cohen_kappa,
    paragraphs,
    span_agreement,
)
from annotations.errors import DocumentError
from annotations.schema import Claim, Document, Span, Stance

quick = settings(max_examples=150, deadline=None, database=None)
TEXT = "دخلت القوات العراقية القائم\n\nسقوط داعش\n \nفي البوكمال"
FIRST, SECOND, THIRD = (0, 27), (29, 38), (41, 52)
pairs = st.lists(
    st.tuples(*[st.sampled_from(["favor", "against", "neutral"])] * 2), min_size=1, max_size=20
)


@quick
@given(pairs)
def test_kappa_is_that_of_scikit_learn(rows: list[tuple[str, str]]) -> None:
    first, second = map(list, zip(*rows, strict=True))
    assume(len({*first, *second}) > 1)  # there scikit-learn has no number
    assert math.isclose(cohen_kappa(first, second), cohen_kappa_score(first, second), abs_tol=1e-12)


@pytest.mark.parametrize(
    ("first", "second", "kappa"),
    [
        (["agree"] * 4, ["agree"] * 4, 1.0),  # both always say the same
        (["agree", "other"], ["agree", "other"], 1.0),
        (["agree", "other"], ["other", "agree"], -1.0),
        (["agree", "agree"], ["agree", "other"], 0.0),
        # Cohen 1960: 20 + 15 of 50 the same, (0.7 - 0.5) / (1 - 0.5)
        (["yes"] * 25 + ["no"] * 25, ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15, 0.4),
    ],
)
def test_kappa_of_cases_known_by_hand(first: list[str], second: list[str], kappa: float) -> None:
    assert cohen_kappa(first, second) == pytest.approx(kappa)


@pytest.mark.parametrize(("first", "second"), [([], []), (["agree"], []), (["a"], ["a", "b"])])
def test_kappa_needs_two_lists_of_one_length(first: list[str], second: list[str]) -> None:
    with pytest.raises(DocumentError, match=rf"above 0, got {len(first)} and {len(second)}"):
        cohen_kappa(first, second)


@pytest.mark.parametrize(
    ("first", "second", "named"),
    [
        ([Document("a", "نص")], [Document("b", "نص")], "[ab]"),
        ([Document("a", "نص")], [Document("a", "نص ")], "a"),
        ([Document("a", "نص"), Document("b", "نص")], [Document("a", "نص")], "b"),
        ([Document("a", "نص")], [Document("a", "نص"), Document("b", "نص")], "b"),
    ],
)
def test_annotations_of_other_texts_are_not_compared(
    first: list[Document], second: list[Document], named: str
) -> None:
    for compare in (span_agreement, agreement_report):
        with pytest.raises(DocumentError, match=f"^{named}: .*the same"):
            compare(first, second)


def test_documents_are_paired_by_id_in_any_order() -> None:
    first = [Document("a", "نص", entities=(Span(0, 1, "ORG"),)), Document("b", "خبر", entities=())]
    assert span_agreement(first, first[::-1]).f1 == 1.0


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (TEXT, ["دخلت القوات العراقية القائم", "سقوط داعش", "في البوكمال"]),
        ("\n\nنص\n", ["نص"]),
        ("نص بلا سطر", ["نص بلا سطر"]),
        (" \n ", []),
        ("", []),
    ],
)
def test_paragraphs_are_the_lines_that_are_not_blank(text: str, lines: list[str]) -> None:
    assert [text[start:end] for start, end in paragraphs(text)] == lines


WHOLE = Document(
    "a",
    TEXT,
    entities=(Span(5, 20, "ORG"), Span(34, 38, "ORG")),
    stances=(
        Stance("القوات العراقية", "favor"),
        Stance("داعش", "against"),
        Stance("القائم", "neutral"),
        Stance("داعش", "against", scope=SECOND),
    ),
    claims=(Claim("سقط داعش.", "agree"), Claim("ارتفع النفط.", "unrelated")),
)
OTHER = replace(
    WHOLE,
    entities=(Span(5, 20, "ORG"),),
    stances=(
        Stance("القوات العراقية", "neutral"),
        Stance("داعش", "against"),
        Stance("القائم", "neutral"),
        Stance("داعش", "against", scope=SECOND),
        Stance("القوات العراقية", "favor", scope=FIRST),
    ),
    claims=(Claim("سقط داعش.", "agree"), Claim("ارتفع النفط.", "discuss")),
)


TOPICS = ("politics", "health")


def test_a_report_counts_each_kind_of_judgement_once() -> None:
    report = agreement_report([WHOLE], [OTHER])
    assert report["spans"] == {"first": 2, "second": 1, "both": 1, "f1": 0.6667}
    # three targets; favor and neutral differ: (2/3 - 1/3) / (1 - 1/3)
    assert report["stance_of_text"] == {"items": 3, "same": 0.6667, "kappa": 0.5}
    # three targets in three paragraphs, of which one judgement is missing in the first
    parts = [["none"] * 9, ["none"] * 9]
    parts[0][4] = parts[1][4] = "against"
    parts[1][0] = "favor"
    assert report["stance_of_paragraphs"]["items"] == 9
    assert report["stance_of_paragraphs"]["same"] == 0.8889
    assert report["stance_of_paragraphs"]["kappa"] == round(cohen_kappa_score(*parts), 4)
    # (1/2 - 1/4) / (1 - 1/4)
    assert report["claims"] == {"items": 2, "same": 0.5, "kappa": 0.3333}
    assert report["spans_per_type"] == {"ORG": report["spans"]}
    assert report["disagreements"] == [
        {"id": "a", "only": "first", "label": "ORG", "start": 34, "end": 38},
        {
            "id": "a",
            "stance_of_text": "القوات العراقية",
            "first": "favor",
            "second": "neutral",
        },
        {
            "id": "a",
            "stance_of_paragraphs": "القوات العراقية",
            "first": "none",
            "second": "favor",
        },
        {"id": "a", "claims": "ارتفع النفط.", "first": "unrelated", "second": "discuss"},
    ]


def test_holders_are_compared_apart_from_the_author() -> None:
    first = replace(
        WHOLE, stances=(Stance("داعش", "neutral"), Stance("داعش", "against", holder="أ"))
    )
    second = replace(WHOLE, stances=(Stance("داعش", "neutral"),))
    report = agreement_report([first], [second])
    assert report["stance_of_text"] == {"items": 1, "same": 1.0, "kappa": 1.0}
    assert report["stance_of_holders"]["same"] == 0.0


def test_topics_are_compared_where_both_gave_one() -> None:
    topics = [
        replace(WHOLE, id=name, topic=topic) for name, topic in zip("ab", TOPICS, strict=True)
    ]
    other = [topics[0], replace(topics[1], topic="sports")]
    assert agreement_report(topics, other)["topic"]["same"] == 0.5
    assert "topic" not in agreement_report(topics, [replace(t, topic=None) for t in topics])


def test_no_scope_and_the_whole_text_as_scope_mean_the_same() -> None:
    scoped = replace(
        OTHER,
        stances=tuple(
            replace(stance, scope=stance.scope or (0, len(TEXT))) for stance in OTHER.stances or ()
        ),
    )
    assert agreement_report([WHOLE], [scoped]) == agreement_report([WHOLE], [OTHER])


def test_a_text_of_one_paragraph_is_judged_once() -> None:
    one = Document("a", "سقوط داعش", stances=(Stance("داعش", "against", scope=(0, 9)),))
    report = agreement_report([one], [one])
    assert report["stance_of_text"] == {"items": 1, "same": 1.0, "kappa": 1.0}
    assert "stance_of_paragraphs" not in report


def test_what_nobody_judged_is_left_out_of_the_report() -> None:
    report = agreement_report([Document("a", TEXT)], [Document("a", TEXT)])
    assert set(report) == {"spans", "spans_partial", "spans_per_type", "disagreements"}
    assert report["spans"]["f1"] is report["spans_partial"]["f1"] is None
    both = [Document("a", TEXT, entities=())]
    assert agreement_report(both, both)["spans"]["f1"] == 1.0


def test_a_text_that_one_did_not_look_at_counts_in_no_type() -> None:
    spans = (Span(0, 4, "ORG"), Span(5, 9, "PERS"))
    first = [Document(name, TEXT, entities=spans) for name in "abc"]
    second = [first[0], *(replace(document, entities=None) for document in first[1:])]
    for report in (agreement_report(first, second), agreement_report(second, first)):
        once = {"first": 1, "second": 1, "both": 1, "f1": 1.0}
        assert report["spans_per_type"] == {"ORG": once, "PERS": once}
        assert (
            report["spans"]
            == report["spans_partial"]
            == once | dict.fromkeys(("first", "second", "both"), 2)
        )


def test_parts_that_are_no_paragraphs_and_several_holders_are_compared() -> None:
    one = replace(WHOLE, stances=(Stance("داعش", "favor", scope=(0, 9)),))
    two = replace(WHOLE, stances=(Stance("داعش", "against", scope=(0, 9)),))
    report = agreement_report([one], [two])
    assert {"id": "a", "stance_of_paragraphs": "داعش", "first": "favor", "second": "against"} in (
        report["disagreements"]
    )
    held = [Stance("داعش", "favor", holder="أ"), Stance("داعش", "against", holder="ب")]
    report = agreement_report(
        [replace(WHOLE, stances=tuple(held))], [replace(WHOLE, stances=tuple(held[::-1]))]
    )
    assert report["stance_of_holders"] == {"items": 2, "same": 1.0, "kappa": 1.0}


def test_repeated_ids_are_refused_and_unannotated_texts_are_no_disagreement() -> None:
    with pytest.raises(DocumentError, match="a: stands twice"):
        agreement_report([WHOLE, WHOLE], [WHOLE])
    report = agreement_report([WHOLE], [replace(WHOLE, entities=None)])
    assert report["spans"] == {"first": 0, "second": 0, "both": 0, "f1": None}


def test_stances_that_one_did_not_look_for_are_no_disagreement() -> None:
    report = agreement_report([WHOLE], [replace(WHOLE, stances=None)])
    assert not [kind for kind in report if kind.startswith("stance")]
    report = agreement_report([WHOLE], [replace(WHOLE, stances=())])
    assert report["stance_of_text"]["same"] == 0.0


@pytest.mark.parametrize("end", ["", "\n"])
def test_in_a_text_of_one_paragraph_each_judgement_counts_once(end: str) -> None:
    text = "مدح الوزير. ذم النائب."
    shared = Stance("النائب", "against", scope=(12, 22))
    first, second = (
        Document("a", text + end, stances=(Stance("الوزير", label), shared))
        for label in ("favor", "neutral")
    )
    report = agreement_report([first], [second])
    assert report["stance_of_text"] == {"items": 1, "same": 0.0, "kappa": 0.0}
    assert report["stance_of_paragraphs"] == {"items": 1, "same": 1.0, "kappa": 1.0}


@pytest.mark.parametrize("holder", [None, "علي"])
def test_a_target_judged_at_two_places_is_two_judgements(holder: str | None) -> None:
    first, second = (
        Document(
            "a",
            "سالم بطل. سالم خائن.",
            stances=(
                Stance("سالم", label, 0, 4, holder=holder),
                Stance("سالم", "against", 10, 14, holder=holder),
            ),
        )
        for label in ("favor", "against")
    )
    kind = "stance_of_text" if holder is None else "stance_of_holders"
    assert agreement_report([first], [second])[kind] == {"items": 2, "same": 0.5, "kappa": 0.0}


def test_a_target_at_several_places_of_one_part_is_one_item_of_each_other_part() -> None:
    places = (Stance("داعش", "favor", 34, 38), Stance("داعش", "against", 40, 44))
    scoped = tuple(replace(stance, scope=SECOND) for stance in places)
    one = Document("a", TEXT, stances=scoped)
    assert agreement_report([one], [one])["stance_of_paragraphs"]["items"] == 4


def test_a_claim_that_one_did_not_judge_is_a_disagreement() -> None:
    more = replace(WHOLE, claims=(*(WHOLE.claims or ()), Claim("انتهت الحرب.", "agree")))
    for pair, labels in (((WHOLE, more), ("none", "agree")), ((more, WHOLE), ("agree", "none"))):
        report = agreement_report([pair[0]], [pair[1]])
        assert report["claims"]["items"] == 3
        told = {"id": "a", "claims": "انتهت الحرب.", "first": labels[0], "second": labels[1]}
        assert report["disagreements"] == [told]
    assert "claims" not in agreement_report([WHOLE], [replace(WHOLE, claims=None)])


@pytest.mark.parametrize(
    "twice",
    [
        {"stances": (Stance("سالم", "favor"), Stance("سالم", "against"))},
        {"claims": (Claim("سقط", "agree"), Claim("سقط", "disagree"))},
    ],
)
def test_an_annotator_who_says_two_things_is_refused(twice: dict[str, Any]) -> None:
    own, other = Document("d", TEXT, **twice), Document("d", TEXT, stances=(), claims=())
    for sides in ((own, other), (other, own)):
        with pytest.raises(DocumentError, match=r"^d: one annotation judges '.*' twice"):
            agreement_report(*([side] for side in sides))


def test_an_entity_given_twice_counts_once() -> None:
    once, twice = (Document("d", TEXT, entities=(Span(*SECOND, "ORG"),) * n) for n in (1, 2))
    report = agreement_report([once], [twice])
    assert report["spans"]["f1"] == report["spans_partial"]["f1"] == 1.0
