"""The loss of a head: cross entropy that leaves out what a corpus does not annotate, and weights
of rare labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from serving.bundle import Head
from training.examples import IGNORED, UNKNOWN, Example

MAX_WORD_WEIGHT = 5.0  # nearly all words are outside; the bare inverse would drown them


def head_loss(
    logits: Tensor,
    labels: Tensor,
    weights: Tensor | None = None,
    unknown: Tensor | None = None,
    shares: Tensor | None = None,
) -> Tensor:
    """The mean cross entropy of labels, a scalar.

    logits is (items, columns, classes), labels (items, columns); weights is (columns, classes).
    Where a label is `UNKNOWN`, unknown (items, classes) is true for the classes that it may be, and
    the probability of all of them counts (Jie et al. 2019: training on partial labels). `IGNORED`
    labels count nothing, but where shares (items, columns, classes) are the probabilities that
    teachers give to the classes: there their cross entropy counts, unweighted.
    """
    labels_or_ignored = labels.masked_fill(labels == UNKNOWN, IGNORED)
    classes = logits.shape[-1]
    loss = functional.cross_entropy(
        logits.reshape(-1, classes),
        labels_or_ignored.reshape(-1),
        ignore_index=IGNORED,
        reduction="none",
    ).view_as(labels)
    counted = (labels_or_ignored != IGNORED).to(loss.dtype)
    if weights is not None:
        columns = torch.arange(labels.shape[1], device=labels.device).expand_as(labels)
        counted = counted * weights[columns, labels_or_ignored.clamp(min=0)]
    if unknown is not None:
        open_rows = labels == UNKNOWN
        log_probs = logits.log_softmax(-1).masked_fill(~unknown.unsqueeze(1), float("-inf"))
        loss = torch.where(open_rows, -log_probs.logsumexp(-1), loss)
        counted = torch.where(open_rows, torch.ones_like(counted), counted)
    if shares is not None:
        taught = shares.sum(-1) > 0
        loss = torch.where(taught, -(shares * logits.log_softmax(-1)).sum(-1), loss)
        counted = torch.where(taught, torch.ones_like(counted), counted)
    return (loss * counted).sum() / counted.sum().clamp(min=1e-6)


def class_weights(head: Head, examples: Sequence[Example]) -> Tensor:
    """Weights by the inverse square root of a label's share, mean 1 over the examples, (columns,
    classes); columns are the types of a nested head and 1 for others.

    Labels of words weigh at most `MAX_WORD_WEIGHT`.
    """
    columns = head.columns
    classes = head.width // columns
    counts = torch.zeros(columns, classes)
    for example in examples:
        if example.head != head.name:
            continue
        labels = torch.tensor(example.labels).reshape(-1, columns)
        for column in range(columns):
            known = labels[:, column][labels[:, column] >= 0]
            counts[column] += torch.bincount(known, minlength=classes)
    weights = counts.clamp(min=1).rsqrt()
    mean = (weights * counts).sum(1, keepdim=True) / counts.sum(1, keepdim=True).clamp(min=1)
    weights = weights / mean.clamp(min=1e-6)
    return weights.clamp(max=MAX_WORD_WEIGHT) if head.kind in ("nested", "flat") else weights
