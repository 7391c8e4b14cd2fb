"""The Tagger: articles in, predictions out. The service, the command line and batch jobs all call
this.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np

from annotations.labels import label_schema
from annotations.schema import Document, Span
from serving.attitudes import JudgedText, TargetError, attitudes, fits
from serving.bundle import DEFAULT_FOLDER, Bundle, Head
from serving.decoding import TaggedSpan, decode_flat, decode_nested
from serving.edges import mend
from serving.mentions import (
    Mention,
    clitic_cutter,
    entity_groups,
    link_mentions,
    salient_targets,
)
from serving.paragraphs import decode_apart, paragraph_starts
from serving.prediction import Article, Attitude, Labelled, Prediction, article_problem
from serving.reader import Reader, Reading
from serving.runtime import Backend, Device, Floats

ANSWER_HEAD = "khabar"
GROUP_CODE_POINTS = 32_768  # about 9,000 pieces, a few batches of the model


class Tagger:
    """A bundle that reads articles."""

    def __init__(
        self,
        bundle: Bundle,
        backend: Backend | None = None,
        threads: int = 0,
        device: Device = "cpu",
    ) -> None:
        self.bundle = bundle
        self.reader = Reader(bundle, backend, threads, device)
        heads = {head.name: head for head in bundle.manifest.heads}
        word_heads = [head for head in heads.values() if head.kind in ("nested", "flat")]
        self.answer_head = heads.get(ANSWER_HEAD) or (word_heads[0] if word_heads else None)
        self.heads = heads

    @classmethod
    def from_bundle(cls, folder: Path, threads: int = 0, device: Device = "cpu") -> Tagger:
        """The tagger of a bundle's folder; `threads` 0 takes all cores."""
        return cls(Bundle.load(Path(folder)), threads=threads, device=device)

    def with_head(self, head: Head) -> Tagger:
        """The same model, with one of its heads read in another way."""
        manifest = self.bundle.manifest
        heads = tuple(head if one.name == head.name else one for one in manifest.heads)
        bundle = replace(self.bundle, manifest=manifest.model_copy(update={"heads": heads}))
        return Tagger(bundle, self.reader.backend)

    @classmethod
    @cache
    def default(cls) -> Tagger:
        """The tagger of the bundle that is installed with khabar."""
        return cls.from_bundle(DEFAULT_FOLDER)

    def tag(
        self, articles: Sequence[str | Document | Article], max_code_points: int | None = None
    ) -> list[Prediction]:
        """A prediction an article, in order; what cannot be read gets an `error` of its own."""
        if isinstance(articles, str):
            raise TypeError("articles are a list, and this is one string; give [text]")
        asked = [Article.of(article) for article in articles]
        problems = [
            article_problem(article, max_code_points) or self._unread(article) for article in asked
        ]
        sound = [article for article, found in zip(asked, problems, strict=True) if found is None]
        read = (prediction for group in _groups(sound) for prediction in self._tag_group(group))
        return [
            next(read) if problem is None else Prediction(article.id, error=problem)
            for article, problem in zip(asked, problems, strict=True)
        ]

    def _unread(self, article: Article) -> str | None:
        """What is asked of an article that the model has no head for; None when it has all."""
        heads = [head.name for head in self.bundle.manifest.heads]
        for name, asked in (("stance", article.targets), ("claim", article.claims)):
            if asked and name not in heads:
                field = "targets" if name == "stance" else "claims"
                return (
                    f"the model has no head {name!r}, it has {', '.join(heads)}; ask for no {field}"
                )
        return None

    def spans(self, texts: Sequence[str], head_name: str) -> list[tuple[tuple[Span, float], ...]]:
        """The entities of each text by one head, with their confidences.

        Clitics are cut off and pairs of marks completed as in the head's gold: heads of public
        corpora leave both as they find them.
        """
        head = self.bundle.head(head_name)
        found = []
        for text in texts:
            mentions = self._mentions(
                text, self.reader.read(text), head, own=head_name == ANSWER_HEAD
            )
            found.append(tuple((Span(m.start, m.end, m.label), m.confidence) for m in mentions))
        return found

    def _tag_group(self, articles: Sequence[Article]) -> list[Prediction]:
        """Articles whose windows, and those of their titles, are read together."""
        titled = [article for article in articles if article.title]
        texts = [article.text for article in articles] + [article.title or "" for article in titled]
        readings = self.reader.read_many(texts)
        titles = iter(readings[len(articles) :])
        return [
            self._answer(article, reading, next(titles) if article.title else None)
            for article, reading in zip(articles, readings, strict=False)
        ]

    def _answer(self, article: Article, reading: Reading, title: Reading | None) -> Prediction:
        if not len(reading.word_index):
            return Prediction(article.id, error="text holds no word, only marks; send an article")
        try:
            head = self.answer_head
            mentions = self._mentions(article.text, reading, head) if head else []
            entities = link_mentions(article.text, mentions, label_schema(), self.bundle.lexicon)
            targets = article.targets
            if targets == "auto":
                fitting = partial(fits, self.reader)
                targets = tuple(salient_targets(entities, len(article.text), fitting))
            read = JudgedText(article.text, reading.encoded)
            return Prediction(
                article.id,
                entities,
                self._topics(reading, title),
                self._attitudes("stance", read, article.title, targets),
                self._attitudes("claim", read, article.title, article.claims),
                entity_groups(entities, len(article.text)),
                sum(len(one.encoded.pieces) for one in (reading, title) if one),
            )
        except TargetError as error:
            return Prediction(article.id, error=str(error))

    def _mentions(self, text: str, reading: Reading, head: Head, own: bool = True) -> list[Mention]:
        words = [reading.encoded.words[i] for i in reading.word_index.tolist()]
        starts = paragraph_starts(text, words)
        tagged = decode_apart(reading.words[head.name], starts, partial(_decode, head))
        if own:
            tagged = mend(text, words, tagged)
        begin = clitic_cutter(text, self.bundle.lexicon)
        mentions = []
        for span in tagged:
            first, last = words[span.start], words[span.end - 1]
            start = begin(first) if own else first[0]
            mentions.append(Mention(start, last[1], span.label, confidence(span, head)))
        return mentions

    def _topics(self, reading: Reading, title: Reading | None) -> tuple[Labelled, ...]:
        if not self.reader.text_heads:
            return ()
        head = self.reader.text_heads[0]
        logits = text_logits(head, reading, title)
        probabilities = head.probabilities(logits)
        best = int(probabilities.argmax())
        return (Labelled(head.labels[best], round(float(probabilities[best]), 4)),)

    def _attitudes(
        self, name: str, read: JudgedText, title: str | None, asked: Sequence[str]
    ) -> tuple[Attitude, ...]:
        if not asked:
            return ()
        return attitudes(self.reader, self.bundle.head(name), read, title, asked)


