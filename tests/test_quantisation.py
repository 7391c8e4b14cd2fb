"""Quantisation: every scheme stays near fp32; static and rowwise answer a row alone as beside
others, bit for bit.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from serving.bundle import Bundle, Head
from serving.runtime import OnnxBackend
from tests.framed_rows import Rows, batch, examples, framed
from tests.small_disk import small_files
from training.export.graph import Graph, simplify
from training.export.observation import Inputs, calibration_inputs
from training.export.quantisation import (
    SCHEMES,
    ExportError,
    Scheme,
    quantise,
)


@pytest.fixture(scope="module")
def heads(smoke_bundle: Path) -> tuple[Head, ...]:
    return Bundle.load(smoke_bundle).manifest.heads


@pytest.fixture(scope="module")
def backends(
    smoke_fp32: Path, heads: tuple[Head, ...], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, OnnxBackend]:
    folder = tmp_path_factory.mktemp("int8")
    found = {"fp32": OnnxBackend(smoke_fp32, heads, threads=2)}
    for scheme in SCHEMES:
        path = folder / f"{scheme}.onnx"
        quantise(smoke_fp32, path, scheme, calibration_inputs(examples(seed=1)))
        found[scheme] = OnnxBackend(path, heads, threads=2)
    assert {path.name for path in folder.iterdir()} == {f"{scheme}.onnx" for scheme in SCHEMES}
    return found


def apart(backend: OnnxBackend, rows: Rows, together: dict[str, NDArray[np.float32]]) -> float:
    """The largest difference of any logit of rows run alone to their place in a batch."""
    worst = 0.0
    for i, row in enumerate(rows):
        for name, logits in backend.run(*batch([row])).items():
            beside = together[name][i]
            found = beside[: logits.shape[1]] if logits.ndim == 3 else beside
            worst = max(worst, float(np.abs(found - logits[0]).max()))
    return worst


@pytest.mark.parametrize("longest", [0, 200])
@pytest.mark.parametrize("scheme", ["static", "rowwise"])
def test_a_row_is_answered_alone_as_among_64_bit_for_bit(
    backends: dict[str, OnnxBackend], scheme: Scheme, longest: int
) -> None:
    rows = framed(np.random.default_rng(3).integers(4, 128, 64).tolist(), seed=2)
    together = backends[scheme].run(*batch(rows, longest))
    assert apart(backends[scheme], rows, together) == 0.0


def test_a_dynamic_scale_lets_batch_mates_into_an_answer(
    backends: dict[str, OnnxBackend],
) -> None:
    rows = framed([5, 100, 30, 64], seed=5)
    together = backends["dynamic"].run(*batch(rows))
    assert apart(backends["dynamic"], rows, together) > 1e-3


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_stays_close_to_fp32(backends: dict[str, OnnxBackend], scheme: Scheme) -> None:
    rows = framed([40, 7, 90, 33], seed=7)
    wanted, found = (backends[name].run(*batch(rows)) for name in ("fp32", scheme))
    real = batch(rows)[1].astype(bool)
    for name, logits in wanted.items():
        a, b = (part[real] if part.ndim == 3 else part for part in (logits, found[name]))
        assert 0 < np.abs(a - b).max() < 0.5
        assert np.abs(a - b).mean() < 0.1 * a.std() + 0.02


@pytest.mark.parametrize("scheme", ["dynamic", "rowwise"])
def test_texts_to_calibrate_on_bring_int8_nearer_to_fp32(
    backends: dict[str, OnnxBackend],
    smoke_fp32: Path,
    heads: tuple[Head, ...],
    tmp_path: Path,
    scheme: Scheme,
) -> None:
    quantise(smoke_fp32, tmp_path / "model.onnx", scheme)
    inputs = batch(framed([12, 40, 25, 80, 9, 33] * 4, seed=6))
    real = inputs[1].astype(bool)
    wanted = backends["fp32"].run(*inputs)
    for name in ("khabar", "anercorp"):
        nearest, calibrated = (
            np.square(backend.run(*inputs)[name] - wanted[name])[real].mean()
            for backend in (OnnxBackend(tmp_path / "model.onnx", heads), backends[scheme])
        )
        assert calibrated < 0.9 * nearest, (name, nearest, calibrated)


def test_without_calibration_static_is_refused(smoke_fp32: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"static quantisation needs texts .* or take rowwise"):
        quantise(smoke_fp32, tmp_path / "model.onnx", "static")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_old_file_whole(smoke_fp32: Path, tmp_path: Path) -> None:
    target = tmp_path / "model.onnx"
    target.write_bytes(b"old")
    told = r"model\.onnx.*File too large.*make room"
    with small_files(), pytest.raises(ExportError, match=told):
        quantise(smoke_fp32, target)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert target.read_bytes() == b"old"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_products_of_bytes_in_pairs_fit_sixteen_bits(
    smoke_fp32: Path, tmp_path: Path, scheme: Scheme
) -> None:
    quantise(smoke_fp32, tmp_path / "model.onnx", scheme, calibration_inputs(examples(seed=1)))
    graph = onnx.load(str(tmp_path / "model.onnx")).graph
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    products = [part for part in graph.node if part.op_type == "MatMulIntegerToFloat"]
    assert len(products) == 2 * 6 + 8  # six a layer, one a head of words, two a pooled head
    for part in products:
        assert 2 * 255 * int(np.abs(values[part.input[1]].astype(int)).max()) < 2**15


def small_graph(kinds: str) -> onnx.ModelProto:
    """x (rows, 4): its GELU as exporters spell it (or with another divisor), times a matrix."""
    divisor = 2**0.5 if kinds == "gelu" else 2.0
    values = {"root": divisor, "one": 1.0, "half": 0.5}
    constants = [
        numpy_helper.from_array(np.array(v, np.float32), name) for name, v in values.items()
    ]
    matrix = np.arange(12, dtype=np.float32).reshape(4, 3) - 5
    constants.append(numpy_helper.from_array(matrix.T.copy(), "matrix"))
    constants.append(numpy_helper.from_array(np.ones(3, np.float32), "bias"))
    nodes = [
        helper.make_node("Div", ["x", "root"], ["a"]),
        helper.make_node("Erf", ["a"], ["b"]),
        helper.make_node("Add", ["b", "one"], ["c"]),
        helper.make_node("Mul", ["half", "c"], ["d"]),
        helper.make_node("Mul", ["x", "d"], ["e"]),
        helper.make_node("Gemm", ["e", "matrix", "bias"], ["y"], transB=1),
    ]
    info = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", ["rows", 4]), ("y", ["rows", 3]))
    ]
    graph = helper.make_graph(nodes, "small", info[:1], info[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.mark.parametrize("kinds", ["gelu", "something like it"])
def test_a_simplified_graph_computes_the_same(kinds: str) -> None:
    model = small_graph(kinds)
    graph = Graph(model)
    simplify(graph)
    names = [part.op_type for part in graph.nodes]
    assert ("Gelu" in names) == (kinds == "gelu")
    assert "Gemm" not in names
    x = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32) * 3
    before, after = (
        onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, {"x": x})
        for data in (model.SerializeToString(), graph.serialised())
    )
    np.testing.assert_allclose(after[0], before[0], rtol=1e-5, atol=1e-6)


def test_simplifying_the_model_changes_nothing_of_what_it_says(
    smoke_fp32: Path, heads: tuple[Head, ...], tmp_path: Path
) -> None:
    graph = Graph.load(smoke_fp32)
    simplify(graph)
    (tmp_path / "simple.onnx").write_bytes(graph.serialised())
    inputs = batch(framed([40, 7, 90, 33], seed=7))
    wanted = OnnxBackend(smoke_fp32, heads).run(*inputs)
    found = OnnxBackend(tmp_path / "simple.onnx", heads).run(*inputs)
    for name, logits in wanted.items():
        np.testing.assert_allclose(found[name], logits, rtol=0, atol=1e-5)
    kinds = [part.op_type for part in onnx.load(str(tmp_path / "simple.onnx")).graph.node]
    assert kinds.count("Gelu") == 2  # one a layer
    assert not {"Erf", "Gemm"} & set(kinds)


def test_calibration_takes_examples_evenly_and_unpadded() -> None:
    found: list[Inputs] = calibration_inputs(examples(seed=1), count=6)
    lengths = [inputs["input_ids"].shape for inputs in found]
    assert lengths == [(1, 12), (1, 9), (1, 25), (1, 12), (1, 9), (1, 25)]
    assert all(inputs["attention_mask"].all() for inputs in found)
