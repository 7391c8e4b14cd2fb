"""A bundle's answers on the development items of a recipe, beside their gold, before and after
calibration: what the report of a run counts.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from annotations.conll import (
    Sentence,
    canonical_label,
    join_words,
    word_offsets,
    word_spans,
    words_of,
)
from annotations.errors import FormatError
from annotations.schema import Document, Range, Span
from serving.bundle import MODEL, Bundle, Head
from serving.prediction import Article, Attitude, Labelled, Prediction
from serving.runtime import Backend, OnnxBackend
from serving.tagger import Tagger
from training.corpora import load
from training.evaluation.development import DEV_SPLITS, DevSplit, dev_questions
from training.evaluation.entity_questions import DocumentQuestions, SentenceQuestions
from training.evaluation.questions import LabelQuestions, Questions
from training.label_sets import corpus_name, judges
from training.settings import Recipe

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
MAX_WORDS = 100_000  # of a split that are read: a minute; the scores of the bundle are of all
_BATCHES_KEPT = 256


@dataclass(frozen=True, slots=True)
class ScoredSpan:
    """A predicted entity with its confidence, and what that was before calibration."""

    span: Span
    confidence: float
    before: float


@dataclass(frozen=True, slots=True)
class EntityItem:
    """A text with its entities: gold and predicted, none of them twice.

    What a CoNLL corpus gives is whole words: a prediction is widened to the words it touches.
    """

    id: str
    text: str
    source: str | None
    gold: tuple[Span, ...]
    predicted: tuple[ScoredSpan, ...]


@dataclass(frozen=True, slots=True)
class LabelItem:
    """A text with one label: its topic, or what it says or feels `about` a claim or target.

    `before` is the label and its confidence without calibration; biases may turn a label, and the
    temperature may decide which part of a text speaks for it.
    """

    id: str
    text: str
    source: str | None
    about: str | None
    gold: str
    predicted: str
    confidence: float
    before: tuple[str, float]


@dataclass(frozen=True)
class Answers:
    """The answers of a head on a development split; `total` counts the split's items, of which
    some may be left out.
    """

    head: Head
    corpus: str
    split: DevSplit
    items: tuple[EntityItem, ...] | tuple[LabelItem, ...]
    total: int

    @property
    def entities(self) -> tuple[EntityItem, ...]:
        """The items of a head of words; none for other heads."""
        return tuple(item for item in self.items if isinstance(item, EntityItem))

    @property
    def labelled(self) -> tuple[LabelItem, ...]:
        """The items of a head of texts or pairs; none for heads of words."""
        return tuple(item for item in self.items if isinstance(item, LabelItem))


def dev_answers(
    bundle: Bundle, recipe: Recipe, max_words: int | None = MAX_WORDS
) -> Iterator[Answers]:
    """The answers on each development split of a recipe's sources, in their order.

    Of a split with more than `max_words` as many items are drawn as hold them, always the same
    ones.
    """
    heads = {head.name: head for head in bundle.manifest.heads}
    for source in recipe.sources:
        split, head = DEV_SPLITS.get(source.corpus), heads.get(source.head)
        if split is None or head is None or not judges(source, head):
            continue
        readers = _Readers.of(bundle, head)
        asked = _asked(source.corpus, dev_questions(source, split.task, readers.shipped))
        kept = _drawn([len(text.split()) for text, _ in asked], max_words)
        items: tuple[Any, ...] = tuple(asked[i][1](readers) for i in kept)
        yield Answers(readers.head, source.corpus, split, items, len(asked))


_Read = Callable[["_Readers"], EntityItem | LabelItem]


def _asked(corpus: str, questions: Questions) -> list[tuple[str, _Read]]:
    """The text of each item of a split, and what reads it."""
    if isinstance(questions, SentenceQuestions):
        return [
            (" ".join(sentence.words), partial(_sentence_item, f"{corpus}-dev-{i}", sentence))
            for i, sentence in enumerate(questions.sentences)
        ]
    if isinstance(questions, DocumentQuestions):
        return [(one.text, partial(_document_item, one)) for one in questions.documents]
    assert isinstance(questions, LabelQuestions)
    sources = {one.id: one.source for one in load(corpus_name(corpus), "dev")}
    asked = zip(map(Article.of, questions.articles), questions.gold, strict=True)
    return [
        (article.text, partial(_label_item, article, gold, sources.get(str(article.id))))
        for article, gold in asked
    ]


def _drawn(lengths: Sequence[int], most: int | None) -> list[int]:
    """The indices of the items that are read, in order."""
    order = list(range(len(lengths)))
    if most is None or sum(lengths) <= most:
        return order
    random.Random(0).shuffle(order)
    fitting = bisect_right(list(accumulate(lengths[i] for i in order)), most)
    return sorted(order[:fitting])


@dataclass(frozen=True)
class _Readers:
    """Taggers of one head alone: as it ships and uncalibrated; the second reads from memory."""

    head: Head
    shipped: Tagger
    uncalibrated: Tagger

    @classmethod
    def of(cls, bundle: Bundle, head: Head) -> _Readers:
        backend = _Remembering(OnnxBackend(bundle.folder / MODEL, (head,)))
        neutral = head.model_copy(
            update={"slope": 1.0, "intercept": 0.0, "temperature": 1.0, "biases": ()}
        )
        taggers = [
            Tagger(
                replace(bundle, manifest=bundle.manifest.model_copy(update={"heads": (found,)})),
                backend=backend,
            )
            for found in (head, neutral)
        ]
        return cls(head, *taggers)

    def spans(self, text: str) -> list[ScoredSpan]:
        """The entities of a text; calibration moves none of them."""
        after, before = (
            tagger.spans([text], self.head.name)[0] for tagger in (self.shipped, self.uncalibrated)
        )
        return [ScoredSpan(a[0], a[1], b[1]) for a, b in zip(after, before, strict=True)]


class _Remembering:
    """A backend that gives what it gave for the same batch before."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.known: OrderedDict[tuple[object, ...], dict[str, Floats]] = OrderedDict()

    def run(self, ids: Ints, mask: Ints, segments: Ints) -> dict[str, Floats]:
        """See `Backend.run`."""
        key = (ids.shape, ids.tobytes(), mask.tobytes(), segments.tobytes())
        if key not in self.known:
            self.known[key] = self.backend.run(ids, mask, segments)
            if len(self.known) > _BATCHES_KEPT:
                self.known.popitem(last=False)
        return self.known[key]


