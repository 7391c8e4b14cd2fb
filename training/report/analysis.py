"""The numbers of a report, from the answers of a bundle: scores by length, source and novelty of
names, and reliability.

Intervals are 95 % bootstrap intervals over items.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import f1_score

from annotations.clitics import NameLexicon
from annotations.schema import Span
from annotations.text import words
from training.evaluation.development import taught
from training.evaluation.intervals import bootstrap
from training.evaluation.novelty import Known, surface_key
from training.evaluation.scores import ECE_BINS, calibration_error, f1_of
from training.leakage import HeldOut
from training.preparation import recipe_heads
from training.report.answers import Answers, EntityItem, LabelItem
from training.settings import Recipe
from training.source_documents import training_documents

Floats = npt.NDArray[np.float64]
Item = EntityItem | LabelItem
Seen = Callable[[str, Span], bool]

SEEN_DEFINITION = (
    "An entity is seen when its surface occurs as an entity, of whatever type, in the documents "
    "that this run taught the same head. Surfaces are compared without diacritics, tatweel, "
    "attached clitics and the hamza of alef. Recall counts gold entities, precision predictions."
)


@dataclass(frozen=True, slots=True)
class Score:
    """A score of some items: F1 of `support` gold entities, or accuracy of as many items."""

    name: str
    items: int
    support: int
    value: float
    interval: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers of like confidence, [low, high): how many, their mean confidence, how many are
    right.
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Reliability:
    """Ten bins and the expected calibration error (Guo et al. 2017); empty bins are left out."""

    count: int
    ece: float | None
    bins: tuple[Bin, ...]


def headline(answers: Answers) -> float:
    """The score by which a split is known: micro F1 of entities, macro F1 of labels in gold.

    It is counted here anew; where no item was left out it is the score in the bundle.
    """
    if answers.entities:
        return f1_of(_counts(answers.entities).sum(axis=0))[2]
    gold = [item.gold for item in answers.labelled]
    predicted = [item.predicted for item in answers.labelled]
    macro = f1_score(gold, predicted, labels=sorted(set(gold)), average="macro", zero_division=0)
    return round(float(macro), 4)


def score(
    name: str, items: Sequence[Item], seen: Callable[[str, Span], bool] | None = None
) -> Score:
    """F1 of entities (of those that `seen` lets pass), or accuracy of labels."""
    entities = [item for item in items if isinstance(item, EntityItem)]
    if entities:
        rows = _counts(entities, seen)
        total = rows.sum(axis=0)
        return Score(
            name,
            len(entities),
            int(total[2]),
            f1_of(total)[2],
            bootstrap(rows, lambda drawn: f1_of(drawn.sum(axis=0))[2]),
        )
    right = np.array([i.gold == i.predicted for i in items if isinstance(i, LabelItem)], float)
    interval = bootstrap(right, lambda drawn: float(drawn.mean()))
    return Score(name, len(right), len(right), round(float(right.mean()), 4), interval)


def _counts(items: Sequence[EntityItem], keep: Seen | None = None) -> Floats:
    """(right, predicted, gold) of each item, (items, 3)."""
    rows = np.zeros((len(items), 3))
    for row, item in zip(rows, items, strict=True):
        gold = {span for span in item.gold if keep is None or keep(item.text, span)}
        found = {s.span for s in item.predicted if keep is None or keep(item.text, s.span)}
        row[:] = len(gold & found), len(found), len(gold)
    return rows


def by_length(items: Sequence[Item]) -> list[Score]:
    """The scores of the shorter, middle and longer third of the items, by their words.

    Items of one length stay together; where most are of one length there are fewer parts.
    """
    lengths = np.array([len(words(item.text)) for item in items])
    edges = sorted(
        {int(np.quantile(lengths, share, method="lower")) for share in (1 / 3, 2 / 3, 1)}
    )
    found, low = [], int(lengths.min())
    for high in edges:
        part = [i for i, n in zip(items, lengths, strict=True) if low <= n <= high]
        name = f"{low} to {high}" if low < high else str(high)
        if part:
            found.append(score(name, part))
        low = high + 1
    return found


def by_source(items: Sequence[Item]) -> list[Score]:
    """The scores by the source that documents carry; the name is empty where they carry none."""
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.source or "", []).append(item)
    return [score(source, group) for source, group in sorted(groups.items())]


def train_surfaces(
    recipe: Recipe, head: str, lexicon: NameLexicon, held_out: HeldOut
) -> Counter[str]:
    """How often each surface is an entity in the documents that a recipe teaches a head, each read
    once and as it was written.
    """
    heads = {one.name: one for one in recipe_heads(recipe)}
    counts: Counter[str] = Counter()
    for source in (one for one in recipe.sources if one.head == head and one.passes):
        as_written = source.model_copy(update={"variants": None})
        documents, _ = training_documents(recipe, as_written, heads[head], held_out)
        for document in taught(documents, source, heads[head]):
            counts.update(
                surface_key(document.text, span, lexicon) for span in document.entities or ()
            )
    return counts


def by_novelty(
    items: Sequence[EntityItem], surfaces: Iterable[str], lexicon: NameLexicon
) -> tuple[Score, Score]:
    """The scores of entities that the training data holds, and of those it does not."""
    known = Known(frozenset(surfaces), lexicon)
    return (
        score("seen in training", items, known.holds),
        score("unseen", items, lambda text, span: not known.holds(text, span)),
    )


def reliability(items: Sequence[Item]) -> tuple[Reliability, Reliability]:
    """Before calibration, and after."""
    before, after = [], []
    for item in items:
        if isinstance(item, EntityItem):
            gold = set(item.gold)
            before += [(s.before, s.span in gold) for s in item.predicted]
            after += [(s.confidence, s.span in gold) for s in item.predicted]
        else:
            before.append((item.before[1], item.before[0] == item.gold))
            after.append((item.confidence, item.predicted == item.gold))
    return reliability_of(before), reliability_of(after)


def reliability_of(judged: Sequence[tuple[float, bool]]) -> Reliability:
    """The reliability of (confidence, whether it was right)."""
    groups: dict[int, list[tuple[float, bool]]] = {}
    for confidence, right in judged:
        place = min(int(confidence * ECE_BINS), ECE_BINS - 1)
        groups.setdefault(place, []).append((confidence, right))
    bins = tuple(
        Bin(
            place / ECE_BINS,
            (place + 1) / ECE_BINS,
            len(found),
            round(float(np.mean([c for c, _ in found])), 4),
            round(float(np.mean([right for _, right in found])), 4),
        )
        for place, found in sorted(groups.items())
    )
    ece = calibration_error([c for c, _ in judged], [right for _, right in judged])
    return Reliability(len(judged), ece, bins)
