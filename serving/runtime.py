"""The runtime: framed pieces in, the scores of every head out. ONNX Runtime is its one backend."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime

from annotations.errors import KhabarError
from serving.bundle import BundleError, Head

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Device = Literal["cpu", "cuda"]
MAX_BATCH_TOKENS = 2048  # padded; larger batches gain nothing on a CPU and cost memory
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class DeviceError(KhabarError):
    """A device that the model cannot run on."""


class Backend(Protocol):
    """What runs the model."""

    def run(self, ids: Ints, mask: Ints, segments: Ints) -> dict[str, Floats]:
        """The logits of each head by its name; all inputs are (batch, pieces).

        Heads of words give (batch, pieces, width), heads of texts and pairs (batch, width).
        """
        ...


class OnnxBackend:
    """A model in ONNX Runtime, on the CPU or on a GPU through CUDA."""

    def __init__(
        self, path: Path, heads: Sequence[Head], threads: int = 0, device: Device = "cpu"
    ) -> None:
        self.session = _session(path, threads, device)
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


def _session(path: Path, threads: int, device: Device) -> Any:
    """A model loaded on a device; never on another one than was asked for."""
    provider = PROVIDERS[device]
    available = onnxruntime.get_available_providers()
    if provider not in available:
        raise DeviceError(
            f"device {device!r} needs {provider}, this onnxruntime has {', '.join(available)}; "
            "install onnxruntime-gpu in place of onnxruntime, or set the device to 'cpu'"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads  # nodes run one after the other: no inter-op threads
    options.enable_mem_pattern = False  # it keeps a plan for every shape, and ours rarely recur
    options.log_severity_level = 3
    # a node that CUDA has no kernel for runs on the CPU, so the CPU is always in the list
    providers = list(dict.fromkeys([provider, PROVIDERS["cpu"]]))
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=providers, enable_fallback=0
        )
    except RuntimeError as error:
        if device == "cpu":
            raise
        raise DeviceError(_unusable(device, str(error).strip().splitlines()[0])) from error
    if provider not in session.get_providers():
        raise DeviceError(_unusable(device, f"it runs on {', '.join(session.get_providers())}"))
    return session


def _unusable(device: Device, found: str) -> str:
    return (
        f"device {device!r} cannot be used: {found}; see that `nvidia-smi` shows a GPU and that "
        "CUDA and cuDNN fit this onnxruntime-gpu, or set the device to 'cpu'"
    )


def padded(rows: Sequence[Ints], value: int) -> Ints:
    """Rows of different length as one array (rows, longest), filled up with `value`."""
    array = np.full((len(rows), max(len(row) for row in rows)), value, dtype=np.int64)
    for i, row in enumerate(rows):
        array[i, : len(row)] = row
    return array
