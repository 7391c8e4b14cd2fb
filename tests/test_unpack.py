"""From a bundle back to a Hugging Face folder: the rebuilt model says what the bundle says."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModel, AutoTokenizer

from annotations.authored import authored_documents
from annotations.conll import sentence_document
from annotations.hashes import sha256
from annotations.seed import seed_document, seed_text
from serving.bundle import DEFAULT_FOLDER, MANIFEST, MODEL, Bundle, Head
from serving.runtime import Floats, Ints
from serving.tagger import Tagger
from training.batches import Collator
from training.corpora import sentences_of
from training.encoders.onnx_weights import UnpackError, WeightReader, named_weights
from training.encoders.sources import load_encoder
from training.encoders.trained import load_heads
from training.encoders.unpack import encoder_from_bundle
from training.examples import examples_of
from training.export.quantisation import SCHEMES, quantise
from training.export.torch_backend import TorchBackend
from training.model import MultiHeadModel
from training.runs import Run


class AllHeads(nn.Module):
    """The model as the graph that is exported."""

    def __init__(self, model: MultiHeadModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, segments: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        return self.model.logits(input_ids, attention_mask, segments)


def rebuilt(folder: Path, heads: tuple[Head, ...]) -> MultiHeadModel:
    """The model in a folder with all its heads."""
    model = MultiHeadModel(load_encoder(folder), heads, 0.0, {})
    assert load_heads(model, folder) == [head.name for head in heads]
    return model.eval()


@pytest.fixture(scope="module")
def default_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped bundle as a Hugging Face folder."""
    return encoder_from_bundle(DEFAULT_FOLDER, tmp_path_factory.mktemp("unpacked") / "default")


@pytest.fixture(scope="module")
def default_model(default_folder: Path) -> MultiHeadModel:
    """The model of that folder with all its heads."""
    return rebuilt(default_folder, Bundle.load(DEFAULT_FOLDER).manifest.heads)


def test_the_default_bundle_becomes_a_hugging_face_folder(default_folder: Path) -> None:
    bundle = Bundle.load(DEFAULT_FOLDER)
    tokenizer = AutoTokenizer.from_pretrained(default_folder)
    special = bundle.manifest.special
    assert tokenizer.bos_token_id == tokenizer.cls_token_id == special.begin
    assert tokenizer.eos_token_id == tokenizer.sep_token_id == special.end
    assert tokenizer.pad_token_id == special.pad
    assert tokenizer.mask_token == "<mask>"
    pieces = bundle.text_encoder().pieces("قالت القوات العراقية")
    assert tokenizer("قالت القوات العراقية")["input_ids"][1:-1] == pieces.tolist()
    model, loading = AutoModel.from_pretrained(
        default_folder, add_pooling_layer=False, output_loading_info=True
    )
    assert not loading["missing_keys"] and not loading["unexpected_keys"]
    assert model.config.num_attention_heads == 12  # read off the graph
    assert model.config.vocab_size == len(tokenizer)
    known = json.loads((default_folder / "heads.json").read_text(encoding="utf-8"))
    assert [head["name"] for head in known["heads"]] == [h.name for h in bundle.manifest.heads]
    assert known["window"] == {"size": 160, "overlap_tokens": 32}
    assert known["normalization"] == bundle.manifest.model_dump()["normalization"]


def agreement(expected: Tagger, found: Tagger, texts: list[str], head: str) -> tuple[float, int]:
    """The F1 of one tagger's entities against another's, and how many there are."""

    def entities(tagger: Tagger) -> set[tuple[int, int, int, str]]:
        return {
            (i, span.start, span.end, span.label)
            for i, spans in enumerate(tagger.spans(texts, head))
            for span, _ in spans
        }

    wanted, got = entities(expected), entities(found)
    return 2 * len(wanted & got) / (len(wanted) + len(got)), len(wanted)


def test_it_names_nearly_the_same_entities_as_the_bundle(
    default_model: MultiHeadModel, default_tagger: Tagger
) -> None:
    in_torch = Tagger(Bundle.load(DEFAULT_FOLDER), backend=TorchBackend(default_model))
    texts = [document.text for document in authored_documents("dev")][:6]
    f1, count = agreement(default_tagger, in_torch, texts, "khabar")
    assert count > 50 and f1 > 0.88, (f1, count)


def test_it_names_nearly_the_same_entities_in_anercorp(
    default_model: MultiHeadModel, default_tagger: Tagger, data_folder: Path
) -> None:
    in_torch = Tagger(Bundle.load(DEFAULT_FOLDER), backend=TorchBackend(default_model))
    sentences = [sentence for _, sentence in sentences_of("anercorp", "dev")][:40]
    texts = [sentence_document(s, "", "anercorp", natural=True).text for s in sentences]
    f1, count = agreement(default_tagger, in_torch, texts, "anercorp")
    assert count > 40 and f1 > 0.93, (f1, count)


