"""Scores of a bundle on any file: it is the shipped pipeline that is scored, on raw text, and then
compared.
"""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from annotations.conll import (
    Sentence,
    canonical_label,
    join_words,
    read_sentences,
    word_offsets,
    word_spans,
    words_of,
)
from annotations.corpora import read_ans_pairs, read_mawqif, read_topics
from annotations.errors import FormatError
from annotations.jsonl import read_documents
from annotations.labels import label_schema
from annotations.schema import Document, Span
from serving.prediction import Article, Attitude, Prediction
from serving.tagger import ANSWER_HEAD, Tagger
from training.scores import EntityScores, label_scores

Task = Literal["ner", "stance", "claim", "topic"]
TASKS: tuple[Task, ...] = ("ner", "stance", "claim", "topic")
_FLAT_TYPES = frozenset({"PERS", "LOC", "ORG", "MISC"})
_CHUNK = 64
Tagged = Sequence[tuple[Span, float]]


def evaluate(task: Task, data: Path, tagger: Tagger, head: str | None = None) -> dict[str, Any]:
    """The scores of a tagger on a file, whose format is told by its content."""
    began = time.perf_counter()
    kind = file_kind(data)
    if task == "ner" and kind == "conll":
        scores = score_conll(list(read_sentences(data)), tagger, head)
    elif task == "ner":
        _require(kind in ("khabar", "topics"), task, data, "khabar JSONL or CoNLL")
        scores = score_entities(
            [d for d in read_documents(data) if d.entities is not None], tagger, head
        )
    elif task == "topic":
        _require(kind in ("khabar", "topics"), task, data, "topic JSONL or khabar JSONL")
        scores = score_topics(read_topics(data), tagger)
    elif task == "claim":
        _require(kind in ("khabar", "ans"), task, data, "khabar JSONL or an ANS CSV (s1,s2,stance)")
        scores = score_claims(
            read_ans_pairs(data) if kind == "ans" else read_documents(data), tagger
        )
    else:
        _require(
            kind in ("khabar", "mawqif"),
            task,
            data,
            "khabar JSONL or a Mawqif CSV (text,target,stance)",
        )
        scores = score_stances(
            read_mawqif(data) if kind == "mawqif" else read_documents(data), tagger
        )
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
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8-sig") as lines:
            first = next((line for line in lines if line.strip()), "")
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError) as error:
        raise FormatError(
            f"{path}: not UTF-8 text ({type(error).__name__}); convert it first"
        ) from None
    if not first:
        raise FormatError(f"{path}: the file is empty; there is nothing to score")
    if first.lstrip().startswith("{"):
        try:
            row = json.loads(first)
        except json.JSONDecodeError:
            raise FormatError(f"{path}: line 1 is not JSON; one object a line is needed") from None
        return "topics" if "label" in row else "khabar"
    columns = {name.strip() for name in first.lower().split(",")}
    if {"s1", "s2", "stance"} <= columns:
        return "ans"
    return "mawqif" if {"text", "target", "stance"} <= columns else "conll"


def _require(fits: bool, task: str, data: Path, formats: str) -> None:
    if not fits:
        raise FormatError(
            f"{data}: --task {task} reads {formats}; this file is another kind (an ANS CSV is "
            "--task claim)"
        )


def _chunks(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), _CHUNK):
        yield items[start : start + _CHUNK]


