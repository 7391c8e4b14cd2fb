"""Small runs: the smoke recipe on two sources, trained in a second or two."""

from pathlib import Path

import torch

import configs
from training.encoders.sources import encoder_folder
from training.preparation import prepare
from training.settings import Optimiser, Recipe, Source, Tracking, load_recipe
from training.trainer import fit

SMOKE = configs.folder() / "train" / "smoke.yaml"
QUICK = ("export.gate=false", "evaluation.curve_items=0")
SOURCES = (Source(corpus="seed", head="khabar"), Source(corpus="seed-claims", head="claim"))
Weights = dict[str, torch.Tensor]


def small_recipe(checkpoint_steps: int = 200, **optimiser: object) -> Recipe:
    """The smoke recipe on two sources: 8 steps or so, with dropout, so that chance matters."""
    settings = {"epochs": 2, "max_batch_tokens": 512, "bf16": False, "dropout": 0.3} | optimiser
    changes = {
        "sources": SOURCES,
        "optimiser": Optimiser.model_validate(settings),
        "tracking": Tracking(checkpoint_steps=checkpoint_steps, log_steps=2),
    }
    return load_recipe(SMOKE).model_copy(update=changes)


def train(recipe: Recipe, run: Path) -> Weights:
    """The weights that a recipe ends with."""
    run.mkdir(parents=True, exist_ok=True)
    folder = encoder_folder(recipe.encoder, run.parent / "encoder")
    model, _ = fit(recipe, folder, prepare(recipe, folder), run)
    return {name: weight.clone() for name, weight in model.state_dict().items()}


def assert_same(first: Weights, second: Weights) -> None:
    """All weights are the same, bit for bit."""
    assert first.keys() == second.keys()
    for name, weight in first.items():
        assert torch.equal(weight, second[name]), name


def going_on(run: Path, *overrides: str) -> Recipe:
    """The smoke recipe on what a run of it trained."""
    return load_recipe(SMOKE, [f"encoder.source={run}", "optimiser.max_steps=8", *overrides])


def folder_of(recipe: Recipe, cache: Path) -> Path:
    """The folder of the encoder that a recipe begins at."""
    return encoder_folder(recipe.encoder, cache)
