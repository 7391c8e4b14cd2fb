"""Scores of a bundle on any file: it is the shipped pipeline that is scored, on raw text, and then
compared.
"""

from __future__ import annotations

import csv
import json
import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from annotations.conll import Sentence, read_sentences, sentence_document
from annotations.corpora import read_ans_pairs, read_mawqif, read_topics
from annotations.errors import FormatError
from annotations.jsonl import read_documents
from annotations.labels import label_schema
from annotations.schema import Document
from annotations.textfile import opened_text
from annotations.validate import placed
from serving.bundle import BundleError, Head
from serving.tagger import Tagger
from training.corpora import with_entities
from training.evaluation.entity_questions import document_questions, sentence_questions
from training.evaluation.novelty import Known
from training.evaluation.questions import claim_questions, stance_questions, topic_questions

log = logging.getLogger(__name__)
Task = Literal["ner", "stance", "claim", "topic"]
TASKS: tuple[Task, ...] = ("ner", "stance", "claim", "topic")
_HEADER = 1000  # code points of a first line that may name the columns of a CSV


def evaluate(
    task: Task, data: Path, tagger: Tagger, head: str | None = None, seen_in: Path | None = None
) -> dict[str, Any]:
    """The scores of a tagger on a file, whose format is told by its content.

    Entities whose names are entities of the file `seen_in` and the others are also scored apart.
    """
    began = time.perf_counter()
    _require_head(task, tagger, head)
    kind = file_kind(data)
    if seen_in is not None and task != "ner":
        raise FormatError(f"{seen_in}: only entities are met or not; leave it out for {task}")
    known = None if seen_in is None else known_entities(seen_in)
    if task == "ner" and kind == "conll":
        scores = score_conll(list(read_sentences(data)), tagger, head, known)
    elif task == "ner":
        _require(kind in ("khabar", "topics"), task, data, "khabar JSONL or CoNLL")
        scores = score_entities(with_entities(_documents(data)), tagger, head, known)
    elif task == "topic":
        _require(kind in ("khabar", "topics"), task, data, "topic JSONL or khabar JSONL")
        labels = tagger.reader.text_heads[0].labels
        documents = list(read_topics(data, labels))
        _tell_left_out(documents, labels, data)
        scores = score_topics(documents, tagger)
    elif task == "claim":
        _require(kind in ("khabar", "ans"), task, data, "khabar JSONL or an ANS CSV (s1,s2,stance)")
        scores = score_claims(read_ans_pairs(data) if kind == "ans" else _documents(data), tagger)
    else:
        _require(
            kind in ("khabar", "mawqif"),
            task,
            data,
            "khabar JSONL or a Mawqif CSV (text,target,stance)",
        )
        scores = score_stances(read_mawqif(data) if kind == "mawqif" else _documents(data), tagger)
    if task == "topic":
        judge = tagger.reader.text_heads[0]
    else:
        judge = tagger.bundle.head(scores.get("head", task))
    _tell_unknown(scores, judge, data)
    return {
        "task": task,
        "data": data.name,
        **scores,
        "bundle": {"name": tagger.bundle.name, "version": tagger.bundle.version},
        "seconds": round(time.perf_counter() - began, 1),
    }


def file_kind(path: Path) -> str:
    """What a file holds, by its first line: khabar, topics (JSONL with a label), ans, mawqif or
    conll.
    """
    if not path.is_file():
        raise FormatError(f"{path}: no such file; give a JSONL, CSV or CoNLL file")
    with opened_text(path) as lines:
        first = next((line for line in lines if line.strip()), "")
    if not first:
        raise FormatError(f"{path}: the file is empty; there is nothing to score")
    if first.lstrip().startswith("{"):
        try:
            row = json.loads(first)
        except (ValueError, RecursionError):
            raise FormatError(f"{path}: line 1 is not JSON; one object a line is needed") from None
        return "topics" if "label" in row else "khabar"
    columns = {name.strip() for name in next(csv.reader([first[:_HEADER].lower()]))}
    if {"s1", "s2", "stance"} <= columns:
        return "ans"
    return "mawqif" if {"text", "target", "stance"} <= columns else "conll"


