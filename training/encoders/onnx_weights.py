"""The weights inside an exported graph, by the names they had in torch.

The exporter keeps the names of biases, norms and embeddings; a matrix is known by the bias that is
added to its product. Quantised weights come back as the numbers that the runtime computes with.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, helper

from annotations.errors import KhabarError
from training.export.graph import Graph

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
_SUFFIXES = ("_quantized", ".int8", "_scale", "_zero_point", ".scales", ".matrix")
_SAME = ("Cast", "Identity", "QuantizeLinear", "DequantizeLinear", "Reshape")  # but for rounding
_CONSTANT = ("Cast", "Identity", "Transpose", "DequantizeLinear")  # folded when their input is one


class UnpackError(KhabarError):
    """A graph whose weights cannot be read back."""


class WeightReader:
    """The graph of an ONNX file, walked in both directions."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.graph = Graph.load(path)
        self.producer = self.graph.producers()
        self._consumers = self.graph.consumers()
        self.operators = {node.op_type for node in self.graph.nodes}

    def consumers(self, name: str) -> list[NodeProto]:
        """The nodes that read a value."""
        return self._consumers.get(name, [])

    def constant(self, name: str) -> Array | None:
        """What an input is if nothing that is read changes it, dequantised and turned."""
        if name in self.graph.constants:
            return self.graph.constants[name]
        node = self.producer.get(name)
        if node is None or node.op_type not in _CONSTANT:
            return None
        value, *rest = (self.constant(i) if i else None for i in node.input)
        if value is None:
            return None
        if node.op_type == "DequantizeLinear":
            assert rest[0] is not None
            zero = rest[1] if len(rest) > 1 else None
            return dequantised(value, rest[0], zero, attribute(node, "axis", 1))
        if node.op_type == "Transpose":
            return np.transpose(value, attribute(node, "perm", None))
        if node.op_type == "Cast":
            return value.astype(helper.tensor_dtype_to_np_dtype(attribute(node, "to", 1)))
        return value

    def torch_name(self, name: str) -> str:
        """The name in torch of the constant that an input comes from."""
        while name not in self.graph.constants and name in self.producer:
            name = self.producer[name].input[0]
        for suffix in _SUFFIXES:
            name = name.removesuffix(suffix)
        return name

    def bias_of(self, product: NodeProto) -> str | None:
        """The torch name of the bias that is added to a product."""
        if product.op_type == "Gemm" and len(product.input) > 2:
            return self.torch_name(product.input[2])
        waiting = list(product.output)
        while waiting:
            for node in self.consumers(waiting.pop()):
                if node.op_type == "Add":
                    for name in node.input:
                        bias = self.constant(name)
                        if bias is not None and bias.ndim == 1:
                            return self.torch_name(name)
                elif node.op_type in (*_SAME, "Mul"):  # a Mul by scales
                    waiting += node.output
        return None

    def levelling(self, product: NodeProto) -> Floats | None:
        """What each channel is multiplied by before it is quantised for a product, (channels,);
        behind it a row may have a factor of its own.
        """
        name = product.input[0]
        while (node := self.producer.get(name)) is not None:
            factors = [i for i in node.input if i.endswith(".factors")]
            if node.op_type == "Mul" and factors:
                return self.constant(factors[0])
            if node.op_type not in _SAME and not name.endswith(".levels"):
                return None
            name = node.input[0]
        return None


def attribute(node: NodeProto, name: str, default: Any) -> Any:
    """The value of a node's attribute."""
    for found in node.attribute:
        if found.name == name:
            return helper.get_attribute_value(found)
    return default


def dequantised(values: Array, scale: Array, zero: Array | None, axis: int) -> Floats:
    """(values - zero) * scale; scale and zero are one number or one for each place on `axis`."""

    def along(part: Array) -> Floats:
        if part.size == 1:
            return part.reshape(()).astype(np.float32)
        shape = [-1 if i == axis % values.ndim else 1 for i in range(values.ndim)]
        return part.reshape(shape).astype(np.float32)

    shifted = values.astype(np.float32) - (0 if zero is None else along(zero))
    return (shifted * along(scale)).astype(np.float32)


def named_weights(reader: WeightReader) -> dict[str, Floats]:
    """Every weight of the model by its torch name; matrices are (out, in) as in torch.

    A node that computes with constant matrices in a way that is not known here is an error.
    """
    weights: dict[str, Floats] = {}
    for node in reader.graph.nodes:
        for name, array in _matrices(reader, node):
            if name in weights and not np.array_equal(weights[name], array):
                raise UnpackError(
                    f"{reader.path}: two products end in the same bias, that of {name}, so it is "
                    "not known which is which; train the model a step before it is exported"
                )
            weights[name] = array
    for name, array in reader.graph.constants.items():
        plain = array.dtype in (np.float32, np.float16) and not name.endswith(_SUFFIXES)
        if plain and name.startswith("model.") and name not in weights:
            weights[name] = array.astype(np.float32)
    return weights