def score_conll(
    sentences: Sequence[Sentence], tagger: Tagger, head_name: str | None = None
) -> dict[str, Any]:
    """Entity scores on CoNLL sentences, tagged as raw text and put back on their words.

    Without a head, flat files in PERS/PER, LOC, ORG, MISC are for the `anercorp` head, others for
    `khabar`. The `khabar` head answers a coarse file with its coarse view; of a fine one the coarse
    view is scored beside it.
    """
    flat = all(len(tags) == 1 for sentence in sentences for tags in sentence.tags)
    types = {
        canonical_label(tag[2:]) for s in sentences for tags in s.tags for tag in tags if tag != "O"
    }
    coarse_file = flat and types <= _FLAT_TYPES
    if head_name is None:
        head_name = "anercorp" if coarse_file and "anercorp" in tagger.heads else ANSWER_HEAD
    head = tagger.bundle.head(head_name)
    as_coarse = coarse_file and head.kind == "nested"
    scores, coarse = EntityScores(), EntityScores()
    for chunk in _chunks(sentences):
        offsets = [word_offsets(sentence.words) for sentence in chunk]
        texts = [
            join_words(sentence.words, places)
            for sentence, places in zip(chunk, offsets, strict=True)
        ]
        for sentence, places, found in zip(
            chunk, offsets, tagger.spans(texts, head_name), strict=True
        ):
            tagged = _coarse(found, pers=True) if as_coarse else found
            _add_sentence(
                scores, sentence, places, tagged, (flat and head.kind == "flat") or as_coarse
            )
            if head.kind == "nested":
                _add_coarse(coarse, sentence, places, _coarse(found, pers=as_coarse))
    report = {"head": head_name, **scores.report()}
    return {**report, "coarse": coarse.report()} if head.kind == "nested" else report


def _coarse(tagged: Tagged, pers: bool = False) -> Tagged:
    """The coarse view of tagged spans; `pers` calls persons PERS, as flat corpora do."""
    confidence = {(span.start, span.end): value for span, value in tagged}
    spans = label_schema().coarse_view(tuple(span for span, _ in tagged))
    return [
        (
            Span(s.start, s.end, "PERS" if pers and s.label == "PER" else s.label),
            confidence[s.start, s.end],
        )
        for s in spans
    ]


def _add_sentence(
    scores: EntityScores,
    sentence: Sentence,
    places: Sequence[tuple[int, int]],
    tagged: Tagged,
    flat: bool,
) -> None:
    words = [
        (found, span.label, c)
        for span, c in tagged
        if (found := words_of(span.start, span.end, places))
    ]
    columns = (
        [None]
        if flat
        else sorted(
            {canonical_label(tag[2:]) for tags in sentence.tags for tag in tags if tag != "O"}
            | {w[1] for w in words}
        )
    )
    gold = [_gold_tags(sentence, label) for label in columns]
    predicted = [_predicted_tags(len(sentence.words), words, label) for label in columns]
    scores.add_tags(gold, predicted)
    right = {entity for tags in gold for entity in _entities(tags)}
    scores.judged.extend((c, (label, start, end) in right) for (start, end), label, c in words)


def _add_coarse(
    scores: EntityScores, sentence: Sentence, places: Sequence[tuple[int, int]], tagged: Tagged
) -> None:
    """Add the coarse view of a sentence, as words: gold and predicted."""
    gold = tuple(Span(s.start, s.end, canonical_label(s.label)) for s in word_spans(sentence))
    if not {span.label for span in gold} <= _FLAT_TYPES:
        gold = label_schema().coarse_view(gold)
    words = [
        ((span.label, *found), confidence)
        for span, confidence in tagged
        if (found := words_of(span.start, span.end, places))
    ]
    right = {(span.label, span.start, span.end) for span in gold}
    scores.add_spans(right, {entity for entity, _ in words})
    scores.judged.extend((confidence, entity in right) for entity, confidence in words)


def _gold_tags(sentence: Sentence, label: str | None) -> list[str]:
    """The tags of a flat sentence as they are, or of one type of a nested one."""
    row = []
    for tags in sentence.tags:
        named = [f"{tag[:2]}{canonical_label(tag[2:])}" if tag != "O" else "O" for tag in tags]
        if label is None:
            row.append(named[0])
        else:
            row.append(next((tag for tag in (f"B-{label}", f"I-{label}") if tag in named), "O"))
    return row


def _predicted_tags(length: int, words: Sequence[Any], label: str | None) -> list[str]:
    tags = ["O"] * length
    for (start, end), name, _ in words:
        if label in (None, name) and all(tag == "O" for tag in tags[start:end]):
            tags[start:end] = [f"B-{name}"] + [f"I-{name}"] * (end - start - 1)
    return tags


