"""What a stance corpus gives away without being read: baselines that see only words or targets.

A corpus from which they score well teaches a model to guess. Both are logistic regressions on
counts; neither knows which words speak of which target.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from annotations.errors import FormatError
from annotations.schema import Document
from annotations.text import normalize
from training.evaluation.scores import label_scores

Row = tuple[str, str, str]  # passage, target, label


def stance_shortcuts(train: Sequence[Document], dev: Sequence[Document]) -> dict[str, Any]:
    """Scores on dev of a bag of the passage's words and of the target's words and letters alone,
    with intervals of macro F1, and of always saying the most frequent label.
    """
    rows, held_out = _rows(train), _rows(dev)
    if len({label for _, _, label in rows}) < 2 or not held_out:
        raise FormatError("shortcuts need stances of two labels to train on and some to score")
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
    model.fit([row[column] for row in rows], [row[2] for row in rows])
    probabilities = model.predict_proba([row[column] for row in held_out])
    best = probabilities.argmax(axis=1)
    return label_scores(
        [row[2] for row in held_out],
        [str(model.classes_[i]) for i in best],
        [float(row[i]) for row, i in zip(probabilities, best, strict=True)],
    )
