"""Distillation: a plain sequence classifier learns to say what a pooled head says.

khabar's heads of texts and pairs read the mean of a segment; transformers' classifiers read the
first piece. No map of weights leads from one to the other, so the classifier begins as a copy of
the trained encoder and is trained to give the head's probabilities (Hinton et al. 2015).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from serving.bundle import Head
from training.batches import Collator, PlannedBatches
from training.model import MultiHeadModel
from training.optimisation import adamw, bf16_pays
from training.preparation import Prepared, TrainingError

log = logging.getLogger(__name__)
_REPORT_EVERY = 25  # steps


@dataclass(frozen=True, slots=True)
class Distillation:
    """How long and how fast a classifier learns; it ends at the steps or the minutes, whichever
    come first, and the learning rates fall to zero at that end.
    """

    steps: int = 300
    max_minutes: float = 10.0
    learning_rate: float = 5e-5  # of the encoder, which is trained already
    head_learning_rate: float = 1e-3
    layer_decay: float = 0.9
    weight_decay: float = 0.01
    max_batch_tokens: int = 2048
    warmup_fraction: float = 0.1


def distil(
    teacher: MultiHeadModel, head: Head, student: Any, prepared: Prepared, settings: Distillation
) -> int:
    """Train a sequence classifier in place on a head's probabilities; returns the steps it took.

    The probabilities are the calibrated ones. The training examples are the recipe's own, drawn as
    in its epochs; of their labels nothing is used.
    """
    mixed = torch.autocast("cpu", torch.bfloat16) if bf16_pays() else nullcontext()
    encoder = student.base_model
    parts = [
        (encoder, settings.learning_rate, settings.layer_decay),
        (Outside(student, encoder), settings.head_learning_rate, 1.0),
    ]
    optimiser = adamw(parts, settings.weight_decay)
    rates = [group["lr"] for group in optimiser.param_groups]
    student.eval()  # the head gives one answer a text: dropout would only blur it
    began, step, losses = time.monotonic(), 0, []
    for batch in example_batches(prepared, settings):
        minutes = (time.monotonic() - began) / 60
        done = max(step / settings.steps, minutes / settings.max_minutes)
        if done >= 1:
            break
        share = min(
            done / settings.warmup_fraction, 1.0, (1 - done) / (1 - settings.warmup_fraction)
        )
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * max(share, 0.02)
        with mixed:
            wanted = teacher_logits(teacher, head, batch)
            found = student(batch["input_ids"], batch["attention_mask"]).logits
        loss = functional.kl_div(
            found.float().log_softmax(-1),
            wanted.float().log_softmax(-1),
            reduction="batchmean",
            log_target=True,
        )
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
        step += 1
        if step % _REPORT_EVERY == 0:
            log.info(
                "%s: step %d of at most %d, %.1f min, divergence %.4f",
                head.name,
                step,
                settings.steps,
                minutes,
                sum(losses[-_REPORT_EVERY:]) / _REPORT_EVERY,
            )
    return step


class Outside(nn.Module):
    """The parts of a classifier that are not in its encoder's trained layers."""

    def __init__(self, student: Any, encoder: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleList(
            [part for part in student.children() if part is not encoder and list(part.parameters())]
        )


@torch.no_grad()
def teacher_logits(teacher: MultiHeadModel, head: Head, batch: dict[str, Tensor]) -> Tensor:
    """The calibrated logits of one head, (batch, labels)."""
    hidden = teacher.hidden(batch["input_ids"], batch["attention_mask"])
    logits: Tensor = teacher.heads[head.name](hidden, batch["segments"]) / head.temperature
    return logits + torch.tensor(head.biases) if head.biases else logits


def example_batches(prepared: Prepared, settings: Distillation) -> Iterator[dict[str, Tensor]]:
    """Batches of the recipe's epochs without end."""
    collate = Collator(prepared.heads, prepared.encoder.special.pad)
    for epoch in count():
        plan = PlannedBatches(
            prepared.sources, prepared.lengths, 1, settings.max_batch_tokens, epoch
        )
        if not len(plan):
            raise TrainingError(
                "no source of the head gives a whole example an epoch; raise their passes in the "
                "run's recipe.json, or leave the head out with --head"
            )
        for rows in plan:
            yield collate([prepared.dataset[row] for row in rows])
