"""Room for checkpoints: asked for before the first step, and told plainly when it runs out."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from torch import nn
from transformers import Trainer

from training.preparation import TrainingError

CHECKPOINT_COPIES = 3 * 2  # weights and AdamW's two moments, of the new checkpoint and the old


def hold_to_disk(model: nn.Module, run: Path) -> None:
    """Refuse at the start what would fail hours later, at a checkpoint."""
    needed = CHECKPOINT_COPIES * sum(w.numel() * w.element_size() for w in model.parameters())
    free = shutil.disk_usage(run).free
    if free < needed:
        raise TrainingError(
            f"{run}: {free / 1e6:.0f} MB free, checkpoints need {needed / 1e6:.0f} MB; make room "
            "or give another folder with --run"
        )


@contextmanager
def full_disk_told(run: Path, trainer: Trainer) -> Iterator[None]:
    """A write that fails for want of space becomes an error that says how to go on."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if not _disk_is_full(error):
            raise
        raise TrainingError(
            f"{run}: no space left on the disk at step {trainer.state.global_step}; make room and "
            "start the same command again, it goes on from the last whole checkpoint"
        ) from None


def _disk_is_full(error: BaseException) -> bool:
    """Whether a write failed for want of space; torch and safetensors each say it in their own
    way.
    """
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    said = str(error)
    return "No space left" in said or "PytorchStreamWriter failed" in said
