"""Fine-tuning: a recipe's examples through transformers.Trainer, with time per head, exact resume
and several processes.
"""

from __future__ import annotations

import logging
import os
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch.utils.data import DataLoader
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainingArguments, set_seed

from annotations.errors import MissingExtraError
from serving.bundle import Head
from training.batches import Collator, PlannedBatches
from training.checkpoints import LastCheckpoint
from training.disk import full_disk_told, hold_to_disk
from training.encoders.sources import load_encoder
from training.encoders.trained import load_heads
from training.evaluation.curves import DevCurve
from training.interruption import StopOnSignal
from training.lineage import Lineage
from training.model import MultiHeadModel
from training.optimisation import adamw, freeze
from training.preparation import Prepared, TrainingError, hold_to_data
from training.progress import SECONDS, History, Progress
from training.runs import HEADS, LINEAGE, Run, hold_to_checkpoint, write_untrained
from training.settings import Recipe, Tracking
from training.steps import hold_to_steps

log = logging.getLogger(__name__)


class HeadTrainer(Trainer):
    """A Trainer that takes its batches from a plan, reports the seconds and the mean loss of each
    head, and scores development examples at the end of an epoch.
    """

    def __init__(
        self, plan: PlannedBatches, heads: Sequence[Head], curve: DevCurve | None, **settings: Any
    ) -> None:
        super().__init__(**settings)
        self.plan = plan
        self.curve = curve
        self.names = [head.name for head in heads]
        self.seconds: dict[str, float] = defaultdict(float)  # as the losses, since the last report
        self.recent: dict[str, list[float]] = defaultdict(list)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The planned batches of this process in their order; accelerate must not share them out
        anew.
        """
        return DataLoader(
            self.train_dataset, batch_sampler=self.plan, collate_fn=self.data_collator
        )  # type: ignore[arg-type]

    def training_step(
        self, model: Any, inputs: Any, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """One step, timed for the head it teaches; a loss that is no number stops the run."""
        name = self.names[int(inputs["head_index"])]
        began = time.perf_counter()
        loss = super().training_step(model, inputs, num_items_in_batch)
        self.seconds[name] += time.perf_counter() - began
        if not torch.isfinite(loss):
            raise TrainingError(
                f"step {self.state.global_step}: the loss of head {name!r} is {loss.item()}; "
                "lower optimiser.learning_rate or set optimiser.bf16 to false"
            )
        self.recent[name].append(float(loss))
        if self.state.global_step + 1 in self.plan.epoch_ends:
            self.control.should_log = True  # before the last checkpoint, so that it holds it all
            self.control.should_evaluate = self.curve is not None
        return loss

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add each head's mean loss since the last report, and its seconds."""
        if "loss" in logs:
            for name, values in self.recent.items():
                logs[f"loss_{name}"] = round(sum(values) / len(values), 4)
                logs[f"{SECONDS}{name}"] = round(self.seconds[name], 3)
            self.recent.clear()
            self.seconds.clear()
        super().log(logs, *args, **kwargs)

    def minutes(self) -> dict[str, float]:
        """The minutes that each head took by the reports, those before a checkpoint that the run
        went on from among them.
        """
        seconds: dict[str, float] = defaultdict(float)
        for report in self.state.log_history:
            for key, value in report.items():
                if key.startswith(SECONDS):
                    seconds[key.removeprefix(SECONDS)] += value
        return {name: round(total / 60, 1) for name, total in sorted(seconds.items())}

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """The scores of the development examples; one process draws the curve."""
        self.control.should_evaluate = False  # the Trainer asks again where its one epoch ends
        if self.curve is None or not self.is_world_process_zero():
            return {}
        model = self.accelerator.unwrap_model(self.model)
        scores = self.curve.scores(model, self.args.device, self.args.bf16)
        logs = {f"dev_{name}": value for name, value in scores.items()}
        self.log(logs)
        return logs


def side_by_side() -> PartialState:
    """The processes that train together: those of `accelerate launch`, otherwise this one alone."""
    return PartialState(cpu=not torch.cuda.is_available())


def fit(
    recipe: Recipe, folder: Path, prepared: Prepared, run: Path
) -> tuple[MultiHeadModel, dict[str, float]]:
    """Train a recipe; returns the model and the minutes each head took. Goes on from the last
    checkpoint in `run`, and stops at a signal after saving one.
    """
    processes = side_by_side()
    checkpoint = Run(run).checkpoint
    begun = checkpoint is not None
    hold_to_data(prepared, run, begun, writes=processes.is_main_process)
    if processes.is_main_process and not (begun and (run / LINEAGE).is_file()):
        Lineage.of_recipe(recipe, folder).write(run)
    bf16 = hold_to_steps(run, processes, recipe.optimiser.bf16, begun)
    if checkpoint is not None:
        hold_to_checkpoint(checkpoint, processes.num_processes)
    set_seed(recipe.seed)
    plan = planned_batches(recipe, prepared, processes.process_index, processes.num_processes)
    if recipe.optimiser.epochs and not len(plan):
        raise TrainingError(
            "no source gives a whole example an epoch; raise their passes, or set "
            "optimiser.epochs to 0 to train nothing"
        )
    model = new_model(recipe, folder, prepared, plan)
    hold_to_disk(model, run)
    log.info("%d steps, epochs end at %s", len(plan), plan.epoch_ends)
    if not recipe.optimiser.epochs:
        if processes.is_main_process:
            write_untrained(model, run)
        _end(processes)
        return model, {}
    stop = StopOnSignal()
    trainer = make_trainer(
        recipe,
        run,
        model,
        prepared,
        plan,
        [Progress(), History(run, plan), LastCheckpoint(), stop],
        bf16,
    )
    with stop.released(), full_disk_told(run, trainer):
        trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
    _end(processes)
    stop.raise_if_stopped(run)
    minutes = trainer.minutes()
    log.info("minutes per head: %s", minutes)
    return model, minutes