def _require_head(task: str, tagger: Tagger, asked: str | None) -> None:
    """Refuse a task for which a bundle has no head, and a head that does not tag words."""
    bundle = tagger.bundle
    kinds = {"ner": ("nested", "flat"), "topic": ("text",)}.get(task, ("pair",))
    able = [
        head.name
        for head in bundle.manifest.heads
        if head.kind in kinds and (head.kind != "pair" or head.name == task)
    ]
    if not able:
        names = ", ".join(head.name for head in bundle.manifest.heads)
        raise BundleError(
            f"{bundle.folder}: no head for --task {task}, this bundle has {names}; give another "
            "--bundle"
        )
    if task != "ner" and asked is not None:
        raise BundleError(f"{bundle.folder}: --task {task} has one head; leave --head {asked} out")
    if asked is not None and bundle.head(asked).name not in able:
        raise BundleError(
            f"{bundle.folder}: head {asked!r} does not tag words; give --head one of "
            f"{', '.join(able)}"
        )


def _require(fits: bool, task: str, data: Path, formats: str) -> None:
    if not fits:
        raise FormatError(
            f"{data}: --task {task} reads {formats}; this file is another kind (an ANS CSV is "
            "--task claim)"
        )


def _tell_left_out(documents: Sequence[Document], labels: Sequence[str], data: Path) -> None:
    """Say which topics of a file a head does not have: their texts are not scored."""
    found = Counter(d.topic for d in documents if d.topic is not None and d.topic not in labels)
    if found:
        log.warning(
            "%s: topics that the head does not have, left out: %s; it has %s",
            data.name,
            ", ".join(f"{topic} {count} times" for topic, count in found.most_common()),
            ", ".join(labels),
        )


def _tell_unknown(scores: dict[str, Any], head: Head, data: Path) -> None:
    """Say which labels of a file a head does not have: it misses all that bear them."""
    known = {*head.labels, *(label_schema().coarse if head.kind == "nested" else ()), "PERS"}
    unknown = [
        f"{label} {found['support']} times"
        for label, found in scores["per_label"].items()
        if found["support"] and label not in known
    ]
    if unknown:
        log.warning(
            "%s: labels that the head %s does not have, and so misses: %s; it has %s",
            data.name,
            head.name,
            ", ".join(unknown),
            ", ".join(head.labels),
        )


def _documents(path: Path) -> Iterator[Document]:
    return placed(read_documents(path), path)


def known_entities(path: Path) -> Known:
    """The surfaces of the entities of a CoNLL or khabar JSONL file."""
    kind = file_kind(path)
    if kind == "conll":
        sentences = enumerate(read_sentences(path))
        documents = [sentence_document(s, f"{path.name}-{i}", "") for i, s in sentences]
    elif kind == "khabar":
        documents = list(_documents(path))
    else:
        documents = []
    known = Known.of(documents)
    if not known.surfaces:
        raise FormatError(f"{path}: no entities; give khabar JSONL or CoNLL with some to --seen-in")
    return known


def score_conll(
    sentences: Sequence[Sentence],
    tagger: Tagger,
    head_name: str | None = None,
    known: Known | None = None,
) -> dict[str, Any]:
    """Entity scores on CoNLL sentences, tagged as raw text and put back on their words; of a nested
    head also those of its coarse view.
    """
    return sentence_questions(sentences, tagger, head_name, known).scores(tagger).report()


def score_entities(
    documents: Sequence[Document],
    tagger: Tagger,
    head_name: str | None = None,
    known: Known | None = None,
) -> dict[str, Any]:
    """Entity scores on documents: a span is right when its code points and its label are. `coarse`
    beside them.
    """
    return document_questions(documents, tagger, head_name, known).scores(tagger).report()


def score_topics(documents: Iterable[Document], tagger: Tagger) -> dict[str, Any]:
    """Topic scores; texts whose topic the head does not know are left out and counted."""
    return topic_questions(documents, tagger).scores(tagger).report()


def score_claims(documents: Iterable[Document], tagger: Tagger) -> dict[str, Any]:
    """Claim scores; labels that the head does not know count as other."""
    labels = tagger.bundle.head("claim").labels
    return claim_questions(documents, labels).scores(tagger).report()


def score_stances(documents: Iterable[Document], tagger: Tagger) -> dict[str, Any]:
    """Stance scores of the author (stances of a holder are another question); a scope is read as a
    text alone.
    """
    return stance_questions(documents).scores(tagger).report()
