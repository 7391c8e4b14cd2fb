"""The learning curve: how the model in training reads some development examples of each source.

Examples are windows and pairs as in training, read by the most probable tag. The scores of the
finished model are those of the exported bundle on whole texts, and differ a little.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from seqeval.metrics import f1_score as entity_f1
from sklearn.metrics import f1_score
from torch import Tensor

from serving.bundle import Head
from serving.windows import token_batches
from training.batches import Collator
from training.corpora import load
from training.examples import IGNORED, examples_of
from training.label_sets import judges, teaching
from training.model import MultiHeadModel
from training.preparation import Prepared
from training.runs import curve_name
from training.settings import Recipe
from training.splits import every_nth


@dataclass(frozen=True)
class DevCurve:
    """Development examples by HEAD/CORPUS, at most some of each, ready to be scored again and
    again.
    """

    heads: dict[str, Head]
    examples: dict[str, list[dict[str, Any]]]
    collator: Collator
    max_tokens: int

    @classmethod
    def of(cls, recipe: Recipe, prepared: Prepared) -> DevCurve:
        """The examples of every source that has a development part and can judge its head."""
        heads = {head.name: head for head in prepared.heads}
        examples: dict[str, list[dict[str, Any]]] = {}
        for source in recipe.sources:
            head = heads[source.head]
            if not recipe.evaluation.curve_items or not judges(source, head):
                continue
            documents = load(source.corpus, "dev")
            some = every_nth(len(documents), recipe.evaluation.curve_items)
            made = examples_of(
                [documents[i] for i in some],
                head,
                prepared.encoder,
                source.corpus,
                source.max_pieces,
                recipe.windows.pair_max_pieces,
                teaching(source, head),
            )
            if rows := [asdict(example) for example in made]:
                examples[curve_name(head.name, source.corpus)] = rows
        collator = Collator(prepared.heads, prepared.encoder.special.pad)
        return cls(heads, examples, collator, recipe.optimiser.max_batch_tokens)

    def scores(self, model: MultiHeadModel, device: torch.device, bf16: bool) -> dict[str, float]:
        """F1 of entities, macro F1 of texts and pairs, by HEAD/CORPUS."""
        training = model.training
        model.eval()
        try:
            with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                return {
                    name: round(self._score(rows, model, device), 4)
                    for name, rows in self.examples.items()
                }
        finally:
            model.train(training)

    def _score(
        self, rows: list[dict[str, Any]], model: MultiHeadModel, device: torch.device
    ) -> float:
        head = self.heads[rows[0]["head"]]
        pairs = [
            (labels, logits.argmax(-1).cpu())
            for labels, logits in self._batches(rows, head, model, device)
        ]
        if head.kind in ("text", "pair"):
            gold, found = (torch.cat(part) for part in zip(*pairs, strict=True))
            labels = gold.unique().tolist()  # as the report has it
            return float(f1_score(gold, found, labels=labels, average="macro", zero_division=0))
        gold_tags: list[list[str]] = []
        found_tags: list[list[str]] = []
        for labels, best in pairs:
            for gold_row, found_row in zip(labels, best, strict=True):
                known = (gold_row != IGNORED).any(-1)
                gold_tags.extend(_tags(gold_row[known].T.tolist(), head))
                found_tags.extend(_tags(found_row[known].T.tolist(), head))
        return float(entity_f1(gold_tags, found_tags, zero_division=0))

    def _batches(
        self,
        rows: list[dict[str, Any]],
        head: Head,
        model: MultiHeadModel,
        device: torch.device,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Labels and logits a batch: (items,) and (items, labels), or (items, pieces, columns) and
        (items, pieces, columns, tags).
        """
        columns = head.columns
        for batch in token_batches([len(row["input_ids"]) for row in rows], self.max_tokens):
            made = self.collator([rows[i] for i in batch])
            inputs = [made[name].to(device) for name in ("input_ids", "attention_mask")]
            hidden = model.hidden(*inputs)
            logits = model.heads[head.name](hidden, made["segments"].to(device)).float()
            if head.kind in ("text", "pair"):
                yield made["labels"], logits
            else:
                shape = (*made["input_ids"].shape, columns)
                yield made["labels"].view(shape), logits.view(*shape, head.width // columns)


def _tags(columns: Sequence[Sequence[int]], head: Head) -> list[list[str]]:
    """BIO tags of each column of ids."""
    if head.kind == "flat":
        return [[head.tags[i] for i in column] for column in columns]
    return [
        [("O", f"B-{label}", f"I-{label}")[i] for i in column]
        for label, column in zip(head.labels, columns, strict=True)
    ]
