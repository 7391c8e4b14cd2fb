"""A run folder: what `khabar train` leaves behind, for all that comes after it.

```
recipe.json       the resolved recipe
data.json         fingerprints of the examples of each source
steps.json        how many processes share a step, and whether they compute in bf16
lineage.json      the first encoder and all data that taught it, see `training.lineage`
history.json      learning curves: a row a report, see `Run.history`
checkpoint-N/     the last checkpoint of transformers.Trainer; its model.safetensors are the weights
encoder/          the encoder as it was fetched and trimmed
bundle/           what serving takes
```
"""

from __future__ import annotations

import json
import os
import re
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from annotations.errors import KhabarError
from training.settings import Recipe
from training.strict import validated

if TYPE_CHECKING:
    from torch import Tensor

    from training.model import MultiHeadModel

WEIGHTS, STATE = "model.safetensors", "trainer_state.json"  # of a checkpoint
_OPTIMISER, _SCHEDULE, _CHANCE = "optimizer.pt", "scheduler.pt", "rng_state"
RECIPE, DATA, HISTORY, BUNDLE = "recipe.json", "data.json", "history.json", "bundle"
STEPS, LINEAGE = "steps.json", "lineage.json"
_CHECKPOINT = re.compile(r"checkpoint-[0-9]+")
HEADS = "heads.json"  # beside an encoder that brings heads
ORIGIN = "origin.json"  # beside an encoder that was adapted: what it was before, and the texts


class RunError(KhabarError):
    """A folder that is no run, or not far enough for what is asked of it."""


def _is_json(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_text(encoding="utf-8")), dict)
    except ValueError:
        return False


def checkpoints(run: Path) -> list[Path]:
    """The folders of a run that are checkpoints by their whole name, in the order of their steps;
    what a user keeps beside them under a longer one is not.
    """
    found = [path for path in run.glob("checkpoint-*") if _CHECKPOINT.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(path.name.removeprefix("checkpoint-")))


def write_text(path: Path, text: str) -> None:
    """Write a file of a run at once or not at all."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def read_json(path: Path) -> Any:
    """A JSON file of a run; a damaged one is refused by name."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(
            f"{path}: damaged ({error}); train in another folder, or delete this run"
        ) from None


