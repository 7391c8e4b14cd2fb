"""How a published folder does on development data, as plain transformers reads it."""

from __future__ import annotations

import random
import re
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from annotations.schema import Span
from serving.bundle import Bundle, Head
from serving.encoding import TextEncoder
from serving.tagger import Tagger
from serving.windows import token_batches
from training.batches import Collator
from training.corpora import load, sentences_of
from training.evaluation.development import DEV_SPLITS
from training.evaluation.files import score_conll, score_entities
from training.evaluation.scores import label_scores
from training.examples import Example, examples_of
from training.hub.distillation import teacher_logits
from training.label_sets import judges
from training.model import MultiHeadModel
from training.settings import Recipe, Source

MAX_ITEMS = 400  # documents of a development split, drawn by the recipe's seed
BATCH_TOKENS = 4096
CONLL = ("anercorp", "wojood")
PUNCTUATION = r'[،؛؟!:«»"()\[\]]|(?<!\d)[.,]|[.,](?!\d)'  # a stop inside a number is none
Row = dict[str, Any]


class PipelineTagger(Tagger):
    """A folder of a token classifier, read by transformers' own pipeline.

    It has a Tagger's `spans` and what scoring asks of it, and no model of khabar's. `overlap` is
    that of the windows in which long texts are read, in pieces. Texts are read with spaces around
    punctuation, as the card says to, and spans that end inside a word are left out: the pipeline's
    words are what spaces separate, but a piece "▁" alone is a word to it.
    """

    def __init__(self, folder: Path, bundle: Bundle, overlap: int) -> None:
        from transformers import pipeline

        self.pipeline: Any = pipeline(
            "token-classification",
            model=str(folder),
            aggregation_strategy="first",
            stride=overlap,
        )
        self.bundle = bundle
        self.heads = {head.name: head for head in bundle.manifest.heads}
        self.answer_head = bundle.manifest.heads[0]

    def spans(self, texts: Sequence[str], head_name: str) -> list[tuple[tuple[Span, float], ...]]:
        """The entities of each text with their scores, which are not calibrated."""
        read = [spaced(text) for text in texts]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of its rule for words; the card tells it
            found = self.pipeline([text for text, _ in read])
        return [
            tuple(
                (Span(places[e["start"]], places[e["end"] - 1] + 1, e["entity_group"]), e["score"])
                for e in row
                if not wide[e["end"] :][:1].isalnum()
            )
            for row, (wide, places) in zip(found, read, strict=True)
        ]


def spaced(text: str) -> tuple[str, list[int]]:
    """A text with spaces around its punctuation, and where each of its characters stood."""
    signs = {match.start() for match in re.finditer(PUNCTUATION, text)}
    places = [i for i in range(len(text)) for _ in range(3 if i in signs else 1)]
    parts = [f" {char} " if i in signs else char for i, char in enumerate(text)]
    return "".join(parts), places


def word_scores(folder: Path, bundle: Bundle, head: Head, recipe: Recipe) -> list[Row]:
    """The scores of a token classifier's folder on the development splits of a head's sources.

    `head` is the flat head that the folder holds.
    """
    only = bundle.manifest.model_copy(update={"heads": (head,)})
    tagger = PipelineTagger(folder, Bundle(bundle.folder, only), recipe.windows.overlap_tokens)
    rows = []
    for source in recipe.sources:
        split = DEV_SPLITS.get(source.corpus)
        if split is None or not judges(source, head):
            continue
        if source.corpus in CONLL:
            sentences = [sentence for _, sentence in sentences_of(source.corpus, "dev")]
            scores = score_conll(sentences, tagger, head.name)
        else:
            scores = score_entities(load(source.corpus, "dev"), tagger, head.name)
        rows.append({"split": split.name, **scores, "head": head.name, "ece": None})
    return rows


def pooled_scores(
    model: MultiHeadModel, head: Head, student: Any, encoder: TextEncoder, recipe: Recipe
) -> list[Row]:
    """The scores of a distilled classifier on the development splits of its head's sources.

    `agreement` is how often it says the same as the head, `ours` holds the head's own accuracy and
    macro F1; both read the same pieces, in float32.
    """
    rows = []
    for source in recipe.sources:
        examples = dev_examples(source, head, encoder, recipe)
        if not examples:
            continue
        gold = [head.labels[example.labels[0]] for example in examples]
        said = classify(student, None, head, examples, encoder.special.pad)
        ours = classify(student, model, head, examples, encoder.special.pad)
        named = [head.labels[i] for i in said.argmax(-1).tolist()]
        wanted = [head.labels[i] for i in ours.argmax(-1).tolist()]
        scores = label_scores(gold, named, said.max(-1).values.tolist())
        beside = label_scores(gold, wanted, ours.max(-1).values.tolist())
        split = DEV_SPLITS[source.corpus].name if source.corpus in DEV_SPLITS else source.corpus
        agreement = sum(a == b for a, b in zip(named, wanted, strict=True)) / len(named)
        rows.append(
            {
                "head": head.name,
                "split": split,
                **scores,
                "agreement": round(agreement, 4),
                "ours": {name: beside[name] for name in ("accuracy", "macro_f1")},
            }
        )
    return rows


def dev_examples(source: Source, head: Head, encoder: TextEncoder, recipe: Recipe) -> list[Example]:
    """Examples of at most `MAX_ITEMS` development documents of a source, cut as those of training
    are.
    """
    documents = load(source.corpus, "dev")
    drawn = random.Random(recipe.seed).sample(documents, min(MAX_ITEMS, len(documents)))
    pair_max_pieces = recipe.windows.pair_max_pieces
    return list(
        examples_of(drawn, head, encoder, source.corpus, source.max_pieces, pair_max_pieces)
    )


@torch.no_grad()
def classify(
    student: Any, model: MultiHeadModel | None, head: Head, examples: Sequence[Example], pad: int
) -> Tensor:
    """The probabilities of examples, (examples, labels), by a classifier, or by the head itself
    where its model is given.
    """
    found = torch.zeros(len(examples), len(head.labels))
    collate = Collator((head,), pad)
    for rows in token_batches([len(e.input_ids) for e in examples], BATCH_TOKENS):
        batch = collate([asdict(examples[i]) for i in rows])
        if model is None:
            logits = student(batch["input_ids"], batch["attention_mask"]).logits
        else:
            logits = teacher_logits(model, head, batch)
        found[rows] = logits.softmax(-1)
    return found
