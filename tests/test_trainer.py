"""Fine-tuning: long work tells in time what will not do, and what it did."""

import errno
import shutil
from pathlib import Path

import pytest
from transformers import Trainer

import training.trainer
from annotations.errors import MissingExtraError
from tests.small_runs import SOURCES, assert_same, small_recipe, train
from training.encoders.sources import encoder_folder
from training.preparation import TrainingError, prepare
from training.runs import Run, RunError
from training.settings import Source, Tracking


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
