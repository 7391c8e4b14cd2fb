"""The gate of the export: what a head loses by int8, on the items of its development splits.

Both models answer through serving's own pipeline, item by item, so that the loss is paired. Tags of
nested heads depend on their chain and labels on their biases and temperature; both models have the
same.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from serving.tagger import Tagger
from training.evaluation.development import DevSet, dev_sets, log_row
from training.evaluation.intervals import paired_bootstrap
from training.evaluation.scores import Scores
from training.export.quantisation import ExportError
from training.settings import Recipe
from training.splits import every_nth

log = logging.getLogger(__name__)
MOST_ITEMS = 300  # of a split that the fp32 model is asked: it takes three times as long


@dataclass(frozen=True, slots=True)
class HeadLoss:
    """What a head loses by int8 on a development split.

    `fp32` and `int8` are the scores on the same `items`, of `total` that the split has; `interval`
    is the 95 % interval of their difference by the paired bootstrap.
    """

    head: str
    split: str
    metric: str
    items: int
    total: int
    fp32: float
    int8: float
    interval: tuple[float, float]

    @property
    def points(self) -> float:
        """The loss in points, hundredths of the score; negative where int8 scores better."""
        return 100 * (self.fp32 - self.int8)

    def excessive(self, max_points: float) -> bool:
        """Whether the loss is larger than allowed and the interval excludes zero."""
        return self.points > max_points and self.interval[0] > 0

    def to_dict(self) -> dict[str, Any]:
        """The loss for JSON and the card; `loss` is in the units of the scores."""
        return {**asdict(self), "loss": round(self.fp32 - self.int8, 4)}

    def __str__(self) -> str:
        low, high = (100 * end for end in self.interval)
        return (
            f"head {self.head!r} loses {self.points:.2f} points of {self.metric} by int8 on "
            f"{self.split} ({self.fp32:.4f} to {self.int8:.4f}; 95 % interval {low:.2f} to "
            f"{high:.2f}; {self.items} of {self.total} items)"
        )


def int8_losses(
    fp32: Tagger, int8: Tagger, recipe: Recipe, most_items: int = MOST_ITEMS
) -> tuple[list[HeadLoss], list[dict[str, Any]]]:
    """The loss on each development split of a recipe's sources, and the scores of int8 on whole
    splits as `evaluate_heads` gives them: int8 is asked once.

    fp32 is asked every n-th item, such that there are at most `most_items`.
    """
    losses, rows = [], []
    for dev, scores, loss in _measured(fp32, int8, recipe, most_items):
        rows.append(dev.row(scores))
        losses.append(loss)
        log_row(rows[-1])
        log.info("%s", loss)
    return losses, rows


def _measured(
    fp32: Tagger, int8: Tagger, recipe: Recipe, most_items: int
) -> Iterator[tuple[DevSet, Scores, HeadLoss]]:
    for dev in dev_sets(int8, recipe):
        scores = dev.questions.scores(int8)
        chosen = every_nth(len(dev.questions), most_items)
        loss = head_loss(
            dev, dev.questions.scores(fp32, chosen), scores.take(chosen), len(dev.questions)
        )
        yield dev, scores, loss


def head_loss(dev: DevSet, fp32: Scores, int8: Scores, total: int) -> HeadLoss:
    """The paired loss of a head; both scores are of the same items in the same order."""
    first, second = fp32.rows(), int8.rows()
    return HeadLoss(
        dev.head,
        dev.split.name,
        fp32.metric,
        len(first),
        total,
        round(fp32.value(first), 4),
        round(int8.value(second), 4),
        paired_bootstrap(first, second, fp32.value),
    )


def check(losses: Sequence[HeadLoss], max_points: float, allow: bool) -> None:
    """Refuse an export that loses too much, naming head, split, loss and interval; with `allow` it
    is only said.
    """
    found = [loss for loss in losses if loss.excessive(max_points)]
    if not found:
        return
    said = "; ".join(str(loss) for loss in found)
    if allow:
        log.warning("allowed: %s", said)
        return
    raise ExportError(
        f"{said}: more than {max_points} points, and not by chance; export with --allow-loss, take "
        "another export.quantisation, or train on (the checkpoint is kept)"
    )
