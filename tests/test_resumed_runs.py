"""A run that was stopped goes on, and ends as if it had not been, however that was."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

import configs
import training.optimisation
import training.trainer
from tests.small_runs import SOURCES, assert_same, small_recipe, train
from training.encoders.sources import encoder_folder, load_encoder
from training.interruption import InterruptedRunError, StopOnSignal
from training.preparation import TrainingError, prepare
from training.recipe import run_recipe
from training.runs import Run, RunError
from training.settings import Export, Source
from training.trainer import fit


class PowerCut(StopOnSignal):
    """The power fails after the fifth step."""

    def on_step_end(self, args: object, state: object, control: object, **_: object) -> None:
        if state.global_step == 5:  # type: ignore[attr-defined]
            raise KeyboardInterrupt


def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(small_recipe(), tmp_path / "whole")
    with monkeypatch.context() as during:
        during.setattr(training.trainer, "StopOnSignal", PowerCut)
        with pytest.raises(KeyboardInterrupt):
            train(small_recipe(checkpoint_steps=3), tmp_path / "cut")
    assert [path.name for path in (tmp_path / "cut").glob("checkpoint-*")] == ["checkpoint-3"]
    # the power went while the next checkpoint was being written
    half = tmp_path / "cut" / "checkpoint-6"
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"\0" * 100)
    assert_same(whole, train(small_recipe(), tmp_path / "cut"))
    untrained = load_encoder(tmp_path / "encoder" / "tiny").state_dict()
    name = "embeddings.word_embeddings.weight"
    assert not torch.equal(whole[f"encoder.{name}"], untrained[name])
    # what was told of the steps that were done twice stands in the history once
    steps = [row["step"] for row in Run(tmp_path / "cut").history()]
    assert steps == sorted(set(steps)) == [row["step"] for row in Run(tmp_path / "whole").history()]


def test_the_minutes_of_a_resumed_run_are_those_of_all_its_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count(step=90.0)  # every look at it is a minute and a half later
    monkeypatch.setattr(training.trainer, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    recipe, run = small_recipe(checkpoint_steps=4), tmp_path / "cut"
    run.mkdir()
    folder = encoder_folder(recipe.encoder, tmp_path / "encoder")
    prepared = prepare(recipe, folder)
    with monkeypatch.context() as during:
        during.setattr(training.trainer, "StopOnSignal", PowerCut)
        with pytest.raises(KeyboardInterrupt):
            fit(recipe, folder, prepared, run)
    _, minutes = fit(recipe, folder, prepared, run)
    steps = Run(run).history()[-1]["step"]
    assert steps > 5 and minutes.keys() == {"khabar", "claim"}
    assert sum(minutes.values()) == 1.5 * steps
    assert fit(recipe, folder, prepared, run)[1] == minutes  # nothing is left to train


def test_a_run_goes_on_in_the_precision_in_which_it_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training.optimisation, "bf16_pays", lambda: False)
    whole = train(small_recipe(bf16="auto"), tmp_path / "whole")
    with monkeypatch.context() as during:
        during.setattr(training.trainer, "StopOnSignal", PowerCut)
        with pytest.raises(KeyboardInterrupt):
            train(small_recipe(checkpoint_steps=3, bf16="auto"), tmp_path / "cut")
    monkeypatch.setattr(training.optimisation, "bf16_pays", lambda: True)  # another machine
    assert_same(whole, train(small_recipe(bf16="auto"), tmp_path / "cut"))


def test_ctrl_c_saves_the_step_and_the_run_goes_on_from_it(tmp_path: Path) -> None:
    class CtrlC(StopOnSignal):
        def on_step_begin(self, args: object, state: object, control: object, **_: object) -> None:
            if state.global_step == 3:  # type: ignore[attr-defined]
                os.kill(os.getpid(), signal.SIGINT)

    whole = train(small_recipe(), tmp_path / "whole")
    run = tmp_path / "stopped"
    before = signal.getsignal(signal.SIGINT)
    with pytest.MonkeyPatch.context() as during:
        during.setattr(training.trainer, "StopOnSignal", CtrlC)
        with pytest.raises(
            InterruptedRunError, match=r"stopped at step 4, .*the same command goes"
        ):
            train(small_recipe(), run)
    assert signal.getsignal(signal.SIGINT) is before
    assert Run(run).checkpoint == run / "checkpoint-4"
    assert_same(whole, train(small_recipe(), run))


def test_ctrl_c_after_the_last_step_stops_the_run_before_its_export(tmp_path: Path) -> None:
    class CtrlC(StopOnSignal):
        def on_save(self, args: object, state: object, control: object, **_: object) -> None:
            if state.global_step == state.max_steps:  # type: ignore[attr-defined]
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.MonkeyPatch.context() as during:
        during.setattr(training.trainer, "StopOnSignal", CtrlC)
        with pytest.raises(InterruptedRunError, match=r"stopped at step \d+, .*the same command"):
            train(small_recipe(), tmp_path)
    weights = load_file(Run(tmp_path).finished_weights)
    assert_same(weights, train(small_recipe(), tmp_path))


KILLED = """
import logging, sys
from pathlib import Path
from tests.small_runs import small_recipe, train
logging.basicConfig(level=logging.INFO, stream=sys.stderr)
train(small_recipe(checkpoint_steps=1, epochs=8), Path(sys.argv[1]))
"""


@pytest.mark.parametrize("wait_s", [0.0, 0.15])
def test_a_run_killed_at_any_moment_ends_with_the_same_weights(
    tmp_path: Path, wait_s: float
) -> None:
    run = tmp_path / "killed"
    root = Path(configs.__file__).parent.parent
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, run], cwd=root, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    for line in process.stderr:  # the second report comes with the fourth step
        if "step 4 of" in line:
            break
    time.sleep(wait_s)
    process.kill()
    process.wait()
    checkpoint = Run(run).checkpoint
    assert checkpoint is not None
    state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    assert 3 <= state["global_step"] < state["max_steps"]
    recipe = small_recipe(epochs=8)
    assert_same(train(recipe, tmp_path / "whole"), train(recipe, run))


def test_a_run_does_not_go_on_without_its_optimiser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as during:
        during.setattr(training.trainer, "StopOnSignal", PowerCut)
        with pytest.raises(KeyboardInterrupt):
            train(small_recipe(checkpoint_steps=3), tmp_path)
    (tmp_path / "checkpoint-3" / "optimizer.pt").unlink()
    with pytest.raises(
        RunError, match=r"optimizer\.pt: missing, .*other weights; delete checkpoint-3"
    ):
        train(small_recipe(), tmp_path)


def test_a_finished_run_is_not_trained_again_and_not_taken_for_another_recipe(
    tmp_path: Path,
) -> None:
    recipe = small_recipe(epochs=1)
    run = tmp_path / "run"
    first = train(recipe, run)
    (run / "recipe.json").write_text(recipe.model_dump_json(), encoding="utf-8")
    assert_same(first, train(recipe, run))
    other = small_recipe(epochs=1, learning_rate=1e-5)
    with pytest.raises(TrainingError, match=r"run: .*another recipe.*optimiser.*another folder"):
        run_recipe(other, run)
    assert Run.open(run).recipe == recipe


def test_what_does_not_touch_the_weights_may_change_in_a_run(tmp_path: Path) -> None:
    recipe = small_recipe(epochs=1)
    run = tmp_path / "run"
    weights = train(recipe, run)
    (run / "recipe.json").write_text(recipe.model_dump_json(), encoding="utf-8")
    renamed = recipe.model_copy(update={"name": "other", "export": Export(gate=False)})
    bundle = run_recipe(renamed, run)
    assert json.loads((bundle / "bundle.json").read_text())["name"] == "other"
    assert_same(weights, load_file(Run(run).checkpoint / "model.safetensors"))  # type: ignore[operator]


def test_other_data_under_a_begun_run_is_named(tmp_path: Path) -> None:
    news = tmp_path / "news.jsonl"
    row = {
        "id": "news-1",
        "text": "زار الوفد بغداد",
        "entities": [{"start": 10, "end": 15, "label": "GPE"}],
    }
    news.write_text(json.dumps(row) + "\n", encoding="utf-8")
    own = Source(corpus=str(news), head="khabar")
    recipe = small_recipe(epochs=1).model_copy(update={"sources": (*SOURCES, own)})
    weights = train(recipe, tmp_path / "run")
    assert_same(weights, train(recipe, tmp_path / "run"))
    news.write_text(json.dumps(row | {"entities": []}) + "\n", encoding="utf-8")
    with pytest.raises(TrainingError, match=r"other data \(\S*news\.jsonl -> khabar: \w{12} then"):
        train(recipe, tmp_path / "run")
