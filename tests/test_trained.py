"""Training that goes on from a run: its encoder, its heads, its branches."""

import shutil
from pathlib import Path

import pytest
import torch

from serving.bundle import Bundle
from tests.small_runs import SMOKE, folder_of, going_on
from training.encoders.packaged import EncoderError
from training.encoders.sources import encoder_folder
from training.lineage import Lineage
from training.preparation import TrainingError, prepare
from training.recipe import run_recipe, train_weights
from training.runs import Run, RunError
from training.settings import load_recipe
from training.trainer import new_model, planned_batches


def test_the_encoder_and_the_heads_of_a_run_come_along(smoke_run: Path, tmp_path: Path) -> None:
    recipe = going_on(smoke_run)
    folder = encoder_folder(recipe.encoder, tmp_path)
    model = new_model(recipe, folder, prepare(recipe, folder))
    trained = Run(smoke_run).model().state_dict()
    assert trained.keys() == model.state_dict().keys()
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(weight, trained[name], rtol=0, atol=0)


def test_a_run_that_goes_on_names_the_data_of_both_and_the_first_encoder(
    smoke_run: Path, tmp_path: Path
) -> None:
    bundle = Bundle.load(run_recipe(going_on(smoke_run), tmp_path / "second"))
    before = Bundle.load(smoke_run / "bundle")
    assert bundle.manifest.encoder == before.manifest.encoder == "tiny"
    assert {entry["name"] for entry in bundle.manifest.data} >= {
        entry["name"] for entry in before.manifest.data
    }


def test_a_head_that_learns_nothing_here_is_scored_as_it_came(
    smoke_run: Path, tmp_path: Path
) -> None:
    raw = going_on(smoke_run, "optimiser.frozen_layers=2")
    kept = raw.model_copy(
        update={
            "sources": tuple(
                source.model_copy(update={"passes": 0.0}) if source.head == "khabar" else source
                for source in raw.sources
            )
        }
    )
    run_recipe(kept, tmp_path / "second")
    before, after = Run(smoke_run).model(), Run(tmp_path / "second").model()
    for name, weight in after.encoder.state_dict().items():
        assert torch.equal(weight, before.encoder.state_dict()[name])
    for name, weight in after.heads["khabar"].state_dict().items():
        assert torch.equal(weight, before.heads["khabar"].state_dict()[name])
    taught = next(s.head for s in kept.sources if s.passes)
    assert any(
        not torch.equal(weight, before.heads[taught].state_dict()[name])
        for name, weight in after.heads[taught].state_dict().items()
    )


def test_a_head_without_lessons_that_did_not_come_along_is_refused(tmp_path: Path) -> None:
    raw = load_recipe(SMOKE)
    sources = tuple(
        source.model_copy(update={"passes": 0.0}) if source.head == "khabar" else source
        for source in raw.sources
    )
    with pytest.raises(TrainingError, match=r"heads khabar: all their sources have passes 0"):
        run_recipe(raw.model_copy(update={"sources": sources}), tmp_path / "run")


def test_a_run_that_wrote_no_lineage_has_that_of_its_bundle_or_writes_it_when_it_goes_on(
    smoke_run: Path, tmp_path: Path
) -> None:
    run = Run(Path(shutil.copytree(smoke_run, tmp_path / "run")))
    written = Lineage.of_run(run)
    assert written.encoder == "tiny" and "seed" in {row["name"] for row in written.data}
    (run.folder / "lineage.json").unlink()
    assert Lineage.of_run(run) == Lineage.of_bundle(Bundle.load(run.bundle).manifest)
    shutil.rmtree(run.folder / "bundle")
    with pytest.raises(RunError, match=r"no bundle yet; .* without --weights-only"):
        Lineage.of_run(run)
    train_weights(run.recipe, run.folder)
    assert Lineage.of_run(run) == written


def test_heads_are_not_trimmed_away(smoke_run: Path, tmp_path: Path) -> None:
    for source in (smoke_run, smoke_run / "bundle"):
        with pytest.raises(EncoderError, match=r"trained heads behind; set encoder\.trim to false"):
            folder_of(going_on(source, "encoder.trim=true"), tmp_path / "cache")


def test_without_epochs_every_head_must_come_along(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"optimiser.epochs is 0 and tiny brings no such"):
        run_recipe(load_recipe(SMOKE, ["optimiser.epochs=0"]), tmp_path / "run")


def test_passes_that_give_no_example_are_refused(tmp_path: Path) -> None:
    few = [f"sources.{i}.passes=0.001" for i in range(3)]
    with pytest.raises(TrainingError, match="no source gives a whole example an epoch; raise"):
        run_recipe(load_recipe(SMOKE, few), tmp_path / "run")


def test_a_new_head_that_no_batch_teaches_is_refused(smoke_run: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"heads claim: the passes of .* raise passes"):
        run_recipe(load_recipe(SMOKE, ["sources.1.passes=0.001"]), tmp_path / "run")
    recipe = load_recipe(SMOKE, ["sources.1.passes=0.001", f"encoder.source={smoke_run}"])
    folder = encoder_folder(recipe.encoder, tmp_path)
    prepared = prepare(recipe, folder)
    new_model(recipe, folder, prepared, planned_batches(recipe, prepared))  # it came along


def test_a_new_head_whose_batches_come_too_late_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = load_recipe(SMOKE, ["optimiser.max_steps=1"])
    folder = encoder_folder(recipe.encoder, tmp_path)
    prepared = prepare(recipe, folder)
    plan = planned_batches(recipe, prepared)
    assert plan.heads == {"khabar", "claim", "stance"} and len(plan.late) == 2
    new_model(recipe, folder, prepared, plan)
    assert f"heads {', '.join(sorted(plan.late))} stay as they begin" in caplog.text


def test_two_files_of_one_name_are_both_told(tmp_path: Path) -> None:
    paths = [tmp_path / folder / "train.jsonl" for folder in "ab"]
    for path in paths:
        path.parent.mkdir()
        path.write_text(path.parent.name)
    told = Lineage("tiny", ()).with_data([*map(str, paths), f"{paths[0]}#topics", "seed"])
    assert [entry["name"] for entry in told.data] == ["train.jsonl", "train.jsonl", "seed"]
    assert told.with_data(["seed-stances"]).data == told.data
