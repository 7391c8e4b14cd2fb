"""The mean of runs and of bundles they come from: what is averaged, exported and refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from annotations.errors import ConfigError
from annotations.hashes import sha256
from annotations.seed import seed_text
from serving.bundle import Bundle
from tests.small_runs import QUICK, SMOKE, folder_of, going_on
from training.encoders.adapt import adapt
from training.encoders.adaptation import Adaptation
from training.encoders.packaged import EncoderError
from training.encoders.trained import trained_weights
from training.recipe import run_recipe, train_weights
from training.report.page import write_report
from training.runs import ORIGIN, Run, RunError
from training.settings import Recipe, Source, load_recipe


@pytest.fixture(scope="module")
def branches(smoke_run: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs that begin where the smoke run ended, without bundles; news of its own taught the
    second, too.
    """
    folder = tmp_path_factory.mktemp("branches")
    news = folder / "news.jsonl"
    entity = {"start": 10, "end": 15, "label": "GPE"}
    row = {"id": "news-1", "text": "زار الوفد بغداد", "entities": [entity]}
    news.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    runs = [folder / "seed-1", folder / "seed-2"]
    plain, other = (going_on(smoke_run, f"seed={seed}", *QUICK) for seed in (1, 2))
    own = Source(corpus=str(news), head="khabar")
    train_weights(plain, runs[0])
    train_weights(other.model_copy(update={"sources": (*other.sources, own)}), runs[1])
    return runs


def mean_of(runs: list[Path], *overrides: str) -> Recipe:
    """The smoke recipe on the mean of runs, with nothing trained on it."""
    others = [f"encoder.averaged_with=[{','.join(map(str, runs[1:]))}]", "optimiser.epochs=0"]
    return going_on(runs[0], *others, *overrides)


def test_the_mean_of_runs_is_exported_and_scored_without_training(
    branches: list[Path], smoke_run: Path, tmp_path: Path
) -> None:
    recipe = mean_of(branches)
    bundle = Bundle.load(run_recipe(recipe, tmp_path / "mean"))
    weights = [Run(run).model().state_dict() for run in branches]
    for name, weight in Run(tmp_path / "mean").model().state_dict().items():
        if weight.is_floating_point():
            expected = (weights[0][name] + weights[1][name]) / 2
            torch.testing.assert_close(weight, expected, rtol=0, atol=1e-7)
    assert any(not torch.equal(w, weights[1][name]) for name, w in weights[0].items())
    assert bundle.manifest.encoder == "tiny"
    taught = {row["name"] for row in Bundle.load(smoke_run / "bundle").manifest.data}
    assert {row["name"] for row in bundle.manifest.data} == taught | {"news.jsonl"}
    assert bundle.manifest.training["minutes"] == {}
    assert Run(tmp_path / "mean").history() == []
    assert run_recipe(recipe, tmp_path / "mean") == bundle.folder  # again: nothing breaks
    for path in write_report(tmp_path / "mean"):
        assert path.stat().st_size


def test_a_run_of_weights_alone_is_finished_by_the_same_recipe(
    branches: list[Path], tmp_path: Path
) -> None:
    run = Path(shutil.copytree(branches[1], tmp_path / "run"))
    checkpoint = Run(run).checkpoint
    assert checkpoint is not None and not (run / "bundle").exists()
    weights = sha256(checkpoint / "model.safetensors")
    recipe = Run(run).recipe
    assert train_weights(recipe, run) == checkpoint  # again: nothing is trained
    bundle = Bundle.load(run_recipe(recipe, run))
    assert sha256(checkpoint / "model.safetensors") == weights
    assert "news.jsonl" in {row["name"] for row in bundle.manifest.data}


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("heads.topic.labels=[politics,sports]", "its heads; average runs that began at"),
        ("normalization.unify_alef=true", "normalization;"),
        ("encoder={source: tiny}", "the weights it began at;"),
    ],
)
def test_runs_that_do_not_fit_are_not_averaged(
    branches: list[Path], tmp_path: Path, override: str, words: str
) -> None:
    run_recipe(going_on(branches[0], "export.gate=false", override), tmp_path / "other")
    with pytest.raises(RunError, match=rf"other: differs from .*seed-1 in .*{words}"):
        folder_of(mean_of([branches[0], tmp_path / "other"]), tmp_path / "cache")


