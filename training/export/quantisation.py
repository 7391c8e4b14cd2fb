"""Quantisation: a model's weights and activations in int8, in one of three schemes.

Weights are int8 with a scale a column, tables of embeddings int8 with a scale a row, whatever the
scheme. With texts to calibrate on, weights are rounded such that what a column loses shows least
in its products with what these texts make of its inputs; in static and rowwise the channels of
activations are levelled first: those that reach far are shrunk, and their weights grown by as much
(Xiao et al. 2023, SmoothQuant). The schemes differ in the scale of activations:

dynamic: one for a whole batch, as it comes; an answer depends on its batch-mates and on padding.
static:  one for good, from texts that are run through the model beforehand.
rowwise: one for every piece, as it comes; no piece sees another's (Yao et al. 2022, ZeroQuant,
         "token-wise").
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol, get_args

import numpy as np
from onnx import NodeProto, helper

from annotations.errors import KhabarError
from training.export.graph import CONTRIB, Graph, matrix_products, node, simplify
from training.export.observation import Floats, Inputs, Observed, observe
from training.export.rounding import int8, int8_compensated

Scheme = Literal["dynamic", "static", "rowwise"]
SCHEMES: tuple[Scheme, ...] = get_args(Scheme)

# Seven bits: without VNNI, products of unsigned and signed bytes are summed in pairs of 16 bits,
# and 2 * 255 * 64 still fits.
WEIGHT_LEVELS = 64
ROW_LEVELS = 127
GELU_LOWEST = 0.17  # GELU is never below -0.17, so only its maximum has to be looked for
GELU_ZERO = 20  # of 255 levels, those that negative values get
# how much of a channel's range weights take over from activations: SmoothQuant's own, and what is
# best where each row has its scale (training/EXPERIMENTS.md, 49)
STATIC_LEVELLING = 0.5
ROWWISE_LEVELLING = 0.7
SMALLEST_SHARE = 0.01  # of the largest reach or weight of a value's channels, that any is taken for
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

    Calibration, inputs made of training texts and never of development ones, tells how channels are
    levelled (not for `dynamic`) and how weights are best rounded; without it channels stay as they
    are and each weight is rounded to the nearest. `static` needs it.
    """
    if scheme not in SCHEMES:
        raise ExportError(f"quantisation {scheme!r} is unknown; known are {', '.join(SCHEMES)}")
    graph = Graph.load(fp32)
    simplify(graph)
    inputs = list(calibration or ())
    if scheme == "static" and not inputs:
        raise ExportError(
            "static quantisation needs texts to measure activations on; give calibration inputs, "
            "or take rowwise"
        )
    seen = observe(graph, list(_layers(graph)), inputs) if inputs else {}
    _require_finite(seen)
    activations: _Activations
    if scheme == "dynamic":
        activations = _Dynamic()
    elif scheme == "rowwise":
        activations = _Rowwise(graph, seen)
    else:
        activations = _Static(graph, seen)
    _int8_tables(graph)
    _int8_products(graph, activations, seen)
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


def _require_finite(seen: Mapping[str, Observed]) -> None:
    for name, value in seen.items():
        if not np.isfinite(value.products).all():
            raise ExportError(
                f"{name}: of the texts to calibrate on some make it grow beyond all numbers; the "
                "model is broken or diverged, train it anew at a lower learning rate"
            )


def _layers(graph: Graph) -> dict[str, list[NodeProto]]:
    """The linear layers of each value that any reads."""
    found: dict[str, list[NodeProto]] = {}
    for part in matrix_products(graph):
        found.setdefault(part.input[0], []).append(part)
    return found


def levelling(graph: Graph, seen: Mapping[str, Observed], strength: float) -> dict[str, Floats]:
    """What each channel of some values that linear layers read is divided by, (channels,), 1 in the
    geometric mean: its reach to the power of `strength` by that of its weights to the rest. A
    channel that was never seen at work stays as it is: nothing tells how far it will reach.
    """
    layers = _layers(graph)
    found: dict[str, Floats] = {}
    for x, value in seen.items():
        rows = [np.abs(graph.constants[part.input[1]]).max(axis=1) for part in layers[x]]
        factors = _floored(value.reach) ** strength / _floored(np.max(rows, axis=0)) ** (
            1 - strength
        )
        live = value.reach > 0
        mean = np.exp(np.log(factors[live]).mean()) if live.any() else 1
        found[x] = np.where(live, factors / mean, 1).astype(np.float32)
    return found


def _floored(sizes: Floats) -> Floats:
    """Sizes of which none is too small beside the largest to be divided by."""
    largest = float(sizes.max())
    return np.maximum(sizes, SMALLEST_SHARE * largest) if largest else np.ones_like(sizes)