def test_training_begins_where_the_bundle_ended(
    default_folder: Path, default_model: MultiHeadModel
) -> None:
    bundle = Bundle.load(DEFAULT_FOLDER)
    heads, encoder = bundle.manifest.heads, bundle.text_encoder()
    examples = list(
        examples_of([seed_document()], bundle.head("khabar"), encoder, "seed", None, 256)
    )
    batch = Collator(heads, encoder.special.pad)([asdict(example) for example in examples])
    torch.manual_seed(0)
    fresh = MultiHeadModel(load_encoder(default_folder), heads, 0.0, {}).eval()
    model = rebuilt(default_folder, heads)
    losses = {"fresh": fresh(**batch)["loss"].item(), "loaded": model(**batch)["loss"].item()}
    assert losses["loaded"] < 0.1 < losses["fresh"], losses
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    model(**batch)["loss"].backward()
    optimizer.step()
    assert float(model(**batch)["loss"]) < losses["loaded"]


def test_only_heads_that_fit_are_loaded(default_folder: Path) -> None:
    khabar, anercorp, topic, claim, _ = Bundle.load(DEFAULT_FOLDER).manifest.heads
    changed = (
        khabar,
        anercorp.model_copy(update={"labels": ("PERS", "ORG", "LOC", "MISC")}),  # another order
        topic.model_copy(update={"name": "desk"}),
        claim.model_copy(update={"kind": "text"}),
    )
    model = MultiHeadModel(load_encoder(default_folder), changed, 0.0, {})
    before = {name: weight.clone() for name, weight in model.heads.state_dict().items()}
    assert load_heads(model, default_folder) == ["khabar"]
    moved = {n for n, w in model.heads.state_dict().items() if not torch.equal(w, before[n])}
    assert moved == {"khabar.out.weight", "khabar.out.bias"}


@pytest.fixture(scope="module")
def trained(smoke_run: Path) -> MultiHeadModel:
    """The model of the smoke run in float32."""
    return Run(smoke_run).model()


