"""The chain of tags, checked against every sequence there is, and its fit against a chain that made
the gold.
"""

from __future__ import annotations

import math
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from serving.bundle import Head
from serving.chain import B, I, O, Transitions, chain_spans
from serving.decoding import Floats, Ints, decode_nested, log_softmax
from training.export.transitions import Stretch, _fitted

NUMBERS = st.integers(-8, 8).map(lambda n: n / 4)


def chains() -> st.SearchStrategy[Transitions]:
    return st.builds(
        Transitions,
        emission=st.sampled_from([0.5, 1.0, 2.0]),
        begin=st.tuples(NUMBERS, NUMBERS),
        after_o=st.tuples(NUMBERS, NUMBERS),
        after_b=st.tuples(NUMBERS, NUMBERS, NUMBERS),
        after_i=st.tuples(NUMBERS, NUMBERS, NUMBERS),
    )


def texts(most: int) -> st.SearchStrategy[Floats]:
    """Log probabilities of words none of which is plainly outside."""
    rows = st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=most)
    return rows.map(lambda found: log_softmax(np.array(found, np.float32)))


def spans_under(log_probs: Floats, chain: Transitions) -> list[tuple[int, int, float]]:
    """The entities of a single type."""
    found = list(chain_spans(log_probs[:, None], chain))
    assert {column for column, *_ in found} <= {0}
    return [(start, end, probability) for _, start, end, probability in found]


def path_score(path: tuple[int, ...], log_probs: Floats, chain: Transitions) -> float:
    score = chain.first[path[0]] + sum(chain.table[a][b] for a, b in pairwise(path))
    return score + chain.emission * sum(
        float(row[tag]) for row, tag in zip(log_probs, path, strict=True)
    )


def spans_of(path: tuple[int, ...]) -> list[tuple[int, int]]:
    found = []
    for start in (i for i, tag in enumerate(path) if tag == B):
        end = start + 1
        while end < len(path) and path[end] == I:
            end += 1
        found.append((start, end))
    return found


@settings(max_examples=100, deadline=None)
@given(log_probs=texts(5), chain=chains())
def test_entities_and_their_probabilities_are_those_of_all_sequences(
    log_probs: Floats, chain: Transitions
) -> None:
    scores = {
        path: path_score(path, log_probs, chain)
        for path in product((O, B, I), repeat=len(log_probs))
    }
    whole = math.log(sum(math.exp(score) for score in scores.values()))
    found = list(spans_under(log_probs, chain))
    best = max(scores.values())
    assert any(
        spans_of(path) == [(start, end) for start, end, _ in found]
        for path, score in scores.items()
        if score == pytest.approx(best, abs=1e-6)
    )
    for start, end, probability in found:
        held = [score for path, score in scores.items() if (start, end) in spans_of(path)]
        assert probability == pytest.approx(sum(math.exp(s - whole) for s in held), abs=1e-5)


@settings(max_examples=100, deadline=None)
@given(parts=st.lists(texts(3), min_size=1, max_size=4), chain=chains())
def test_words_that_are_plainly_outside_part_a_text(
    parts: list[Floats], chain: Transitions
) -> None:
    quiet = np.log(np.array([[0.9998, 0.0001, 0.0001]], np.float32))
    assert quiet[0, O] > np.log(chain.quiet)
    text = np.concatenate([row for part in parts for row in (quiet, part)] + [quiet])
    found = {(start, end) for start, end, _ in spans_under(text, chain)}
    at = 1
    for part in parts:
        scores = {
            path: path_score((O, *path, O), np.concatenate([quiet, part, quiet]), chain)
            for path in product((O, B, I), repeat=len(part))
            if path[0] != I
        }
        best = max(scores.values())
        here = {(s - at, e - at) for s, e in found if at <= s < at + len(part)}
        assert any(
            set(spans_of(path)) == here
            for path, score in scores.items()
            if score == pytest.approx(best, abs=1e-6)
        )
        at += len(part) + 1


