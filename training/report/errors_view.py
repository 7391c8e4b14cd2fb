"""Errors as HTML, right to left: gold and prediction of one passage, with what only one of them
has in dashes.
"""

from __future__ import annotations

from annotations.schema import Document, Span
from annotations.view import marked_text
from training.report.worst import Error


def marked_sides(error: Error) -> tuple[str, str]:
    """The passage of an entity error as escaped HTML: with the gold entities, with the predicted
    ones.
    """
    gold, predicted = error.gold_spans, error.predicted_spans
    return _marked(error, gold, predicted), _marked(error, predicted, gold)


def _marked(error: Error, spans: tuple[Span, ...], others: tuple[Span, ...]) -> str:
    document = Document(error.id, error.passage, entities=spans)
    return marked_text(document, frozenset(others))
