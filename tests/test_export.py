"""Export: the graph says what torch says, and the bundle around it is whole and honest."""

import copy
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

import configs
import training.export.onnx_export
from annotations.catalogue import catalogue
from annotations.clitics import NameLexicon
from annotations.errors import ConfigError
from annotations.hashes import sha256
from annotations.seed import seed_text
from serving.bundle import CARD, LEXICON, MODEL, TOKENIZER, Bundle, Head
from serving.runtime import OnnxBackend
from serving.tagger import Tagger
from tests.small_disk import small_files
from training.corpora import data_entry
from training.encoders.sources import load_encoder
from training.export.card import model_card
from training.export.onnx_export import ExportError
from training.model import MultiHeadModel
from training.recipe import recalibrate, rescore
from training.settings import load_recipe

Logits = dict[str, NDArray[np.float32]]
WORD_KINDS = ("nested", "flat")


@pytest.fixture(scope="module")
def model(smoke_run: Path) -> MultiHeadModel:
    """The trained weights of the smoke run, as its last checkpoint has them."""
    heads = Bundle.load(smoke_run / "bundle").manifest.heads
    made = MultiHeadModel(load_encoder(smoke_run / "encoder" / "tiny"), heads, 0.1, {})
    (checkpoint,) = smoke_run.glob("checkpoint-*")
    made.load_state_dict(load_file(checkpoint / "model.safetensors"))
    return made.eval()


