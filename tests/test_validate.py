"""The rules of gold: each breach is told with document, place, what was found and what to do."""

from __future__ import annotations

import re

import pytest

from annotations.schema import Claim, Document, Span, Stance
from annotations.validate import problems

#       0    5    10   15   20   25   30   35   40   45   50
TEXT = "دخلت القوات العراقية مدينة القائم.\nسقوط داعش في بَغداد"
FORCES, CITY, TOWN, GROUP = (5, 20), (21, 33), (27, 33), (40, 44)


def found(**fields: object) -> list[str]:
    return list(problems([Document("seed-1", TEXT, **fields)]))  # type: ignore[arg-type]


def test_the_places_of_these_tests_are_where_they_seem() -> None:
    surfaces = [TEXT[start:end] for start, end in (FORCES, CITY, TOWN, GROUP)]
    assert surfaces == ["القوات العراقية", "مدينة القائم", "القائم", "داعش"]


def test_gold_that_keeps_the_rules_has_no_problem() -> None:
    good = Document(
        "seed-1",
        TEXT,
        entities=(Span(*CITY, "GPE"), Span(*TOWN, "LOC"), Span(*FORCES, "ORG"), Span(0, 4, "ORG")),
        stances=(
            Stance("القوات العراقية", "favor", *FORCES, (0, len(TEXT)), None, ((0, 4), FORCES)),
            Stance("الحرب", "neutral"),
        ),
        claims=tuple(
            Claim(f"سقط داعش، {label}.", label)
            for label in ("agree", "disagree", "discuss", "unrelated", "other")
        ),
        topic="politics",
    )
    assert list(problems([good, Document("seed-2", TEXT)])) == []


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        (
            Span(40, 99, "ORG"),
            "ORG [40, 99): ends past the text of 54 code points; correct the offset",
        ),
        (Span(20, 33, "GPE"), "GPE [20, 33): begins or ends on a space; narrow it to the letters"),
        (Span(27, 35, "GPE"), "GPE [27, 35): begins or ends on a space; narrow it to the letters"),
        (Span(49, 54, "GPE"), "GPE [49, 54): begins on a diacritic; move the start to its letter"),
        (Span(27, 44, "GPE"), "GPE [27, 44): crosses a line break; split it"),
        (Span(40, 44, "PER"), "PER [40, 44): unknown label; label set fine has CARDINAL, CURR, "),
    ],
)
def test_a_span_that_breaks_a_rule_is_told(span: Span, expected: str) -> None:
    (problem, *others) = found(entities=(span,))
    assert problem.startswith(f"seed-1: {expected}")
    assert all("line break" in other for other in others)


@pytest.mark.parametrize(
    ("label_set", "label", "known"),
    [
        ("fine", "GPE", True), ("fine", "MISC", False), ("fine", "B-ORG", False),
        ("coarse", "MISC", True), ("coarse", "GPE", False),
        ("anercorp", "PERS", True), ("wikifane", "Politician", True),
    ],
)  # fmt: skip
def test_a_label_must_be_one_of_its_set_unless_the_corpus_brings_its_own(
    label_set: str, label: str, known: bool
) -> None:
    told = found(entities=(Span(*GROUP, label),), label_set=label_set)
    assert (told == []) == known


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        (
            (Span(*CITY, "GPE"), Span(12, 26, "ORG")),
            ["ORG [12, 26) crosses GPE [21, 33); nest them or part them"],
        ),
        ((Span(*CITY, "GPE"), Span(*TOWN, "GPE"), Span(*FORCES, "ORG")), []),
        (
            (Span(*CITY, "GPE"), Span(*TOWN, "GPE"), Span(*CITY, "GPE")),
            ["GPE [21, 33) is given twice; drop one"],
        ),
        ((Span(*CITY, "GPE"), Span(*CITY, "FAC")), []),
        (
            (Span(*CITY, "GPE"), Span(*CITY, "GPE"), Span(*TOWN, "LOC"), Span(*TOWN, "LOC")),
            ["GPE [21, 33) is given twice; drop one", "LOC [27, 33) is given twice; drop one"],
        ),
    ],
)
def test_spans_nest_or_part_and_are_given_once(
    spans: tuple[Span, ...], expected: list[str]
) -> None:
    assert found(entities=spans) == [f"seed-1: {problem}" for problem in expected]


