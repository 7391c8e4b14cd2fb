"""What a graph computes with on texts to calibrate by: of each value that a linear layer reads, how
far its channels reach and which go together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from training.export.graph import Graph

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Inputs = Mapping[str, Ints]  # input_ids, attention_mask, segments, each (batch, pieces)


@dataclass(frozen=True)
class Observed:
    """A value over all rows that were seen of it: the lowest and highest of each channel,
    (channels,), and the mean products of the channels, (channels, channels).
    """

    low: Floats
    high: Floats
    products: Floats

    @property
    def reach(self) -> Floats:
        """How far from 0 each channel goes, (channels,)."""
        return np.maximum(-self.low, self.high)


def observe(
    graph: Graph, values: Sequence[str], calibration: Iterable[Inputs]
) -> dict[str, Observed]:
    """Some values of the fp32 graph over the calibration inputs, padding left out."""
    return dict(zip(values, observe_rows(_rows(graph, values, calibration)), strict=True))


def observe_rows(rows: Iterable[Sequence[Floats]]) -> list[Observed]:
    """Several values of which rows come together, of each value (rows, channels)."""
    lows: list[Floats] = []
    highs: list[Floats] = []
    sums: list[Floats] = []
    counts: list[int] = []
    for arrays in rows:
        if not sums:
            lows = [np.full(array.shape[1], np.inf, np.float32) for array in arrays]
            highs = [-low for low in lows]
            sums = [np.zeros((array.shape[1],) * 2, np.float32) for array in arrays]
            counts = [0] * len(arrays)
        for i, array in enumerate(arrays):
            lows[i] = np.minimum(lows[i], array.min(axis=0, initial=np.inf))
            highs[i] = np.maximum(highs[i], array.max(axis=0, initial=-np.inf))
            with np.errstate(over="ignore", invalid="ignore"):  # whoever rounds by it refuses inf
                sums[i] += array.T @ array
            counts[i] += len(array)
    return [
        Observed(low, high, total / max(count, 1))
        for low, high, total, count in zip(lows, highs, sums, counts, strict=True)
    ]


def _rows(
    graph: Graph, values: Sequence[str], calibration: Iterable[Inputs]
) -> Iterator[list[Floats]]:
    """What the fp32 graph makes of each calibration input: of each value (rows, channels), a row a
    piece that is not padding, or a text.
    """
    session = onnxruntime.InferenceSession(
        graph.serialised(outputs=values), providers=["CPUExecutionProvider"]
    )
    for inputs in calibration:
        real = inputs["attention_mask"].astype(bool)
        arrays = session.run(list(values), dict(inputs))
        yield [
            (array[real] if array.shape[:-1] == real.shape else array).reshape(-1, array.shape[-1])
            for array in arrays
        ]


def calibration_inputs(examples: Sequence[Any], count: int = 128) -> list[Inputs]:
    """Every n-th of a recipe's training examples (`Prepared.dataset`), at least `count` of them, as
    an input of its own: of large sources the most, of a source of a few texts perhaps none.
    """
    step = max(len(examples) // count, 1)
    inputs: list[Inputs] = []
    for i in range(0, len(examples), step):
        ids = np.asarray([examples[i]["input_ids"]], np.int64)
        segments = np.asarray([examples[i]["segments"]], np.int64)
        inputs.append({"input_ids": ids, "attention_mask": np.ones_like(ids), "segments": segments})
    return inputs
