"""Adapting an encoder to Arabic news: masked-language-model training on running text, or
replaced-token detection.

From a config to RUN/encoder-adapted, a Hugging Face folder that a recipe's `encoder.source` takes.
A run that was stopped anywhere goes on from its last checkpoint and ends with the same weights.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from transformers import (
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from training.checkpoints import LastCheckpoint
from training.disk import full_disk_told, hold_to_disk
from training.encoders.adaptation import (
    Adaptation,
    AdaptationOptimiser,
    hold_to_settings,
    masker_of,
    prepare_blocks,
)
from training.encoders.language_model import MaskedLanguageModel, save_encoder
from training.encoders.masking import Blocks, MaskedBlocks, Masker
from training.encoders.packaged import EncoderError
from training.encoders.replaced_tokens import ReplacedTokenModel
from training.encoders.sources import encoder_fingerprint, encoder_folder, former_fingerprints
from training.interruption import StopOnSignal
from training.lineage import Lineage
from training.optimisation import adamw, freeze
from training.preparation import TrainingError
from training.progress import Progress
from training.runs import HISTORY, ORIGIN, Run, write_text
from training.steps import hold_to_steps

log = logging.getLogger(__name__)
ADAPTED = "encoder-adapted"
Model = MaskedLanguageModel | ReplacedTokenModel
LOADERS = 4  # processes that mask blocks for one that computes on a GPU
COPIED = ("tokenizer", "special_tokens", "vocab.", "merges.", "heads.")  # what saving leaves out


class MaskTrainer(Trainer):
    """A Trainer whose evaluation is the mean loss over all hidden pieces of the held-out blocks."""

    def training_step(
        self, model: Any, inputs: Any, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """One step; a loss that is no number stops the run."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"step {self.state.global_step}: the loss is {loss.item()}; lower "
                "optimiser.learning_rate or set optimiser.bf16 to false"
            )
        if self.state.global_step + 1 == self.state.max_steps:
            self.control.should_evaluate = True
        return loss

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """The held-out loss; it draws no random numbers, so training goes on as without it."""
        found = held_out_losses(self.model, self.eval_dataset, self.args)
        logs = {f"dev_{name}": round(loss, 4) for name, loss in found.items()}
        logs["dev_perplexity"] = round(math.exp(min(logs.pop("dev_guessing"), 50)), 2)
        self.log(logs)
        # the handler takes back the wish to evaluate, else it would be done twice
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, logs)
        return logs

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Under a second name the training loss is what `Progress` shows."""
        if "loss" in logs:
            logs["loss"] = logs["loss_masked"] = round(logs["loss"], 4)
        super().log(logs, *args, **kwargs)


def held_out_losses(model: Any, blocks: Any, args: TrainingArguments) -> dict[str, float]:
    """The mean of each loss of a model over the hidden pieces of masked blocks."""
    was_training = model.training
    model.eval()
    totals: dict[str, float] = defaultdict(float)
    count = 0
    rows = args.per_device_eval_batch_size
    with torch.no_grad(), torch.autocast(args.device.type, torch.bfloat16, enabled=args.bf16):
        for start in range(0, len(blocks), rows):
            batch = [blocks[i] for i in range(start, min(start + rows, len(blocks)))]
            stacked = {k: torch.stack([b[k] for b in batch]).to(args.device) for k in batch[0]}
            hidden = int((stacked["labels"] >= 0).sum())
            for name, loss in model(**stacked).items():
                totals[name] += float(loss) * hidden
            count += hidden
    model.train(was_training)
    return {name: total / count for name, total in totals.items()}


class HeadFirst(TrainerCallback):
    """Holds the encoder while the fresh head learns."""

    def __init__(self, model: Model, steps: int) -> None:
        self.steps = steps
        self.held = [w for w in model.encoder.parameters() if w.requires_grad] if steps else []

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Hold or let go; a run that goes on finds its place by the step."""
        learning = state.global_step >= self.steps
        if self.held and self.held[0].requires_grad != learning:
            for weight in self.held:
                weight.requires_grad_(learning)
            log.info(
                "step %d: the encoder %s", state.global_step, "learns" if learning else "rests"
            )


