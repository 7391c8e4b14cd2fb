"""What a run keeps of the machine that it began on."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import training.optimisation
from training.preparation import TrainingError
from training.runs import RunError
from training.steps import hold_to_steps


def processes(number: int, main: bool = True) -> Any:
    return SimpleNamespace(
        num_processes=number, is_main_process=main, wait_for_everyone=lambda: None
    )


def test_what_is_faster_is_measured_once_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for faster in (True, False):
        run = tmp_path / str(faster)
        run.mkdir()
        monkeypatch.setattr(training.optimisation, "bf16_pays", lambda found=faster: found)
        assert hold_to_steps(run, processes(1), "auto", begun=False) is faster
        monkeypatch.setattr(training.optimisation, "bf16_pays", lambda found=faster: not found)
        assert hold_to_steps(run, processes(1), "auto", begun=True) is faster
        assert hold_to_steps(run, processes(1), "auto", begun=False) is not faster


@pytest.mark.parametrize("asked", [True, False])
def test_what_is_asked_is_done(tmp_path: Path, asked: bool) -> None:
    assert hold_to_steps(tmp_path, processes(2), asked, begun=False) is asked
    assert hold_to_steps(tmp_path, processes(2, main=False), asked, begun=False) is asked


def test_a_run_goes_on_with_as_many_processes_as_it_began_with(tmp_path: Path) -> None:
    hold_to_steps(tmp_path, processes(1), False, begun=False)
    hold_to_steps(tmp_path, processes(4), False, begun=False)  # nothing was trained with one
    assert hold_to_steps(tmp_path, processes(4), False, begun=True) is False
    with pytest.raises(TrainingError, match=r"began with 4 processes.*no other number, 2; start"):
        hold_to_steps(tmp_path, processes(2), False, begun=True)


def test_a_run_that_began_before_this_was_kept_goes_on(tmp_path: Path) -> None:
    assert hold_to_steps(tmp_path, processes(2), True, begun=True) is True


@pytest.mark.parametrize("kept", ["{}", '{"processes": 1}'])
def test_steps_that_say_too_little_are_named(tmp_path: Path, kept: str) -> None:
    (tmp_path / "steps.json").write_text(kept)
    with pytest.raises(RunError, match=r"steps\.json: damaged, it says no bf16.*delete this run"):
        hold_to_steps(tmp_path, processes(1), False, begun=True)
