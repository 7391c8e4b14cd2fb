"""An exported ONNX graph, opened to be rewritten: what ONNX Runtime computes faster, and without
looking at the batch, when it is said in other nodes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, helper, numpy_helper

Array = npt.NDArray[Any]
CONTRIB = "com.microsoft"  # ONNX Runtime's own operators


class Graph:
    """The nodes of a model in their order, and its constants by name."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.nodes: list[NodeProto] = list(model.graph.node)
        self.constants: dict[str, Array] = {
            tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer
        }
        self._last_dimensions = {
            value.name: value.type.tensor_type.shape.dim[-1].dim_value
            for value in model.graph.value_info
            if value.type.tensor_type.shape.dim
        }

    @classmethod
    def load(cls, path: Path) -> Graph:
        """The graph of an ONNX file."""
        return cls(onnx.load(str(path)))

    def producers(self) -> dict[str, NodeProto]:
        """The node that makes each value."""
        return {name: node for node in self.nodes for name in node.output}

    def consumers(self) -> dict[str, list[NodeProto]]:
        """The nodes that read each value."""
        found: dict[str, list[NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                found.setdefault(name, []).append(node)
        return found

    def last_dimension(self, name: str) -> int:
        """The size of a value's last dimension; 0 where it is not known."""
        return int(self._last_dimensions.get(name, 0))

    def number(self, name: str) -> float | None:
        """A constant of one number; None where it is none."""
        value = self.constants.get(name)
        return float(value.reshape(-1)[0]) if value is not None and value.size == 1 else None

    def constant(self, name: str, value: Array) -> str:
        """Add a constant, once; returns its name."""
        self.constants.setdefault(name, value)
        return name

    def serialised(self, outputs: Sequence[str] | None = None) -> bytes:
        """The model as it stands now, without nodes and constants that nothing reads; `outputs`
        are the values it gives, by default what it gave.
        """
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        graph = model.graph
        if outputs is not None:
            del graph.output[:]
            graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
        read = {value.name for value in graph.output}
        kept: list[NodeProto] = []
        for part in reversed(self.nodes):
            if read & set(part.output):
                kept.append(part)
                read.update(part.input)
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        graph.node.extend(kept[::-1])
        graph.initializer.extend(
            numpy_helper.from_array(np.asarray(value, order="C"), name)
            for name, value in self.constants.items()
            if name in read
        )
        if all(entry.domain != CONTRIB for entry in model.opset_import):
            model.opset_import.append(helper.make_opsetid(CONTRIB, 1))
        return bytes(model.SerializeToString())


def node(
    kind: str, inputs: Sequence[str], output: str, domain: str = "", **attributes: Any
) -> NodeProto:
    """A node of one output, named after it."""
    return helper.make_node(kind, inputs, [output], name=output, domain=domain, **attributes)


def simplify(graph: Graph) -> None:
    """Say GELU as one node, Gemm as product and sum, and sums over masked pieces as products."""
    _one_node_gelus(graph)
    _plain_products(graph)
    _masked_sums_as_products(graph)


def _one_node_gelus(graph: Graph) -> None:
    """GELU, which the exporter spells x * (0.5 * (1 + erf(x / sqrt 2))), as the operator of that
    name.
    """
    producers, consumers = graph.producers(), graph.consumers()

    def only(name: str, kind: str) -> NodeProto | None:
        readers = consumers.get(name, [])
        return readers[0] if len(readers) == 1 and readers[0].op_type == kind else None

    found: dict[str, NodeProto] = {}
    for erf in graph.nodes:
        divided = producers.get(erf.input[0]) if erf.op_type == "Erf" else None
        if divided is None or divided.op_type != "Div":
            continue
        scale = graph.number(divided.input[1])
        one = only(erf.output[0], "Add")
        half = only(one.output[0], "Mul") if one else None
        last = only(half.output[0], "Mul") if half else None
        if scale is None or one is None or half is None or last is None:
            continue
        x = divided.input[0]
        numbers = {graph.number(name) for part in (one, half) for name in part.input}
        if x in last.input and {1.0, 0.5} <= numbers and math.isclose(scale, 2**0.5, rel_tol=1e-5):
            found[last.output[0]] = node("Gelu", [x], last.output[0], CONTRIB)
    graph.nodes = [found.get(part.output[0], part) for part in graph.nodes]


def _plain_products(graph: Graph) -> None:
    """Gemm of a constant matrix as MatMul and Add, so that there is one kind of product."""
    nodes: list[NodeProto] = []
    for gemm in graph.nodes:
        weights = graph.constants.get(gemm.input[1]) if gemm.op_type == "Gemm" else None
        if weights is None or len(gemm.input) < 3:
            nodes.append(gemm)
            continue
        settings = {entry.name: helper.get_attribute_value(entry) for entry in gemm.attribute}
        assert settings.get("alpha", 1) == settings.get("beta", 1) == 1
        assert not settings.get("transA")
        name, output = f"{gemm.input[1]}.matrix", gemm.output[0]
        graph.constant(name, weights.T if settings.get("transB") else weights)
        nodes.append(node("MatMul", [gemm.input[0], name], f"{output}.product"))
        nodes.append(node("Add", [f"{output}.product", gemm.input[2]], output))
    graph.nodes = nodes


def _masked_sums_as_products(graph: Graph) -> None:
    """The sum over pieces of hidden states times a mask, as the product of the two.

    ReduceSum adds in another order when a batch has one row, a product does not.
    """
    producers = graph.producers()
    nodes: list[NodeProto] = []
    for total in graph.nodes:
        product = producers.get(total.input[0]) if total.op_type == "ReduceSum" else None
        masks = (
            [name for name in product.input if graph.last_dimension(name) == 1]
            if product is not None and product.op_type == "Mul"
            else []
        )
        axes = graph.constants.get(total.input[1]) if len(masks) == 1 else None
        if product is None or axes is None or axes.tolist() != [1]:
            nodes.append(total)
            continue
        hidden = next(name for name in product.input if name != masks[0])
        output = total.output[0]
        axis = graph.constant("axis_1", np.array([1], np.int64))
        nodes.append(node("Transpose", [masks[0]], f"{output}.mask", perm=[0, 2, 1]))
        nodes.append(node("MatMul", [f"{output}.mask", hidden], f"{output}.row"))
        nodes.append(node("Squeeze", [f"{output}.row", axis], output))
    graph.nodes = nodes


def matrix_products(graph: Graph) -> Iterable[NodeProto]:
    """The products with a constant matrix (inputs, outputs): all linear layers."""
    for part in graph.nodes:
        if part.op_type == "MatMul" and part.input[1] in graph.constants:
            weights = graph.constants[part.input[1]]
            if weights.ndim == 2 and weights.dtype == np.float32:
                yield part
