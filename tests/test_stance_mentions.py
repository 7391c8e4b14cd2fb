"""Stances judged where the text names their target."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.attitudes import MAX_MENTIONS, JudgedText, mention_parts
from serving.bundle import Bundle, Head
from serving.tagger import Tagger
from tests.keyword_backend import AGAINST, FOR, PLAIN, TORN, KeywordBackend, quotes, read, stance

MENTION = Head(
    name="stance",
    kind="pair",
    labels=("favor", "against", "neutral"),
    combine="most_decided",
    unit="mention",
)


@pytest.fixture(scope="module")
def mentions(smoke_bundle: Path) -> Tagger:
    """A tagger whose stance head judges the mentions of its target."""
    bundle = Bundle.load(smoke_bundle)
    heads = tuple(MENTION if h.name == "stance" else h for h in bundle.manifest.heads)
    changed = Bundle(bundle.folder, bundle.manifest.model_copy(update={"heads": heads}))
    return Tagger(changed, KeywordBackend(changed))


@pytest.mark.parametrize(
    ("text", "label", "evidence"),
    [
        # the sentence that names the target and the next one speak of it
        (f"{PLAIN} {FOR} ثم ساد الهدوء.", "favor", [FOR]),
        ("وصلت القوات. ثم مر يوم. وقع فرار في البوكمال.", "neutral", []),
        ("القوات في القائم. وقع فرار في البوكمال. انتهى.", "against", ["وقع فرار في البوكمال."]),
        # of another sentence of the same kind, elsewhere, nobody spoke
        (f"وقع فرار. {PLAIN} مر يوم. {AGAINST} مر آخر.", "against", [AGAINST]),
    ],
)
def test_a_head_of_mentions_hears_what_is_said_where_the_target_is_named(
    mentions: Tagger, text: str, label: str, evidence: list[str]
) -> None:
    found = stance(mentions, text)
    assert (found.label, quotes(text, found)) == (label, evidence)


def test_the_surest_evidence_comes_first(mentions: Tagger) -> None:
    text = f"{PLAIN} {TORN} {PLAIN} {FOR}"
    assert quotes(text, stance(mentions, text)) == [FOR, TORN]


def test_a_phrase_that_is_never_named_is_asked_of_the_whole_text(mentions: Tagger) -> None:
    (stance,) = read(mentions, f"{PLAIN} {AGAINST}", targets=("السلام العالمي",)).stances
    assert stance.label == "against"


def test_mentions_beyond_the_bound_are_taken_evenly(smoke_bundle: Path) -> None:
    encoder = Bundle.load(smoke_bundle).text_encoder()
    text = " ".join(f"{PLAIN[:-1]} {i}." for i in range(200))
    parts = mention_parts(JudgedText(text, encoder.encode(text)), "القوات", 100)
    assert len(parts) == MAX_MENTIONS
    starts = [part.place[0] for part in parts if part.place is not None]
    assert starts == sorted(starts) and starts[0] == 0 and starts[-1] > 0.95 * len(text)
