"""The chain of a nested head, fitted on what the exported model says of held-out documents.

The few scores of `serving.chain.Transitions` are shared by all types, so that some hundreds of
documents are enough; the encoder and its head stay as they are.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from annotations.schema import Document
from serving.bundle import Head
from serving.chain import NEVER, B, O, Transitions, stretches
from serving.decoding import log_softmax
from serving.tagger import Tagger
from training.examples import Losses, word_tags

log = logging.getLogger(__name__)
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
MIN_ENTITIES = 50  # fewer say nothing of how tags follow each other
STEPS = 60  # of L-BFGS, more than it takes
RIDGE = 0.01
PARTING = 0.999  # the probability of O from which a word parts stretches to fit on
QUIET = 0.99  # and that from which it does so in serving: a fit on such shorter ones reads worse


@dataclass(frozen=True)
class Stretch:
    """Some consecutive words of a text under one type, with an O or the end of the text on either
    side; `log_probs` is (words, 3: O B I), `gold` (words,).
    """

    log_probs: Floats
    gold: Ints
    begins: bool
    ends: bool


def fit_transitions(tagger: Tagger, head: Head, documents: Sequence[Document]) -> Head:
    """A nested head with the chain that makes the gold of documents likeliest, under the scores of
    the tagger's model; with too little gold as it is.
    """
    found = list(_stretches(tagger, head, documents))
    entities = sum(int((one.gold == B).sum()) for one in found)
    if entities < MIN_ENTITIES:
        log.warning("%s: %d entities, too few for a chain of tags", head.name, entities)
        return head
    chain = _fitted(found)
    log.info("%s: a chain of tags fitted on %d entities: %s", head.name, entities, chain)
    return head.model_copy(update={"transitions": chain})


def _stretches(tagger: Tagger, head: Head, documents: Sequence[Document]) -> Iterator[Stretch]:
    """What of the documents is not plainly outside, one type after the other."""
    losses = Losses(Counter())
    for document in documents:
        reading = tagger.reader.read(document.text)
        if not len(reading.word_index):
            continue
        tags = word_tags(reading.encoded, document.entities or (), head, losses)
        gold = tags[reading.word_index]
        scores = log_softmax(reading.words[head.name].reshape(*gold.shape, 3))
        loud = (scores[:, :, O] < np.log(PARTING)) | (gold != O)
        for column, start, end in stretches(loud.T):
            begins, ends = start == 0, end == len(gold)
            yield Stretch(scores[start:end, column], gold[start:end, column], begins, ends)


def _fitted(stretches: Sequence[Stretch]) -> Transitions:
    """The likeliest chain, by L-BFGS on the log likelihood with a small ridge."""
    batch = _Batch.of(stretches)
    weights = torch.zeros(11, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = batch.loss(weights) + RIDGE * (weights**2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call, arg-type]
    found = [round(value, 4) for value in weights.tolist()]
    return Transitions(
        emission=round(float(np.exp(found[0])), 4),
        begin=(found[1], found[2]),
        after_o=(found[3], found[4]),
        after_b=(found[5], found[6], found[7]),
        after_i=(found[8], found[9], found[10]),
        quiet=QUIET,
    )


@dataclass(frozen=True)
class _Batch:
    """Stretches side by side: `scores` (stretches, words, 3: O B I), `gold` and `there` (stretches,
    words), `begins` and `ends` (stretches,).
    """

    scores: Tensor
    gold: Tensor
    there: Tensor
    begins: Tensor
    ends: Tensor

    @classmethod
    def of(cls, stretches: Sequence[Stretch]) -> _Batch:
        longest = max(len(one.gold) for one in stretches)
        scores = torch.zeros(len(stretches), longest, 3, dtype=torch.float64)
        gold = torch.zeros(len(stretches), longest, dtype=torch.long)
        there = torch.zeros(len(stretches), longest, dtype=torch.bool)
        for i, one in enumerate(stretches):
            scores[i, : len(one.gold)] = torch.from_numpy(one.log_probs)
            gold[i, : len(one.gold)] = torch.from_numpy(one.gold)
            there[i, : len(one.gold)] = True
        return cls(
            scores,
            gold,
            there,
            torch.tensor([one.begins for one in stretches]),
            torch.tensor([one.ends for one in stretches]),
        )

    def loss(self, weights: Tensor) -> Tensor:
        """The negative log likelihood of the gold; `weights` are log emission, begin, after."""
        never = torch.full((1,), NEVER, dtype=torch.float64)
        table = torch.stack([torch.cat([weights[3:5], never]), weights[5:8], weights[8:11]])
        opening = torch.cat([weights[1:3], never])
        scores = weights[0].exp() * self.scores
        outside = torch.where(self.begins[:, None], opening, table[0])
        closing = torch.where(self.ends[:, None], torch.zeros(()).double(), table[:, 0])
        sums = outside + scores[:, 0]
        gold = _at(outside, self.gold[:, 0]) + _at(scores[:, 0], self.gold[:, 0])
        for i in range(1, scores.shape[1]):
            here = self.there[:, i]
            onward = torch.logsumexp(sums[:, :, None] + table, 1) + scores[:, i]
            sums = torch.where(here[:, None], onward, sums)
            step = table[self.gold[:, i - 1], self.gold[:, i]] + _at(scores[:, i], self.gold[:, i])
            gold = gold + torch.where(here, step, torch.zeros(()).double())
        last = self.gold.gather(1, self.there.sum(1, keepdim=True) - 1)[:, 0]
        return (torch.logsumexp(sums + closing, 1) - gold - _at(closing, last)).sum()


def _at(rows: Tensor, columns: Tensor) -> Tensor:
    return rows.gather(1, columns[:, None])[:, 0]
