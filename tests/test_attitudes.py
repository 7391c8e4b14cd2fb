"""Stance and claim: how the parts of a text make one answer, and which sentences carry it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.text import sentences
from serving.attitudes import MAX_EVIDENCE, MAX_SENTENCES, combine
from serving.bundle import Bundle, Head
from serving.encoding import TextEncoder
from serving.prediction import Article
from serving.runtime import Floats, Ints
from serving.tagger import Tagger
from tests.conftest import RandomBackend
from tests.keyword_backend import (
    AGAINST,
    CONTRA,
    FOR,
    PLAIN,
    PRO,
    TORN,
    KeywordBackend,
    claim,
    quotes,
    read,
    stance,
)


@pytest.fixture(scope="module")
def tagger(smoke_bundle: Path) -> Tagger:
    bundle = Bundle.load(smoke_bundle)
    return Tagger(bundle, KeywordBackend(bundle))


@pytest.fixture(scope="module")
def random_scores(smoke_bundle: Path) -> Tagger:
    bundle = Bundle.load(smoke_bundle)
    return Tagger(bundle, RandomBackend(bundle.manifest.heads))


@pytest.mark.parametrize(
    ("rule", "labels", "parts", "expected"),
    [
        ("mean", "agree disagree other", [[0.2, 0.2, 0.6], [0.8, 0.0, 0.2]], [0.5, 0.1, 0.4]),
        ("mean", "favor against neutral", [[0.3, 0.3, 0.4]], [0.3, 0.3, 0.4]),
        (  # sqrt(0.9 * 0.1), sqrt(0.1 * 0.4), sqrt(0 * 0.5), each of their sum 0.5; not the third
            "two_most_decided",
            "favor against neutral",
            [[0.1, 0.0, 0.9], [0.1, 0.4, 0.5], [0.9, 0.1, 0.0]],
            [0.6, 0.4, 0.0],
        ),
        ("two_most_decided", "favor against neutral", [[0.0, 1.0, 0.0]], [0.0, 1.0, 0.0]),
        (  # one part that says something speaks for many that do not
            "most_decided",
            "agree disagree other",
            [[0.1, 0.0, 0.9], [0.1, 0.6, 0.3], [0.2, 0.0, 0.8]],
            [0.1, 0.6, 0.3],
        ),
        (
            "most_decided",
            "favor against neutral",
            [[0.5, 0.1, 0.4], [0.0, 0.7, 0.3]],
            [0.0, 0.7, 0.3],
        ),
        (  # the column is found by its name, not by its place
            "most_decided",
            "other disagree agree",
            [[0.9, 0.1, 0.0], [0.2, 0.3, 0.5]],
            [0.2, 0.3, 0.5],
        ),
    ],
)
def test_parts_become_one_answer_by_the_rule_of_the_bundle(
    rule: str, labels: str, parts: list[list[float]], expected: list[float]
) -> None:
    head = Head(name="x", kind="pair", labels=tuple(labels.split()), combine=rule)
    assert combine(np.array(parts, np.float32), head) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "label", "evidence"),
    [
        (f"{PLAIN} {FOR} {PLAIN}", "favor", [FOR]),
        (f"{PLAIN}\n{AGAINST}\n\n{PLAIN}", "against", [AGAINST]),
        (f"  {PLAIN} {PLAIN}", "neutral", []),
        (f"😀 {FOR} وَصَلَتِ القُوّاتُ! {FOR}", "favor", [f"😀 {FOR}", FOR]),
    ],
)
def test_a_stance_is_carried_by_the_sentences_that_speak(
    tagger: Tagger, text: str, label: str, evidence: list[str]
) -> None:
    found = stance(tagger, text)
    assert (found.about, found.label) == ("القوات", label)
    assert quotes(text, found) == evidence


@pytest.mark.parametrize(
    ("text", "label", "evidence"),
    [
        (f"{PLAIN} {FOR} {PLAIN} {PLAIN}", "agree", [FOR]),
        (f"{PLAIN} {AGAINST} {PLAIN} {PLAIN}", "disagree", [AGAINST]),
        (f"{PLAIN} {PLAIN}", "other", []),
    ],
)
def test_one_sentence_decides_on_a_claim(
    tagger: Tagger, text: str, label: str, evidence: list[str]
) -> None:
    found = claim(tagger, text)
    assert found.label == label
    assert quotes(text, found) == evidence


@pytest.fixture(scope="module")
def mirrored(tagger: Tagger) -> Tagger:
    """A tagger whose claim head reads a text of one sentence both ways."""
    return tagger.with_head(tagger.bundle.head("claim").model_copy(update={"mirrored": True}))


@pytest.mark.parametrize(("text", "about"), [(FOR, "القوات في القائم"), ("القوات في القائم", FOR)])
def test_two_sentences_agree_whichever_comes_first(mirrored: Tagger, text: str, about: str) -> None:
    # one order finds the word, the other does not: logits 3, 0, 1 and 0, 0, 1
    expected = np.exp([1.5, 0, 1]) / np.exp([1.5, 0, 1]).sum()
    found = claim(mirrored, text, about=about)
    assert found.label == "agree"
    assert found.confidence == pytest.approx(expected[0], abs=1e-4)
    assert quotes(text, found) == [text]


@pytest.mark.parametrize(
    ("text", "title"), [(f"{PLAIN} {FOR}", None), (FOR, "في القائم"), (".", None)]
)
def test_beside_a_title_or_other_sentences_a_claim_comes_first(
    tagger: Tagger, mirrored: Tagger, text: str, title: str | None
) -> None:
    asked = Article(text, "a", title, claims=("القوات في القائم",))
    assert list(mirrored.tag([asked])) == list(tagger.tag([asked]))


def test_evidence_is_three_sentences_at_most(tagger: Tagger) -> None:
    text = f"{PLAIN} {FOR} {FOR} {PLAIN} {FOR} {FOR} {FOR}"
    for found in (stance(tagger, text), claim(tagger, text)):
        assert quotes(text, found) == [FOR] * MAX_EVIDENCE
        assert list(found.evidence) == sorted(set(found.evidence))  # all are as sure


def test_the_surest_evidence_comes_first(tagger: Tagger) -> None:
    text = f"{PLAIN} {TORN} {PLAIN} {FOR}"
    for found in (stance(tagger, text), claim(tagger, text)):
        assert quotes(text, found) == [FOR, TORN]


def test_a_claim_is_found_deep_in_a_long_text(tagger: Tagger) -> None:
    text = f"{'عقد مؤتمر في دمشق أمس. ' * 80}{FOR} {'عقد مؤتمر في دمشق أمس. ' * 80}"
    found = claim(tagger, text, about="القوات تسيطر على مدينة القائم")
    assert (found.label, quotes(text, found)) == ("agree", [FOR])


def test_a_stance_is_read_where_the_text_names_its_target(tagger: Tagger) -> None:
    elsewhere = "استعادت دمشق مدينة أخرى. " * 60
    about = "أعلن فرار الوزير العبادي. " * 30
    assert stance(tagger, elsewhere + about, target="الوزير العبادي").label == "against"
    assert stance(tagger, elsewhere + about, target="أمر لم يذكر").label == "favor"


def test_a_sentence_longer_than_a_window_is_one_piece_of_evidence(tagger: Tagger) -> None:
    text = f"{'القوات في مدينة القائم و ' * 60}{PRO} {'القوات في مدينة البوكمال و ' * 60}نهاية"
    for found in (stance(tagger, text, target="لم يذكر"), claim(tagger, text, about="القوات")):
        assert found.evidence in ((), ((0, len(text)),))
    assert claim(tagger, text).evidence == ((0, len(text)),)


def test_a_title_is_heard_but_is_no_evidence(tagger: Tagger) -> None:
    text = f"{PLAIN} {PLAIN}"
    found = claim(tagger, text, title=FOR)
    assert found.label == "agree"
    assert set(found.evidence) <= set(sentences(text))
    assert stance(tagger, PLAIN, title=AGAINST).label == "against"


@pytest.mark.parametrize("title", ["", "  ", "ـــ", "\u064b", "\x00"])
def test_a_title_that_says_nothing_changes_nothing(tagger: Tagger, title: str) -> None:
    text = f"{PLAIN} {FOR}"
    assert stance(tagger, text, title) == stance(tagger, text)
    assert claim(tagger, text, title) == claim(tagger, text)


@pytest.mark.parametrize(
    ("text", "title"), [(PLAIN, "القوات " * 600), (f"{'القوات ' * 300}. {'القائم ' * 300}.", None)]
)
def test_of_a_title_or_mention_that_is_too_long_a_windowful_is_judged(
    default_tagger: Tagger, text: str, title: str | None
) -> None:
    assert stance(default_tagger, text, title).about == "القوات"


def room(encoder: TextEncoder, tagger: Tagger) -> int:
    return tagger.bundle.manifest.pair_max_pieces - encoder.window.size - 2


@pytest.mark.parametrize("kind", ["targets", "claims"])
def test_too_long_a_target_is_an_error_of_its_article_alone(tagger: Tagger, kind: str) -> None:
    long = "استنكر الوزير العراقي " * 60
    articles = [
        Article(FOR, "a", **{kind: ("القوات",)}),
        Article(FOR, "b", **{kind: ("القوات", long)}),
        Article(FOR, "c", **{kind: ("القوات",)}),
    ]
    before, failed, after = tagger.tag(articles)
    assert (before.id, failed.id, after.id) == ("a", "b", "c")
    what = {"targets": "target", "claims": "claim"}[kind]
    n_pieces = len(tagger.reader.encoder.pieces(long))
    assert failed.error == (
        f"{what} 2 has {n_pieces} pieces of the model; it needs 1 to "
        f"{room(tagger.reader.encoder, tagger)}"
    )
    assert failed.entities == failed.topics == failed.stances == failed.claims == ()
    assert before.error is None and before.to_dict() | {"id": "c"} == after.to_dict()


@pytest.mark.parametrize("target", ["", "  ", "ـــ", "\u064b\u064c"])
def test_a_target_of_nothing_is_an_error_of_its_article(tagger: Tagger, target: str) -> None:
    assert "has 0 pieces" in str(read(tagger, FOR, targets=(target,)).error)
    assert "has 0 pieces" in str(read(tagger, FOR, claims=(target,)).error)


def test_the_longest_target_that_fits_is_judged_on_a_long_text(tagger: Tagger) -> None:
    encoder, long = tagger.reader.encoder, "القوات"
    while len(encoder.pieces(f"{long} القوات")) <= room(encoder, tagger):
        long = f"{long} القوات"
    assert stance(tagger, f"{PLAIN} " * 60, target=long).about == long
    assert claim(tagger, "القوات في مدينة القائم " * 60, about=long).about == long


def test_answers_come_in_the_order_asked(tagger: Tagger) -> None:
    asked = ("القوات", "مدينة القائم", "القوات", "العراق")
    prediction = read(tagger, FOR, targets=asked, claims=asked[::-1])
    assert tuple(found.about for found in prediction.stances) == asked
    assert tuple(found.about for found in prediction.claims) == asked[::-1]


PARTS = st.lists(
    st.sampled_from(
        [
            PLAIN,
            FOR,
            AGAINST,
            "…",
            "؟!",
            "\n",
            " ",
            "ـــ",
            "\u064b",
            "\x00",
            "😀",
            "\u202b",
            "3.5",
            "القوات",
        ]
    ),
    max_size=60,
)


@settings(max_examples=80, deadline=None)
@given(parts=PARTS, title=st.none() | PARTS.map("".join))
def test_evidence_is_always_whole_sentences(
    random_scores: Tagger, parts: list[str], title: str | None
) -> None:
    text = " ".join(parts)
    prediction = read(random_scores, text, title, targets=("القوات",), claims=("مدينة القائم",))
    if prediction.error is not None:
        assert "text" in prediction.error
        return
    for found in (*prediction.stances, *prediction.claims):
        assert 0 < found.confidence <= 1
        assert len(found.evidence) == len(set(found.evidence))
        assert set(found.evidence) <= set(sentences(text)) and len(found.evidence) <= MAX_EVIDENCE
        assert bool(found.evidence) == (found.label not in ("neutral", "other"))


def test_a_claim_is_asked_of_so_many_sentences_and_no_more(tagger: Tagger) -> None:
    judged = 0

    class Counting(KeywordBackend):
        def run(self, ids: Ints, mask: Ints, segments: Ints) -> dict[str, Floats]:
            nonlocal judged
            judged += int((segments == 2).any(axis=1).sum())
            return super().run(ids, mask, segments)

    counting = Tagger(tagger.bundle, Counting(tagger.bundle))
    for number, asked in ((MAX_SENTENCES - 1, MAX_SENTENCES - 1), (100, MAX_SENTENCES)):
        judged = 0
        claim(counting, " ".join([PLAIN] * number))
        assert judged == asked


def test_a_sentence_is_read_to_the_last_piece_of_its_last_word(tagger: Tagger) -> None:
    assert len(tagger.reader.encoder.pieces(CONTRA)) > 1
    assert claim(tagger, f"{PLAIN} القوات {CONTRA}").label == claim(tagger, AGAINST).label
