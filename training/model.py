"""The model: one encoder, several heads; the same forward pass is trained and exported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from serving.bundle import Head
from training.losses import head_loss

PASSAGE_SEGMENT = 2
OUTSIDE_BIAS = 3.0


def segment_mean(hidden: Tensor, segments: Tensor, which: int) -> Tensor:
    """The mean of the hidden states of one segment; hidden is (batch, pieces, width), returns
    (batch, width).
    """
    mask = (segments == which).unsqueeze(-1).to(hidden.dtype)
    return (hidden * mask).sum(1) / mask.sum(1).clamp(min=1.0)


class PairHead(nn.Module):
    """A label of two mean-pooled segments u, v from [u, v, u * v, |u - v|] through one tanh
    layer.
    """

    def __init__(self, width: int, labels: int, dropout: float) -> None:
        super().__init__()
        self.hidden = nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(width, labels)

    def forward(self, hidden: Tensor, segments: Tensor) -> Tensor:
        """Hidden states (batch, pieces, width) to logits (batch, labels)."""
        u, v = segment_mean(hidden, segments, 1), segment_mean(hidden, segments, PASSAGE_SEGMENT)
        features = torch.cat([u, v, u * v, (u - v).abs()], dim=-1)
        logits: Tensor = self.out(self.dropout(torch.tanh(self.hidden(self.dropout(features)))))
        return logits


class TextHead(nn.Module):
    """A label of a mean-pooled text through one tanh layer."""

    def __init__(self, width: int, labels: int, dropout: float) -> None:
        super().__init__()
        self.hidden = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(width, labels)

    def forward(self, hidden: Tensor, segments: Tensor) -> Tensor:
        """Hidden states (batch, pieces, width) to logits (batch, labels)."""
        logits: Tensor = self.out(
            self.dropout(torch.tanh(self.hidden(segment_mean(hidden, segments, 1))))
        )
        return logits


class WordHead(nn.Module):
    """Tag scores of every piece; serving reads them at the piece in which a word begins.

    `tags` is how many scores make one BIO choice (3 for each type of a nested head); it starts out
    from "outside", the first of them, as nearly all words are.
    """

    def __init__(self, width: int, outputs: int, tags: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(width, outputs)
        nn.init.zeros_(self.out.bias)
        with torch.no_grad():
            self.out.bias[::tags] = OUTSIDE_BIAS

    def forward(self, hidden: Tensor, segments: Tensor) -> Tensor:
        """Hidden states (batch, pieces, width) to logits (batch, pieces, outputs)."""
        logits: Tensor = self.out(self.dropout(hidden))
        return logits


def make_head(head: Head, width: int, dropout: float) -> nn.Module:
    """The untrained module of a head."""
    if head.kind in ("nested", "flat"):
        return WordHead(width, head.width, 3 if head.kind == "nested" else head.width, dropout)
    return (PairHead if head.kind == "pair" else TextHead)(width, head.width, dropout)


class MultiHeadModel(nn.Module):
    """An encoder with named heads; a training batch teaches one of them.

    `class_weights` maps a head to (columns, classes) weights of its labels, `loss_weights` to its
    share in the loss.
    """

    def __init__(
        self,
        encoder: nn.Module,
        heads: Sequence[Head],
        dropout: float,
        loss_weights: dict[str, float],
        class_weights: dict[str, Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.specs = tuple(heads)
        width = int(encoder.config.hidden_size)  # type: ignore[union-attr, arg-type]
        self.heads = nn.ModuleDict({head.name: make_head(head, width, dropout) for head in heads})
        self.loss_weights = loss_weights
        self.class_weights = class_weights or {}

    def hidden(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The encoder's last hidden states, (batch, pieces, width)."""
        states: Tensor = self.encoder(
            input_ids=input_ids, attention_mask=attention_mask
        ).last_hidden_state
        return states

    def logits(
        self, input_ids: Tensor, attention_mask: Tensor, segments: Tensor
    ) -> tuple[Tensor, ...]:
        """The logits of every head in the order of `specs`; all inputs are (batch, pieces)."""
        hidden = self.hidden(input_ids, attention_mask)
        return tuple(self.heads[head.name](hidden, segments) for head in self.specs)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        segments: Tensor,
        head_index: Tensor,
        labels: Tensor,
        unknown: Tensor | None = None,
        shares: Tensor | None = None,
    ) -> dict[str, Any]:
        """The loss of a batch for the one head it teaches; labels, unknown and shares as
        `training.batches` lays them out.
        """
        head = self.specs[int(head_index)]
        logits = self.heads[head.name](self.hidden(input_ids, attention_mask), segments).float()
        weights = self.class_weights.get(head.name)
        loss = head_loss(
            logits.reshape(-1, head.columns, head.width // head.columns),
            labels.reshape(-1, head.columns),
            None if weights is None else weights.to(logits.device),
            unknown,
            shares,
        )
        return {"loss": loss * self.loss_weights.get(head.name, 1.0), "logits": logits}
