"""The model in torch behind serving's interface, so that the whole pipeline of serving can be asked
what it answers in fp32.
"""

from __future__ import annotations

from typing import Any, Protocol, Self

import torch
from torch import Tensor

from serving.bundle import Head
from serving.runtime import Floats, Ints


class LogitsModel(Protocol):
    """A module that can be exported: `MultiHeadModel`, or an imported classifier."""

    encoder: Any
    specs: tuple[Head, ...]

    def eval(self) -> Self:
        """The model in evaluation mode."""
        ...

    def to(self, device: str, /) -> Self:
        """The model on a device."""
        ...

    def logits(
        self, input_ids: Tensor, attention_mask: Tensor, segments: Tensor
    ) -> tuple[Tensor, ...]:
        """The logits of every head in the order of `specs`; all inputs are (batch, pieces)."""
        ...


class TorchBackend:
    """A model in torch on a device, to which it is moved, in float32 whatever autocast is set
    outside.
    """

    def __init__(self, model: LogitsModel, device: str = "cpu") -> None:
        self.model = model.eval().to(device)
        self.device = torch.device(device)

    def run(self, ids: Ints, mask: Ints, segments: Ints) -> dict[str, Floats]:
        """See `serving.runtime.Backend.run`."""
        inputs = [torch.from_numpy(part).to(self.device) for part in (ids, mask, segments)]
        with torch.inference_mode(), torch.autocast(self.device.type, enabled=False):
            outputs = self.model.logits(*inputs)
        return {
            head.name: logits.float().cpu().numpy()
            for head, logits in zip(self.model.specs, outputs, strict=True)
        }