class LossCurve(TrainerCallback):
    """Writes history.json: rows of a step's `loss`, and of `dev_loss`, `dev_perplexity` and, of
    replaced pieces, `dev_telling`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """All rows so far; those of a run that goes on come with its checkpoint."""
        if not state.is_world_process_zero:
            return
        names = ("step", "loss", "dev_loss", "dev_perplexity", "dev_telling", "learning_rate")
        rows = [
            {name: row[name] for name in names if name in row}
            for row in state.log_history
            if "loss" in row or "dev_loss" in row
        ]
        write_text(self.path, json.dumps(rows, indent=0))


def adapt(settings: Adaptation, run: Path, callbacks: Sequence[TrainerCallback] = ()) -> Path:
    """Train, or go on training; the folder of the adapted encoder.

    Stops after saving a checkpoint when a signal comes (`training.interruption`).
    """
    with PartialState().local_main_process_first():
        hold_to_settings(settings, run)
        folder = encoder_folder(settings.encoder, run / "encoder")
        train, held_out = prepare_blocks(settings, folder, run)
    set_seed(settings.seed)
    model: Model
    if settings.objective == "replaced":
        model = ReplacedTokenModel(folder, settings.generator_layers)
    else:
        model = MaskedLanguageModel(folder)
    hold_to_disk(model, run)
    freeze(model.encoder, settings.optimiser.freeze_layers, "optimiser.freeze_layers")
    stop = StopOnSignal()
    checkpoint = Run(run).checkpoint
    data = train, held_out, masker_of(settings, folder)
    begun = checkpoint is not None
    bf16 = hold_to_steps(run, PartialState(), settings.optimiser.bf16, begun)
    trainer = _trainer(settings, run, model, data, begins=not begun, bf16=bf16)
    for callback in (stop, *callbacks):
        trainer.add_callback(callback)
    with stop.released(), full_disk_told(run, trainer):
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    stop.raise_if_stopped(run)
    if trainer.is_world_process_zero():
        _write_encoder(model, settings, folder, run / ADAPTED)
    return run / ADAPTED


def _trainer(
    settings: Adaptation,
    run: Path,
    model: Model,
    data: tuple[Blocks, Blocks, Masker],
    begins: bool,
    bf16: bool,
) -> MaskTrainer:
    train, held_out, masker = data
    optimiser = settings.optimiser
    rest = optimiser.head_warmup_steps if model.fresh_head else 0
    if rest >= optimiser.steps:
        raise EncoderError(
            f"optimiser.head_warmup_steps is {rest} of {optimiser.steps} steps, so the encoder "
            "would never learn; give it fewer"
        )
    args = _arguments(settings, run, begins, head_first=rest > 0, bf16=bf16)
    a_step = args.train_batch_size * args.world_size
    draws = optimiser.steps * a_step
    passes = draws / len(train)
    log.info("%d blocks of %d pieces to learn from", len(train), settings.block_pieces)
    log.info("%d steps of %d blocks are %.2f passes", optimiser.steps, a_step, passes)
    trainer = MaskTrainer(
        model=model,
        args=args,
        train_dataset=MaskedBlocks(train, masker, draws),
        eval_dataset=MaskedBlocks(held_out, masker, len(held_out), shuffle=False),
        callbacks=[HeadFirst(model, rest), Progress(), LossCurve(run / HISTORY), LastCheckpoint()],
        optimizers=_optimizers(model, optimiser, rest),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    return trainer


def _optimizers(
    model: Model, settings: AdaptationOptimiser, rest: int
) -> tuple[torch.optim.AdamW, LambdaLR]:
    """AdamW over encoder and head, each with a schedule of its own; the encoder's begins after
    `rest` steps.
    """
    parts = [(model.encoder, settings.learning_rate, settings.layer_decay)]
    optimizer = adamw(parts, settings.weight_decay)
    of_encoder = len(optimizer.param_groups)
    head = nn.ParameterList(model.head_weights())
    for group in adamw(
        [(head, settings.head_learning_rate, 1.0)], settings.weight_decay
    ).param_groups:
        optimizer.add_param_group(group)
    late = _schedule(settings.steps, rest, settings.warmup_fraction)
    early = _schedule(settings.steps, 0, settings.warmup_fraction)
    rates = [late if i < of_encoder else early for i in range(len(optimizer.param_groups))]
    return optimizer, LambdaLR(optimizer, rates)


def _schedule(steps: int, begin: int, warmup: float) -> Callable[[int], float]:
    """The share of the rate at a step: 0 until `begin`, up by `warmup` of what is left, down to
    0.
    """
    rising = max(1, round(warmup * (steps - begin)))

    def share(step: int) -> float:
        done = step - begin
        if done < rising:
            return max(0.0, (done + 1) / rising) if done >= 0 else 0.0
        return (steps - step) / max(1, steps - begin - rising)

    return share


def _arguments(
    settings: Adaptation, run: Path, begins: bool, head_first: bool, bf16: bool
) -> TrainingArguments:
    optimiser, tracking = settings.optimiser, settings.tracking
    rows = max(1, optimiser.max_batch_tokens // settings.block_pieces)
    return TrainingArguments(
        output_dir=str(run),
        max_steps=optimiser.steps,
        per_device_train_batch_size=rows,
        per_device_eval_batch_size=rows,
        train_sampling_strategy="sequential",  # the blocks are drawn in their order already
        bf16=bf16,
        use_cpu=not torch.cuda.is_available(),
        eval_strategy="steps",
        eval_steps=settings.evaluate_steps,
        eval_on_start=begins,
        logging_steps=tracking.log_steps,
        save_steps=tracking.checkpoint_steps,
        seed=settings.seed,
        data_seed=settings.seed,
        report_to=list(tracking.report_to),
        run_name=settings.name,
        disable_tqdm=True,
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_pin_memory=False,
        dataloader_num_workers=LOADERS if torch.cuda.is_available() else 0,
        ddp_find_unused_parameters=head_first,
    )


def _write_encoder(model: Model, settings: Adaptation, source: Path, out: Path) -> None:
    """The adapted encoder with the tokenizer of its source, the heads that came along as they were,
    and where it comes from; whole or not there.
    """
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    save_encoder(model.encoder, partial, model.kept_dropout)
    for path in source.iterdir():
        if path.name.startswith(COPIED):
            shutil.copy(path, partial)
    began = [encoder_fingerprint(source), *former_fingerprints(source)]
    lineage = Lineage.of_encoder(settings.encoder, source).with_data(settings.texts)
    origin = {"began_with": began, **lineage.to_dict()}
    write_text(partial / ORIGIN, json.dumps(origin, ensure_ascii=False, indent=1) + "\n")
    shutil.rmtree(out, ignore_errors=True)
    partial.rename(out)
