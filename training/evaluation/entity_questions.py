"""Questions of entities: CoNLL sentences, scored on their words, and documents, scored in exact
code points.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from annotations.conll import (
    Sentence,
    canonical_label,
    join_words,
    word_offsets,
    word_spans,
    words_of,
)
from annotations.errors import FormatError
from annotations.labels import label_schema
from annotations.schema import Document, Span
from serving.tagger import ANSWER_HEAD, Tagger
from training.evaluation.intervals import Floats
from training.evaluation.novelty import Known, Labelled, NoveltyScores
from training.evaluation.questions import chunks, some_of
from training.evaluation.scores import EntityScores

BENCHMARK_HEAD = "anercorp"
_FLAT_TYPES = frozenset({"PERS", "LOC", "ORG", "MISC"})
Tagged = Sequence[tuple[Span, float]]


@dataclass(frozen=True)
class HeadScores:
    """Entity scores of a head; `coarse` are those of its coarse view, where it has one, `novelty`
    those of entities that were met and of the others, where it is known which.
    """

    head: str
    entities: EntityScores
    coarse: EntityScores | None = None
    novelty: NoveltyScores | None = None
    metric: str = "f1"

    def rows(self) -> Floats:
        """(right, predicted, gold) of each item in the head's own labels, (items, 3)."""
        return self.entities.rows()

    def value(self, rows: Floats) -> float:
        """F1 of some rows."""
        return self.entities.value(rows)

    def take(self, chosen: Sequence[int]) -> HeadScores:
        """The scores of some items, without those by novelty."""
        coarse = None if self.coarse is None else self.coarse.take(chosen)
        return HeadScores(self.head, self.entities.take(chosen), coarse)

    def report(self) -> dict[str, Any]:
        """The scores as `khabar evaluate` prints them."""
        report = {"head": self.head, **self.entities.report()}
        if self.coarse is not None:
            report["coarse"] = self.coarse.report()
        return report if self.novelty is None else {**report, **self.novelty.report()}


@dataclass(frozen=True)
class SentenceQuestions:
    """CoNLL sentences for a head of words."""

    sentences: Sequence[Sentence]
    head: str
    known: Known | None = None

    def __len__(self) -> int:
        return len(self.sentences)

    @cached_property
    def flat(self) -> bool:
        """Whether the file has one column of tags."""
        return all(len(tags) == 1 for sentence in self.sentences for tags in sentence.tags)

    @cached_property
    def coarse(self) -> bool:
        """Whether the file is flat and has no types but PERS/PER, LOC, ORG and MISC."""
        types = {
            canonical_label(tag[2:])
            for sentence in self.sentences
            for tags in sentence.tags
            for tag in tags
            if tag != "O"
        }
        return self.flat and types <= _FLAT_TYPES

    def scores(self, tagger: Tagger, chosen: Sequence[int] | None = None) -> HeadScores:
        """Entity scores on the words; a nested head answers a coarse file with its coarse view, and
        of a fine one the coarse view is scored beside it.
        """
        nested = tagger.bundle.head(self.head).kind == "nested"
        as_coarse = self.coarse and nested
        one_column = (self.flat and not nested) or as_coarse
        entities, coarse = EntityScores(), EntityScores()
        novelty = None if self.known is None else NoveltyScores(self.known)
        for chunk in chunks(some_of(self.sentences, chosen)):
            offsets = [word_offsets(sentence.words) for sentence in chunk]
            texts = [join_words(s.words, places) for s, places in zip(chunk, offsets, strict=True)]
            answers = tagger.spans(texts, self.head)
            for sentence, text, places, found in zip(chunk, texts, offsets, answers, strict=True):
                tagged = coarse_tagged(found, pers=True) if as_coarse else found
                gold, predicted = _add_sentence(entities, sentence, places, tagged, one_column)
                if novelty is not None:
                    novelty.add(text, gold, predicted, places)
                if nested:
                    view = coarse_tagged(found, pers=as_coarse)
                    _add_coarse(coarse, sentence, places, view, as_coarse)
        return HeadScores(self.head, entities, coarse if nested else None, novelty)


def sentence_questions(
    sentences: Sequence[Sentence],
    tagger: Tagger,
    head_name: str | None = None,
    known: Known | None = None,
) -> SentenceQuestions:
    """The questions of CoNLL sentences to a tagger's head.

    Without a head, flat files in PERS/PER, LOC, ORG, MISC are for the `anercorp` head, others for
    `khabar`; a bundle that has neither answers with the head it has. `known` are the surfaces that
    count as met.
    """
    questions = SentenceQuestions(sentences, head_name or ANSWER_HEAD, known)
    if head_name is not None:
        return questions
    benchmark = questions.coarse and BENCHMARK_HEAD in tagger.heads
    return replace(questions, head=BENCHMARK_HEAD if benchmark else _answering(tagger))


def _answering(tagger: Tagger) -> str:
    """The head that answers; `khabar` where there is no head of words, which is then an error that
    names the others.
    """
    return tagger.answer_head.name if tagger.answer_head is not None else ANSWER_HEAD


