"""Export: the trained model as one ONNX graph in int8, checked against torch."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from serving.bundle import MODEL
from serving.runtime import OnnxBackend
from training.export.observation import Inputs
from training.export.quantisation import ExportError, Scheme, full_disk, quantise
from training.export.torch_backend import LogitsModel, TorchBackend

__all__ = ["ExportError", "export", "export_fp32"]

log = logging.getLogger(__name__)
OPSET = 18
TOLERANCE = 1e-3  # of fp32 ONNX against torch, in logits
FP32 = "model.fp32.onnx"
INPUTS = ("input_ids", "attention_mask", "segments")


class _AllHeads(nn.Module):
    """The model as a graph: three inputs, the logits of every head."""

    def __init__(self, model: LogitsModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, segments: Tensor
    ) -> tuple[Tensor, ...]:
        return self.model.logits(input_ids, attention_mask, segments)


def export(
    model: LogitsModel,
    folder: Path,
    pad: int,
    scheme: Scheme = "rowwise",
    calibration: Iterable[Inputs] | None = None,
) -> dict[str, float]:
    """Write the int8 `model.onnx` of a model; returns the largest difference of logits to torch,
    fp32 and int8. See `training.export.quantisation` for the schemes.
    """
    fp32 = folder / FP32
    try:
        differences = {"fp32": export_fp32(model, fp32, pad)}
        quantise(fp32, folder / MODEL, scheme, calibration)
    finally:
        fp32.unlink(missing_ok=True)
    differences["int8"] = _difference(model, folder / MODEL, _sample(model, pad))
    log.info("%s; largest difference of logits to torch: %s", scheme, differences)
    return differences


def export_fp32(model: LogitsModel, path: Path, pad: int) -> float:
    """Write a model, moved to the CPU, as an ONNX graph in fp32; returns the largest difference of
    its logits to torch, which must be small.
    """
    model.eval().to("cpu")
    batch, pieces = (
        torch.export.Dim("batch", min=1, max=4096),
        torch.export.Dim("pieces", min=4, max=512),
    )
    sample = _sample(model, pad)
    with _plain_attention(model), full_disk(path):
        torch.onnx.export(
            _AllHeads(model).eval(),
            sample,
            str(path),
            input_names=list(INPUTS),
            output_names=[head.name for head in model.specs],
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes={name: {0: batch, 1: pieces} for name in INPUTS},
            external_data=False,
            verbose=False,
        )
    difference = _difference(model, path, sample)
    if not difference <= TOLERANCE:  # nor no number
        raise ExportError(
            f"{path}: logits differ from torch by {difference:.4f}, more than {TOLERANCE}; "
            "report this with the versions of torch and onnx"
        )
    return difference


@contextmanager
def _plain_attention(model: LogitsModel) -> Iterator[None]:
    """Attention in single steps: the fused one is exported with checks for rows that see nothing,
    which cost ONNX Runtime a tenth of its time.
    """
    encoder: Any = model.encoder
    before = encoder.config._attn_implementation
    encoder.set_attn_implementation("eager")
    try:
        yield
    finally:
        encoder.set_attn_implementation(before)


def _sample(model: LogitsModel, pad: int) -> tuple[Tensor, Tensor, Tensor]:
    """Three made-up inputs of different length with pairs among them."""
    encoder: Any = model.encoder
    vocabulary = int(encoder.config.vocab_size)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(4, vocabulary, (3, 24), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, 18:] = 0
    ids[1, 18:] = pad
    segments = mask.clone()
    segments[2, 10:] = 2
    return ids, mask, segments


def _difference(model: LogitsModel, path: Path, sample: tuple[Tensor, Tensor, Tensor]) -> float:
    """The largest absolute difference of any head's logits between torch and an ONNX file, padding
    aside.
    """
    inputs = [part.numpy() for part in sample]
    expected = TorchBackend(model).run(*inputs)
    found = OnnxBackend(path, model.specs).run(*inputs)
    worst = 0.0
    for head in model.specs:
        gap = np.abs(expected[head.name] - found[head.name])
        if gap.ndim == 3:
            gap = gap[inputs[1].astype(bool)]
        worst = max(worst, float(gap.max()))
    return worst
