"""From tag scores to entities: the best path that breaks no BIO rule, spans, and spans that
nest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from serving.chain import Transitions, chain_spans

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
# How tags make entities. iob2: B- begins each, I- goes on. iob1: I- also begins one, after O or
# another type; B- is needed only between two of one type. io: maximal runs of a type.
Scheme = Literal["iob2", "iob1", "io"]


@dataclass(frozen=True, slots=True)
class TaggedSpan:
    """An entity over the words `[start, end)`; `score` in (0, 1) is its probability under a chain,
    or else the least probable of its tags.
    """

    start: int
    end: int
    label: str
    score: float


def allowed_transitions(tags: Sequence[str]) -> tuple[Bools, Bools]:
    """Which BIO tag may begin a text, (tags,), and which may follow which, (tags, tags): [i, j]
    when j follows i.
    """

    def follows(previous: str | None, tag: str) -> bool:
        return not tag.startswith("I-") or (
            previous is not None and previous != "O" and previous[2:] == tag[2:]
        )

    begins = np.array([follows(None, tag) for tag in tags])
    table = np.array([[follows(previous, tag) for tag in tags] for previous in tags])
    return begins, table


def best_path(logits: Floats, begins: Bools, allowed: Bools) -> Ints:
    """The best-scoring tag sequence that breaks no BIO rule, by the Viterbi algorithm.

    logits is (words, tags); begins is (tags,), allowed (tags, tags), true at [i, j] when j may
    follow i. Returns (words,) tag ids.
    """
    greedy: Ints = logits.argmax(axis=1)
    if len(greedy) == 0 or (begins[greedy[0]] and allowed[greedy[:-1], greedy[1:]].all()):
        return greedy
    penalty = np.where(allowed, 0.0, -np.inf)
    score = np.where(begins, logits[0], -np.inf)
    back = np.zeros(logits.shape, dtype=np.int64)
    for i in range(1, len(logits)):
        through = score[:, None] + penalty
        back[i] = through.argmax(axis=0)
        score = through.max(axis=0) + logits[i]
    path = np.zeros(len(logits), dtype=np.int64)
    path[-1] = score.argmax()
    for i in range(len(logits) - 1, 0, -1):
        path[i - 1] = back[i, path[i]]
    return path


def log_softmax(logits: Floats) -> Floats:
    """Log probabilities over the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    result: Floats = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


def label_probabilities(logits: Floats, temperature: float, biases: Sequence[float] = ()) -> Floats:
    """The probabilities of labels, (..., labels): softmax of logits / temperature + biases, which
    is bias-corrected temperature scaling (Alexandari, Kundaje and Shrikumar 2020); no biases are
    zeros.
    """
    scaled = logits / np.float32(temperature)
    if len(biases):
        scaled = scaled + np.asarray(biases, dtype=np.float32)
    result: Floats = np.exp(log_softmax(scaled))
    return result


def decode_flat(logits: Floats, tags: Sequence[str], scheme: Scheme = "iob2") -> list[TaggedSpan]:
    """The entities of one sequence of tags; logits is (words, tags).

    Only IOB2 has sequences that break a rule; the others are read as they come.
    """
    if scheme == "iob2":
        path = best_path(logits, *allowed_transitions(tags))
    else:
        path = logits.argmax(axis=1)
    log_probs = log_softmax(logits)[np.arange(len(path)), path]
    spans: list[TaggedSpan] = []
    start = None
    for i in range(len(path) + 1):
        tag = tags[path[i]] if i < len(path) else "O"
        goes_on = start is not None and tag.startswith("I-") and tag[2:] == tags[path[i - 1]][2:]
        if start is not None and not goes_on:
            score = float(np.exp(log_probs[start:i].min()))
            spans.append(TaggedSpan(start, i, tags[path[start]][2:], score))
        if not goes_on:
            start = i if tag != "O" else None
    return spans


def decode_nested(
    logits: Floats, types: Sequence[str], chain: Transitions | None = None
) -> list[TaggedSpan]:
    """The entities of one BIO sequence per type, (words, types, 3: O B I), made to nest. With a
    chain their scores are probabilities under it.
    """
    if chain is not None:
        found = chain_spans(log_softmax(logits), chain)
        return drop_crossing([TaggedSpan(low, high, types[i], p) for i, low, high, p in found])
    spans: list[TaggedSpan] = []
    winners = logits.argmax(axis=2)
    for column, label in enumerate(types):
        if winners[:, column].any():
            spans.extend(decode_flat(logits[:, column], ("O", f"B-{label}", f"I-{label}")))
    return drop_crossing(spans)


def drop_crossing(spans: Sequence[TaggedSpan]) -> list[TaggedSpan]:
    """Spans of which none cross: of two that do, the less certain goes. In order of start, the
    longer first.
    """
    kept: list[TaggedSpan] = []
    furthest: dict[int, int] = {}  # where kept spans start -> the furthest of their ends
    earliest: dict[int, int] = {}  # where kept spans end -> the earliest of their starts
    for span in sorted(spans, key=lambda span: (-span.score, place(span))):
        if not any(
            furthest.get(i, 0) > span.end or earliest.get(i, span.start) < span.start
            for i in range(span.start + 1, span.end)
        ):
            kept.append(span)
            furthest[span.start] = max(span.end, furthest.get(span.start, 0))
            earliest[span.end] = min(span.start, earliest.get(span.end, span.start))
    return sorted(kept, key=place)


def place(span: TaggedSpan) -> tuple[int, int, str]:
    """By what spans are ordered: their start, the longer first, their label."""
    return span.start, -span.end, span.label
