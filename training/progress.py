"""What a training says while it goes on: a bar with the time left on a terminal, lines elsewhere,
and the history of its losses and scores in the run folder.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm
from transformers import TrainerCallback

from training.batches import PlannedBatches
from training.runs import HISTORY, read_json, write_text

log = logging.getLogger(__name__)
_LOSS, _DEV = "loss_", "dev_"
SECONDS = "seconds_"  # of a head: no curve, and no two runs take the same


class Progress(TrainerCallback):
    """Steps done and left, losses by head, development scores."""

    def __init__(self) -> None:
        self.bar: tqdm[Any] | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Remember where a resumed run begins, for its time left."""
        self.began, self.first = time.monotonic(), state.global_step
        if state.is_world_process_zero and sys.stderr.isatty():
            self.bar = tqdm(total=state.max_steps, initial=state.global_step, unit="step")

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Move the bar."""
        if self.bar is not None:
            self.bar.update(state.global_step - self.bar.n)

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any
    ) -> None:
        """The losses beside the bar, or a line a report."""
        logs = logs or {}
        if not state.is_world_process_zero:
            return
        losses = {k.removeprefix(_LOSS): v for k, v in logs.items() if k.startswith(_LOSS)}
        scores = {k.removeprefix(_DEV): v for k, v in logs.items() if k.startswith(_DEV)}
        if scores:
            log.info("step %d of %d, dev %s", state.global_step, state.max_steps, scores)
        elif losses and self.bar is not None:
            self.bar.set_postfix(losses)
        elif losses:
            done = max(state.global_step - self.first, 1)
            a_step = (time.monotonic() - self.began) / done
            left = a_step * (state.max_steps - state.global_step) / 60
            log.info(
                "step %d of %d, %.0f min left, loss %s",
                state.global_step,
                state.max_steps,
                left,
                losses,
            )

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Close the bar."""
        if self.bar is not None:
            self.bar.close()


class History(TrainerCallback):
    """Writes `history.json` of a run, as `training.runs.Run.history` describes it."""

    def __init__(self, run: Path, plan: PlannedBatches) -> None:
        self.path, self.plan = run / HISTORY, plan
        self.rows: list[dict[str, Any]] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Of a run that goes on, what came after its checkpoint is told again."""
        if self.path.is_file() and state.global_step:
            known = read_json(self.path)
            self.rows = [row for row in known if row["step"] <= state.global_step]
        self._write(state)

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any
    ) -> None:
        """One row a report."""
        logs = logs or {}
        if not state.is_world_process_zero or not any(k.startswith((_LOSS, _DEV)) for k in logs):
            return
        step = state.global_step
        row: dict[str, Any] = {"step": step, "epoch": round(self.plan.epoch_of(step), 3)}
        dev = {k.removeprefix(_DEV): v for k, v in logs.items() if k.startswith(_DEV)}
        losses = {k: v for k, v in logs.items() if k != "epoch" and not k.startswith(SECONDS)}
        row |= {"dev": dev} if dev else losses
        self.rows.append(row)
        self._write(state)

    def _write(self, state: Any) -> None:
        if not state.is_world_process_zero:
            return
        write_text(self.path, json.dumps(self.rows, indent=0))