def _end(processes: PartialState) -> None:
    """Wait for all processes and part with them: their threads must not outlive the interpreter."""
    processes.wait_for_everyone()
    processes.destroy_process_group()


def new_model(
    recipe: Recipe, folder: Path, prepared: Prepared, plan: PlannedBatches | None = None
) -> MultiHeadModel:
    """The untrained model of a recipe: the encoder of a folder under new heads, or under those that
    the folder brings along. New ones of which a plan has no batch are refused.
    """
    model = MultiHeadModel(
        load_encoder(folder, recipe.optimiser.attention_dropout),
        prepared.heads,
        recipe.optimiser.dropout,
        {name: head.loss_weight for name, head in recipe.heads.items()},
        prepared.class_weights,
    )
    freeze(model.encoder, recipe.optimiser.frozen_layers)
    brought = load_heads(model, folder) if (folder / HEADS).is_file() else []
    if brought:
        log.info("heads that begin as the encoder brings them: %s", ", ".join(brought))
    epochs = recipe.optimiser.epochs
    taught = {source.head for source in recipe.sources if source.passes and epochs}
    untaught = {source.head for source in recipe.sources} - taught - set(brought)
    if untaught:
        raise TrainingError(
            f"heads {', '.join(sorted(untaught))}: "
            f"{'all their sources have passes 0' if epochs else 'optimiser.epochs is 0'} and "
            f"{recipe.encoder.source} brings no such heads; "
            f"{'give a source passes' if epochs else 'train them'}, or name in encoder.source the "
            "run that trained them"
        )
    if plan is not None:
        _hold_to_plan(taught - set(brought), plan)
    return model


def _hold_to_plan(new: set[str], plan: PlannedBatches) -> None:
    """Refuse new heads that a plan does not teach; of those that it ends before it is told."""
    if missed := new - plan.heads:
        raise TrainingError(
            f"heads {', '.join(sorted(missed))}: the passes of their sources give no whole example "
            "an epoch, and nothing would teach them; raise passes"
        )
    if late := new & plan.late:
        log.warning(
            "heads %s stay as they begin: their first batch comes after optimiser.max_steps",
            ", ".join(sorted(late)),
        )


def planned_batches(
    recipe: Recipe, prepared: Prepared, rank: int = 0, processes: int = 1
) -> PlannedBatches:
    """All batches of a recipe's training, or those of one process of several."""
    return PlannedBatches(
        prepared.sources,
        prepared.lengths,
        recipe.optimiser.epochs,
        recipe.optimiser.max_batch_tokens,
        recipe.seed,
        recipe.mixing.temperature,
        recipe.optimiser.max_steps,
        rank,
        processes,
    )


def make_trainer(
    recipe: Recipe,
    run: Path,
    model: MultiHeadModel,
    prepared: Prepared,
    plan: PlannedBatches,
    callbacks: list[Any],
    bf16: bool,
) -> HeadTrainer:
    """The Trainer of a recipe over a plan of batches; it says nothing but through `callbacks`."""
    optimiser = recipe.optimiser
    parts = (
        (model.encoder, optimiser.learning_rate, optimiser.layer_decay),
        (model.heads, optimiser.head_learning_rate, 1.0),
    )
    curve = DevCurve.of(recipe, prepared) if recipe.evaluation.curve_items else None
    try:
        trainer = HeadTrainer(
            plan,
            prepared.heads,
            curve if curve and curve.examples else None,
            model=model,
            args=_arguments(recipe, run, bf16),
            train_dataset=prepared.dataset,
            data_collator=Collator(prepared.heads, prepared.encoder.special.pad, prepared.unknown),
            callbacks=callbacks,
            optimizers=(adamw(parts, optimiser.weight_decay), None),
        )
    except RuntimeError as error:
        if "to be installed" not in str(error):
            raise
        raise MissingExtraError(
            f"tracking.report_to {list(recipe.tracking.report_to)}: {error}; install "
            "khabar[tracking]"
        ) from None
    for callback in (PrinterCallback, ProgressCallback):  # `Progress` says the same and the time
        trainer.remove_callback(callback)
    return trainer


def _arguments(recipe: Recipe, run: Path, bf16: bool) -> TrainingArguments:
    optimiser, tracking = recipe.optimiser, recipe.tracking
    _keep_trackers_here(tracking, recipe.name, run)
    return TrainingArguments(
        output_dir=str(run),
        run_name=recipe.name,
        num_train_epochs=1,  # the plan holds all epochs
        learning_rate=optimiser.learning_rate,
        warmup_steps=optimiser.warmup_fraction,
        lr_scheduler_type=optimiser.schedule,
        max_grad_norm=optimiser.max_grad_norm,
        bf16=bf16,
        use_cpu=not torch.cuda.is_available(),
        logging_steps=tracking.log_steps,
        save_steps=tracking.checkpoint_steps,
        seed=recipe.seed,
        data_seed=recipe.seed,
        report_to=list(tracking.report_to),
        disable_tqdm=True,
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_pin_memory=False,
        ddp_find_unused_parameters=True,  # a batch teaches one head of several
    )


def _keep_trackers_here(tracking: Tracking, name: str, run: Path) -> None:
    """Trackers write below the run unless the environment says otherwise, and report to nobody."""
    if "tensorboard" in tracking.report_to:
        os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(run / "tensorboard"))
    if "mlflow" in tracking.report_to:
        os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{run.resolve()}/mlflow.db")
        os.environ.setdefault("MLFLOW_EXPERIMENT_NAME", name)
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
