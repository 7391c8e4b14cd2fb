"""The runtime: framed pieces in, the scores of every head out. ONNX Runtime is its one backend."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime

from serving.bundle import BundleError, Head

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
MAX_BATCH_TOKENS = 2048  # padded; larger batches gain nothing on a CPU and cost memory


class Backend(Protocol):
    """What runs the model."""

    def run(self, ids: Ints, mask: Ints, segments: Ints) -> dict[str, Floats]:
        """The logits of each head by its name; all inputs are (batch, pieces).

        Heads of words give (batch, pieces, width), heads of texts and pairs (batch, width).
        """
        ...


class OnnxBackend:
    """A model in ONNX Runtime on the CPU."""

    def __init__(self, path: Path, heads: Sequence[Head], threads: int = 0) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self.names = [head.name for head in heads]
        widths = {output.name: output.shape[-1] for output in self.session.get_outputs()}
        for head in heads:
            if widths.get(head.name) != head.width:
                raise BundleError(
                    f"{path}: head {head.name!r} needs {head.width} numbers, the model gives "
                    f"{widths.get(head.name, 'none')}; export the bundle again"
                )

    def run(self, ids: Ints, mask: Ints, segments: Ints) -> dict[str, Floats]:
        """See `Backend.run`."""
        inputs = {"input_ids": ids, "attention_mask": mask, "segments": segments}
        outputs = self.session.run(self.names, inputs)
        return dict(zip(self.names, outputs, strict=True))


def padded(rows: Sequence[Ints], value: int) -> Ints:
    """Rows of different length as one array (rows, longest), filled up with `value`."""
    array = np.full((len(rows), max(len(row) for row in rows)), value, dtype=np.int64)
    for i, row in enumerate(rows):
        array[i, : len(row)] = row
    return array
