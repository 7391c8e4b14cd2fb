"""Training that goes on from a run: its encoder, its heads, its branches."""

from pathlib import Path

import pytest
import torch

import configs
from serving.bundle import Bundle
from training.encoders.sources import encoder_folder
from training.preparation import TrainingError, prepare
from training.recipe import run_recipe
from training.runs import Run
from training.settings import Recipe, load_recipe
from training.trainer import new_model

SMOKE = configs.folder() / "train" / "smoke.yaml"


def going_on(run: Path, *overrides: str) -> Recipe:
    """The smoke recipe on what a run of it trained."""
    return load_recipe(SMOKE, [f"encoder.source={run}", "optimiser.max_steps=8", *overrides])


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
