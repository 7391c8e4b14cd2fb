"""Ctrl-C and SIGTERM during training: the step is ended, a checkpoint saved, and the run can go
on.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
import typer
from transformers import TrainerCallback

from annotations.errors import KhabarError

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class InterruptedRunError(KhabarError):
    """A run that was stopped by a signal after it had saved where it stood."""


class StopOnSignal(TrainerCallback):
    """Saves and stops at the end of the step in which a signal came; a second one stops at once."""

    def __init__(self) -> None:
        self.stopped_at: int | None = None
        self._asked = False
        self._before: dict[int, Any] = {}

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            self._restore()
            raise KeyboardInterrupt
        self._asked = True
        typer.echo("khabar: stopping after this step; once more stops at once", err=True)

    @contextmanager
    def released(self) -> Iterator[None]:
        """A block after which it listens no longer, however the training in it ended."""
        try:
            yield
        finally:
            self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Listen; only the main thread may."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._ask) for number in _SIGNALS}

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Ask for a checkpoint and the end where a signal came, to any of the processes."""
        if self.stopped_at is None and self._asked_anywhere(args.device):
            self.stopped_at = state.global_step
            control.should_save = control.should_training_stop = True

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """What came after the last step ends the run, too: the checkpoint is saved by now."""
        if self.stopped_at is None and self._asked_anywhere(args.device):
            self.stopped_at = state.global_step

    def _asked_anywhere(self, device: torch.device) -> bool:
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            return self._asked
        asked = torch.tensor(int(self._asked), device=device)
        torch.distributed.all_reduce(asked, torch.distributed.ReduceOp.MAX)
        return bool(asked)

    def raise_if_stopped(self, run: object) -> None:
        """An error that says how to go on, where a signal ended the training."""
        if self.stopped_at is not None:
            raise InterruptedRunError(
                f"stopped at step {self.stopped_at}, which is saved in {run}; the same command "
                "goes on from there"
            )
