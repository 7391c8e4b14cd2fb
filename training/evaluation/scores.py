"""Scores: entity F1 by seqeval's reading of tags, accuracy and macro F1 with their intervals,
calibration error.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import IOB2, Entities
from sklearn.metrics import precision_recall_fscore_support

from training.evaluation.intervals import Floats, bootstrap

Counts = tuple[int, int, int]  # right, predicted, gold
ECE_BINS = 10
CHANCE_DRAWS = 200


class Scores(Protocol):
    """The scores of a system on some items, kept item by item so that two systems can be paired."""

    @property
    def metric(self) -> str:
        """The name of the score: f1 or macro_f1."""
        ...

    def rows(self) -> Floats:
        """What was counted, (items, columns)."""
        ...

    def value(self, rows: Floats) -> float:
        """The metric of some of the rows, not rounded."""
        ...

    def take(self, chosen: Sequence[int]) -> Scores:
        """The scores of some of the items."""
        ...

    def report(self) -> dict[str, Any]:
        """The scores as `khabar evaluate` prints them."""
        ...


@dataclass
class EntityScores:
    """Counts of entities, item by item, from which F1 and its interval are made.

    `counts` and `strict` map a type to the (right, predicted, gold) of each item; `judged` holds
    the confidence of each predicted entity and whether it is right.
    """

    items: int = 0
    counts: dict[str, list[tuple[int, Counts]]] = field(default_factory=lambda: defaultdict(list))
    strict: dict[str, list[tuple[int, Counts]]] = field(default_factory=lambda: defaultdict(list))
    judged: list[tuple[float, bool]] = field(default_factory=list)
    metric: str = field(default="f1", init=False)

    def add_tags(self, gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> None:
        """One item: parallel BIO sequences (one for flat heads, one a type for nested ones) over
        its words.
        """
        for gold_tags, predicted_tags in zip(gold, predicted, strict=True):
            self._add(
                self.counts,
                set(get_entities(list(gold_tags))),
                set(get_entities(list(predicted_tags))),
            )
            self._add(self.strict, _strict_entities(gold_tags), _strict_entities(predicted_tags))
        self.items += 1

    def add_spans(
        self, gold: set[tuple[str, int, int]], predicted: set[tuple[str, int, int]]
    ) -> None:
        """One item: (label, start, end) of code points, which match exactly or not at all."""
        self._add(self.counts, gold, predicted)
        self._add(self.strict, gold, predicted)
        self.items += 1

    def _add(
        self,
        table: dict[str, list[tuple[int, Counts]]],
        gold: set[tuple[str, int, int]],
        predicted: set[tuple[str, int, int]],
    ) -> None:
        for label in {entity[0] for entity in gold | predicted}:
            a, b = ({e for e in found if e[0] == label} for found in (gold, predicted))
            table[label].append((self.items, (len(a & b), len(b), len(a))))

    def rows(self) -> Floats:
        """(right, predicted, gold) of each item, all types together, (items, 3)."""
        return self._per_item(self.counts)

    def value(self, rows: Floats) -> float:
        """F1 of some rows; 0 where there is nothing to find."""
        right, predicted, gold = rows.sum(axis=0)
        return float(2 * right / max(predicted + gold, 1))

    def take(self, chosen: Sequence[int]) -> EntityScores:
        """The counts of some items, in that order; what was judged of confidence stays behind."""
        places = {item: i for i, item in enumerate(chosen)}
        taken = EntityScores(items=len(places))
        for table, mine in ((self.counts, taken.counts), (self.strict, taken.strict)):
            for label, rows in table.items():
                mine[label] = [(places[item], c) for item, c in rows if item in places]
        return taken

    def report(self) -> dict[str, Any]:
        """The scores as `khabar evaluate` prints them."""
        per_item = self.rows()
        strict = self._per_item(self.strict).sum(axis=0)
        precision, recall, f1 = f1_of(per_item.sum(axis=0))
        per_label = {}
        for label in sorted(self.counts):
            rows = self._per_item({label: self.counts[label]})
            total = rows.sum(axis=0)
            p, r, f = f1_of(total)
            per_label[label] = {
                "precision": p,
                "recall": r,
                "f1": f,
                "support": int(total[2]),
                "interval": bootstrap(rows, _f1_of_rows),
            }
        return {
            "items": self.items,
            "f1": f1,
            "f1_strict": f1_of(strict)[2],
            "precision": precision,
            "recall": recall,
            "per_label": per_label,
            "interval": bootstrap(per_item, _f1_of_rows),
            **calibration([c for c, _ in self.judged], [right for _, right in self.judged]),
        }

    def _per_item(self, table: dict[str, list[tuple[int, Counts]]]) -> Floats:
        """Counts of all types an item, (items, 3)."""
        array = np.zeros((max(self.items, 1), 3))
        for rows in table.values():
            for item, counts in rows:
                array[item] += counts
        return array


def _strict_entities(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    """Entities by seqeval's strict IOB2 reading: what begins without B- is none. Ends are
    inclusive, as above.
    """
    found = Entities([list(tags)], scheme=IOB2).entities[0]
    return {(entity.tag, entity.start, entity.end - 1) for entity in found}


def f1_of(counts: Floats) -> tuple[float, float, float]:
    """Precision, recall and F1 of (right, predicted, gold); 0 where nothing can be right."""
    right, predicted, gold = (float(value) for value in counts)
    precision = right / predicted if predicted else 0.0
    recall = right / gold if gold else 0.0
    f1 = 2 * right / (predicted + gold) if predicted + gold else 0.0
    return round(precision, 4), round(recall, 4), round(f1, 4)


def _f1_of_rows(rows: Floats) -> float:
    """The F1 of counts by item, (items, 3)."""
    return f1_of(rows.sum(axis=0))[2]


def calibration_error(confidences: Sequence[float], right: Sequence[bool]) -> float | None:
    """Expected calibration error in ten equal bins (Guo et al. 2017); None where nothing was
    predicted.
    """
    if not confidences:
        return None
    return round(_binned_gap(np.asarray(confidences), np.asarray(right)), 4)


def _binned_gap(confidences: Floats, right: npt.NDArray[np.bool_]) -> float:
    """The mean gap, weighted by items, between the confidences of a bin and what is right in it."""
    bins = np.minimum((confidences * ECE_BINS).astype(int), ECE_BINS - 1)
    gaps = np.bincount(bins, weights=confidences - right, minlength=ECE_BINS)
    return float(np.abs(gaps).sum() / len(confidences))


def calibration_by_chance(confidences: Sequence[float]) -> float | None:
    """The calibration error that a system shows whose confidences are true, on as many items: the
    mean of 200 draws of what would be right. Of few items it is far from zero, and an error below
    it says nothing against a system.
    """
    if not confidences:
        return None
    rng = np.random.default_rng(0)
    c = np.asarray(confidences)
    draws = [_binned_gap(c, rng.random(len(c)) < c) for _ in range(CHANCE_DRAWS)]
    return round(float(np.mean(draws)), 4)


def calibration(confidences: Sequence[float], right: Sequence[bool]) -> dict[str, float | None]:
    """The calibration error of answers, beside what chance alone would show."""
    return {
        "ece": calibration_error(confidences, right),
        "ece_by_chance": calibration_by_chance(confidences),
    }


@dataclass(frozen=True)
class LabelScores:
    """One label an item: gold, predicted, and the confidence of what was predicted.

    `skipped` counts items that had no gold for the task; None leaves it out of the report. `hits`
    says of each item whether the surest evidence overlaps that in gold, None where gold has none,
    `articles` which article it is asked of, where that is told.
    """

    gold: Sequence[str]
    predicted: Sequence[str]
    confidences: Sequence[float]
    skipped: int | None = None
    hits: Sequence[bool | None] = ()
    articles: Sequence[str | None] = ()
    metric: str = field(default="macro_f1", init=False)

    def rows(self) -> Floats:
        """(gold, predicted) of each item as numbers of the gold labels, -1 for any other, (items,
        2).
        """
        index = {label: i for i, label in enumerate(sorted(set(self.gold)))}
        return np.array(
            [(index[g], index.get(p, -1)) for g, p in zip(self.gold, self.predicted, strict=True)]
        )

    def value(self, rows: Floats) -> float:
        """Macro F1 of some rows, over the labels that occur in their gold."""
        return _macro_f1(rows, len(set(self.gold)))

    def take(self, chosen: Sequence[int]) -> LabelScores:
        """The labels of some items, in that order."""
        return LabelScores(
            [self.gold[i] for i in chosen],
            [self.predicted[i] for i in chosen],
            [self.confidences[i] for i in chosen],
            self.skipped,
            [self.hits[i] for i in chosen] if self.hits else (),
            [self.articles[i] for i in chosen] if self.articles else (),
        )

    def report(self) -> dict[str, Any]:
        """Accuracy and macro F1 over the labels that occur in gold, per label, with intervals and
        calibration error.
        """
        labels, pairs = sorted(set(self.gold)), self.rows()
        interval = partial(bootstrap, articles=self.articles)
        columns = precision_recall_fscore_support(
            self.gold, self.predicted, labels=labels, zero_division=0
        )
        per_label = {
            label: {
                "precision": round(float(p), 4),
                "recall": round(float(r), 4),
                "f1": round(float(f), 4),
                "support": int(n),
                "interval": interval(pairs, partial(_label_f1, label=i)),
            }
            for i, (label, p, r, f, n) in enumerate(zip(labels, *columns, strict=True))
        }
        right = pairs[:, 0] == pairs[:, 1]
        report = {
            "items": len(self.gold),
            "accuracy": round(float(right.mean()), 4),
            "macro_f1": round(float(np.mean(columns[2])), 4),
            "per_label": per_label,
            "interval": interval(pairs, self.value),
            "accuracy_interval": interval(
                pairs, lambda rows: float((rows[:, 0] == rows[:, 1]).mean())
            ),
            **calibration(self.confidences, right.tolist()),
        }
        report |= self._evidence()
        return report if self.skipped is None else {**report, "skipped": self.skipped}

    def _evidence(self) -> dict[str, Any]:
        """How often the surest evidence is right (hit@1), of the items that have evidence in gold;
        an answer without any misses.
        """
        asked = [i for i, hit in enumerate(self.hits) if hit is not None]
        if not asked:
            return {}
        hits = np.array([self.hits[i] for i in asked], dtype=float)
        articles = [self.articles[i] for i in asked] if self.articles else ()
        return {
            "evidence_items": len(hits),
            "evidence_hit_at_1": round(float(hits.mean()), 4),
            "evidence_interval": bootstrap(
                hits, lambda rows: float(rows.mean()), articles=articles
            ),
        }


def label_scores(
    gold: Sequence[str], predicted: Sequence[str], confidences: Sequence[float]
) -> dict[str, Any]:
    """The report of `LabelScores`."""
    return LabelScores(gold, predicted, confidences).report()


def _macro_f1(pairs: Floats, labels: int) -> float:
    """The mean F1 of the labels that occur in gold, of (items, 2: gold, predicted)."""
    return float(np.nanmean([_label_f1(pairs, label) for label in range(labels)]))


def _label_f1(pairs: Floats, label: int) -> float:
    """The F1 of one label, of (items, 2: gold, predicted); nan where gold does not have it."""
    gold, predicted = pairs[:, 0] == label, pairs[:, 1] == label
    if not gold.any():
        return float("nan")
    return float(2 * (gold & predicted).sum() / (gold.sum() + predicted.sum()))
