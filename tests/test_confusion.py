"""The confusion of a report: every span is in one pair, every label in one cell."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from annotations.schema import Span
from training.report.confusion import (
    BOUNDARY,
    INVENTED,
    MISSED,
    entity_matrix,
    label_matrix,
    pair_spans,
)


def random_spans(rng: random.Random, length: int, most: int) -> list[Span]:
    found = {
        Span(start := rng.randrange(length - 1), rng.randint(start + 1, length), label)
        for label in rng.choices(["GPE", "ORG", "PERS"], k=rng.randint(0, most))
    }
    return sorted(found, key=lambda span: (span.start, span.end, span.label))


@pytest.mark.parametrize(
    ("gold", "predicted", "outcomes"),
    [
        ([(0, 4, "GPE")], [(0, 4, "GPE")], ["right"]),
        ([(0, 4, "GPE")], [(0, 4, "ORG")], ["type"]),
        ([(0, 4, "GPE")], [(0, 9, "GPE")], ["boundary"]),
        ([(0, 4, "GPE")], [(0, 9, "ORG")], ["boundary"]),
        ([(0, 4, "GPE")], [], ["missed"]),
        ([], [(0, 4, "GPE")], ["invented"]),
        ([(0, 4, "GPE")], [(4, 9, "GPE")], ["missed", "invented"]),
        # nested: the inner one is missed, the outer one right
        ([(0, 9, "ORG"), (5, 9, "GPE")], [(0, 9, "ORG")], ["right", "missed"]),
        # the right one is not spent on its neighbour
        ([(0, 4, "ORG"), (0, 4, "GPE")], [(0, 4, "GPE")], ["right", "missed"]),
        # the longer overlap decides, then the type
        ([(0, 6, "GPE")], [(0, 2, "GPE"), (2, 7, "ORG")], ["boundary", "invented"]),
        ([(0, 6, "GPE")], [(0, 5, "ORG"), (1, 7, "GPE")], ["boundary", "invented"]),
    ],
)
def test_pairs_of_gold_and_prediction(
    gold: list[tuple[int, int, str]], predicted: list[tuple[int, int, str]], outcomes: list[str]
) -> None:
    pairs = pair_spans([Span(*g) for g in gold], [Span(*p) for p in predicted])
    assert sorted(pair.outcome for pair in pairs) == sorted(outcomes)
    if "invented" in outcomes and "boundary" in outcomes:
        near = next(pair for pair in pairs if pair.outcome == "boundary")
        assert near.predicted == Span(*predicted[1])


def test_every_span_is_in_one_pair_and_every_row_adds_up_to_its_gold() -> None:
    rng = random.Random(4)
    texts = [(random_spans(rng, 20, 6), random_spans(rng, 20, 6)) for _ in range(200)]
    for gold, predicted in texts:
        pairs = pair_spans(gold, predicted)
        assert Counter(p.gold for p in pairs if p.gold) == Counter(gold)
        assert Counter(p.predicted for p in pairs if p.predicted) == Counter(predicted)
    matrix = entity_matrix(texts)
    assert matrix.rows[-1] == INVENTED
    assert matrix.columns[-2:] == (BOUNDARY, MISSED)
    totals = Counter(span.label for gold, _ in texts for span in gold)
    for label, row in zip(matrix.rows[:-1], matrix.counts, strict=False):
        assert sum(row) == totals[label]
    right = sum(len(set(gold) & set(predicted)) for gold, predicted in texts)
    assert sum(matrix.counts[i][i] for i in range(len(matrix.rows) - 1)) == right


def test_label_confusion_is_that_of_scikit_learn() -> None:
    rng = random.Random(5)
    labels = ("a", "b", "c", "never")
    pairs = [(rng.choice("abc"), rng.choice("abc")) for _ in range(300)]
    matrix = label_matrix(labels, pairs)
    assert matrix.rows == matrix.columns == ("a", "b", "c")
    slow = confusion_matrix(*zip(*pairs, strict=True), labels=["a", "b", "c"])
    assert np.array_equal(matrix.counts, slow)


def test_a_label_that_the_head_lacks_has_a_row_too() -> None:
    matrix = label_matrix(("b", "a"), [("a", "b"), ("other", "a")])
    assert matrix.rows == matrix.columns == ("b", "a", "other")
    assert matrix.counts == ((0, 0, 0), (1, 0, 0), (0, 1, 0))
