"""Levelling: channels that reach far are shrunk before rows are rounded, and nothing is said
otherwise for it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from serving.bundle import Bundle
from serving.runtime import OnnxBackend
from tests.framed_rows import batch, examples, framed
from training.export import quantisation
from training.export.graph import Graph, matrix_products, simplify
from training.export.observation import calibration_inputs, observe, observe_rows
from training.export.quantisation import ExportError, levelling, quantise


def two_products(matrix: np.ndarray) -> Graph:
    """x (rows, 4) times a matrix and times one of ones."""
    matrices = {"matrix": matrix, "ones": np.ones_like(matrix)}
    constants = [numpy_helper.from_array(m.astype(np.float32), n) for n, m in matrices.items()]
    nodes = [helper.make_node("MatMul", ["x", name], [f"by {name}"]) for name in matrices]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 4])]
    shape = ["rows", matrix.shape[1]]
    outputs = [
        helper.make_tensor_value_info(f"by {name}", TensorProto.FLOAT, shape) for name in matrices
    ]
    return Graph(helper.make_model(helper.make_graph(nodes, "two", inputs, outputs, constants)))


def test_channels_are_levelled_by_their_reach_and_their_weights() -> None:
    graph = two_products(np.array([[1, -1], [0.5, 1], [4, 0], [0, 0.25]]))
    [seen] = observe_rows([[np.array([[1, -50, 2, 1], [0, 30, 2, -4]], np.float32)]])
    factors = levelling(graph, {"x": seen}, 0.5)["x"]
    expected = np.sqrt(np.array([1, 50, 2, 4]) / np.array([1, 1, 4, 1]))  # of both matrices
    np.testing.assert_allclose(factors, expected / np.prod(expected) ** 0.25, rtol=1e-5)
    assert np.prod(factors) == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize("never", [[1], [0, 2], [0, 1, 2, 3]])
def test_a_channel_that_was_never_at_work_stays_as_it_is(never: list[int]) -> None:
    rows = np.array([[1, -50, 2, 1], [0, 30, 2, -4]], np.float32)
    rows[:, never] = 0
    [seen] = observe_rows([[rows]])
    factors = levelling(two_products(np.ones((4, 2))), {"x": seen}, 0.7)["x"]
    assert (factors[never] == 1).all() and np.isfinite(factors).all()
    assert (np.delete(factors, never) != 1).all()


def test_what_weighs_nothing_takes_no_channel_out_of_bounds() -> None:
    matrix = np.array([[1.0], [0], [1], [1]])
    graph = two_products(matrix)
    graph.constants["ones"] = matrix.astype(np.float32)
    [seen] = observe_rows([[np.array([[1, 1, 1e-20, 1]], np.float32)]])
    factors = levelling(graph, {"x": seen}, 0.7)["x"]
    assert 0.01 < factors.min() < factors.max() < 100


def test_rows_are_levelled_but_for_those_of_gelu(smoke_fp32: Path, tmp_path: Path) -> None:
    levelled: dict[bool, set[str]] = {}
    for calibrated in (True, False):
        path = tmp_path / f"{calibrated}.onnx"
        inputs = calibration_inputs(examples(seed=1)) if calibrated else None
        quantise(smoke_fp32, path, "rowwise", inputs)
        parts = onnx.load(str(path)).graph.node
        gelus = {part.output[0] for part in parts if part.op_type == "Gelu"}
        muls = [part for part in parts if part.op_type == "Mul"]
        levelled[calibrated] = {p.input[0] for p in muls if p.input[1].endswith(".factors")}
        assert gelus and not gelus & levelled[calibrated]
    assert len(levelled[True]) >= 2 * 3 and not levelled[False]  # three a layer, and the heads'


def error(found: Path, fp32: Path, bundle: Path, kinds: tuple[str, ...]) -> float:
    """The mean error of a model's logits beside their spread in fp32, of heads of some kinds."""
    heads = Bundle.load(bundle).manifest.heads
    inputs = batch(framed([40, 12, 90, 33, 21, 60], seed=7))
    wanted, got = (OnnxBackend(path, heads).run(*inputs) for path in (fp32, found))
    names = [head.name for head in heads if head.kind in kinds]
    return float(np.mean([np.abs(got[n] - wanted[n]).mean() / wanted[n].std() for n in names]))


def test_channels_that_reach_far_leave_the_others_their_steps(
    smoke_fp32: Path, smoke_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that is made to shout in one channel of each norm."""
    graph = Graph.load(smoke_fp32)
    for name in [name for name in graph.constants if name.endswith("LayerNorm.weight")]:
        loud = graph.constants[name].copy()
        loud[5] *= 40
        graph.constants[name] = loud
    source, target = tmp_path / "loud.onnx", tmp_path / "int8.onnx"
    source.write_bytes(graph.serialised())
    errors = []
    for _ in ("levelled", "as they are"):
        quantise(source, target, "rowwise", calibration_inputs(examples(seed=1)))
        errors.append(error(target, source, smoke_bundle, ("nested", "flat")))
        monkeypatch.setattr(quantisation, "levelling", lambda *_: {})
    assert errors[0] < 0.6 * errors[1]


def test_without_a_pair_to_calibrate_on_pairs_are_read_all_the_same(
    smoke_fp32: Path, smoke_bundle: Path, tmp_path: Path
) -> None:
    alone = [one for one in examples(seed=1) if 2 not in one["segments"]]
    assert alone
    quantise(smoke_fp32, tmp_path / "int8.onnx", "rowwise", calibration_inputs(alone))
    quantise(smoke_fp32, tmp_path / "plain.onnx", "rowwise")
    found, plain = (
        error(tmp_path / name, smoke_fp32, smoke_bundle, ("pair",))
        for name in ("int8.onnx", "plain.onnx")
    )
    assert found < 1.5 * plain


def test_padding_is_not_observed(smoke_fp32: Path) -> None:
    graph = Graph.load(smoke_fp32)
    simplify(graph)
    values = [part.input[0] for part in matrix_products(graph)][:4]
    rows = framed([5, 40, 17], seed=3)
    names = ("input_ids", "attention_mask", "segments")
    together = dict(zip(names, batch(rows, 60), strict=True))
    alone = [dict(zip(names, batch([row]), strict=True)) for row in rows]
    for name, value in observe(graph, values, [together]).items():
        apart = observe(graph, values, alone)[name]
        np.testing.assert_allclose(value.low, apart.low, atol=1e-4)
        np.testing.assert_allclose(value.high, apart.high, atol=1e-4)
        np.testing.assert_allclose(value.products, apart.products, atol=1e-3)


def test_a_model_that_diverged_is_not_rounded(smoke_fp32: Path, tmp_path: Path) -> None:
    graph = Graph.load(smoke_fp32)
    name = next(n for n in graph.constants if n.endswith("embeddings.LayerNorm.weight"))
    graph.constants[name] = graph.constants[name] * np.float32(1e30)
    (tmp_path / "diverged.onnx").write_bytes(graph.serialised())
    with pytest.raises(ExportError, match=r"grow beyond all numbers; the model is broken"):
        inputs = calibration_inputs(examples(seed=1))
        quantise(tmp_path / "diverged.onnx", tmp_path / "int8.onnx", "rowwise", inputs)
    assert not (tmp_path / "int8.onnx").exists()
