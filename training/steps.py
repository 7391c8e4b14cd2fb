"""What the steps of a run hang on beside its recipe and its data: how many processes share a step,
and whether they compute in bf16. A run keeps both, wherever it goes on.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from accelerate import PartialState

from training.optimisation import in_bf16
from training.preparation import TrainingError
from training.runs import STEPS, RunError, read_json, write_text


def hold_to_steps(
    run: Path, processes: PartialState, bf16: bool | Literal["auto"], begun: bool
) -> bool:
    """Whether the steps of a run compute in bf16: as they did when it began, whatever machine it
    goes on with; of a new run what is asked, where `auto` measures. With another number of
    processes a run that has begun is refused.
    """
    path = run / STEPS
    if begun and path.is_file():
        kept = _kept(path)
        if kept["processes"] != processes.num_processes:
            raise TrainingError(
                f"{run}: began with {kept['processes']} processes, which share its examples, and "
                f"goes on with no other number, {processes.num_processes}; start as many, or give "
                "another folder with --run"
            )
    elif processes.is_main_process:
        kept = {"processes": processes.num_processes, "bf16": in_bf16(bf16)}
        write_text(path, json.dumps(kept))
    processes.wait_for_everyone()
    return bool(_kept(path)["bf16"])


def _kept(path: Path) -> dict[str, int]:
    """What a run keeps of its steps."""
    kept: dict[str, int] = read_json(path)
    missing = {"processes", "bf16"} - set(kept)
    if missing:
        raise RunError(
            f"{path}: damaged, it says no {' and no '.join(sorted(missing))}; train in another "
            "folder, or delete this run"
        )
    return kept
