"""Batches of one head each, of like length, within a token budget; the whole training is planned
beforehand.

A plan that is fixed before the first step makes the number of steps exact and a resumed run
identical.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from serving.bundle import Head
from serving.windows import token_batches
from training.examples import IGNORED


@dataclass(frozen=True, slots=True)
class SourceExamples:
    """The examples of one source by their place in the dataset; `classes` gives the label of each,
    for pooled heads.
    """

    head: str
    rows: Sequence[int]
    passes: int
    per_class: int | None = None
    classes: Sequence[int] = ()

    def draw(self, rng: random.Random) -> list[int]:
        """The rows of one epoch: all of them `passes` times, or `per_class` of each class."""
        if self.per_class is None:
            return list(self.rows) * self.passes
        by_class: dict[int, list[int]] = defaultdict(list)
        for row, label in zip(self.rows, self.classes, strict=True):
            by_class[label].append(row)
        return [
            row
            for label in sorted(by_class)
            for row in rng.sample(by_class[label], min(self.per_class, len(by_class[label])))
        ]


class PlannedBatches:
    """A batch sampler over all epochs: lists of dataset rows, every list of one head."""

    def __init__(
        self,
        sources: Sequence[SourceExamples],
        lengths: Sequence[int],
        epochs: int,
        max_tokens: int,
        seed: int,
    ) -> None:
        self.batches: list[list[int]] = []
        self.epoch_ends: list[int] = []
        for epoch in range(epochs):
            rng = random.Random(f"{seed}-{epoch}")
            self.batches.extend(_epoch(sources, lengths, max_tokens, rng))
            self.epoch_ends.append(len(self.batches))

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)


def _epoch(
    sources: Sequence[SourceExamples], lengths: Sequence[int], max_tokens: int, rng: random.Random
) -> list[list[int]]:
    by_head: dict[str, list[int]] = defaultdict(list)
    for source in sources:
        by_head[source.head].extend(source.draw(rng))
    batches = []
    for head in sorted(by_head):
        rows = by_head[head]
        rng.shuffle(rows)
        # a little noise in the length keeps the same sentences from always meeting
        noisy = [round(lengths[row] * rng.uniform(0.9, 1.1)) + 1 for row in rows]
        batches.extend([rows[i] for i in batch] for batch in token_batches(noisy, max_tokens))
    rng.shuffle(batches)
    return batches


class Collator:
    """Examples of one head to tensors: pieces padded, labels as (batch, pieces, columns) or
    (batch,).
    """

    def __init__(self, heads: Sequence[Head], pad: int) -> None:
        self.heads = {head.name: (i, head) for i, head in enumerate(heads)}
        self.pad = pad

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """The tensors of one batch."""
        index, head = self.heads[rows[0]["head"]]
        longest = max(len(row["input_ids"]) for row in rows)
        return {
            "input_ids": _pad([row["input_ids"] for row in rows], longest, self.pad),
            "attention_mask": _pad([[1] * len(row["input_ids"]) for row in rows], longest, 0),
            "segments": _pad([row["segments"] for row in rows], longest, 0),
            "head_index": torch.tensor(index),
            "labels": self._labels(rows, head, longest),
        }

    def _labels(self, rows: Sequence[dict[str, Any]], head: Head, longest: int) -> Tensor:
        if head.kind in ("text", "pair"):
            return torch.tensor([row["labels"][0] for row in rows])
        columns = len(head.labels) if head.kind == "nested" else 1
        return _pad([row["labels"] for row in rows], longest * columns, IGNORED)


def _pad(rows: Sequence[Sequence[int]], length: int, value: int) -> Tensor:
    return torch.tensor([[*row, *[value] * (length - len(row))] for row in rows])