@pytest.fixture(scope="module")
def fp32_graph(trained: MultiHeadModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its graph before quantisation."""
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    ids = torch.randint(4, 200, (3, 24), generator=torch.Generator().manual_seed(0))
    segments = torch.ones_like(ids)
    segments[2, 10:] = 2
    names = ("input_ids", "attention_mask", "segments")
    batch, pieces = torch.export.Dim("batch", min=1, max=64), torch.export.Dim("pieces", max=512)
    torch.onnx.export(
        AllHeads(trained).eval(),
        (ids, torch.ones_like(ids), segments),
        str(path),
        input_names=names,
        output_names=[head.name for head in trained.specs],
        dynamo=True,
        opset_version=18,
        dynamic_shapes={name: {0: batch, 1: pieces} for name in names},
        external_data=False,
        verbose=False,
    )
    return path


def with_model(
    smoke_bundle: Path, folder: Path, model: Path, edit: Callable[[dict[str, Any]], None] = id
) -> Path:
    """The smoke bundle with another model and manifest."""
    shutil.copytree(smoke_bundle, folder)
    shutil.copy(model, folder / MODEL)
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    manifest["files"][MODEL] = sha256(folder / MODEL)
    edit(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def calibration(bundle: Bundle) -> list[dict[str, Ints]]:
    """The seed article as inputs of the model, and a pair of its passages."""
    encoder = bundle.text_encoder()
    encoded = encoder.encode(seed_text())
    framed = [encoder.frame(encoded.pieces[w.start : w.end]) for w in encoded.windows]
    framed.append(encoder.frame_pair(encoded.pieces[:20], encoded.pieces[20:100], 160))
    return [
        {"input_ids": i[None], "attention_mask": np.ones_like(i)[None], "segments": s[None]}
        for i, s in framed
    ]


def test_of_an_fp32_graph_every_weight_comes_back_as_it_was(
    trained: MultiHeadModel, fp32_graph: Path, smoke_bundle: Path, tmp_path: Path
) -> None:
    bundle = with_model(smoke_bundle, tmp_path / "bundle", fp32_graph)
    folder = encoder_from_bundle(bundle, tmp_path / "out")
    model = rebuilt(folder, trained.specs)
    expected = trained.state_dict()
    assert model.state_dict().keys() == expected.keys()
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(weight, expected[name], rtol=0, atol=1e-6, msg=name)


@pytest.mark.parametrize("scheme", ["shipped", *SCHEMES])
def test_of_a_quantised_graph_every_weight_comes_back_to_within_its_step(
    trained: MultiHeadModel, fp32_graph: Path, smoke_bundle: Path, tmp_path: Path, scheme: str
) -> None:
    path = smoke_bundle / MODEL
    if scheme != "shipped":
        path = tmp_path / "int8.onnx"
        seen = calibration(Bundle.load(smoke_bundle)) if scheme == "static" else None
        quantise(fp32_graph, path, scheme, seen)
    bundle = with_model(smoke_bundle, tmp_path / "bundle", path)
    folder = encoder_from_bundle(bundle, tmp_path / "out")
    rounded = 0
    for name, weight in rebuilt(folder, trained.specs).state_dict().items():
        expected = trained.state_dict()[name]
        gap = (weight - expected).abs()
        assert float(gap.mean()) <= 0.03 * float(expected.abs().max()), name
        # where texts were seen a weight makes good what others lost, by more than its own step
        if scheme in ("dynamic", "rowwise"):
            assert float(gap.max()) <= float(expected.abs().max()) / 63, name
        rounded += not torch.equal(weight, expected)
    assert rounded >= sum(weight.ndim == 2 for weight in trained.parameters())


def test_the_stated_config_is_taken_and_a_wrong_one_found_out(
    trained: MultiHeadModel, fp32_graph: Path, smoke_bundle: Path, tmp_path: Path
) -> None:
    stated = trained.encoder.config.to_dict()

    def state(**changes: object) -> Callable[[dict[str, Any]], None]:
        return lambda manifest: manifest["training"].update(encoder_config=stated | changes)

    right = with_model(
        smoke_bundle, tmp_path / "right", fp32_graph, state(hidden_dropout_prob=0.25)
    )
    folder = encoder_from_bundle(right, tmp_path / "out")
    assert json.loads((folder / "config.json").read_text())["hidden_dropout_prob"] == 0.25
    wrong = with_model(smoke_bundle, tmp_path / "wrong", fp32_graph, state(hidden_act="relu"))
    with pytest.raises(UnpackError, match=r"rebuilt, head \w+ differs from it by \d"):
        encoder_from_bundle(wrong, tmp_path / "refused")
    assert not (tmp_path / "refused").exists()
    deeper = with_model(smoke_bundle, tmp_path / "deep", fp32_graph, state(num_hidden_layers=3))
    with pytest.raises(UnpackError, match=r"16 of the encoder's \d+ weights are not found in it"):
        encoder_from_bundle(deeper, tmp_path / "refused")


def edited(source: Path, target: Path, edit: Callable[[onnx.GraphProto], None]) -> Path:
    """A copy of a model with another graph."""
    model = onnx.load(str(source))
    edit(model.graph)
    onnx.save(model, str(target))
    return target


def test_what_cannot_be_read_back_is_refused(
    fp32_graph: Path, smoke_bundle: Path, tmp_path: Path
) -> None:
    def as_another_kind(graph: onnx.GraphProto) -> None:
        node = next(n for n in graph.node if n.op_type == "MatMul" and "val_" in n.input[1])
        node.op_type, node.domain = "FusedMatMul", "com.microsoft"

    def one_bias_for_two(graph: onnx.GraphProto) -> None:
        layer = "model.encoder.encoder.layer.0.attention.self"
        for node in graph.node:
            for i, name in enumerate(node.input):
                if name == f"{layer}.key.bias":
                    node.input[i] = f"{layer}.query.bias"

    def without_biases(graph: onnx.GraphProto) -> None:
        for node in graph.node:
            for i, name in enumerate(node.input):
                if name.endswith("query.bias"):
                    node.input[i] = "unnamed"
        for tensor in graph.initializer:
            if tensor.name.endswith("query.bias"):
                tensor.name = "unnamed"

    for edit, message in (
        (as_another_kind, r"FusedMatMul with val_\w+ \(\d+, \d+\) is no way of computing"),
        (one_bias_for_two, r"two products end in the same bias, that of .*query\.weight"),
        (without_biases, r"layers have no biases are not read back"),
    ):
        path = edited(fp32_graph, tmp_path / "edited.onnx", edit)
        with pytest.raises(UnpackError, match=message):
            named_weights(WeightReader(path))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").touch()
    with pytest.raises(UnpackError, match="full is not empty; give a new folder"):
        encoder_from_bundle(smoke_bundle, tmp_path / "full")


def test_weights_that_were_damaged_behind_the_graph_are_found_out(
    fp32_graph: Path, smoke_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def swapped(reader: WeightReader) -> dict[str, Floats]:
        weights = named_weights(reader)
        layer = "model.encoder.encoder.layer.0.attention.self"
        query, value = f"{layer}.query.weight", f"{layer}.value.weight"
        weights[query], weights[value] = weights[value] * 9, weights[query] * 9
        return weights

    monkeypatch.setattr("training.encoders.unpack.named_weights", swapped)
    bundle = with_model(smoke_bundle, tmp_path / "bundle", fp32_graph)
    with pytest.raises(UnpackError, match="the graph is not understood"):
        encoder_from_bundle(bundle, tmp_path / "out")


def test_the_heads_are_data_only(default_folder: Path) -> None:
    assert {path.suffix for path in default_folder.iterdir()} == {".json", ".safetensors"}
    heads = load_file(default_folder / "heads.safetensors")
    graph = onnx.load(str(DEFAULT_FOLDER / MODEL)).graph
    biases = {t.name: numpy_helper.to_array(t) for t in graph.initializer if ".out.bias" in t.name}
    for name, bias in biases.items():
        np.testing.assert_array_equal(heads[name.removeprefix("model.heads.")].numpy(), bias)