def read_weights(checkpoint: Path) -> dict[str, Tensor]:
    """The weights of a checkpoint by name; damaged ones are refused."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = checkpoint / WEIGHTS
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunError(
            f"{path}: cannot be read ({str(error).splitlines()[0]}); delete {checkpoint.name} and "
            "start `khabar train` again"
        ) from None


def hold_to_checkpoint(checkpoint: Path, processes: int) -> None:
    """Refuse a checkpoint from which so many processes could not go on to the same weights: one
    that is damaged or, while there is something left to train, not whole.
    """
    read_weights(checkpoint)
    step, steps = _steps(checkpoint)
    ranks = [f"_{rank}" for rank in range(processes)] if processes > 1 else [""]
    for name in (_OPTIMISER, _SCHEDULE, *(f"{_CHANCE}{rank}.pth" for rank in ranks)):
        path = checkpoint / name
        if not path.is_file() and step < steps:
            raise RunError(
                f"{path}: missing, and without it the run would end with other weights; delete "
                f"{checkpoint.name} and start `khabar train` again"
            )
        if path.is_file() and not _is_whole(path):
            lost = checkpoint.name if step < steps else name  # at the end the weights are enough
            raise RunError(
                f"{path}: damaged, got {path.stat().st_size} bytes; delete {lost} and start "
                "`khabar train` again"
            )


def _is_whole(path: Path) -> bool:
    """Whether all of a file of torch.save, which is a zip, is as it was written."""
    try:
        with zipfile.ZipFile(path) as parts:
            return parts.testzip() is None
    except (zipfile.BadZipFile, EOFError):
        return False


def _steps(checkpoint: Path) -> tuple[int, int]:
    """The steps that a checkpoint has done, and those of its whole training."""
    state = read_json(checkpoint / STATE)
    if "global_step" not in state:
        raise RunError(
            f"{checkpoint / STATE}: damaged, it says no global_step; delete {checkpoint.name} and "
            "start `khabar train` again"
        )
    return state["global_step"], state.get("max_steps", 0)  # once 0 steps said no more


def curve_name(head: str, corpus: str) -> str:
    """The name in a history of the scores of a head on a corpus."""
    return f"{head}/{corpus}"  # no name of a head has a stroke


def write_untrained(model: MultiHeadModel, run: Path) -> None:
    """Leave a model of which nothing is trained as the checkpoint of a run, with an empty
    history.
    """
    from safetensors.torch import save_file

    checkpoint = run / "checkpoint-0"
    checkpoint.mkdir(exist_ok=True)
    weights = {name: weight.contiguous() for name, weight in model.state_dict().items()}
    save_file(weights, checkpoint / WEIGHTS, metadata={"format": "pt"})
    write_text(run / HISTORY, "[]")
    write_text(checkpoint / STATE, json.dumps({"global_step": 0, "max_steps": 0}))


@dataclass(frozen=True)
class Run:
    """A run on disk; nothing is read before it is asked for."""

    folder: Path

    @classmethod
    def open(cls, folder: Path) -> Run:
        """The run of a folder, which must have been begun by `khabar train`."""
        if not (folder / RECIPE).is_file():
            raise RunError(f"{folder}: no {RECIPE}; give the folder of a run of `khabar train`")
        return cls(folder)

    @cached_property
    def recipe(self) -> Recipe:
        """The resolved recipe."""
        path = self.folder / RECIPE
        return validated(read_json(path), Recipe, str(path))

    @property
    def bundle(self) -> Path:
        """The folder of the finished bundle."""
        folder = self.folder / BUNDLE
        if not folder.is_dir():
            raise RunError(
                f"{self.folder}: no bundle yet; start `khabar train` on it again, without "
                "--weights-only, to finish it"
            )
        return folder

    @property
    def checkpoint(self) -> Path | None:
        """The last whole checkpoint; a folder without its state, which is written last, was cut
        short.
        """
        whole = [
            folder
            for folder in checkpoints(self.folder)
            if (folder / STATE).is_file() and _is_json(folder / STATE)
        ]
        return whole[-1] if whole else None

    @property
    def finished_weights(self) -> Path:
        """The file of the weights of a run whose training has ended; one that is on its way is
        refused.
        """
        checkpoint = self.checkpoint
        if checkpoint is None:
            raise RunError(f"{self.folder}: no checkpoint; start `khabar train` again")
        step, steps = _steps(checkpoint)
        if step < steps:
            raise RunError(
                f"{self.folder}: at step {step} of {steps}; start `khabar train` again to finish it"
            )
        return checkpoint / WEIGHTS

    @property
    def started_from(self) -> str | None:
        """The fingerprint of the encoder and heads that the run began at; None of an old run."""
        path = self.folder / DATA
        found: str | None = read_json(path).get("encoder") if path.is_file() else None
        return found

    def history(self) -> list[dict[str, Any]]:
        """The learning curves, by step.

        A row of training has `step`, `epoch`, `loss` and `loss_HEAD` (means since the row
        before, or since the run went on); a row of evaluation has `step`, `epoch` and `dev`:
        HEAD/CORPUS -> f1 or macro_f1 of the head on some development items of the corpus; in old
        runs CORPUS alone.
        """
        path = self.folder / HISTORY
        if not path.is_file():
            raise RunError(f"{path}: missing; train the run again with this version of khabar")
        rows: list[dict[str, Any]] = read_json(path)
        return rows

    def encoder(self) -> Path:
        """The Hugging Face folder of the encoder the run began with."""
        from training.encoders.sources import encoder_folder

        return encoder_folder(self.recipe.encoder, self.folder / "encoder")

    def model(self) -> MultiHeadModel:
        """The trained model in float32, from the last checkpoint, ready to be evaluated."""
        from training.encoders.sources import load_encoder
        from training.model import MultiHeadModel
        from training.preparation import recipe_heads

        if self.checkpoint is None:
            raise RunError(f"{self.folder}: no checkpoint; start `khabar train` again")
        model = MultiHeadModel(load_encoder(self.encoder()), recipe_heads(self.recipe), 0.0, {})
        model.load_state_dict(read_weights(self.checkpoint))
        return model.eval()
