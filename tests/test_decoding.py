"""From scores to entities, checked against seqeval and against every path there is."""

from __future__ import annotations

from itertools import combinations, groupby, pairwise, product

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities

from serving.decoding import (
    TaggedSpan,
    allowed_transitions,
    best_path,
    decode_flat,
    decode_nested,
    drop_crossing,
    log_softmax,
)

Floats = npt.NDArray[np.float32]
TAGS = ("O", "B-PERS", "I-PERS", "B-GPE", "I-GPE")
TYPES = ("PERS", "ORG", "GPE", "OCC")


def scores(*shape: int) -> st.SearchStrategy[Floats]:
    """Small whole numbers, so that sums are exact and ties are frequent."""
    size = int(np.prod(shape))
    return st.lists(st.integers(-4, 4), min_size=size, max_size=size).map(
        lambda values: np.array(values, dtype=np.float32).reshape(shape)
    )


def is_legal(tags: list[str]) -> bool:
    """By the book: an I- stands after a B- or I- of its own type."""
    return all(
        tag[0] != "I" or before in (f"B{tag[1:]}", tag) for before, tag in pairwise(["O", *tags])
    )


@pytest.mark.parametrize(
    ("tags", "legal"),
    [
        (["B-PERS", "I-PERS", "I-PERS"], True),
        (["B-PERS", "B-PERS"], True),
        (["B-PERS", "B-GPE", "I-GPE"], True),
        (["O", "O"], True),
        (["I-PERS"], False),
        (["O", "I-PERS"], False),
        (["B-PERS", "I-GPE"], False),
        (["B-PERS", "I-PERS", "I-GPE"], False),
    ],
)
def test_the_rules_of_bio(tags: list[str], legal: bool) -> None:
    begins, allowed = allowed_transitions(TAGS)
    ids = [TAGS.index(tag) for tag in tags]
    assert bool(begins[ids[0]] and all(allowed[i, j] for i, j in pairwise(ids))) is legal


@settings(max_examples=60, deadline=None)
@given(logits=st.integers(1, 4).flatmap(lambda n_words: scores(n_words, len(TAGS))))
def test_the_best_path_is_the_best_of_all_legal_paths(logits: Floats) -> None:
    path = best_path(logits, *allowed_transitions(TAGS))
    every = product(range(len(TAGS)), repeat=len(logits))
    best = max(
        sum(logits[i, tag] for i, tag in enumerate(tags))
        for tags in every
        if is_legal([TAGS[tag] for tag in tags])
    )
    assert is_legal([TAGS[tag] for tag in path])
    assert logits[np.arange(len(path)), path].sum() == best


def test_a_legal_winner_of_every_word_is_the_best_path() -> None:
    wanted = [TAGS.index(tag) for tag in ("B-PERS", "I-PERS", "O", "B-GPE", "B-GPE")]
    logits = np.eye(len(TAGS), dtype=np.float32)[wanted]
    assert best_path(logits, *allowed_transitions(TAGS)).tolist() == wanted


@settings(max_examples=150, deadline=None)
@given(logits=st.integers(0, 12).flatmap(lambda n_words: scores(n_words, len(TAGS))))
def test_flat_entities_are_those_seqeval_sees_in_the_best_path(logits: Floats) -> None:
    path = best_path(logits, *allowed_transitions(TAGS))
    spans = [(span.label, span.start, span.end - 1) for span in decode_flat(logits, TAGS)]
    assert spans == get_entities([TAGS[tag] for tag in path])


