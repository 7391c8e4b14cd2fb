"""Scores against seqeval, scikit-learn and slow counts by the book."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import f1_score
from seqeval.scheme import IOB2
from sklearn.metrics import accuracy_score
from sklearn.metrics import f1_score as sklearn_f1

from training.evaluation.intervals import bootstrap
from training.evaluation.scores import (
    EntityScores,
    LabelScores,
    calibration_by_chance,
    calibration_error,
    label_scores,
)

Entity = tuple[str, int, int]
# tags of any order, an I- without its B- among them, as ANERcorp has 39 of
TAGS = st.sampled_from(["O", "O", "B-PERS", "I-PERS", "B-LOC", "I-LOC", "B-ORG", "I-ORG"])


@st.composite
def tagged(draw: st.DrawFn) -> tuple[list[list[str]], list[list[str]]]:
    """Gold and predicted tags of some sentences; predictions mostly follow the gold."""
    gold, predicted = [], []
    for _ in range(draw(st.integers(1, 6))):
        tags = draw(st.lists(TAGS, min_size=1, max_size=12))
        wrong = draw(st.lists(st.booleans(), min_size=len(tags), max_size=len(tags)))
        gold.append(tags)
        predicted.append([draw(TAGS) if w else tag for tag, w in zip(tags, wrong, strict=True)])
    return gold, predicted


def slow_entities(tags: Sequence[str], strict: bool) -> set[Entity]:
    """Entities word by word; an I- that continues nothing begins one, or none when strict."""
    found: set[Entity] = set()
    label, start = None, 0
    for i, tag in enumerate([*tags, "O"]):
        continues = tag.startswith("I-") and tag[2:] == label
        if label is not None and not continues:
            found.add((label, start, i))
            label = None
        if tag.startswith("B-") or (tag.startswith("I-") and not continues and not strict):
            label, start = tag[2:], i
    return found


def slow_scores(
    gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], strict: bool
) -> tuple[float, float, float]:
    right = guessed = wanted = 0
    for a, b in zip(gold, predicted, strict=True):
        first, second = slow_entities(a, strict), slow_entities(b, strict)
        right, guessed, wanted = (
            right + len(first & second),
            guessed + len(second),
            wanted + len(first),
        )
    precision, recall = right / max(guessed, 1), right / max(wanted, 1)
    return precision, recall, 2 * right / max(guessed + wanted, 1)


def flat_report(gold: list[list[str]], predicted: list[list[str]]) -> dict[str, Any]:
    scores = EntityScores()
    for a, b in zip(gold, predicted, strict=True):
        scores.add_tags([a], [b])
    return scores.report()


def seqeval(gold: Any, predicted: Any, strict: bool = False) -> float:
    """Its F1; where there is no entity at all it warns and gives 0."""
    settings = {"mode": "strict", "scheme": IOB2} if strict else {}
    return float(f1_score(gold, predicted, zero_division=0, **settings))


@given(tagged())
@settings(max_examples=60, deadline=None)
@pytest.mark.filterwarnings("ignore")
def test_flat_scores_are_those_of_seqeval_and_of_a_slow_count(
    case: tuple[list[list[str]], list[list[str]]],
) -> None:
    gold, predicted = case
    report = flat_report(gold, predicted)
    assert report["f1"] == pytest.approx(seqeval(gold, predicted), abs=5.1e-5)
    assert report["f1_strict"] == pytest.approx(seqeval(gold, predicted, True), abs=5.1e-5)
    slow = slow_scores(gold, predicted, strict=False)
    assert (report["precision"], report["recall"], report["f1"]) == pytest.approx(slow, abs=5.1e-5)
    assert report["f1_strict"] == pytest.approx(slow_scores(gold, predicted, True)[2], abs=5.1e-5)
    assert report["items"] == len(gold)
    for label, own in report["per_label"].items():
        rows = [[[t if t[2:] == label else "O" for t in tags] for tags in x] for x in case]
        assert own["f1"] == pytest.approx(slow_scores(*rows, strict=False)[2], abs=5.1e-5)
        assert own["support"] == sum(len(slow_entities(tags, False)) for tags in rows[0])


@given(st.lists(tagged(), min_size=3, max_size=3))
@settings(max_examples=30, deadline=None)
@pytest.mark.filterwarnings("ignore")
def test_nested_scores_are_seqevals_counts_summed_over_the_types(cases: list[Any]) -> None:
    types = ("GPE", "ORG", "NORP")
    items = min(len(gold) for gold, _ in cases)

    def column(rows: list[list[str]], label: str) -> list[list[str]]:
        return [[tag[:2] + label if tag != "O" else "O" for tag in tags] for tags in rows[:items]]

    gold = [column(case[0], label) for case, label in zip(cases, types, strict=True)]
    predicted = [column(case[1], label) for case, label in zip(cases, types, strict=True)]
    scores = EntityScores()
    for i in range(items):
        scores.add_tags([rows[i] for rows in gold], [rows[i] for rows in predicted])
    report = scores.report()
    assert report["items"] == items
    # types have no common span, so one long list of sentences has the summed counts
    flat = [row for rows in gold for row in rows], [row for rows in predicted for row in rows]
    assert report["f1"] == pytest.approx(seqeval(*flat), abs=5.1e-5)
    assert report["f1_strict"] == pytest.approx(seqeval(*flat, strict=True), abs=5.1e-5)
    assert report["f1"] == pytest.approx(slow_scores(*flat, strict=False)[2], abs=5.1e-5)


def random_tags(random: np.random.Generator, length: int) -> list[str]:
    """Tags in any order, illegal ones among them."""
    return random.choice(["O", "B-PERS", "I-PERS", "B-LOC", "I-LOC", "B-ORG"], length).tolist()


def test_the_counts_of_thousands_of_sequences_are_those_of_a_slow_loop() -> None:
    random = np.random.default_rng(11)
    scores, lenient, strict = EntityScores(), [], []
    for _ in range(4000):
        gold = random_tags(random, int(random.integers(1, 14)))
        guess = random_tags(random, len(gold))
        found = [g if random.random() < 0.8 else p for g, p in zip(gold, guess, strict=True)]
        scores.add_tags([gold], [found])
        for rows, only_b in ((lenient, False), (strict, True)):
            a, b = slow_entities(gold, only_b), slow_entities(found, only_b)
            rows.append([sum(e in b for e in a), len(b), len(a)])
    np.testing.assert_array_equal(scores.rows(), lenient)
    report = scores.report()
    assert report["f1"] != report["f1_strict"]
    for rows, name in ((lenient, "f1"), (strict, "f1_strict")):
        right, guessed, wanted = (sum(row[i] for row in rows) for i in range(3))
        assert report[name] == pytest.approx(2 * right / (guessed + wanted), abs=5.1e-5)
    right, guessed, wanted = (sum(row[i] for row in lenient) for i in range(3))
    assert scores.value(scores.rows()) == pytest.approx(2 * right / (guessed + wanted))


def test_the_counts_of_nested_spans_are_those_of_a_slow_loop() -> None:
    random = np.random.default_rng(12)
    scores, rows, of_label = EntityScores(), [], {"GPE": [0, 0, 0], "ORG": [0, 0, 0]}
    for _ in range(1000):
        gold: list[Entity] = []
        for _ in range(int(random.integers(0, 6))):
            start = int(random.integers(0, 20))
            end = start + int(random.integers(1, 9))
            gold.append((str(random.choice(["GPE", "ORG"])), start, end))
        found = [
            (label, start, end + int(random.random() < 0.2))
            for label, start, end in gold
            if random.random() < 0.9
        ]
        scores.add_spans(set(gold), set(found))
        counts = [0, 0, 0]
        for kind in ("GPE", "ORG"):
            for start in range(20):
                for end in range(start + 1, start + 11):
                    a, b = (kind, start, end) in gold, (kind, start, end) in found
                    for i, hit in enumerate((a and b, b, a)):
                        counts[i] += hit
                        of_label[kind][i] += hit
        rows.append(counts)
    np.testing.assert_array_equal(scores.rows(), rows)
    report = scores.report()
    right, guessed, wanted = (sum(row[i] for row in rows) for i in range(3))
    assert report["f1"] == pytest.approx(2 * right / (guessed + wanted), abs=5.1e-5)
    for kind, (right, guessed, wanted) in of_label.items():
        assert report["per_label"][kind]["support"] == wanted
        assert report["per_label"][kind]["precision"] == pytest.approx(right / guessed, abs=5.1e-5)


# مدينة القائم: GPE around GPE; a span must match in exact code points and in its label
@pytest.mark.parametrize(
    ("predicted", "f1"),
    [
        ({("GPE", 0, 12), ("GPE", 6, 12), ("ORG", 15, 30)}, 1.0),
        ({("GPE", 0, 12), ("ORG", 15, 30)}, 0.8),
        ({("GPE", 0, 12), ("GPE", 5, 12), ("ORG", 15, 30)}, 0.6667),
        ({("LOC", 0, 12), ("GPE", 6, 12), ("ORG", 15, 30)}, 0.6667),
        (set(), 0.0),
    ],
)
def test_spans_are_right_in_exact_code_points_and_label(predicted: set[Entity], f1: float) -> None:
    scores = EntityScores()
    scores.add_spans({("GPE", 0, 12), ("GPE", 6, 12), ("ORG", 15, 30)}, predicted)
    assert scores.report()["f1"] == scores.report()["f1_strict"] == f1


def test_nothing_to_find_and_nothing_found_scores_nothing() -> None:
    scores = EntityScores()
    scores.add_spans(set(), set())
    report = scores.report()
    assert (report["f1"], report["ece"], report["items"]) == (0.0, None, 1)


def noisy_sentences(count: int, right: float, seed: int) -> EntityScores:
    random = np.random.default_rng(seed)
    scores = EntityScores()
    for _ in range(count):
        gold = {("GPE", 10 * i, 10 * i + 4) for i in range(int(random.integers(1, 4)))}
        found = {(kind, s, e if random.random() < right else e + 1) for kind, s, e in gold}
        scores.add_spans(gold, found)
    return scores


@pytest.mark.parametrize("right", [0.2, 0.7, 0.95])
def test_the_interval_contains_the_score_and_narrows_with_more_items(right: float) -> None:
    few, many = (noisy_sentences(count, right, seed=3).report() for count in (40, 640))
    for report in (few, many):
        low, high = report["interval"]
        assert low <= report["f1"] <= high
        assert 0 <= low < high <= 1
    widths = [report["interval"][1] - report["interval"][0] for report in (few, many)]
    assert widths[1] == pytest.approx(widths[0] / 4, rel=0.5)  # 16 times as many items


def test_the_interval_of_a_mean_is_that_of_the_normal_law() -> None:
    rows = np.random.default_rng(1).random((500, 1)) < 0.7
    low, high = bootstrap(rows.astype(float), lambda sample: float(sample.mean()))
    mean, wide = rows.mean(), 1.96 * rows.std() / np.sqrt(500)
    assert (low, high) == pytest.approx((mean - wide, mean + wide), abs=0.01)


CONFIDENCES = st.floats(0, 1) | st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0])


@given(st.lists(st.tuples(CONFIDENCES, st.booleans()), min_size=1, max_size=60))
@settings(max_examples=150)
def test_the_calibration_error_is_that_of_a_slow_count(judged: list[tuple[float, bool]]) -> None:
    error = 0.0
    for number in range(10):
        inside = [
            (c, right)
            for c, right in judged
            if number <= c * 10 < number + 1 or (number == 9 and c == 1)
        ]
        if inside:
            confidence = sum(c for c, _ in inside) / len(inside)
            accuracy = sum(right for _, right in inside) / len(inside)
            error += len(inside) / len(judged) * abs(confidence - accuracy)
    found = calibration_error([c for c, _ in judged], [right for _, right in judged])
    assert found == pytest.approx(error, abs=5.1e-5)


def test_confidences_that_come_true_have_no_calibration_error() -> None:
    right = [i % 10 < 7 for i in range(100)]
    assert calibration_error([0.7] * 100, right) == 0.0
    assert calibration_error([0.95] * 100, right) == pytest.approx(0.25)
    assert calibration_error([], []) is None


def test_of_few_items_chance_alone_shows_a_calibration_error() -> None:
    # in one bin: the mean deviation of a binomial share, about sqrt(2 c (1 - c) / (pi n))
    for items in (25, 100, 2500):
        expected = (2 * 0.75 * 0.25 / (np.pi * items)) ** 0.5
        assert calibration_by_chance([0.75] * items) == pytest.approx(expected, rel=0.2)
    assert calibration_by_chance([1.0] * 9) == 0.0 and calibration_by_chance([]) is None
    assert calibration_by_chance([0.6, 0.7, 0.9]) == calibration_by_chance([0.6, 0.7, 0.9])


LABELS = st.sampled_from(["agree", "disagree", "other"])


@given(st.lists(st.tuples(LABELS, LABELS, st.floats(0.34, 1)), min_size=1, max_size=50))
@settings(max_examples=20, deadline=None)
def test_accuracy_and_macro_f1_are_those_of_scikit_learn(
    rows: list[tuple[str, str, float]],
) -> None:
    gold, predicted, confidences = (list(column) for column in zip(*rows, strict=True))
    report = label_scores(gold, predicted, confidences)
    labels = sorted(set(gold))
    macro = sklearn_f1(gold, predicted, labels=labels, average="macro", zero_division=0)
    assert report["macro_f1"] == pytest.approx(macro, abs=5.1e-5)
    assert report["accuracy"] == pytest.approx(accuracy_score(gold, predicted), abs=5.1e-5)
    assert report["items"] == len(gold)
    assert set(report["per_label"]) == set(gold)
    for label, own in report["per_label"].items():
        right = sum(g == p == label for g, p in zip(gold, predicted, strict=True))
        assert own["support"] == gold.count(label)
        assert own["recall"] == pytest.approx(right / gold.count(label), abs=5.1e-5)
        assert own["precision"] == pytest.approx(right / max(predicted.count(label), 1), abs=5.1e-5)


def test_the_macro_interval_contains_the_macro_score() -> None:
    random = np.random.default_rng(0)
    gold = random.choice(["favor", "against", "neutral"], 300, p=[0.6, 0.3, 0.1]).tolist()
    other = random.choice(["favor", "against", "neutral"], 300).tolist()
    predicted = [g if random.random() < 0.6 else o for g, o in zip(gold, other, strict=True)]
    report = label_scores(gold, predicted, [0.6] * 300)
    for score, interval in (("macro_f1", "interval"), ("accuracy", "accuracy_interval")):
        low, high = report[interval]
        assert low < report[score] < high


def test_hits_of_evidence_are_counted_where_gold_has_any() -> None:
    scores = LabelScores(list("abab"), list("abbb"), [0.9] * 4, None, [True, None, False, True])
    report = scores.report()
    assert (report["evidence_items"], report["evidence_hit_at_1"]) == (3, 0.6667)
    some = scores.take([1, 2]).report()
    assert (some["evidence_items"], some["evidence_hit_at_1"]) == (1, 0.0)
    for without in (scores.take([1]), LabelScores(list("ab"), list("ab"), [0.9] * 2)):
        assert not any(name.startswith("evidence") for name in without.report())


def test_items_of_one_article_are_drawn_together() -> None:
    """Ten articles of ten items, each wholly right or wholly wrong, say as much as ten items do."""
    rows = np.repeat(np.arange(10) < 7, 10).astype(float)
    names = [f"a{i // 10}" for i in range(100)]
    ten = bootstrap(rows[::10], lambda drawn: float(drawn.mean()))
    assert bootstrap(rows, lambda drawn: float(drawn.mean()), articles=names) == ten
    alone = bootstrap(rows, lambda drawn: float(drawn.mean()))
    assert alone[1] - alone[0] < (ten[1] - ten[0]) / 2
    gold, found = (["x" if wanted else "y" for wanted in side] for side in (rows >= 0, rows > 0))
    low, high = LabelScores(gold, found, [0.9] * 100, articles=names).report()["accuracy_interval"]
    assert (low, high) == ten


def test_a_rare_label_that_is_always_right_has_no_interval_to_zero() -> None:
    gold = ["common"] * 98 + ["rare"] * 2
    report = LabelScores(gold, gold, [0.9] * 100).report()
    assert report["per_label"]["rare"]["interval"] == (1.0, 1.0)
    assert report["interval"] == (1.0, 1.0)
