"""Fine-tuning: a resumed run ends with the same weights however it ended, and long work tells in
time what will not do.
"""

import errno
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from transformers import Trainer

import configs
import training.optimisation
import training.trainer
from annotations.errors import MissingExtraError
from training.encoders.sources import encoder_folder, load_encoder
from training.interruption import InterruptedRunError, StopOnSignal
from training.preparation import TrainingError, prepare
from training.recipe import run_recipe
from training.runs import Run, RunError
from training.settings import Export, Optimiser, Recipe, Source, Tracking, load_recipe
from training.trainer import fit

SMOKE = configs.folder() / "train" / "smoke.yaml"
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
    run.mkdir(parents=True, exist_ok=True)
    folder = encoder_folder(recipe.encoder, run.parent / "encoder")
    model, _ = fit(recipe, folder, prepare(recipe, folder), run)
    return {name: weight.clone() for name, weight in model.state_dict().items()}


def assert_same(first: Weights, second: Weights) -> None:
    assert first.keys() == second.keys()
    for name, weight in first.items():
        assert torch.equal(weight, second[name]), name


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


KILLED = """
import logging, sys
from pathlib import Path
from tests.test_trainer import small_recipe, train
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


def test_the_same_seed_gives_the_same_history_and_another_does_not(tmp_path: Path) -> None:
    recipe = small_recipe()
    histories = []
    for name, seed in (("one", 13), ("two", 13), ("three", 14)):
        train(recipe.model_copy(update={"seed": seed}), tmp_path / name)
        histories.append(Run(tmp_path / name).history())
    assert histories[0] == histories[1] != histories[2]


def test_a_loss_that_is_no_number_is_a_clear_error(tmp_path: Path) -> None:
    recipe = small_recipe(learning_rate=1e20, head_learning_rate=1e20, warmup_fraction=0)
    with pytest.raises(
        TrainingError, match=r"step \d: the loss of head '(khabar|claim)' is nan; l"
    ):
        train(recipe, tmp_path / "run")


def test_a_disk_that_cannot_hold_the_checkpoints_is_told_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(TrainingError, match=r"0 MB free, checkpoints need \d+ MB; make room"):
        train(small_recipe(), tmp_path / "run")
    assert Run(tmp_path / "run").checkpoint is None


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("PytorchStreamWriter failed writing file data/3: file write failed"),
    ],
    ids=["safetensors", "torch"],
)
def test_a_disk_that_fills_up_is_a_clear_error_and_the_run_can_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    recipe = small_recipe(checkpoint_steps=3)
    whole = train(small_recipe(), tmp_path / "whole")
    save = Trainer._save_checkpoint
    saved: list[int] = []

    def full_the_second_time(self: Trainer, *args: object, **rest: object) -> None:
        saved.append(self.state.global_step)
        if len(saved) == 2:
            raise error
        save(self, *args, **rest)

    with monkeypatch.context() as during:
        during.setattr(Trainer, "_save_checkpoint", full_the_second_time)
        with pytest.raises(TrainingError, match=r"no space left on the disk at step 6; make room"):
            train(recipe, tmp_path / "run")
    assert_same(whole, train(recipe, tmp_path / "run"))


def test_an_error_of_another_kind_is_not_taken_for_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(training.trainer.HeadTrainer, "training_step", broken)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        train(small_recipe(), tmp_path / "run")


def test_the_data_of_a_recipe_is_counted_and_indexed(tmp_path: Path) -> None:
    recipe = small_recipe()
    prepared = prepare(recipe, encoder_folder(recipe.encoder, tmp_path))
    assert [source.head for source in prepared.sources] == ["khabar", "claim"]
    rows = [row for source in prepared.sources for row in source.rows]
    assert rows == list(range(len(prepared.dataset)))
    for source in prepared.sources:
        assert {prepared.dataset[row]["head"] for row in source.rows} == {source.head}
    assert prepared.lengths == [len(ids) for ids in prepared.dataset["input_ids"]]
    claims = prepared.sources[1]
    assert list(claims.classes) == [prepared.dataset[row]["labels"][0] for row in claims.rows]


def test_a_source_without_examples_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text('{"id": "a", "text": "نص", "topic": "sports"}\n', encoding="utf-8")
    source = Source(corpus=f"{empty}#stances", head="stance")
    recipe = small_recipe().model_copy(update={"sources": (*SOURCES, source)})
    with pytest.raises(TrainingError, match=r"empty\.jsonl#stances gives head 'stance' no example"):
        prepare(recipe, encoder_folder(recipe.encoder, tmp_path / "encoder"))


@pytest.mark.parametrize("tracker", ["tensorboard", "mlflow"])
def test_losses_reach_the_tracker_inside_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tracker: str
) -> None:
    pytest.importorskip(tracker, reason="pip install khabar[tracking]")
    for name in ("TENSORBOARD_LOGGING_DIR", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.setenv(name, "x")  # so that what training sets is taken back
        monkeypatch.delenv(name)
    recipe = small_recipe(epochs=1)
    tracking = Tracking(report_to=(tracker,), log_steps=2)  # type: ignore[arg-type]
    run = tmp_path / "run"
    train(recipe.model_copy(update={"tracking": tracking}), run)
    found = Run(run).history()
    told = {row["step"]: row["loss"] for row in found if "loss" in row}
    assert _tracked(tracker, run) == pytest.approx(told)


def _tracked(tracker: str, run: Path) -> dict[int, float]:
    """The losses by step that a tracker kept."""
    if tracker == "tensorboard":
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(run / "tensorboard")).Reload()
        return {event.step: event.value for event in events.Scalars("train/loss")}
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{run}/mlflow.db")
    (experiment,) = [e for e in client.search_experiments() if e.name == "khabar-smoke"]
    (found,) = client.search_runs([experiment.experiment_id])
    history = client.get_metric_history(found.info.run_id, "loss")
    return {metric.step: metric.value for metric in history}


def test_a_tracker_that_is_not_installed_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.integrations import integration_utils

    monkeypatch.setattr(integration_utils, "is_tensorboard_available", lambda: False)
    recipe = small_recipe().model_copy(update={"tracking": Tracking(report_to=("tensorboard",))})
    with pytest.raises(MissingExtraError, match=r"tensorboard.*khabar\[tracking\]"):
        train(recipe, tmp_path / "run")


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no recipe\.json; give the folder of a run"):
        Run.open(tmp_path)
