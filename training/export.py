"""Export: the trained model as one ONNX graph in int8, checked against torch."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, nn

from annotations.errors import KhabarError
from serving.bundle import MODEL
from serving.runtime import OnnxBackend
from training.model import MultiHeadModel

log = logging.getLogger(__name__)
Floats = npt.NDArray[np.float32]
OPSET = 18  # later ones break dynamic quantisation
TOLERANCE = 1e-3  # of fp32 ONNX against torch, in logits


class ExportError(KhabarError):
    """A model whose exported graph does not say what the model says."""


class _AllHeads(nn.Module):
    """The model as a graph: three inputs, the logits of every head."""

    def __init__(self, model: MultiHeadModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, segments: Tensor
    ) -> tuple[Tensor, ...]:
        return self.model.logits(input_ids, attention_mask, segments)


def export(model: MultiHeadModel, folder: Path, pad: int) -> dict[str, float]:
    """Write the int8 `model.onnx` of a model; returns the largest difference of logits to torch,
    fp32 and int8.
    """
    model.eval()
    sample = _sample(pad, int(model.encoder.config.vocab_size))  # type: ignore[union-attr, arg-type]
    fp32 = folder / "model.fp32.onnx"
    batch, pieces = (
        torch.export.Dim("batch", min=1, max=4096),
        torch.export.Dim("pieces", min=4, max=512),
    )
    torch.onnx.export(
        _AllHeads(model).eval(),
        sample,
        str(fp32),
        input_names=["input_ids", "attention_mask", "segments"],
        output_names=[head.name for head in model.specs],
        dynamo=True,
        opset_version=OPSET,
        dynamic_shapes={
            name: {0: batch, 1: pieces} for name in ("input_ids", "attention_mask", "segments")
        },
        external_data=False,
        verbose=False,
    )
    differences = {"fp32": _difference(model, fp32, sample)}
    if differences["fp32"] > TOLERANCE:
        raise ExportError(
            f"{fp32}: logits differ from torch by {differences['fp32']:.4f}, more than "
            f"{TOLERANCE}; "
            "report this with the versions of torch and onnx"
        )
    quantise(fp32, folder / MODEL)
    differences["int8"] = _difference(model, folder / MODEL, sample)
    fp32.unlink()
    log.info("largest difference of logits to torch: %s", differences)
    return differences


def quantise(source: Path, target: Path) -> None:
    """The int8 form of an ONNX model: weights per channel, activations as they come.

    Weights use seven bits: on processors without VNNI the products of eight-bit ones overflow in
    sums of two.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = target.with_suffix(".prepared.onnx")
    quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    model = onnx.load(str(prepared))
    # the optimiser transposes weights and leaves the exporter's notes on their shapes as they were
    del model.graph.value_info[:]
    quantize_dynamic(
        model, str(target), per_channel=True, weight_type=QuantType.QInt8, reduce_range=True
    )
    prepared.unlink()


def _sample(pad: int, vocabulary: int) -> tuple[Tensor, Tensor, Tensor]:
    """Three made-up inputs of different length with pairs among them."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(4, vocabulary, (3, 24), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, 18:] = 0
    ids[1, 18:] = pad
    segments = mask.clone()
    segments[2, 10:] = 2
    return ids, mask, segments


def _difference(model: MultiHeadModel, path: Path, sample: tuple[Tensor, Tensor, Tensor]) -> float:
    """The largest absolute difference of any head's logits between torch and an ONNX file, padding
    aside.
    """
    with torch.no_grad():
        expected = model.logits(*sample)
    found = OnnxBackend(path, model.specs).run(*(part.numpy() for part in sample))
    worst = 0.0
    for head, logits in zip(model.specs, expected, strict=True):
        gap: Any = np.abs(logits.numpy() - found[head.name])
        if gap.ndim == 3:
            gap = gap[sample[1].numpy().astype(bool)]
        worst = max(worst, float(gap.max()))
    return worst
