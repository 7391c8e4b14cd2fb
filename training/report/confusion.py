"""What is taken for what: gold and predicted entities paired, and the matrices of a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from annotations.schema import Span

Outcome = Literal["right", "type", "boundary", "missed", "invented"]
BOUNDARY, MISSED, INVENTED = "boundary", "missed", "invented"

DEFINITION = (
    "A gold entity and a prediction are paired when they cover the same characters, with the same "
    "type (right) or another one (its cell). Those left over are paired when they overlap, the "
    "longest overlap first and the same type before others: the gold entity counts as boundary, "
    "the prediction as found. What stays alone is missed (gold) or invented (predicted). A row "
    "adds up to the gold entities of its type."
)


@dataclass(frozen=True, slots=True)
class Pair:
    """A gold entity, a prediction, or both where they belong together."""

    gold: Span | None
    predicted: Span | None

    @property
    def outcome(self) -> Outcome:
        """What became of it; see `DEFINITION`."""
        if self.predicted is None:
            return "missed"
        if self.gold is None:
            return "invented"
        if (self.gold.start, self.gold.end) != (self.predicted.start, self.predicted.end):
            return "boundary"
        return "right" if self.gold.label == self.predicted.label else "type"


@dataclass(frozen=True)
class Matrix:
    """Counts (rows, columns): gold by predicted label."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


def pair_spans(gold: Sequence[Span], predicted: Sequence[Span]) -> list[Pair]:
    """All gold and predicted entities of a text, each in one pair; see `DEFINITION`."""
    left, right = list(gold), list(predicted)
    pairs: list[Pair] = []

    def take(a: Span, b: Span) -> None:
        pairs.append(Pair(a, b))
        left.remove(a)
        right.remove(b)

    for span in [span for span in left if span in right]:
        take(span, span)
    for a in list(left):
        for b in right:
            if (a.start, a.end) == (b.start, b.end):
                take(a, b)
                break
    near = [(_overlap(a, b), a.label == b.label, a, b) for a in left for b in right]
    for shared, _, a, b in sorted(near, key=lambda row: (-row[0], not row[1])):
        if shared > 0 and a in left and b in right:
            take(a, b)
    return pairs + [Pair(a, None) for a in left] + [Pair(None, b) for b in right]


def _overlap(a: Span, b: Span) -> int:
    return min(a.end, b.end) - max(a.start, b.start)


def entity_matrix(texts: Iterable[tuple[Sequence[Span], Sequence[Span]]]) -> Matrix:
    """The confusion of entity types over (gold, predicted) of texts.

    Beside the types the rows end in `invented`, the columns in `boundary` and `missed`; types in
    the order of their gold counts.
    """
    cells: Counter[tuple[str, str]] = Counter()
    for gold, predicted in texts:
        for pair in pair_spans(gold, predicted):
            row = pair.gold.label if pair.gold else INVENTED
            column = pair.predicted.label if pair.predicted else MISSED
            cells[row, BOUNDARY if pair.outcome == "boundary" else column] += 1
    totals: Counter[str] = Counter()
    for (row, column), count in cells.items():
        totals[row] += count
        totals[column] += 0
    special = {INVENTED, MISSED, BOUNDARY}
    types = sorted(set(totals) - special, key=lambda label: (-totals[label], label))
    rows, columns = (*types, INVENTED), (*types, BOUNDARY, MISSED)
    return _matrix(rows, columns, cells)


def label_matrix(labels: Sequence[str], pairs: Iterable[tuple[str, str]]) -> Matrix:
    """The confusion of labels over (gold, predicted), in the order of `labels`; others follow."""
    cells = Counter(pairs)
    used = {label for pair in cells for label in pair}
    names = (*(label for label in labels if label in used), *sorted(used - set(labels)))
    return _matrix(names, names, cells)


def _matrix(rows: Sequence[str], columns: Sequence[str], cells: Counter[tuple[str, str]]) -> Matrix:
    counts = tuple(tuple(cells[row, column] for column in columns) for row in rows)
    return Matrix(tuple(rows), tuple(columns), counts)
