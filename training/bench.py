"""How fast training is: khabar's loop beside a plain transformers.Trainer on the same sentences.

The rival is what a tutorial ends in: float32, random batches of a fixed number of sentences, padded
to the longest, its own token-classification head. Both see batches of the same mean number of
pieces, in turns, and only real pieces count.
"""

from __future__ import annotations

import logging
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import (
    AutoModelForTokenClassification,
    DataCollatorForTokenClassification,
    PreTrainedTokenizerFast,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from training.batches import PlannedBatches, SourceExamples
from training.corpora import load
from training.encoders.sources import encoder_folder
from training.examples import Example, word_examples
from training.optimisation import in_bf16
from training.preparation import Prepared, TrainingError, recipe_heads, text_encoder
from training.settings import Evaluation, Recipe, Tracking
from training.trainer import make_trainer, new_model

log = logging.getLogger(__name__)
HEAD = "anercorp"
ROUNDS, WARM_STEPS = 3, 2


class _Clock(TrainerCallback):
    """Seconds of each step after the first ones, which build kernels and caches."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.began = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.seconds.append(time.perf_counter() - self.began)

    def rate(self, pieces: Sequence[int]) -> float:
        """Pieces a second, of the pieces of each step."""
        return sum(pieces[WARM_STEPS:]) / sum(self.seconds[WARM_STEPS:])


def bench_training(recipe: Recipe, steps: int) -> dict[str, Any]:
    """Pieces a second of both loops over ANERcorp's training sentences, medians of three rounds in
    turns, and their ratio.
    """
    if HEAD not in recipe.heads:
        raise TrainingError(f"the recipe has no head {HEAD!r}; take configs/train/embedded.yaml")
    with tempfile.TemporaryDirectory() as scratch:
        folder = encoder_folder(recipe.encoder, Path(scratch) / "encoder")
        prepared = _sentences(recipe, folder)
        batches = PlannedBatches(
            prepared.sources, prepared.lengths, 1, recipe.optimiser.max_batch_tokens, recipe.seed
        )
        a_batch = round(len(prepared.lengths) / len(batches))
        rates: dict[str, list[float]] = {"khabar": [], "plain": []}
        for turn in range(ROUNDS):
            rates["khabar"].append(
                _khabar_rate(recipe, folder, prepared, steps, turn, Path(scratch))
            )
            rates["plain"].append(
                _plain_rate(recipe, folder, prepared, steps, turn, a_batch, Path(scratch))
            )
            log.info("round %d of %d: %s", turn + 1, ROUNDS, rates)
    ratios = [ours / plain for ours, plain in zip(*rates.values(), strict=True)]
    return {
        "sentences": len(prepared.lengths),
        "steps": steps,
        "threads": torch.get_num_threads(),
        "pieces_per_second": {
            name: round(statistics.median(found)) for name, found in rates.items()
        },
        "mean_pieces_a_batch": {
            "khabar": round(sum(prepared.lengths) / len(batches)),
            "plain": round(a_batch * statistics.mean(prepared.lengths)),
        },
        "ratio": round(statistics.median(ratios), 2),
        "ratios": [round(ratio, 2) for ratio in ratios],
    }


def _sentences(recipe: Recipe, folder: Path) -> Prepared:
    """ANERcorp's training sentences, one an example, for its flat head alone."""
    head = next(head for head in recipe_heads(recipe) if head.name == HEAD)
    encoder = text_encoder(recipe, folder)
    examples: list[Example] = list(word_examples(load(HEAD, "train"), head, encoder, HEAD))
    return Prepared(
        (head,),
        encoder,
        Dataset.from_list([asdict(example) for example in examples]),
        [SourceExamples(HEAD, range(len(examples)), 1)],
        [len(example.input_ids) for example in examples],
        {},
        {},
        {},
        {},
    )


def _khabar_rate(
    recipe: Recipe, folder: Path, prepared: Prepared, steps: int, turn: int, scratch: Path
) -> float:
    total = steps + WARM_STEPS
    short = recipe.model_copy(
        update={
            "evaluation": Evaluation(curve_items=0),
            "tracking": Tracking(checkpoint_steps=10 * total, log_steps=total),
        }
    )
    set_seed(recipe.seed)
    seed = recipe.seed + turn
    limit = recipe.optimiser.max_batch_tokens
    plan = PlannedBatches(prepared.sources, prepared.lengths, 1, limit, seed, max_steps=total)
    clock = _Clock()
    model = new_model(recipe, folder, prepared)
    bf16 = in_bf16(recipe.optimiser.bf16)
    trainer = make_trainer(short, scratch / "khabar", model, prepared, plan, [clock], bf16)
    trainer.train()
    return clock.rate([sum(prepared.lengths[row] for row in batch) for batch in plan])


class _PlainTrainer(Trainer):
    """A Trainer that remembers how many real pieces each of its batches holds."""

    pieces: list[int]

    def training_step(self, model: Any, inputs: Any, *rest: Any) -> torch.Tensor:
        """The step as it is."""
        self.pieces.append(int(inputs["attention_mask"].sum()))
        return super().training_step(model, inputs, *rest)


def _plain_rate(
    recipe: Recipe,
    folder: Path,
    prepared: Prepared,
    steps: int,
    turn: int,
    a_batch: int,
    scratch: Path,
) -> float:
    set_seed(recipe.seed + turn)
    (head,) = prepared.heads
    model = AutoModelForTokenClassification.from_pretrained(
        folder, num_labels=head.width, dtype=torch.float32
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), pad_token=_pad_piece(prepared)
    )
    clock = _Clock()
    trainer = _PlainTrainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(scratch / "plain"),
            per_device_train_batch_size=a_batch,
            max_steps=steps + WARM_STEPS,
            learning_rate=recipe.optimiser.learning_rate,
            use_cpu=not torch.cuda.is_available(),
            seed=recipe.seed + turn,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            dataloader_pin_memory=False,
        ),
        train_dataset=prepared.dataset.select_columns(["input_ids", "labels"]),
        data_collator=DataCollatorForTokenClassification(tokenizer),
        callbacks=[clock],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.pieces = []
    trainer.train()
    return clock.rate(trainer.pieces)


def _pad_piece(prepared: Prepared) -> str:
    return str(prepared.encoder.tokenizer.id_to_token(prepared.encoder.special.pad))
