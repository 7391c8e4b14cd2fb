"""What a corpus gives away without being read: baselines that see only words or targets.

A corpus of stances from which they score well teaches a model to guess: both are logistic
regressions on counts, and neither knows which words speak of which target. Of topics, naive Bayes
on counts of words is what a model must beat, on another outlet than it learnt from most of all.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import Pipeline, make_pipeline

from annotations.errors import FormatError
from annotations.schema import Document
from annotations.text import normalize
from training.evaluation.scores import label_scores

Row = tuple[str, str, str]  # passage, target, label
_WORD = re.compile(r"\b\w\w+\b")  # as TfidfVectorizer finds them
_ARABIC_WORD = re.compile(r"[\u0621-\u064a]+")  # of normalised text


def stance_shortcuts(train: Sequence[Document], dev: Sequence[Document]) -> dict[str, Any]:
    """Scores on dev of a bag of the passage's words and of the target's words and letters alone,
    with intervals of macro F1, and of always saying the most frequent label.
    """
    rows, held_out = _rows(train), _rows(dev)
    if len({label for _, _, label in rows}) < 2 or not held_out:
        raise FormatError("shortcuts need stances of two labels to train on and some to score")
    if not any(_WORD.search(passage) for passage, _, _ in rows):
        raise FormatError("shortcuts need words, the passages to train on hold none of two letters")
    gold = [label for _, _, label in held_out]
    majority = max(sorted({label for _, _, label in rows}), key=[r[2] for r in rows].count)
    return {
        "bag_of_words": _score(
            TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), 0, rows, held_out
        ),
        "target_only": _score(
            TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4), sublinear_tf=True),
            1,
            rows,
            held_out,
        ),
        "majority": label_scores(gold, [majority] * len(gold), [1.0] * len(gold)),
    }


def _rows(documents: Sequence[Document]) -> list[Row]:
    """The author's stances: (passage, target, label), both normalised."""
    return [
        (normalize(document.text).text, normalize(stance.target).text, stance.label)
        for document in documents
        for stance in document.stances or ()
        if stance.holder is None
    ]


def _score(
    features: TfidfVectorizer, column: int, rows: Sequence[Row], held_out: Sequence[Row]
) -> dict[str, Any]:
    model = make_pipeline(features, LogisticRegression(max_iter=1000, class_weight="balanced"))
    return _fitted_scores(
        model,
        [(row[column], row[2]) for row in rows],
        [(row[column], row[2]) for row in held_out],
    )


def topic_shortcuts(train: Sequence[Document], dev: Sequence[Document]) -> dict[str, Any]:
    """Scores on dev of multinomial naive Bayes on counts of Arabic words, of the topics that stand
    in both; texts of others are skipped.
    """
    known = [{document.topic for document in part if document.topic} for part in (train, dev)]
    shared = known[0] & known[1]
    if len(shared) < 2:
        told = " and ".join(", ".join(sorted(topics)) or "none" for topics in known)
        raise FormatError(f"shortcuts need two topics that stand in both files, got {told}")
    rows, held_out = (
        [(normalize(d.text).text, d.topic) for d in part if d.topic in shared]
        for part in (train, dev)
    )
    if not any(_ARABIC_WORD.search(text) for text, _ in rows):
        raise FormatError("shortcuts need Arabic words, the texts to train on hold none")
    words = CountVectorizer(token_pattern=_ARABIC_WORD.pattern)
    scores = _fitted_scores(make_pipeline(words, MultinomialNB()), rows, held_out)
    return {"naive_bayes": scores | {"skipped": len(dev) - len(held_out)}}


def _fitted_scores(
    model: Pipeline, rows: Sequence[tuple[str, str]], held_out: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    """The scores of a classifier of texts, fitted on (text, label) rows."""
    model.fit(*zip(*rows, strict=True))
    probabilities = model.predict_proba([text for text, _ in held_out])
    best = probabilities.argmax(axis=1)
    return label_scores(
        [label for _, label in held_out],
        [str(model.classes_[i]) for i in best],
        [float(row[i]) for row, i in zip(probabilities, best, strict=True)],
    )