def coarse_tagged(tagged: Tagged, pers: bool = False) -> Tagged:
    """The coarse view of tagged spans; `pers` calls persons PERS, as flat corpora do."""
    schema = label_schema()
    confidence = {
        (s.start, s.end, schema.coarse_of(s.label)): value
        for s, value in reversed(tagged)  # of equal spans the first counts
    }
    spans = schema.coarse_view(tuple(span for span, _ in tagged))
    return [
        (
            Span(s.start, s.end, "PERS" if pers and s.label == "PER" else s.label),
            confidence[s.start, s.end, s.label],
        )
        for s in spans
    ]


def _add_sentence(
    scores: EntityScores,
    sentence: Sentence,
    places: Sequence[tuple[int, int]],
    tagged: Tagged,
    flat: bool,
) -> tuple[set[Labelled], set[Labelled]]:
    """Add a sentence; returns its entities in gold and the predicted ones, in words."""
    words = [
        (found, canonical_label(span.label), c)
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
    right, given = ({e for tags in rows for e in _entities(tags)} for rows in (gold, predicted))
    scores.judged.extend((c, (label, start, end) in right) for (start, end), label, c in words)
    return right, given


def _add_coarse(
    scores: EntityScores,
    sentence: Sentence,
    places: Sequence[tuple[int, int]],
    tagged: Tagged,
    is_coarse: bool,
) -> None:
    """Add the coarse view of a sentence, as words, gold and predicted; `is_coarse` says whether its
    gold is coarse as it stands.
    """
    gold = tuple(Span(s.start, s.end, canonical_label(s.label)) for s in word_spans(sentence))
    if not is_coarse:
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


def _entities(tags: Sequence[str]) -> set[Labelled]:
    """(label, start, end) of one BIO sequence, ends exclusive."""
    from seqeval.metrics.sequence_labeling import get_entities

    return {(label, start, end + 1) for label, start, end in get_entities(list(tags))}


@dataclass(frozen=True)
class DocumentQuestions:
    """Documents with entities, in exact code points, for a head of words."""

    documents: Sequence[Document]
    head: str
    known: Known | None = None

    def __len__(self) -> int:
        return len(self.documents)

    @cached_property
    def coarse(self) -> bool:
        """Whether there are no types but PERS/PER, LOC, ORG and MISC, and not because a few fine
        ones are all that occur.
        """
        types = {s.label for d in self.documents for s in d.entities or ()}
        fine = any(d.label_set == "fine" for d in self.documents)
        known = types <= label_schema().entities.keys()
        return set(map(canonical_label, types)) <= _FLAT_TYPES and not (fine and known)

    def scores(self, tagger: Tagger, chosen: Sequence[int] | None = None) -> HeadScores:
        """Entity scores in the head's own labels and in the coarse ones; a nested head answers
        coarse documents with its coarse view.
        """
        nested = tagger.bundle.head(self.head).kind == "nested"
        fine, coarse = EntityScores(), EntityScores()
        novelty = None if self.known is None else NoveltyScores(self.known)
        schema = label_schema()
        for chunk in chunks(some_of(self.documents, chosen)):
            answers = tagger.spans([document.text for document in chunk], self.head)
            for document, found in zip(chunk, answers, strict=True):
                gold = document.entities or ()
                _add_spans(coarse, schema.coarse_view(gold), coarse_tagged(found))
                if self.coarse:  # PER and PERS are one type
                    gold = tuple(replace(s, label=canonical_label(s.label)) for s in gold)
                    answer = coarse_tagged(found, pers=True) if nested else found
                    found = [(replace(s, label=canonical_label(s.label)), c) for s, c in answer]
                _add_spans(fine, gold, found)
                if novelty is not None:
                    novelty.add(document.text, _as_set(gold), _as_set(s for s, _ in found))
        return HeadScores(self.head, fine, coarse, novelty)


def document_questions(
    documents: Sequence[Document],
    tagger: Tagger,
    head_name: str | None = None,
    known: Known | None = None,
) -> DocumentQuestions:
    """The questions of documents to a tagger's head; `known` are the surfaces that count as met.

    Without a head, documents in coarse types are for the `anercorp` head, others for the one that
    answers.
    """
    if not documents:
        raise FormatError(
            "no document has entities; an entity score needs gold (entities: [] where there "
            "are none)"
        )
    questions = DocumentQuestions(documents, head_name or _answering(tagger), known)
    if head_name is None and questions.coarse and BENCHMARK_HEAD in tagger.heads:
        return replace(questions, head=BENCHMARK_HEAD)
    return questions


def _as_set(spans: Iterable[Span]) -> set[Labelled]:
    return {(span.label, span.start, span.end) for span in spans}


def _add_spans(scores: EntityScores, gold: Sequence[Span], tagged: Tagged) -> None:
    right = _as_set(gold)
    scores.add_spans(right, _as_set(span for span, _ in tagged))
    scores.judged.extend((c, (span.label, span.start, span.end) in right) for span, c in tagged)