def _decode(head: Head, logits: Floats) -> list[TaggedSpan]:
    if head.kind == "nested":
        by_type = logits.reshape(len(logits), len(head.labels), 3)
        return decode_nested(by_type, head.labels, head.transitions)
    return decode_flat(logits, head.tags, head.scheme)


def text_logits(head: Head, reading: Reading, title: Reading | None) -> Floats:
    """What a head of texts says of a text and its title, each weighed by its length, (width,)."""
    logits = reading.texts[head.name]
    if title is None or not len(title.word_index):  # a title of marks alone says nothing
        return logits
    shares = [len(reading.encoded.pieces), len(title.encoded.pieces)]
    both = np.average([logits, title.texts[head.name]], axis=0, weights=shares)
    return both.astype(np.float32)


def _groups(articles: Sequence[Article]) -> Iterator[list[Article]]:
    """Consecutive articles of at most `GROUP_CODE_POINTS` together, to bound what is held."""
    group: list[Article] = []
    held = 0
    for article in articles:
        length = len(article.text) + len(article.title or "")
        if group and held + length > GROUP_CODE_POINTS:
            yield group
            group, held = [], 0
        group.append(article)
        held += length
    if group:
        yield group


def confidence(span: TaggedSpan, head: Head) -> float:
    """The calibrated probability that a span is right: Platt scaling of its score's logit."""
    score = min(max(span.score, 1e-6), 1 - 1e-6)
    logit = head.slope * math.log(score / (1 - score)) + head.intercept
    return 1 / (1 + math.exp(-logit)) if logit > -700 else 0.0  # math.exp goes no further
