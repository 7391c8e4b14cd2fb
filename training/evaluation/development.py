"""The development splits of a recipe's sources: what a finished model is asked, and how it is
scored.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from annotations.conll import Sentence, canonical_label
from annotations.schema import Document
from serving.bundle import Head
from serving.tagger import Tagger
from training.corpora import load, sentences_of, with_entities
from training.evaluation.entity_questions import document_questions, sentence_questions
from training.evaluation.files import Task
from training.evaluation.questions import (
    Questions,
    claim_questions,
    stance_questions,
    topic_questions,
)
from training.evaluation.scores import Scores
from training.label_sets import Teaching, corpus_name, judges, teaching
from training.settings import Recipe, Source

log = logging.getLogger(__name__)
_CONLL = ("anercorp", "wojood")


@dataclass(frozen=True, slots=True)
class DevSplit:
    """A development split and how `khabar evaluate` scores it."""

    name: str
    task: Task
    file: str

    @property
    def command(self) -> str:
        """The command that repeats the score."""
        return f"khabar evaluate --task {self.task} --data {self.file}"


DEV_SPLITS = {
    "anercorp": DevSplit("ANERcorp dev", "ner", "runs/splits/anercorp-dev.conll"),
    "wojood": DevSplit("Wojood sample val", "ner", "$KHABAR_DATA/wojood_sample/val.txt"),
    "authored": DevSplit("authored news dev", "ner", "annotations/authored/dev.jsonl"),
    "antnews": DevSplit("ANT passages dev", "ner", "runs/splits/antnews-dev.jsonl"),
    "authored-stances": DevSplit("authored news dev", "stance", "annotations/authored/dev.jsonl"),
    "antnews-stances": DevSplit("ANT passages dev", "stance", "runs/splits/antnews-dev.jsonl"),
    "ans": DevSplit("ANS dev", "claim", "$KHABAR_DATA/ans/stance/dev.csv"),
    "authored-claims": DevSplit("authored news dev", "claim", "annotations/authored/dev.jsonl"),
    "khaleej": DevSplit("Khaleej dev", "topic", "$KHABAR_DATA/topic_khaleej/dev.jsonl.gz"),
    "ant": DevSplit("ANT dev", "topic", "$KHABAR_DATA/topic_ant/dev.jsonl.gz"),
    "authored-topics": DevSplit("authored news dev", "topic", "annotations/authored/dev.jsonl"),
}


@dataclass(frozen=True)
class DevSet:
    """The items of a development split, for one head."""

    head: str
    split: DevSplit
    questions: Questions

    def row(self, scores: Scores) -> dict[str, Any]:
        """Scores as a bundle keeps them, with the command that repeats them."""
        about = {"head": self.head, "split": self.split.name, "command": self.split.command}
        return {**about, **scores.report()}


def scored_corpora(sources: Iterable[Source]) -> list[str]:
    """The corpora of the development splits on which these sources are scored, each once."""
    corpora = [corpus_name(source.corpus) for source in sources if source.corpus in DEV_SPLITS]
    return list(dict.fromkeys(corpora))


def dev_sets(tagger: Tagger, recipe: Recipe) -> Iterator[DevSet]:
    """The development splits of a recipe's sources, each for the head that its source teaches and
    can judge; those of heads that the bundle has not are left out.
    """
    for source in recipe.sources:
        split = DEV_SPLITS.get(source.corpus)
        if split is None or source.head not in tagger.heads:
            continue
        if judges(source, tagger.bundle.head(source.head)):
            yield DevSet(source.head, split, dev_questions(source, split.task, tagger))


def dev_questions(source: Source, task: Task, tagger: Tagger) -> Questions:
    """What the development split of a source asks of its head, in the labels that the head has."""
    corpus, head = source.corpus, tagger.bundle.head(source.head)
    if corpus in _CONLL:
        known = teaching(source, head)
        sentences = [_taught_sentence(s, known, head) for _, s in sentences_of(corpus, "dev")]
        return sentence_questions(sentences, tagger, head.name)
    documents = load(corpus_name(corpus), "dev")
    if task == "ner":
        return document_questions(taught(documents, source, head), tagger, head.name)
    if task == "topic":
        return topic_questions(documents, tagger)
    if task == "claim":
        return claim_questions(documents, head.labels)
    return stance_questions(documents)


def taught(documents: Iterable[Document], source: Source, head: Head) -> list[Document]:
    """The documents that have entities, with those that a head of words knows, under its names."""
    known = teaching(source, head)
    return [
        document.with_entities(
            tuple(
                replace(span, label=label)
                for span in document.entities or ()
                if (label := known.label(span.label)) in head.labels
            )
        )
        for document in with_entities(documents)
    ]


def _taught_sentence(sentence: Sentence, known: Teaching, head: Head) -> Sentence:
    """A sentence with the tags that a head of words knows, under its names."""

    def tag_of(tag: str) -> str:
        label = None if tag == "O" else known.label(canonical_label(tag[2:]))
        return f"{tag[:2]}{label}" if label in head.labels else "O"

    return Sentence(sentence.words, tuple(tuple(map(tag_of, tags)) for tags in sentence.tags))


def evaluate_heads(tagger: Tagger, recipe: Recipe) -> list[dict[str, Any]]:
    """The scores of an exported bundle on the development splits of its sources, with commands."""
    rows = []
    for dev in dev_sets(tagger, recipe):
        rows.append(dev.row(dev.questions.scores(tagger)))
        log_row(rows[-1])
    return rows


def log_row(row: dict[str, Any]) -> None:
    """Say the scores of a split, the types aside."""
    shown = {name: value for name, value in row.items() if name != "per_label"}
    log.info("%s", json.dumps(shown, ensure_ascii=False))
