"""Fine-tuning: a recipe's examples through transformers.Trainer, with time per head and exact
resume.
"""

from __future__ import annotations

import logging
import random
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch.nn import functional
from torch.utils.data import DataLoader
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments, set_seed

from annotations.errors import KhabarError
from annotations.labels import label_schema
from annotations.schema import Document
from serving.bundle import Head
from serving.encoding import TextEncoder, WindowRule
from training.batches import Collator, PlannedBatches, SourceExamples
from training.corpora import load
from training.encoders import load_encoder, special_pieces
from training.examples import Example, examples_of
from training.model import MultiHeadModel
from training.settings import Optimiser, Recipe

log = logging.getLogger(__name__)


class TrainingError(KhabarError):
    """A training run that cannot go on."""


@dataclass(frozen=True)
class Prepared:
    """A recipe's data, ready to train: examples, their sources and class weights."""

    heads: tuple[Head, ...]
    encoder: TextEncoder
    dataset: Dataset
    sources: list[SourceExamples]
    lengths: list[int]
    class_weights: dict[str, torch.Tensor]


def recipe_heads(recipe: Recipe) -> tuple[Head, ...]:
    """The heads of a recipe as the bundle will describe them."""
    schema = label_schema()
    named: dict[str, tuple[str, ...]] = {
        "fine": tuple(schema.entities),
        "topics": tuple(schema.topics),
        "stances": tuple(schema.stances),
        "claims": tuple(schema.claims),
    }
    return tuple(
        Head(
            name=name,
            kind=head.kind,
            labels=named[head.labels] if isinstance(head.labels, str) else head.labels,
            experimental=head.experimental,
            combine=head.combine,
            unit=head.unit,
        )
        for name, head in recipe.heads.items()
    )


def text_encoder(recipe: Recipe, folder: Path) -> TextEncoder:
    """The tokenizer of an encoder folder under the recipe's rules."""
    rule = WindowRule(recipe.windows.size, recipe.windows.overlap_tokens)
    path = folder / "tokenizer.json"
    return TextEncoder.from_file(
        path, recipe.normalization.normalization(), rule, **special_pieces(path)
    )


def prepare(recipe: Recipe, folder: Path) -> Prepared:
    """Read, encode and index all sources of a recipe."""
    heads = {head.name: head for head in recipe_heads(recipe)}
    encoder = text_encoder(recipe, folder)
    examples: list[Example] = []
    sources = []
    for source in recipe.sources:
        head = heads[source.head]
        documents = _drawn(
            load(source.corpus, "train", source.group, source.detokenise, recipe.seed),
            source.per_class and source.per_class * recipe.optimiser.epochs,
            recipe.seed,
        )
        made = list(
            examples_of(
                documents,
                head,
                encoder,
                source.corpus,
                source.max_pieces,
                recipe.windows.pair_max_pieces,
            )
        )
        rows = range(len(examples), len(examples) + len(made))
        classes = [example.labels[0] for example in made] if head.kind in ("text", "pair") else ()
        sources.append(SourceExamples(source.head, rows, source.passes, source.per_class, classes))
        examples.extend(made)
        log.info(
            "%s -> %s: %d documents, %d examples",
            source.corpus,
            source.head,
            len(documents),
            len(made),
        )
    dataset = Dataset.from_list([asdict(example) for example in examples])
    weighted = [heads[name] for name, settings in recipe.heads.items() if settings.class_weights]
    return Prepared(
        tuple(heads.values()),
        encoder,
        dataset,
        sources,
        [len(example.input_ids) for example in examples],
        {head.name: class_weights(head, examples) for head in weighted},
    )


def _drawn(documents: list[Document], per_topic: int | None, seed: int) -> list[Document]:
    """At most `per_topic` documents of each topic, drawn by the seed; more would never be seen."""
    if per_topic is None:
        return documents
    order = random.Random(seed).sample(documents, len(documents))
    seen: Counter[str | None] = Counter()
    kept = []
    for document in order:
        seen[document.topic] += 1
        if seen[document.topic] <= per_topic:
            kept.append(document)
    return kept


def class_weights(head: Head, examples: Sequence[Example]) -> torch.Tensor:
    """Weights by the inverse square root of a class's share, mean 1 over the examples,
    (labels,).
    """
    counts = torch.zeros(len(head.labels))
    for example in examples:
        if example.head == head.name:
            counts[example.labels[0]] += 1
    weights = counts.clamp(min=1).rsqrt()
    return weights * counts.sum() / (weights * counts).sum()


class HeadTrainer(Trainer):
    """A Trainer that takes its batches from a plan and keeps the seconds and the mean loss of each
    head.
    """

    def __init__(self, plan: PlannedBatches, heads: Sequence[Head], **settings: Any) -> None:
        super().__init__(**settings)
        self.plan = plan
        self.names = [head.name for head in heads]
        self.seconds: dict[str, float] = defaultdict(float)
        self.recent: dict[str, list[float]] = defaultdict(list)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The planned batches in their order."""
        loader = DataLoader(
            self.train_dataset, batch_sampler=self.plan, collate_fn=self.data_collator
        )  # type: ignore[arg-type]
        return self.accelerator.prepare(loader)  # type: ignore[no-any-return]

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
        return loss

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add each head's mean loss since the last report."""
        means = {
            f"loss_{name}": round(sum(values) / len(values), 4)
            for name, values in self.recent.items()
        }
        self.recent.clear()
        super().log({**logs, **means}, *args, **kwargs)