@pytest.mark.parametrize(
    ("chances", "expected"),
    [
        ([(0.2, 0.8, 0.0)], [(0, 1, 0.8)]),
        ([(0.2, 0.8, 0.0), (0.3, 0.1, 0.6)], [(0, 2, 0.6)]),  # the least probable of its tags
        ([(0.9, 0.1, 0.0)], []),
        ([(0.4, 0.6, 0.0), (0.1, 0.7, 0.2)], [(0, 1, 0.6), (1, 2, 0.7)]),
        # I-PERS wins the first word, but nothing stands before it to go on from
        ([(0.3, 0.1, 0.6), (0.9, 0.05, 0.05)], []),
        ([(0.15, 0.25, 0.6), (0.9, 0.05, 0.05)], [(0, 1, 0.25)]),
        ([(0.3, 0.1, 0.6), (0.1, 0.1, 0.8)], [(0, 2, 0.1)]),
    ],
)
def test_the_score_of_an_entity_is_that_of_its_least_probable_tag(
    chances: list[tuple[float, float, float]], expected: list[tuple[int, int, float]]
) -> None:
    logits = np.log(np.maximum(np.array(chances, dtype=np.float32), 1e-6))
    found = decode_flat(logits, ("O", "B-PERS", "I-PERS"))
    assert [(span.start, span.end) for span in found] == [(a, b) for a, b, _ in expected]
    assert [span.score for span in found] == pytest.approx([p for _, _, p in expected], abs=1e-4)


@settings(max_examples=150, deadline=None)
@given(logits=st.integers(0, 12).flatmap(lambda n_words: scores(n_words, len(TAGS))))
def test_iob1_entities_are_those_seqeval_sees_in_the_winning_tags(logits: Floats) -> None:
    winners = [TAGS[tag] for tag in logits.argmax(axis=1)] if len(logits) else []
    found = [(s.label, s.start, s.end - 1) for s in decode_flat(logits, TAGS, "iob1")]
    assert found == get_entities(winners)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (["I-PERS", "I-PERS", "O", "I-GPE"], [(0, 2, "PERS"), (3, 4, "GPE")]),
        (["I-PERS", "I-GPE"], [(0, 1, "PERS"), (1, 2, "GPE")]),
        (["I-PERS", "B-PERS", "I-PERS"], [(0, 1, "PERS"), (1, 3, "PERS")]),
    ],
)
def test_in_iob1_an_entity_begins_inside(
    tags: list[str], expected: list[tuple[int, int, str]]
) -> None:
    logits = 9 * np.eye(len(TAGS), dtype=np.float32)[[TAGS.index(tag) for tag in tags]]
    found = decode_flat(logits, TAGS, "iob1")
    assert [(span.start, span.end, span.label) for span in found] == expected
    assert [span.score for span in found] == pytest.approx([0.9995] * len(found), abs=1e-3)


@settings(max_examples=100, deadline=None)
@given(logits=st.integers(0, 12).flatmap(lambda n_words: scores(n_words, 3)))
def test_io_entities_are_the_runs_of_a_type(logits: Floats) -> None:
    tags = ("O", "I-PERS", "I-GPE")
    winners = logits.argmax(axis=1).tolist() if len(logits) else []
    runs, place = [], 0
    for tag, group in groupby(winners):
        length = len(list(group))
        runs += [(tags[tag][2:], place, place + length)] if tag else []
        place += length
    assert [(s.label, s.start, s.end) for s in decode_flat(logits, tags, "io")] == runs


def test_a_text_without_words_has_no_entities() -> None:
    assert decode_flat(np.zeros((0, len(TAGS)), np.float32), TAGS) == []
    assert decode_nested(np.zeros((0, 4, 3), np.float32), TYPES) == []


@pytest.mark.parametrize("size", [1.0, 1e3, 1e30])
def test_log_probabilities_sum_to_one_however_large_the_scores(size: float) -> None:
    logits = (size * np.array([[1, -1, 0.5], [0, 0, 0]])).astype(np.float32)
    assert np.exp(log_softmax(logits)).sum(axis=-1) == pytest.approx([1, 1], abs=1e-6)


def crosses(a: TaggedSpan, b: TaggedSpan) -> bool:
    """Whether two spans share words with neither inside the other."""
    words, others = set(range(a.start, a.end)), set(range(b.start, b.end))
    return bool(words & others) and not words <= others and not others <= words