def _sentence_item(identifier: str, sentence: Sentence, readers: _Readers) -> EntityItem:
    places = word_offsets(sentence.words)
    text = join_words(sentence.words, places)
    gold = (
        Span(places[s.start][0], places[s.end - 1][1], canonical_label(s.label))
        for s in word_spans(sentence)
    )
    predicted = _whole_words(readers.spans(text), places, readers.head.kind == "flat")
    return EntityItem(identifier, text, None, tuple(dict.fromkeys(gold)), predicted)


def _whole_words(
    found: Sequence[ScoredSpan], places: Sequence[Range], flat: bool
) -> tuple[ScoredSpan, ...]:
    """Predictions widened to words; of two on the same word, in one column, the first stays."""
    taken: set[tuple[str, int]] = set()
    kept = []
    for scored in found:
        words = words_of(scored.span.start, scored.span.end, places)
        if words is None:
            continue
        label = canonical_label(scored.span.label)
        column = "" if flat else label
        held = {(column, i) for i in range(*words)}
        if not held & taken:
            taken |= held
            span = Span(places[words[0]][0], places[words[1] - 1][1], label)
            kept.append(replace(scored, span=span))
    return tuple(kept)


def _document_item(document: Document, readers: _Readers) -> EntityItem:
    predicted = {scored.span: scored for scored in readers.spans(document.text)}
    gold = tuple(dict.fromkeys(document.entities or ()))
    return EntityItem(document.id, document.text, document.source, gold, tuple(predicted.values()))


def _label_item(article: Article, gold: str, source: str | None, readers: _Readers) -> LabelItem:
    (after,), (before,) = (
        tagger.tag([article]) for tagger in (readers.shipped, readers.uncalibrated)
    )
    about = [*article.claims, *(article.targets if article.targets != "auto" else ())]
    return LabelItem(
        str(article.id),
        article.text,
        source,
        about[0] if about else None,
        gold,
        *_answer(after),
        _answer(before),
    )


def _answer(prediction: Prediction) -> tuple[str, float]:
    if prediction.error is not None:
        raise FormatError(f"{prediction.id}: {prediction.error}; mend or remove it")
    answers: list[Labelled | Attitude] = [
        *prediction.topics,
        *prediction.stances,
        *prediction.claims,
    ]
    return answers[0].label, answers[0].confidence
