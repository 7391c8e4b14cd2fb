"""Which checkpoints of a run stay: the last one, and whatever else a user keeps beside it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from training.runs import checkpoints


class LastCheckpoint(TrainerCallback):
    """Removes all other checkpoints once one is whole. The Trainer's own `save_total_limit` takes
    every folder for one whose name begins so, `checkpoint-300-best` too.
    """

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Once a checkpoint is written."""
        if state.is_world_process_zero:
            for folder in checkpoints(Path(args.output_dir)):
                if folder.name != f"checkpoint-{state.global_step}":
                    shutil.rmtree(folder)