@st.composite
def spans(draw: st.DrawFn, scores: st.SearchStrategy[float]) -> list[TaggedSpan]:
    found = {}
    for _ in range(draw(st.integers(0, 14))):
        start = draw(st.integers(0, 12))
        end, label = start + draw(st.integers(1, 6)), draw(st.sampled_from(TYPES))
        found[start, end, label] = TaggedSpan(start, end, label, draw(scores))
    return list(found.values())


@settings(max_examples=300, deadline=None)
@given(given_spans=spans(st.sampled_from([0.2, 0.5, 0.9])))
def test_what_is_kept_never_crosses_and_what_goes_crossed_a_surer_one(
    given_spans: list[TaggedSpan],
) -> None:
    kept = drop_crossing(given_spans)
    assert not any(crosses(a, b) for a, b in combinations(kept, 2))
    assert len(set(kept)) == len(kept) and set(kept) <= set(given_spans)
    assert kept == sorted(kept, key=lambda span: (span.start, -span.end, span.label))
    for gone in set(given_spans) - set(kept):
        assert any(crosses(gone, span) and span.score >= gone.score for span in kept)


@settings(max_examples=300, deadline=None)
@given(given_spans=spans(st.integers(1, 10**9).map(lambda n: n / 10**9)))
def test_crossing_spans_go_as_in_the_slow_way(given_spans: list[TaggedSpan]) -> None:
    left, kept = sorted(given_spans, key=lambda span: span.score), []
    while left:  # the surest is taken, everything that crosses it is struck off
        kept.append(left.pop())
        left = [span for span in left if not crosses(span, kept[-1])]
    if len({span.score for span in given_spans}) == len(given_spans):
        assert set(drop_crossing(given_spans)) == set(kept)


def test_the_answer_does_not_hang_on_the_order_in_which_spans_come() -> None:
    tied = [
        TaggedSpan(0, 3, "ORG", 0.5),
        TaggedSpan(2, 5, "GPE", 0.5),
        TaggedSpan(2, 4, "OCC", 0.5),
    ]
    assert drop_crossing(tied) == drop_crossing(tied[::-1]) == drop_crossing(tied[1:] + tied[:1])


@settings(max_examples=100, deadline=None)
@given(logits=st.integers(0, 10).flatmap(lambda n_words: scores(n_words, len(TYPES), 3)))
def test_nested_entities_are_of_one_sequence_a_type_and_never_cross(logits: Floats) -> None:
    found = decode_nested(logits, TYPES)
    assert not any(crosses(a, b) for a, b in combinations(found, 2))
    for column, label in enumerate(TYPES):
        alone = decode_flat(logits[:, column], ("O", f"B-{label}", f"I-{label}"))
        assert {span for span in found if span.label == label} <= set(alone)
        crossed = set(alone) - set(found)
        assert all(any(crosses(span, other) for other in found) for span in crossed)


def test_a_name_inside_a_name_is_kept() -> None:
    # مدينة القائم: a GPE, whose second word is an ORG as well
    logits = np.zeros((3, 2, 3), np.float32)
    logits[:, :, 0] = 1
    logits[0, 0] = (0, 5, 0)
    logits[1, 0] = (0, 0, 5)
    logits[1, 1] = (0, 5, 0)
    found = [(span.start, span.end, span.label) for span in decode_nested(logits, ("GPE", "ORG"))]
    assert found == [(0, 2, "GPE"), (1, 2, "ORG")]


def test_a_long_text_full_of_overlaps_is_decoded_in_good_time() -> None:
    # every span touches the next, so there is no gap at which the work could be divided
    chain = [TaggedSpan(i, i + 3, "ORG", ((i * 7919) % 1000 + 1) / 1002) for i in range(60_000)]
    kept = drop_crossing(chain)
    assert not any(a.end > b.start for a, b in pairwise(kept))