def _matrices(reader: WeightReader, node: NodeProto) -> Iterator[tuple[str, Floats]]:
    """The torch name of a node's matrix or table, and the array."""
    read = {
        "MatMul": _float_matrix,
        "Gemm": _float_matrix,
        "MatMulInteger": _integer_matrix,
        "MatMulIntegerToFloat": _integer_matrix,
        "Gather": _table,
    }.get(node.op_type)
    if read is None:
        _refuse_unknown(reader, node)
        return
    found = read(reader, node)
    if found is None:
        return
    if node.op_type == "Gather":
        name = reader.torch_name(node.input[0])
    else:
        bias = reader.bias_of(node) or ""
        known = bias.startswith("model.") and bias.endswith(".bias")
        name = bias.removesuffix("bias") + "weight" if known else reader.torch_name(node.input[1])
    if not name.startswith("model."):
        raise UnpackError(
            f"{reader.path}: the matrix of {node.op_type} {node.name} has no bias that would tell "
            "which it is; encoders whose layers have no biases are not read back"
        )
    yield name, found


def _refuse_unknown(reader: WeightReader, node: NodeProto) -> None:
    if node.op_type in (*_CONSTANT, "Slice", "GatherElements", "Expand"):
        return
    for name in node.input:
        array = reader.graph.constants.get(name)
        if array is not None and array.ndim > 1 and min(array.shape) > 1:
            raise UnpackError(
                f"{reader.path}: {node.op_type} with {name} {array.shape} is no way of computing "
                "that is read back here; take a bundle of another quantisation"
            )


def _float_matrix(reader: WeightReader, node: NodeProto) -> Floats | None:
    """MatMul and Gemm, also of dequantised constants."""
    matrix = reader.constant(node.input[1])
    if matrix is None or matrix.ndim != 2:
        return None
    if node.op_type == "Gemm" and attribute(node, "transB", 0):
        matrix = matrix.T
    return _as_torch(reader, node, matrix)


def _integer_matrix(reader: WeightReader, node: NodeProto) -> Floats | None:
    """Products of whole numbers; MatMulInteger's scale stands in the Mul that comes after it."""
    matrix = reader.constant(node.input[1])
    if matrix is None:
        return None
    fused = node.op_type == "MatMulIntegerToFloat"
    scale = reader.constant(node.input[3]) if fused else _scale_after(reader, node)
    if scale is None:
        raise UnpackError(f"{reader.path}: {node.op_type} {node.name} has no scale; export again")
    place = 5 if fused else 3
    given = len(node.input) > place and node.input[place]
    zero = reader.constant(node.input[place]) if given else None
    return _as_torch(reader, node, dequantised(matrix, scale, zero, 1))


def _as_torch(reader: WeightReader, node: NodeProto, matrix: Array) -> Floats:
    """(in, out) as the model computes it to (out, in), levelling of channels taken back."""
    factors = reader.levelling(node)
    if factors is not None:
        matrix = matrix * factors[:, None]
    return np.ascontiguousarray(matrix.T, dtype=np.float32)


def _scale_after(reader: WeightReader, node: NodeProto) -> Array | None:
    """The constant factor in the product of scales by which a whole-number product is
    multiplied.
    """
    waiting = list(node.output)
    while waiting:
        for consumer in reader.consumers(waiting.pop()):
            if consumer.op_type == "Cast":
                waiting += consumer.output
            elif consumer.op_type == "Mul":
                scales = [reader.producer.get(name) for name in consumer.input]
                for made in (s for s in scales if s is not None and s.op_type == "Mul"):
                    found = [reader.constant(name) for name in made.input]
                    return next((f for f in found if f is not None), None)
    return None


def _table(reader: WeightReader, node: NodeProto) -> Floats | None:
    """A table of embeddings; a quantised one gets its scale after the look-up."""
    table = reader.constant(node.input[0])
    if table is None or table.ndim != 2 or table.shape[1] == 1:
        return None
    if np.issubdtype(table.dtype, np.floating):
        return table.astype(np.float32)
    waiting = list(node.output)
    while waiting:
        for consumer in reader.consumers(waiting.pop()):
            if consumer.op_type == "Cast":
                waiting += consumer.output
            elif consumer.op_type == "DequantizeLinear":
                scale, *zero = (reader.constant(name) for name in consumer.input[1:])
                if scale is not None and scale.size == 1:
                    return dequantised(table, scale, zero[0] if zero else None, 0)
            elif consumer.op_type == "Mul":
                for made in (reader.producer.get(name) for name in consumer.input):
                    scales = reader.constant(made.input[0]) if made is not None else None
                    if scales is not None and scales.shape == (len(table), 1):
                        return dequantised(table, scales, None, 0)
    raise UnpackError(
        f"{reader.path}: {node.input[0]} is quantised in a way that is not read back; take a "
        "bundle of another quantisation"
    )