@pytest.fixture(scope="module")
def steps(smoke_run: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A bundle without the head of entities, a run that began at it and has one, and a run that
    goes on from that one.
    """
    folder = tmp_path_factory.mktemp("steps")
    run_recipe(load_recipe(SMOKE, ["heads.khabar.auxiliary=true", *QUICK]), folder / "first")
    bundle, second, third = folder / "first" / "bundle", folder / "second", folder / "third"
    run_recipe(going_on(bundle, *QUICK), second)
    run_recipe(going_on(second, *QUICK), third)
    return [bundle, second, third]


@pytest.mark.parametrize("step", [1, 2])
def test_a_run_is_averaged_with_a_bundle_that_it_comes_from(
    steps: list[Path], tmp_path: Path, step: int
) -> None:
    bundle, run = steps[0], steps[step]
    before = trained_weights(folder_of(going_on(bundle), tmp_path / "cache"))
    after = Run(run).model().state_dict()
    found = folder_of(mean_of([run, bundle]), tmp_path / "cache")
    for name, weight in trained_weights(found).items():
        expected = (before[name] + after[name]) / 2 if name in before else after[name]
        torch.testing.assert_close(weight, expected, rtol=0, atol=1e-6)
    assert {name.split(".")[1] for name in after.keys() - before.keys()} == {"khabar"}
    assert any(not torch.equal(weight, after[name]) for name, weight in before.items())
    told = json.loads((found / "heads.json").read_text(encoding="utf-8"))
    data = {row["name"] for row in Bundle.load(bundle).manifest.data}
    assert told["encoder"] == "tiny" and data <= {row["name"] for row in told["data"]}


def test_a_run_on_an_adapted_bundle_is_averaged_with_that_bundle(
    steps: list[Path], tmp_path: Path
) -> None:
    bundle, news = steps[0], tmp_path / "news.txt"
    news.write_text("\n\n".join([seed_text()] * 4), encoding="utf-8")
    settings = {
        "name": "short",
        "encoder": {"source": str(bundle)},
        "texts": [str(news)],
        "block_pieces": 32,
        "held_out": 0.4,
        "optimiser": {"steps": 2, "max_batch_tokens": 256, "bf16": False},
    }
    adapted = adapt(Adaptation.model_validate(settings), tmp_path / "adaptation")
    run = tmp_path / "run"
    run_recipe(going_on(adapted, *QUICK), run)
    manifest = Bundle.load(run / "bundle").manifest
    assert manifest.encoder == "tiny"
    data = {row["name"] for row in manifest.data}
    assert data > {row["name"] for row in Bundle.load(bundle).manifest.data} and "news.txt" in data
    before = trained_weights(folder_of(going_on(bundle), tmp_path / "cache"))
    after = Run(run).model().state_dict()
    found = trained_weights(folder_of(mean_of([run, bundle]), tmp_path / "cache"))
    name = "encoder.embeddings.word_embeddings.weight"
    torch.testing.assert_close(found[name], (before[name] + after[name]) / 2, rtol=0, atol=1e-6)
    (adapted / ORIGIN).unlink()
    with pytest.raises(RunError, match=rf"none of {run} began at its weights"):
        folder_of(mean_of([run, bundle]), tmp_path / "another")


def test_a_run_is_averaged_with_one_that_it_goes_on_from_and_not_the_other_way_round(
    steps: list[Path], tmp_path: Path
) -> None:
    _, second, third = steps
    before, after = (Run(run).model().state_dict() for run in (second, third))
    found = trained_weights(folder_of(mean_of([third, second]), tmp_path / "cache"))
    for name, weight in found.items():
        torch.testing.assert_close(weight, (before[name] + after[name]) / 2, rtol=0, atol=1e-6)
    assert any(not torch.equal(weight, after[name]) for name, weight in before.items())
    with pytest.raises(RunError, match=r"third: differs from .*second in the weights it began at;"):
        folder_of(mean_of([second, third]), tmp_path / "cache")


def test_of_steps_in_between_each_began_where_the_one_before_it_ended(
    steps: list[Path], tmp_path: Path
) -> None:
    _, second, third = steps
    first, then, last = (tmp_path / name for name in ("first", "then", "last"))
    shutil.copytree(second, first)
    run_recipe(going_on(first, *QUICK), then)
    run_recipe(going_on(then, *QUICK), last)
    assert folder_of(mean_of([last, first]), tmp_path / "cache").is_dir()
    (checkpoint,) = first.glob("checkpoint-*")
    shutil.copy(next(third.glob("checkpoint-*")) / "model.safetensors", checkpoint)
    for run in (then, last):
        words = rf"first: differs from {run} in the weights it began at; .* is where it was"
        with pytest.raises(RunError, match=words):
            folder_of(mean_of([run, first]), tmp_path / "cache")


def test_a_bundle_that_does_not_fit_is_not_averaged(
    steps: list[Path], branches: list[Path], smoke_run: Path, tmp_path: Path
) -> None:
    bundle, run, _ = steps
    cache = tmp_path / "cache"
    with pytest.raises(RunError, match=rf"bundle: none of {branches[0]}, .* began at its weights"):
        folder_of(mean_of([branches[0], bundle]), cache)
    with pytest.raises(EncoderError, match=r"name the run in encoder\.source and the bundle in"):
        folder_of(mean_of([bundle, run]), cache)
    for override, words in (
        ("normalization.unify_alef=true", "normalization;"),
        ("heads.topic.labels=[politics,sports]", "its heads;"),
    ):
        other = tmp_path / words[:-1]
        run_recipe(going_on(bundle, *QUICK, override), other)
        with pytest.raises(RunError, match=rf"bundle: differs from .* in .*{words}"):
            folder_of(mean_of([other, bundle]), cache)


def test_a_run_on_its_way_is_not_averaged_and_one_that_went_on_is_read_anew(
    branches: list[Path], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(branches[1], other)
    (checkpoint,) = other.glob("checkpoint-*")
    ended = (checkpoint / "trainer_state.json").read_text()
    state = json.loads(ended) | {"global_step": 3}
    (checkpoint / "trainer_state.json").write_text(json.dumps(state))
    recipe = mean_of([branches[0], other])
    with pytest.raises(RunError, match="other: at step 3 of 8; start `khabar train` again"):
        folder_of(recipe, tmp_path / "cache")
    (checkpoint / "trainer_state.json").write_text(ended)
    before = folder_of(recipe, tmp_path / "cache")
    assert folder_of(recipe, tmp_path / "cache") == before
    shutil.copy(next(branches[0].glob("checkpoint-*")) / "model.safetensors", checkpoint)
    assert folder_of(recipe, tmp_path / "cache") != before
    with pytest.raises(RunError, match=r"no recipe\.json; give the folder of a run"):
        folder_of(mean_of([branches[0], tmp_path]), tmp_path / "cache")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["encoder.source=tiny", "encoder.averaged_with=[a]"], "source is tiny; name the folder"),
        (["encoder.revision=v1", "encoder.averaged_with=[a]"], "without a revision"),
        (["encoder.averaged_with=[a, b, a]"], "names a run or bundle twice"),
        (["encoder.averaged_with=[b]"], "names a run or bundle twice"),
    ],
)
def test_an_average_that_makes_no_sense_is_refused(overrides: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        going_on(Path("b"), *overrides)