def _int8_products(graph: Graph, activations: _Activations, seen: Mapping[str, Observed]) -> None:
    """Linear layers in whole numbers; `seen` are their inputs, where known."""
    layers = _layers(graph)
    linear = {part.output[0] for parts in layers.values() for part in parts}
    nodes: list[NodeProto] = []
    for part in graph.nodes:
        if part.output[0] not in linear:
            nodes.append(part)
            continue
        x, output = part.input[0], part.output[0]
        if x in layers:
            nodes.extend(activations.quantised(x))
            _round(graph, layers.pop(x), activations.factors(x), seen.get(x))
        nodes.extend(activations.product(x, output, output))
    graph.nodes = nodes


def _round(graph: Graph, parts: list[NodeProto], factors: Floats, seen: Observed | None) -> None:
    """Write the matrices of one input in whole numbers, and the scales of their columns."""
    each = [graph.constants[part.input[1]] for part in parts]
    weights = np.concatenate(each, axis=1) * factors[:, None]
    if seen is None:
        columns, scales = int8(weights, axis=0, levels=WEIGHT_LEVELS)
    else:
        products = seen.products / np.outer(factors, factors)
        columns, scales = int8_compensated(weights, products, WEIGHT_LEVELS)
    ends = np.cumsum([matrix.shape[1] for matrix in each])
    for part, matrix, end in zip(parts, each, ends, strict=True):
        own = slice(end - matrix.shape[1], end)
        graph.constant(f"{part.output[0]}.int8", columns[:, own])
        graph.constant(f"{part.output[0]}.scales", scales[0, own])


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

    The product comes in units of the row, and is multiplied by the row's scale. Channels are
    levelled where texts to calibrate on were seen, but for those of GELU, whose lowest is known.
    """

    def __init__(self, graph: Graph, seen: Mapping[str, Observed]) -> None:
        self.graph = graph
        self.gelus = {part.output[0] for part in graph.nodes if part.op_type == "Gelu"}
        others = {x: value for x, value in seen.items() if x not in self.gelus}
        self.levelling = levelling(graph, others, ROWWISE_LEVELLING)
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
        levelled, begun = x, []
        if x in self.levelling:
            levelled = f"{x}.levelled"
            begun.append(_level(self.graph, x, self.levelling[x]))
        measured = levelled
        if kind == 0:
            measured = f"{x}.size"
            begun.append(node("Abs", [levelled], measured))
        return [
            *begun,
            node("ReduceMax", [measured, self.last], f"{x}.maximum", keepdims=1),
            node("Max", [f"{x}.maximum", self.floors[kind]], f"{x}.largest"),
            node("Div", [self.levels[kind], f"{x}.largest"], f"{x}.factor"),
            node("Mul", [levelled, f"{x}.factor"], f"{x}.levels"),
            node("QuantizeLinear", [f"{x}.levels", self.one, self.zeros[kind]], f"{x}.int8"),
        ]

    def factors(self, x: str) -> Floats:
        return self.levelling.get(x, ONE)

    def product(self, x: str, matrix: str, output: str) -> list[NodeProto]:
        kind = int(x in self.gelus)
        units = f"{output}.units"
        return [
            _product(x, self.shares[kind], self.zeros[kind], matrix, units),
            node("Mul", [units, f"{x}.largest"], output),
        ]


class _Static:
    """One scale and zero point for good, after channels are levelled."""

    def __init__(self, graph: Graph, seen: Mapping[str, Observed]) -> None:
        self.graph = graph
        self.seen = seen
        self.levelling = levelling(graph, seen, STATIC_LEVELLING)

    def quantised(self, x: str) -> list[NodeProto]:
        factors = self.levelling[x]
        low = min(float((self.seen[x].low / factors).min()), 0.0)
        high = max(float((self.seen[x].high / factors).max()), 0.0)
        scale = (high - low or 1) / 255
        self.graph.constant(f"{x}.scale", np.array(scale, np.float32))
        self.graph.constant(f"{x}.zero", np.array(round(-low / scale), np.uint8))
        return [
            _level(self.graph, x, factors),
            node("QuantizeLinear", [f"{x}.levelled", f"{x}.scale", f"{x}.zero"], f"{x}.int8"),
        ]

    def factors(self, x: str) -> Floats:
        return self.levelling[x]

    def product(self, x: str, matrix: str, output: str) -> list[NodeProto]:
        return [_product(x, f"{x}.scale", f"{x}.zero", matrix, output)]


def _level(graph: Graph, x: str, factors: Floats) -> NodeProto:
    """The node that divides the channels of x by their factors."""
    graph.constant(f"{x}.factors", 1 / factors)
    return node("Mul", [x, f"{x}.factors"], f"{x}.levelled")


def _product(x: str, scale: str, zero: str, matrix: str, output: str) -> NodeProto:
    inputs = [f"{x}.int8", f"{matrix}.int8", scale, f"{matrix}.scales", zero]
    return node("MatMulIntegerToFloat", inputs, output, CONTRIB)