def test_a_chain_goes_on_where_words_alone_would_stop() -> None:
    # لجنة الحكام: the second word alone is more likely outside
    logits = np.log(np.array([[[0.1, 0.9, 0]], [[0.55, 0.05, 0.4]], [[0.9995, 0, 0]]]) + 1e-6)
    logits = logits.astype(np.float32)
    chain = Transitions(
        emission=1, begin=(0, 0), after_o=(0, 0), after_b=(-1, -1, 1), after_i=(1, 0, 1)
    )
    alone, chained = (decode_nested(logits, ("ORG",), found) for found in (None, chain))
    assert [(span.start, span.end) for span in alone] == [(0, 1)]
    assert [(span.start, span.end) for span in chained] == [(0, 2)]
    assert 0.5 < chained[0].score < 1


def test_an_endless_run_of_names_has_finite_probabilities() -> None:
    log_probs = np.log(np.tile(np.array([[0.3, 0.3, 0.4]], np.float32), (5000, 1)))
    chain = Transitions(
        emission=2, begin=(0, 0), after_o=(3, 3), after_b=(-3, 3, 3), after_i=(3, -3, 3)
    )
    assert all(0 <= p <= 1 for _, _, p in spans_under(log_probs, chain))
    assert list(spans_under(np.zeros((0, 3), np.float32), chain)) == []


def drawn(chain: Transitions, words: int, rng: np.random.Generator) -> tuple[Floats, Ints]:
    """Tags drawn from a chain alone, and scores that tell of them dimly."""
    tags: list[int] = []
    for _ in range(words):
        row = chain.table[tags[-1]] if tags else chain.first
        chances = np.exp(np.array(row))
        tags.append(int(rng.choice(3, p=chances / chances.sum())))
    gold = np.array(tags)
    logits = rng.normal(size=(words, 3)).astype(np.float32)
    logits[np.arange(words), gold] += 1.0
    return log_softmax(logits), gold


def f1_under(chain: Transitions, texts: list[tuple[Floats, Ints]]) -> float:
    right = total = 0
    for log_probs, tags in texts:
        gold = set(spans_of(tuple(tags.tolist())))
        found = {(start, end) for start, end, _ in spans_under(log_probs, chain)}
        right, total = right + len(gold & found), total + len(gold) + len(found)
    return 2 * right / total


def test_a_fitted_chain_reads_as_well_as_the_one_that_made_the_gold() -> None:
    rng = np.random.default_rng(0)
    likely = [math.log(p) for p in (0.8, 0.2, 0.1, 0.05, 0.85, 0.5, 0.05, 0.45)]
    made = Transitions(
        emission=1,
        begin=(likely[0], likely[1]),
        after_o=(likely[0], likely[1]),
        after_b=(likely[2], likely[3], likely[4]),
        after_i=(likely[5], likely[6], likely[7]),
    )
    plain = Transitions(
        emission=1, begin=(0, 0), after_o=(0, 0), after_b=(0, 0, 0), after_i=(0, 0, 0)
    )
    train, unseen = ([drawn(made, 40, rng) for _ in range(200)] for _ in range(2))
    found = _fitted([Stretch(*text, begins=True, ends=True) for text in train])
    fitted, best, alone = (f1_under(chain, unseen) for chain in (found, made, plain))
    assert alone + 0.1 < best < fitted + 0.01
    assert found.emission == pytest.approx(1, abs=0.1)


def test_a_bundle_holds_a_chain_and_refuses_half_of_one() -> None:
    chain = Transitions(
        emission=0.5, begin=(0, 1), after_o=(0, 1), after_b=(0, 1, 2), after_i=(0, 1, 2)
    )
    head = Head(name="ner", kind="nested", labels=("ORG",), transitions=chain)
    assert Head.model_validate_json(head.model_dump_json()) == head
    with pytest.raises(ValidationError, match="emission"):
        Head.model_validate({**head.model_dump(), "transitions": {"begin": [0, 1]}})