def _entities(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    """(label, start, end) of one BIO sequence, ends exclusive."""
    from seqeval.metrics.sequence_labeling import get_entities

    return {(label, start, end + 1) for label, start, end in get_entities(list(tags))}


def score_entities(
    documents: Sequence[Document], tagger: Tagger, head_name: str | None = None
) -> dict[str, Any]:
    """Entity scores on documents: a span is right when its code points and its label are. `coarse`
    beside them.
    """
    if not documents:
        raise FormatError(
            "no document has entities; an entity score needs gold (entities: [] where there "
            "are none)"
        )
    head_name = head_name or ANSWER_HEAD
    fine, coarse = EntityScores(), EntityScores()
    schema = label_schema()
    for chunk in _chunks(documents):
        for document, found in zip(
            chunk, tagger.spans([d.text for d in chunk], head_name), strict=True
        ):
            gold = document.entities or ()
            _add_spans(fine, gold, found)
            _add_spans(coarse, schema.coarse_view(gold), _coarse(found))
    return {"head": head_name, **fine.report(), "coarse": coarse.report()}


def _add_spans(scores: EntityScores, gold: Sequence[Span], tagged: Tagged) -> None:
    right = {(span.label, span.start, span.end) for span in gold}
    scores.add_spans(right, {(span.label, span.start, span.end) for span, _ in tagged})
    scores.judged.extend((c, (span.label, span.start, span.end) in right) for span, c in tagged)


def score_topics(documents: Iterable[Document], tagger: Tagger) -> dict[str, Any]:
    """Topic scores; texts whose topic the head does not know are left out and counted."""
    known = {label for head in tagger.reader.text_heads for label in head.labels}
    everything = list(documents)
    labelled = [document for document in everything if document.topic in known]
    answers = [prediction.topics[0] for prediction in _predictions(tagger, labelled)]
    return _labelled(
        [str(document.topic) for document in labelled],
        [(answer.label, answer.confidence) for answer in answers],
        len(everything) - len(labelled),
    )


def score_claims(documents: Iterable[Document], tagger: Tagger) -> dict[str, Any]:
    """Claim scores; discuss and unrelated count as other."""
    articles, gold = [], []
    for document in documents:
        for claim in document.claims or ():
            articles.append(
                Article(document.text, document.id, title=document.title, claims=(claim.text,))
            )
            gold.append(claim.label if claim.label in ("agree", "disagree") else "other")
    answers = [prediction.claims[0] for prediction in _predictions(tagger, articles)]
    return _labelled(gold, _answers(answers))


def score_stances(documents: Iterable[Document], tagger: Tagger) -> dict[str, Any]:
    """Stance scores of the author (stances of a holder are another question); a scope is read as a
    text alone.
    """
    articles, gold, skipped = [], [], 0
    for document in documents:
        for stance in document.stances or ():
            if stance.holder is not None:
                skipped += 1
                continue
            start, end = stance.scope or (0, len(document.text))
            text = document.text[start:end]
            articles.append(
                Article(text, document.id, title=document.title, targets=(stance.target,))
            )
            gold.append(stance.label)
    answers = [prediction.stances[0] for prediction in _predictions(tagger, articles)]
    return _labelled(gold, _answers(answers), skipped)


def _predictions(tagger: Tagger, articles: Sequence[Article | Document]) -> Iterator[Prediction]:
    """The predictions of articles; one that cannot be read is an error, as it has no answer."""
    for chunk in _chunks(articles):
        for prediction in tagger.tag(chunk):
            if prediction.error is not None:
                raise FormatError(f"{prediction.id}: {prediction.error}; mend or remove it")
            yield prediction


def _answers(answers: Sequence[Attitude]) -> list[tuple[str, float]]:
    return [(answer.label, answer.confidence) for answer in answers]


def _labelled(
    gold: list[str], answers: list[tuple[str, float]], skipped: int = 0
) -> dict[str, Any]:
    if not gold:
        raise FormatError(
            "nothing in the file has a label for this task; check the task and the file"
        )
    scores = label_scores(
        gold, [label for label, _ in answers], [confidence for _, confidence in answers]
    )
    return {**scores, "skipped": skipped}
