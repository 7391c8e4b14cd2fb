"""Batches of one head each, of like length, within a token budget; the whole training is planned
beforehand.

A plan that is fixed before the first step makes the number of steps exact and a resumed run
identical.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from serving.bundle import Head
from serving.windows import token_batches
from training.examples import IGNORED

Unknown = dict[tuple[str, str], Tensor]  # by head and source


@dataclass(frozen=True, slots=True)
class SourceExamples:
    """The examples of one source by their place in the dataset; `classes` gives the label of each,
    for pooled heads.
    """

    head: str
    rows: Sequence[int]
    passes: float
    per_class: int | None = None
    classes: Sequence[int] = ()

    def draw(self, rng: random.Random) -> list[int]:
        """The rows of one epoch: all of them `passes` times, or `per_class` of each class."""
        if self.per_class is None:
            return drawn(self.rows, round(len(self.rows) * self.passes), rng)
        by_class: dict[int, list[int]] = defaultdict(list)
        for row, label in zip(self.rows, self.classes, strict=True):
            by_class[label].append(row)
        return [
            row
            for label in sorted(by_class)
            for row in rng.sample(by_class[label], min(self.per_class, len(by_class[label])))
        ]


def drawn(rows: Sequence[int], count: int, rng: random.Random) -> list[int]:
    """`count` of the rows: each as often as it goes, the rest drawn without replacement."""
    if not rows:
        return []
    whole, rest = divmod(count, len(rows))
    return list(rows) * whole + rng.sample(list(rows), rest)


def levelled(sizes: Sequence[int], temperature: float) -> list[int]:
    """How many examples each source gives, of as many in all: shares go with
    size^(1/temperature) (Arivazhagan et al. 2019).
    """
    powers = [size ** (1 / temperature) for size in sizes]
    return [round(sum(sizes) * power / max(sum(powers), 1e-9)) for power in powers]


class PlannedBatches:
    """A batch sampler over all epochs: lists of dataset rows, every list of one head; `heads` are
    those that have any, and `late` those whose first comes after `max_steps`.

    Of `processes` that train side by side, each takes its `rank`-th batch of every step; the last
    step is filled up from the first batches.
    """

    def __init__(
        self,
        sources: Sequence[SourceExamples],
        lengths: Sequence[int],
        epochs: int,
        max_tokens: int,
        seed: int,
        temperature: float = 1.0,
        max_steps: int | None = None,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        every: list[list[int]] = []
        self.epoch_ends: list[int] = []  # in steps
        for epoch in range(epochs):
            rng = random.Random(f"{seed}-{epoch}")
            planned = _epoch(sources, lengths, max_tokens, rng, temperature)
            if not planned:
                break
            planned += [planned[i % len(planned)] for i in range(-len(planned) % processes)]
            every.extend(planned)
            self.epoch_ends.append(len(every) // processes)
        self.heads = _heads(sources, every)
        if max_steps is not None and max_steps * processes < len(every):
            every = every[: max_steps * processes]
            self.epoch_ends = [end for end in self.epoch_ends if end < max_steps] + [max_steps]
        self.batches = every[rank::processes]
        self.late = self.heads - _heads(sources, every)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)

    def epoch_of(self, step: int) -> float:
        """How many epochs are done after a step."""
        whole = bisect_right(self.epoch_ends, step)
        if whole == len(self.epoch_ends):
            return float(whole)
        begin = self.epoch_ends[whole - 1] if whole else 0
        return whole + (step - begin) / (self.epoch_ends[whole] - begin)


def _heads(sources: Sequence[SourceExamples], batches: Sequence[Sequence[int]]) -> set[str]:
    """The heads that have one of these batches, each of which is of one head."""
    return {source.head for source in sources if any(batch[0] in source.rows for batch in batches)}


def _epoch(
    sources: Sequence[SourceExamples],
    lengths: Sequence[int],
    max_tokens: int,
    rng: random.Random,
    temperature: float,
) -> list[list[int]]:
    draws = [source.draw(rng) for source in sources]
    if temperature != 1:
        sizes = levelled([len(rows) for rows in draws], temperature)
        draws = [drawn(rows, size, rng) for rows, size in zip(draws, sizes, strict=True)]
    by_head: dict[str, list[int]] = defaultdict(list)
    for source, rows in zip(sources, draws, strict=True):
        by_head[source.head].extend(rows)
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

    `unknown` maps a flat head and a source to the classes, (classes,), that a word may have where
    the source annotates none; its batches bring them along as (batch * pieces, classes). Batches
    with examples of teachers bring along `shares`, (batch * pieces, columns, classes).
    """

    def __init__(self, heads: Sequence[Head], pad: int, unknown: Unknown | None = None) -> None:
        self.heads = {head.name: (i, head) for i, head in enumerate(heads)}
        self.pad = pad
        self.unknown = unknown or {}

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """The tensors of one batch."""
        index, head = self.heads[rows[0]["head"]]
        longest = max(len(row["input_ids"]) for row in rows)
        batch = {
            "input_ids": _pad([row["input_ids"] for row in rows], longest, self.pad),
            "attention_mask": _pad([[1] * len(row["input_ids"]) for row in rows], longest, 0),
            "segments": _pad([row["segments"] for row in rows], longest, 0),
            "head_index": torch.tensor(index),
            "labels": self._labels(rows, head, longest),
        }
        if any((head.name, row["source"]) in self.unknown for row in rows):
            outside = torch.arange(head.width) == 0  # for whole sources, which have no such word
            masks = [self.unknown.get((head.name, row["source"]), outside) for row in rows]
            batch["unknown"] = torch.stack(masks).repeat_interleave(longest, dim=0)
        if any(row["shares"] for row in rows):
            batch["shares"] = self._shares(rows, head, longest)
        return batch

    def _labels(self, rows: Sequence[dict[str, Any]], head: Head, longest: int) -> Tensor:
        if head.kind in ("text", "pair"):
            return torch.tensor([row["labels"][0] for row in rows])
        return _pad([row["labels"] for row in rows], longest * head.columns, IGNORED)

    def _shares(self, rows: Sequence[dict[str, Any]], head: Head, longest: int) -> Tensor:
        shape = head.columns, head.width // head.columns
        padded = np.zeros((len(rows), longest, *shape), np.float32)
        for padded_row, row in zip(padded, rows, strict=True):
            said = np.frombuffer(row["shares"], np.uint8).reshape(-1, *shape)
            padded_row[: len(said)] = said
        total = padded.sum(-1, keepdims=True)  # rounding leaves a little more or less than 255
        return torch.from_numpy(padded / np.maximum(total, 1)).flatten(0, 1)


def _pad(rows: Sequence[Sequence[int]], length: int, value: int) -> Tensor:
    return torch.tensor([[*row, *[value] * (length - len(row))] for row in rows])
