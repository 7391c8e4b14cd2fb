"""What a hub folder of a pooled head is taught with."""

from __future__ import annotations

from pathlib import Path

import pytest

import configs
from training.encoders.sources import encoder_folder
from training.hub.distillation import Distillation, example_batches
from training.preparation import TrainingError, prepare
from training.settings import load_recipe


def test_sources_that_give_no_example_are_refused(tmp_path: Path) -> None:
    recipe = load_recipe(configs.folder() / "train" / "smoke.yaml")
    silent = tuple(source.model_copy(update={"passes": 0}) for source in recipe.sources)
    recipe = recipe.model_copy(update={"sources": silent})
    prepared = prepare(recipe, encoder_folder(recipe.encoder, tmp_path))
    with pytest.raises(TrainingError, match="no source of the head gives a whole example"):
        next(example_batches(prepared, Distillation()))
