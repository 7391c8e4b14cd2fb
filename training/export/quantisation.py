"""Quantisation: a model's weights and activations in int8, in one of three schemes.

Weights are int8 with a scale a column, tables of embeddings int8 with a scale a row, whatever the
scheme. With texts to calibrate on, weights are rounded such that what a column loses shows least
in its products with what these texts make of its inputs. The schemes differ in the scale of
activations:

dynamic: one for a whole batch, as it comes; an answer depends on its batch-mates and on padding.
static:  one for good, from texts that are run through the model beforehand.
rowwise: one for every piece, as it comes; no piece sees another's (Yao et al. 2022, ZeroQuant,
         "token-wise").
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnx import NodeProto, helper

from annotations.errors import KhabarError
from training.export.graph import CONTRIB, Graph, matrix_products, node, simplify
from training.export.rounding import int8, int8_compensated, mean_products

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Inputs = Mapping[str, Ints]  # input_ids, attention_mask, segments, each (batch, pieces)
Scheme = Literal["dynamic", "static", "rowwise"]
SCHEMES: tuple[Scheme, ...] = get_args(Scheme)

# Seven bits: without VNNI, products of unsigned and signed bytes are summed in pairs of 16 bits,
# and 2 * 255 * 64 still fits.
WEIGHT_LEVELS = 64
ROW_LEVELS = 127
GELU_LOWEST = 0.17  # GELU is never below -0.17, so only its maximum has to be looked for
GELU_ZERO = 20  # of 255 levels, those that negative values get
SMOOTHING = 0.5  # how much of a channel's range weights take over from activations
ONE = np.ones(1, np.float32)  # what channels are divided by that are left as they are


class ExportError(KhabarError):
    """A model whose exported graph does not say what the model says, or that cannot be written."""


def quantise(
    fp32: Path,
    target: Path,
    scheme: Scheme = "rowwise",
    calibration: Iterable[Inputs] | None = None,
) -> None:
    """Write the int8 form of an ONNX file.

    Calibration, inputs made of training texts and never of development ones, tells how weights are
    best rounded; without it each is rounded to the nearest. `static` needs it.
    """
    if scheme not in SCHEMES:
        raise ExportError(f"quantisation {scheme!r} is unknown; known are {', '.join(SCHEMES)}")
    graph = Graph.load(fp32)
    simplify(graph)
    inputs = list(calibration or ())
    activations: _Activations
    if scheme == "dynamic":
        activations = _Dynamic()
    elif scheme == "rowwise":
        activations = _Rowwise(graph)
    else:
        activations = _Static(graph, inputs)
    products = _products_of_inputs(graph, inputs) if inputs else {}
    _int8_tables(graph)
    _int8_products(graph, activations, products)
    write_whole(target, graph.serialised())


@contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """An error of the operating system while `path` is written removes what was written of it and
    becomes one that says what to do.
    """
    try:
        yield
    except OSError as error:
        path.unlink(missing_ok=True)
        raise ExportError(
            f"{path}: cannot be written ({error.strerror or error}); make room on the disk or give "
            "another folder"
        ) from error


def write_whole(target: Path, data: bytes) -> None:
    """Write a file at once or not at all."""
    partial = target.with_name(target.name + ".partial")
    with full_disk(partial):
        partial.write_bytes(data)
        partial.replace(target)


def _int8_tables(graph: Graph) -> None:
    """Tables of embeddings with a scale a row, multiplied back after the look-up."""
    nodes: list[NodeProto] = []
    for part in graph.nodes:
        table = graph.constants.get(part.input[0]) if part.op_type == "Gather" else None
        if table is None or table.ndim != 2 or table.dtype != np.float32:
            nodes.append(part)
            continue
        name, index, output = part.input[0], part.input[1], part.output[0]
        rows, scales = int8(table, axis=1, levels=ROW_LEVELS)
        graph.constant(f"{name}.int8", rows)
        graph.constant(f"{name}.scales", scales)
        nodes.append(node("Gather", [f"{name}.int8", index], f"{output}.int8"))
        nodes.append(node("Cast", [f"{output}.int8"], f"{output}.whole", to=1))
        nodes.append(node("Gather", [f"{name}.scales", index], f"{output}.scales"))
        nodes.append(node("Mul", [f"{output}.whole", f"{output}.scales"], output))
    graph.nodes = nodes


class _Activations(Protocol):
    """How the left side of products becomes whole numbers."""

    def quantised(self, x: str) -> list[NodeProto]:
        """The nodes that make `x.int8`; they stand before the first product of x."""
        ...

    def factors(self, x: str) -> Floats:
        """What each channel of x is divided by before it is quantised, and each row of its matrices
        multiplied by: (channels,), or (1,) for all.
        """
        ...

    def product(self, x: str, matrix: str, output: str) -> list[NodeProto]:
        """The nodes that make `output` from `x.int8`, `matrix.int8` and `matrix.scales`."""
        ...


def _products_of_inputs(graph: Graph, calibration: Sequence[Inputs]) -> dict[str, Floats]:
    """The mean products of the channels of each value that a linear layer reads, (channels,
    channels), by its name.
    """
    values = list(dict.fromkeys(part.input[0] for part in matrix_products(graph)))
    means = mean_products(_seen(graph, values, calibration))
    for name, mean in zip(values, means, strict=True):
        if not np.isfinite(mean).all():
            raise ExportError(
                f"{name}: of the texts to calibrate on some make it grow beyond all numbers; the "
                "model is broken or diverged, train it anew at a lower learning rate"
            )
    return dict(zip(values, means, strict=True))


def _int8_products(graph: Graph, activations: _Activations, products: Mapping[str, Floats]) -> None:
    """Linear layers in whole numbers; `products` are those of their inputs, where known."""
    linear = {part.output[0] for part in matrix_products(graph)}
    nodes: list[NodeProto] = []
    begun: set[str] = set()
    for part in graph.nodes:
        if part.output[0] not in linear:
            nodes.append(part)
            continue
        x, matrix, output = part.input[0], part.input[1], part.output[0]
        if x not in begun:
            begun.add(x)
            nodes.extend(activations.quantised(x))
        factors = activations.factors(x)
        weights = graph.constants[matrix] * factors[:, None]
        if x in products:
            levelled = products[x] / np.outer(factors, factors)
            columns, scales = int8_compensated(weights, levelled, WEIGHT_LEVELS)
        else:
            columns, scales = int8(weights, axis=0, levels=WEIGHT_LEVELS)
        graph.constant(f"{output}.int8", columns)
        graph.constant(f"{output}.scales", scales[0])
        nodes.extend(activations.product(x, output, output))
    graph.nodes = nodes


class _Dynamic:
    """One scale and zero point for all of x, from its extremes."""

    def quantised(self, x: str) -> list[NodeProto]:
        outputs = [f"{x}.int8", f"{x}.scale", f"{x}.zero"]
        return [helper.make_node("DynamicQuantizeLinear", [x], outputs, name=f"{x}.int8")]

    def factors(self, x: str) -> Floats:
        return ONE

    def product(self, x: str, matrix: str, output: str) -> list[NodeProto]:
        return [_product(x, f"{x}.scale", f"{x}.zero", matrix, output)]


class _Rowwise:
    """A scale a piece, from its largest value; the zero point is the middle of the bytes.

    The product comes in units of the row, and is multiplied by the row's scale.
    """

    def __init__(self, graph: Graph) -> None:
        self.gelus = {part.output[0] for part in graph.nodes if part.op_type == "Gelu"}
        self.one = graph.constant("row.one", np.array(1, np.float32))
        self.last = graph.constant("row.last_axis", np.array([-1], np.int64))
        zeros = (128, GELU_ZERO)
        self.zeros = [graph.constant(f"row.zero_{z}", np.array(z, np.uint8)) for z in zeros]
        # the smallest maximum that a row is taken to have: a row of zeros has no scale of its own
        gelu_floor = GELU_LOWEST / GELU_ZERO * (255 - GELU_ZERO)
        self.floors = [
            graph.constant(f"row.floor_{z}", np.array(floor, np.float32))
            for z, floor in zip(zeros, (1e-9, gelu_floor), strict=True)
        ]
        self.levels = [
            graph.constant(f"row.levels_{z}", np.array(255 - z, np.float32)) for z in zeros
        ]
        self.shares = [
            graph.constant(f"row.share_{z}", np.array(1 / (255 - z), np.float32)) for z in zeros
        ]

    def quantised(self, x: str) -> list[NodeProto]:
        kind = int(x in self.gelus)
        size = [] if kind else [node("Abs", [x], f"{x}.size")]
        measured = x if kind else f"{x}.size"
        return [
            *size,
            node("ReduceMax", [measured, self.last], f"{x}.maximum", keepdims=1),
            node("Max", [f"{x}.maximum", self.floors[kind]], f"{x}.largest"),
            node("Div", [self.levels[kind], f"{x}.largest"], f"{x}.factor"),
            node("Mul", [x, f"{x}.factor"], f"{x}.levels"),
            node("QuantizeLinear", [f"{x}.levels", self.one, self.zeros[kind]], f"{x}.int8"),
        ]

    def factors(self, x: str) -> Floats:
        return ONE

    def product(self, x: str, matrix: str, output: str) -> list[NodeProto]:
        kind = int(x in self.gelus)
        units = f"{output}.units"
        return [
            _product(x, self.shares[kind], self.zeros[kind], matrix, units),
            node("Mul", [units, f"{x}.largest"], output),
        ]


class _Static:
    """One scale and zero point for good, after channels are levelled: those that reach far are
    shrunk, and the weights grown by as much (Xiao et al. 2023, SmoothQuant).
    """

    def __init__(self, graph: Graph, calibration: Sequence[Inputs]) -> None:
        self.graph = graph
        products: dict[str, list[Floats]] = {}
        for part in matrix_products(graph):
            products.setdefault(part.input[0], []).append(graph.constants[part.input[1]])
        self.levelling: dict[str, Floats] = {}
        self.ranges: dict[str, tuple[float, float]] = {}
        for x, (low, high) in channel_ranges(graph, list(products), calibration).items():
            reach = np.maximum(np.maximum(-low, high), 1e-5)
            weight = np.maximum(np.max([np.abs(w).max(axis=1) for w in products[x]], axis=0), 1e-5)
            factors = (reach**SMOOTHING / weight ** (1 - SMOOTHING)).astype(np.float32)
            self.levelling[x] = factors
            self.ranges[x] = float((low / factors).min()), float((high / factors).max())

    def quantised(self, x: str) -> list[NodeProto]:
        low, high = min(self.ranges[x][0], 0.0), max(self.ranges[x][1], 0.0)
        scale = (high - low) / 255
        self.graph.constant(f"{x}.factors", 1 / self.levelling[x])
        self.graph.constant(f"{x}.scale", np.array(scale, np.float32))
        self.graph.constant(f"{x}.zero", np.array(round(-low / scale), np.uint8))
        return [
            node("Mul", [x, f"{x}.factors"], f"{x}.levelled"),
            node("QuantizeLinear", [f"{x}.levelled", f"{x}.scale", f"{x}.zero"], f"{x}.int8"),
        ]

    def factors(self, x: str) -> Floats:
        return self.levelling[x]

    def product(self, x: str, matrix: str, output: str) -> list[NodeProto]:
        return [_product(x, f"{x}.scale", f"{x}.zero", matrix, output)]


def _product(x: str, scale: str, zero: str, matrix: str, output: str) -> NodeProto:
    inputs = [f"{x}.int8", f"{matrix}.int8", scale, f"{matrix}.scales", zero]
    return node("MatMulIntegerToFloat", inputs, output, CONTRIB)


def channel_ranges(
    graph: Graph, values: Sequence[str], calibration: Sequence[Inputs]
) -> dict[str, tuple[Floats, Floats]]:
    """The lowest and highest value of each channel of some values of the fp32 graph, (channels,)
    each, over the pieces of the calibration inputs that are not padding.
    """
    if not calibration:
        raise ExportError(
            "static quantisation needs texts to measure activations on; give calibration inputs, "
            "or take rowwise"
        )
    found: dict[str, tuple[Floats, Floats]] = {}
    for arrays in _seen(graph, values, calibration):
        for name, rows in zip(values, arrays, strict=True):
            low, high = rows.min(axis=0), rows.max(axis=0)
            if name in found:
                low, high = np.minimum(low, found[name][0]), np.maximum(high, found[name][1])
            found[name] = low, high
    return found


def _seen(
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
