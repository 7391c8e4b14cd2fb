"""Random documents for the tests of formats: Arabic with all that breaks offsets."""

from __future__ import annotations

import random

from hypothesis import strategies as st

from annotations.schema import Claim, Document, Range, Span, Stance, nested_order

LETTERS = "ابعن وَـ😀👨‍🚒é\n\r12[]|\\#-@: "
SIGNS = st.text(alphabet=LETTERS, max_size=30)
TOPICS = ("politics", "health")


@st.composite
def documents(draw: st.DrawFn, visible: bool = False) -> Document:
    """A document whose spans nest; `visible` ones begin and end on no line end."""
    text = draw(SIGNS)
    ranges = _ranges(draw, text, visible)
    spans: list[Span] = []
    for start, end in ranges:
        crossing = any(
            s.start < start < s.end < end or start < s.start < end < s.end for s in spans
        )
        if not crossing:
            spans.append(Span(start, end, draw(st.sampled_from(["GPE", "ORG", "PERS"]))))
    stances = []
    for start, end in ranges:
        placed = draw(st.booleans())
        target = text[start:end] if placed else draw(SIGNS)
        if target.strip():
            where = (start, end) if placed else (None, None)
            scope, holder = (
                draw(st.sampled_from([None, ranges[0]])),
                draw(st.none() | SIGNS.filter(str.strip)),
            )
            evidence = draw(st.sampled_from([None, (), tuple(ranges)]))
            label = draw(st.sampled_from(["favor", "against", "neutral"]))
            stances.append(Stance(target, label, *where, scope, holder, evidence))
    return Document(
        draw(st.text(alphabet="aب1", min_size=1, max_size=5)),
        text,
        title=draw(st.none() | SIGNS),
        source=draw(st.none() | SIGNS),
        entities=draw(st.sampled_from([None, nested_order(tuple(spans))])),
        stances=draw(st.sampled_from([None, tuple(stances)])),
        claims=draw(st.none() | st.tuples(st.builds(Claim, SIGNS, SIGNS))),
        topic=draw(st.none() | st.sampled_from(TOPICS)),
        form=draw(st.sampled_from([None, None, "NFC"])),
    )


def _ranges(draw: st.DrawFn, text: str, visible: bool) -> list[Range]:
    found = []
    for _ in range(draw(st.integers(0, 4)) if text else 0):
        start = draw(st.integers(0, len(text) - 1))
        end = draw(st.integers(start + 1, len(text)))
        if not visible or not {text[start], text[end - 1]} & {"\n", "\r"}:
            found.append((start, end))
    return found


def random_document(rng: random.Random, number: int) -> Document:
    """A document like those above without hypothesis, for tests of many: spans nest, none begins or
    ends on a line end.
    """
    text = "".join(rng.choices(LETTERS, k=rng.randint(1, 120)))
    spans: list[Span] = []
    for _ in range(rng.randint(0, 6)):
        start = rng.randrange(len(text))
        end = rng.randint(start + 1, min(len(text), start + 40))
        inside = all(
            end <= s.start or s.end <= start or (s.start <= start and end <= s.end) for s in spans
        )
        if inside and not {text[start], text[end - 1]} & {"\n", "\r"}:
            spans.append(Span(start, end, rng.choice(["GPE", "ORG", "PERS"])))
    stances = tuple(
        Stance(
            text[s.start : s.end],
            rng.choice(["favor", "against", "neutral"]),
            s.start,
            s.end,
            holder=rng.choice([None, "سالم"]),
            evidence=rng.choice([None, (), ((s.start, s.end),)]),
        )
        for s in spans
        if text[s.start : s.end].strip()
    )
    return Document(
        f"d{number}",
        text,
        entities=rng.choice([None, nested_order(tuple(spans))]),
        stances=rng.choice([None, stances]),
        claims=rng.choice([None, (), (Claim("وصلت 😀", "agree"),)]),
        topic=rng.choice([None, *TOPICS]),
    )