class LogProgress(TrainerCallback):
    """Losses to the log, with the time that is left."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Remember where a resumed run begins, for its time left."""
        self.began, self.first = time.monotonic(), state.global_step

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any
    ) -> None:
        """One line a report."""
        done = state.global_step - self.first
        left = (
            (time.monotonic() - self.began) / max(done, 1) * (state.max_steps - state.global_step)
        )
        losses = {
            name[5:]: value for name, value in (logs or {}).items() if name.startswith("loss_")
        }
        log.info(
            "step %d of %d, %.0f min left, loss %s",
            state.global_step,
            state.max_steps,
            left / 60,
            losses,
        )


def fit(
    recipe: Recipe, folder: Path, prepared: Prepared, run: Path
) -> tuple[MultiHeadModel, dict[str, float]]:
    """Train a recipe; returns the model and the minutes each head took. Goes on from the last
    checkpoint in `run`.
    """
    set_seed(recipe.seed)
    optimiser = recipe.optimiser
    model = MultiHeadModel(
        load_encoder(folder, optimiser.attention_dropout),
        prepared.heads,
        optimiser.dropout,
        {name: head.loss_weight for name, head in recipe.heads.items()},
        prepared.class_weights,
    )
    plan = PlannedBatches(
        prepared.sources,
        prepared.lengths,
        optimiser.epochs,
        optimiser.max_batch_tokens,
        recipe.seed,
    )
    log.info("%d steps in %d epochs of %s", len(plan), optimiser.epochs, plan.epoch_ends)
    trainer = HeadTrainer(
        plan,
        prepared.heads,
        model=model,
        args=_arguments(recipe, run),
        train_dataset=prepared.dataset,
        data_collator=Collator(prepared.heads, prepared.encoder.special.pad),
        callbacks=[LogProgress()],
        optimizers=(adamw(model, optimiser), None),
    )
    trainer.remove_callback(PrinterCallback)  # LogProgress says the same with the time left
    trainer.train(resume_from_checkpoint=_last_checkpoint(run))
    minutes = {name: round(seconds / 60, 1) for name, seconds in sorted(trainer.seconds.items())}
    log.info("minutes per head: %s", minutes)
    return model, minutes


def _last_checkpoint(run: Path) -> str | None:
    # the state is written last: a folder without it was cut short
    whole = [path.parent for path in run.glob("checkpoint-*/trainer_state.json")]
    found = sorted(whole, key=lambda path: int(path.name.rsplit("-", 1)[1]))
    return str(found[-1]) if found else None


def adamw(model: MultiHeadModel, settings: Optimiser) -> torch.optim.AdamW:
    """AdamW in two groups, encoder and heads; biases and norms are not decayed."""
    groups = []
    for module, rate in (
        (model.encoder, settings.learning_rate),
        (model.heads, settings.head_learning_rate),
    ):
        for decayed in (True, False):
            weights = [weight for weight in module.parameters() if (weight.ndim > 1) == decayed]
            decay = settings.weight_decay if decayed else 0.0
            groups.append({"params": weights, "lr": rate, "weight_decay": decay})
    return torch.optim.AdamW(groups, fused=True)


def bf16_pays(trials: int = 5) -> bool:
    """Whether matrix products of the encoder's size are faster in bfloat16 than in float32 on this
    machine.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        return torch.cuda.is_bf16_supported()
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        rows, weights = torch.randn(1024, 384, dtype=dtype), torch.randn(1536, 384, dtype=dtype)
        functional.linear(rows, weights)
        began = time.perf_counter()
        for _ in range(trials):
            functional.linear(rows, weights)
        seconds[dtype] = time.perf_counter() - began
    ratio = seconds[torch.float32] / seconds[torch.bfloat16]
    log.info(
        "bf16 matrix products run %.1f times as fast as fp32: %s",
        ratio,
        "bf16" if ratio > 1.2 else "fp32",
    )
    return ratio > 1.2


def _arguments(recipe: Recipe, run: Path) -> TrainingArguments:
    optimiser = recipe.optimiser
    return TrainingArguments(
        output_dir=str(run),
        num_train_epochs=1,  # the plan holds all epochs
        learning_rate=optimiser.learning_rate,
        warmup_steps=optimiser.warmup_fraction,
        lr_scheduler_type="linear",
        bf16=bf16_pays() if optimiser.bf16 == "auto" else optimiser.bf16,
        use_cpu=not torch.cuda.is_available(),
        logging_steps=25,
        save_steps=200,
        save_total_limit=1,
        seed=recipe.seed,
        data_seed=recipe.seed,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_pin_memory=False,
    )
