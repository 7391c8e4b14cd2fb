"""The model in torch behind serving's interface, so that the whole pipeline of serving can be asked
what it answers in fp32.
"""

from __future__ import annotations

import torch

from serving.runtime import Floats, Ints
from training.model import MultiHeadModel


class TorchBackend:
    """A model in torch on the CPU, to which it is moved, in float32 whatever autocast is set
    outside.
    """

    def __init__(self, model: MultiHeadModel) -> None:
        self.model = model.eval().to("cpu")

    def run(self, ids: Ints, mask: Ints, segments: Ints) -> dict[str, Floats]:
        """See `serving.runtime.Backend.run`."""
        inputs = [torch.from_numpy(part) for part in (ids, mask, segments)]
        with torch.inference_mode(), torch.autocast("cpu", enabled=False):
            outputs = self.model.logits(*inputs)
        return {
            head.name: logits.float().numpy()
            for head, logits in zip(self.model.specs, outputs, strict=True)
        }