@pytest.mark.parametrize(
    ("stance", "expected"),
    [
        (
            Stance("داعش", "agree"),
            "stance toward 'داعش': unknown label 'agree'; use favor, against, neutral",
        ),
        (
            Stance("داعش", "against", *TOWN),
            "stance toward 'داعش': the text at [27, 33) is not the target; correct it or use null",
        ),
        (
            Stance("داعش", "against", 90, 94),
            "stance toward 'داعش': the text at [90, 94) is not the target; correct it or use null",
        ),
        (
            Stance("داعش", "against", scope=(0, 55)),
            "stance toward 'داعش': range (0, 55) lies outside the text of 54 code points; "
            "correct it or use null",
        ),
        (
            Stance("داعش", "against", scope=(10, 10)),
            "stance toward 'داعش': range (10, 10) lies outside the text of 54 code points; "
            "correct it or use null",
        ),
        (
            Stance("داعش", "against", evidence=((0, 4), (-3, 4))),
            "stance toward 'داعش': range (-3, 4) lies outside the text of 54 code points; "
            "correct it or use null",
        ),
    ],
)
def test_a_stance_that_breaks_a_rule_is_told(stance: Stance, expected: str) -> None:
    assert found(stances=(stance,)) == [f"seed-1: {expected}"]


def test_unknown_labels_of_claims_and_topics_are_told() -> None:
    claims = (Claim("سقط داعش.", "agree"), Claim("عاد داعش.", "favor"))
    assert found(claims=claims) == [
        "seed-1: claim: unknown label 'favor'; use agree, disagree, discuss, unrelated, other"
    ]
    (problem,) = found(topic="sport")
    assert problem.startswith("seed-1: topic: unknown label 'sport'; use politics, economy, sports")


def test_an_id_is_given_once_in_a_file() -> None:
    twice = [Document("a", TEXT), Document("b", TEXT), Document("a", TEXT), Document("a", TEXT)]
    told = "a: duplicate id; ids are unique within a file"
    assert list(problems(twice)) == [told, told]


def test_all_breaches_of_all_documents_are_told_in_order_and_none_quotes_the_article() -> None:
    bad = Document(
        "b",
        TEXT,
        entities=(Span(*TOWN, "TOWN"), Span(20, 33, "GPE"), Span(50, 90, "GPE")),
        stances=(Stance("طرف", "angry", scope=(0, 900)),),
        claims=(Claim("سقط داعش.", "maybe"),),
        topic="war",
    )
    told = list(problems([Document("a", TEXT, topic="war"), bad]))
    assert [re.split(r"[;(\[]", problem)[0].strip() for problem in told] == [
        "a: topic: unknown label 'war'",
        "b: TOWN",
        "b: GPE",
        "b: GPE",
        "b: stance toward 'طرف': unknown label 'angry'",
        "b: stance toward 'طرف': range",
        "b: claim: unknown label 'maybe'",
        "b: topic: unknown label 'war'",
    ]
    assert not [problem for problem in told if "القائم" in problem or "القوات" in problem]


@pytest.mark.parametrize(
    ("text", "form", "words"),
    [
        ("قال أ", "NFC", []),
        ("قال ا\u0654", "NFC", ["d: text: claims to be NFC and is not at code point 4;"]),
        ("قال ا\u0654", None, []),
        ("قال", "NFKD", ["d: form: unknown Unicode form 'NFKD'; use NFC"]),
    ],
)
def test_a_text_that_claims_a_form_must_be_in_it(
    text: str, form: str | None, words: list[str]
) -> None:
    found = list(problems([Document("d", text, form=form)]))
    assert [problem[: len(word)] for problem, word in zip(found, words, strict=True)] == words


def test_a_target_or_claim_is_judged_once() -> None:
    whole = (0, len(TEXT))
    stances = (Stance("الحرب", "favor"), Stance("الحرب", "against", scope=whole))
    assert found(stances=stances) == ["seed-1: 'الحرب' is judged twice; keep one of its labels"]
    others = (
        Stance("الحرب", "favor"),
        Stance("الحرب", "against", scope=(0, 4)),
        Stance("الحرب", "against", holder="سالم"),
        Stance("داعش", "against", *GROUP),
    )
    assert found(stances=others) == []
    claims = (Claim("سقط داعش.", "agree"), Claim("سقط داعش.", "disagree"))
    assert found(claims=claims) == ["seed-1: 'سقط داعش.' is judged twice; keep one of its labels"]


@pytest.mark.parametrize("fields", [{"id": "\ud800", "text": "نص"}, {"id": "a", "text": "\udfff"}])
def test_a_lone_surrogate_is_a_problem(fields: dict[str, str]) -> None:
    (problem,) = problems([Document(**fields)])
    assert "lone surrogate" in problem and problem.isprintable()


def test_a_long_value_is_told_by_its_length() -> None:
    article = "خبر خاص " * 200
    document = Document("a", TEXT, stances=(Stance(article, article),), topic=article)
    told = "\n".join(problems([document]))
    assert "خاص" not in told and told.count("a value of 1600 characters") == 3
