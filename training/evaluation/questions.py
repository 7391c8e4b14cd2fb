"""Questions: what a file or a development split asks of a tagger, item by item; here those of texts
and pairs, whose answer is a label.

Items can be asked in part, so that two taggers are compared on the same ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from annotations.errors import FormatError
from annotations.schema import Document, Range, overlap
from serving.bundle import Head
from serving.prediction import Article, Attitude, Labelled, Prediction
from serving.tagger import Tagger
from training.evaluation.scores import LabelScores, Scores

_CHUNK = 64


class Questions(Protocol):
    """Items with their gold."""

    def __len__(self) -> int:
        """How many items there are."""
        ...

    def scores(self, tagger: Tagger, chosen: Sequence[int] | None = None) -> Scores:
        """The scores of a tagger on the chosen items, by default on all."""
        ...


def some_of(items: Sequence[Any], chosen: Sequence[int] | None) -> Sequence[Any]:
    """The chosen items; all where none are chosen."""
    return items if chosen is None else [items[i] for i in chosen]


def chunks(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Items in portions for the tagger."""
    for start in range(0, len(items), _CHUNK):
        yield items[start : start + _CHUNK]


@dataclass(frozen=True)
class LabelQuestions:
    """Articles of which one thing is asked each, a topic, a claim or a stance, with the gold label;
    `skipped` counts those without one. `evidence` is that of each article, empty where there is
    none in gold.
    """

    articles: Sequence[Article | Document]
    gold: Sequence[str]
    skipped: int = 0
    evidence: Sequence[Sequence[Range]] = ()

    def __len__(self) -> int:
        return len(self.gold)

    def scores(self, tagger: Tagger, chosen: Sequence[int] | None = None) -> LabelScores:
        """Label scores of the answers."""
        if not self.gold:
            raise FormatError(
                "nothing in the file has a label for this task; check the task and the file"
            )
        answers = [_answer(p) for p in _predictions(tagger, some_of(self.articles, chosen))]
        evidence = some_of(self.evidence, chosen) if self.evidence else [()] * len(answers)
        return LabelScores(
            some_of(self.gold, chosen),
            [answer.label for answer in answers],
            [answer.confidence for answer in answers],
            self.skipped,
            [_is_hit(answer, gold) for answer, gold in zip(answers, evidence, strict=True)],
            [article.id for article in some_of(self.articles, chosen)],
        )


def topic_questions(documents: Iterable[Document], tagger: Tagger) -> LabelQuestions:
    """The topics of documents; those that the head does not know are left out and counted."""
    known = {label for head in tagger.reader.text_heads for label in head.labels}
    everything = list(documents)
    labelled = [document for document in everything if document.topic in known]
    gold = [str(document.topic) for document in labelled]
    return LabelQuestions(labelled, gold, len(everything) - len(labelled))


def claim_questions(
    documents: Iterable[Document], labels: Sequence[str] = ("agree", "disagree", "other")
) -> LabelQuestions:
    """What documents say of their claims; what is none of the labels counts as other."""
    articles, gold = [], []
    for document in documents:
        for claim in document.claims or ():
            articles.append(
                Article(document.text, document.id, title=document.title, claims=(claim.text,))
            )
            gold.append(claim.label if claim.label in labels else "other")
    return LabelQuestions(articles, gold)


def stance_questions(documents: Iterable[Document]) -> LabelQuestions:
    """What documents feel toward their targets, each scope read as a text alone; the stances of a
    holder are another question, and counted as skipped.
    """
    articles, gold, evidence, skipped = [], [], [], 0
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
            evidence.append([(a - start, b - start) for a, b in stance.evidence or ()])
    return LabelQuestions(articles, gold, skipped, evidence)


def pair_questions(documents: Iterable[Document], head: Head) -> LabelQuestions:
    """What documents say of their claims or feel toward their targets, as a pair head answers."""
    if "favor" in head.labels:
        return stance_questions(documents)
    return claim_questions(documents, head.labels)


def _answer(prediction: Prediction) -> Attitude | Labelled:
    """The one thing that was asked; every article has a topic beside it."""
    attitudes = (*prediction.claims, *prediction.stances)
    return attitudes[0] if attitudes else prediction.topics[0]


def _is_hit(answer: Attitude | Labelled, gold: Sequence[Range]) -> bool | None:
    """Whether the surest evidence of an answer overlaps evidence in gold; None where gold has
    none.
    """
    if not gold:
        return None
    found = answer.evidence[:1] if isinstance(answer, Attitude) else ()
    return any(overlap(place, other) for place in found for other in gold)


def _predictions(tagger: Tagger, articles: Sequence[Article | Document]) -> Iterator[Prediction]:
    """The predictions of articles; one that cannot be read is an error, as it has no answer."""
    for chunk in chunks(articles):
        for prediction in tagger.tag(chunk):
            if prediction.error is not None:
                raise FormatError(f"{prediction.id}: {prediction.error}; mend or remove it")
            yield prediction