@pytest.fixture(scope="module")
def exported(model: MultiHeadModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the int8 model, its fp32 form kept beside it, and what export said of them."""
    folder = tmp_path_factory.mktemp("exported")
    quantise = training.export.onnx_export.quantise

    def keep_and_quantise(source: Path, target: Path, *settings: Any) -> None:
        shutil.copy(source, folder / "kept.onnx")
        quantise(source, target, *settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.export.onnx_export, "quantise", keep_and_quantise)
        differences = training.export.onnx_export.export(model, folder, pad=1)
    (folder / "differences.json").write_text(json.dumps(differences))
    return folder


def inputs(rows: int, pieces: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Made-up inputs, the later rows shorter, every second one a pair."""
    random = torch.Generator().manual_seed(seed)
    ids = torch.randint(4, 200, (rows, pieces), generator=random)
    mask, segments = torch.ones_like(ids), torch.ones_like(ids)
    for row in range(rows):
        length = max(pieces - 3 * row, 4)
        ids[row, length:], mask[row, length:], segments[row, length - 1 :] = 1, 0, 0
        segments[row, 0] = 0
        if row % 2:
            segments[row, length // 2 : length - 1] = 2
    return ids, mask, segments


def torch_logits(model: MultiHeadModel, rows: int, pieces: int, seed: int) -> Logits:
    with torch.no_grad():
        logits = model.logits(*inputs(rows, pieces, seed))
    return {head.name: part.numpy() for head, part in zip(model.specs, logits, strict=True)}


def onnx_logits(path: Path, heads: tuple[Head, ...], rows: int, pieces: int, seed: int) -> Logits:
    return OnnxBackend(path, heads, threads=1).run(
        *(part.numpy() for part in inputs(rows, pieces, seed))
    )


# shapes unlike the one that is traced: (rows, pieces)
SHAPES = [(1, 4), (1, 128), (7, 33), (2, 256)]


@pytest.mark.parametrize(("rows", "pieces"), SHAPES)
def test_the_fp32_graph_gives_the_logits_of_torch(
    model: MultiHeadModel, exported: Path, rows: int, pieces: int
) -> None:
    found = onnx_logits(exported / "kept.onnx", model.specs, rows, pieces, seed=rows)
    mask = inputs(rows, pieces, rows)[1].numpy().astype(bool)
    for head in model.specs:
        wanted, got = torch_logits(model, rows, pieces, rows)[head.name], found[head.name]
        assert got.shape == wanted.shape
        if head.kind in WORD_KINDS:
            wanted, got = wanted[mask], got[mask]
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("which", ["exported", "bundle"])
@pytest.mark.parametrize(("rows", "pieces"), SHAPES)
def test_the_int8_graph_stays_close(
    model: MultiHeadModel, exported: Path, smoke_bundle: Path, which: str, rows: int, pieces: int
) -> None:
    path = (exported if which == "exported" else smoke_bundle) / MODEL
    found = onnx_logits(path, model.specs, rows, pieces, seed=rows)
    mask = inputs(rows, pieces, rows)[1].numpy().astype(bool)
    for head in model.specs:
        wanted, got = torch_logits(model, rows, pieces, rows)[head.name], found[head.name]
        if head.kind in WORD_KINDS:
            wanted, got = wanted[mask], got[mask]
        assert np.abs(got - wanted).max() < 0.5, head.name
        assert np.abs(got - wanted).mean() < 0.1 * wanted.std() + 0.02, head.name


def test_the_weights_are_int8_and_the_file_is_smaller(exported: Path) -> None:
    def types(path: Path) -> set[int]:
        return {tensor.data_type for tensor in onnx.load(str(path)).graph.initializer}

    assert onnx.TensorProto.INT8 in types(exported / MODEL)
    assert onnx.TensorProto.INT8 not in types(exported / "kept.onnx")
    assert (exported / MODEL).stat().st_size < (exported / "kept.onnx").stat().st_size
    left = {path.name for path in exported.iterdir()}
    assert left == {MODEL, "kept.onnx", "differences.json"}  # nothing half-done stays


def test_export_says_how_far_it_strays(exported: Path) -> None:
    differences = json.loads((exported / "differences.json").read_text())
    assert 0 <= differences["fp32"] < 1e-3 < differences["int8"] < 0.5


def test_a_graph_of_other_weights_is_refused(
    model: MultiHeadModel, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stale_export(graph: object, sample: object, path: str, **_: object) -> None:
        shutil.copy(exported / "kept.onnx", path)

    monkeypatch.setattr(torch.onnx, "export", stale_export)
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.heads["topic"].out.bias[2] += 0.25
    with pytest.raises(
        ExportError, match=r"logits differ from torch by 0\.25\d\d, more than 0.001"
    ):
        training.export.onnx_export.export(other, tmp_path, pad=1)
    assert not list(tmp_path.iterdir())  # neither half of an export stays


def test_the_model_is_left_as_it_was(model: MultiHeadModel, tmp_path: Path) -> None:
    before = model.encoder.config._attn_implementation
    wanted = torch_logits(model, 2, 9, seed=4)
    training.export.onnx_export.export(model, tmp_path, pad=1)
    assert model.encoder.config._attn_implementation == before == "sdpa"
    for name, logits in torch_logits(model, 2, 9, seed=4).items():
        np.testing.assert_array_equal(logits, wanted[name])


def test_a_full_disk_is_said_and_leaves_nothing(model: MultiHeadModel, tmp_path: Path) -> None:
    told = r"cannot be written \(File too large\); make room"
    with small_files(), pytest.raises(ExportError, match=told):
        training.export.onnx_export.export(model, tmp_path, pad=1)
    assert not list(tmp_path.iterdir())


def test_a_bundle_of_the_recipe_loads_and_reads(smoke_bundle: Path, smoke_run: Path) -> None:
    bundle = Bundle.load(smoke_bundle)
    recipe = load_recipe(configs.folder() / "train" / "smoke.yaml")
    assert (bundle.name, bundle.version) == (recipe.name, recipe.version)
    assert set(bundle.manifest.files) == {MODEL, TOKENIZER, LEXICON, CARD}
    for name, expected in bundle.manifest.files.items():
        assert sha256(smoke_bundle / name) == expected
    assert bundle.manifest.training["recipe"] == recipe.model_dump(mode="json")
    assert set(bundle.manifest.training["minutes"]) == {"khabar", "claim", "stance"}
    assert bundle.lexicon.counts == NameLexicon.read(smoke_bundle / LEXICON).counts
    assert not (smoke_run / "bundle.partial").exists()
    (prediction,) = Tagger(bundle).tag([seed_text()])
    assert prediction.error is None


def test_a_bundle_is_data_only(smoke_bundle: Path) -> None:
    assert {path.suffix for path in smoke_bundle.iterdir()} == {".onnx", ".json", ".tsv", ".md"}
    graph = onnx.load(str(smoke_bundle / MODEL), load_external_data=False).graph
    assert {node.domain for node in graph.node} <= {"", "ai.onnx", "com.microsoft"}
    assert not any(tensor.external_data for tensor in graph.initializer)


def test_the_model_card_states_terms_scores_and_data(smoke_bundle: Path) -> None:
    card = (smoke_bundle / CARD).read_text(encoding="utf-8")
    flat = " ".join(card.split())
    assert "The code is Apache-2.0. **The weights are for research use" in flat
    assert "rights in the training data are not cleared" in flat
    assert catalogue()["seed"].license in card
    assert "annotated by language models, in part twice, independently" in flat
    assert "not human gold" in flat
    for section in ("Terms", "Scores", "Heads", "Training data", "Recipe"):
        assert f"\n## {section}\n" in card
    recipe = json.loads(re.search(r"```json\n(.*)\n```", card, re.DOTALL).group(1))  # type: ignore[union-attr]
    assert recipe["recipe"]["name"] == "khabar-smoke"


@pytest.mark.parametrize("name", ["embedded", "camelbert-mix"])
def test_the_card_of_a_shipped_recipe_states_the_terms_of_each_corpus(
    smoke_bundle: Path, name: str
) -> None:
    recipe = load_recipe(configs.folder() / "train" / f"{name}.yaml")
    corpora = {source.corpus.split("-")[0] for source in recipe.sources} | set(recipe.lexicon)
    score = {"head": "claim", "split": "ANS dev", "items": 755, "accuracy": 0.7234, "ece": None}
    score |= {"macro_f1": 0.5678, "interval": [0.51, 0.62], "command": "khabar evaluate --task c"}
    agree = {"precision": 0.5, "recall": 0.6, "f1": 0.55, "support": 9, "interval": (0.4, 0.7)}
    score |= {"per_label": {"agree": agree}}
    manifest = Bundle.load(smoke_bundle).manifest.model_copy(
        update={
            "data": [data_entry(corpus) for corpus in corpora],
            "scores": [score],
        }
    )
    card = model_card(manifest)
    for corpus in corpora:
        assert catalogue()[corpus].license in card, corpus
        assert catalogue()[corpus].title in card, corpus
        for value in catalogue()[corpus].files.values():
            assert value[:16] in card
    row = "| claim | ANS dev | 755 | accuracy 0.723, macro F1 0.568 | 0.510 to 0.620 | - |"
    assert row in card
    assert "| agree | 0.500 | 0.600 | 0.550 | 0.400 to 0.700 | 9 |" in card
    assert "`khabar evaluate --task c`" in card


def test_a_bundle_is_scored_again_without_another_training(
    smoke_bundle: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(smoke_bundle, folder)
    manifest = json.loads((folder / "bundle.json").read_text("utf-8"))
    manifest["training"]["recipe"]["sources"].append(
        {"corpus": "authored-stances", "head": "stance"}
    )
    (folder / "bundle.json").write_text(json.dumps(manifest, ensure_ascii=False), "utf-8")
    assert rescore(folder) == folder
    bundle = Bundle.load(folder)
    (score,) = bundle.manifest.scores
    assert (score["head"], score["split"], score["items"]) == ("stance", "authored news dev", 222)
    low, high = score["per_label"]["against"]["interval"]
    assert low <= score["per_label"]["against"]["f1"] <= high
    assert "### stance on authored news dev" in (folder / CARD).read_text("utf-8")
    assert (folder / MODEL).read_bytes() == (smoke_bundle / MODEL).read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_bundle_is_calibrated_again_under_a_version_of_its_own(
    smoke_bundle: Path, tmp_path: Path
) -> None:
    folder, again = (tmp_path / name for name in ("mine", "again"))
    shutil.copytree(smoke_bundle, folder)
    manifest = json.loads((folder / "bundle.json").read_text("utf-8"))
    manifest["training"]["recipe"]["sources"] = [{"corpus": "authored-stances", "head": "stance"}]
    for head in manifest["heads"]:
        head.update({"temperature": 7.0} if head["kind"] == "pair" else {})
    (folder / "bundle.json").write_text(json.dumps(manifest, ensure_ascii=False), "utf-8")
    shutil.copytree(folder, again)
    for place in (folder, again):
        assert recalibrate(place, "9.9") == place
    bundle = Bundle.load(folder)
    assert bundle.version == bundle.manifest.training["recipe"]["version"] == "9.9"
    assert bundle.manifest == Bundle.load(again).manifest
    assert bundle.head("stance").temperature not in (1.0, 7.0)
    assert bundle.head("claim") == bundle.head("claim").uncalibrated()  # nothing to fit it on
    assert [score["head"] for score in bundle.manifest.scores] == ["stance"]
    assert (folder / MODEL).read_bytes() == (smoke_bundle / MODEL).read_bytes()


def test_a_bundle_of_an_unknown_setting_is_not_scored_again(
    smoke_bundle: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(smoke_bundle, tmp_path / "mine"))
    manifest = json.loads((folder / "bundle.json").read_text("utf-8"))
    manifest["training"]["recipe"]["sed"] = 3
    (folder / "bundle.json").write_text(json.dumps(manifest, ensure_ascii=False), "utf-8")
    with pytest.raises(ConfigError, match=r"bundle\.json: unknown key sed; did you mean seed"):
        rescore(folder)
