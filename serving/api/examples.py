"""The example of the description: a request and its answer, made by the code that answers."""

from __future__ import annotations

from typing import Any

from annotations.labels import label_schema
from annotations.text import sentences
from serving.api.answer import result_dict
from serving.api.schema import TagRequest
from serving.prediction import Attitude, Entity, Labelled, Prediction

TARGET = "القوات العراقية"
CLAIM = "استعادت القوات العراقية مدينة القائم"
REQUEST: dict[str, Any] = {
    "articles": [
        {
            "id": "a1",
            "title": "القائم تعود إلى العراق",
            "text": "أشاد حيدر العبادي بالقوات العراقية التي استعادت القائم. وقال العبادي إنها أبلت"
            " بلاءً حسنًا.",
            "targets": [TARGET],
            "claims": [CLAIM],
        }
    ],
    "options": {"view": "both", "min_confidence": 0.5},
}
_FOUND = [  # surface, label, confidence, the mention that it belongs to
    ("حيدر العبادي", "PERS", 0.98, 1),
    ("القوات العراقية", "ORG", 0.94, 2),
    ("القائم", "GPE", 0.91, 3),
    ("العبادي", "PERS", 0.96, 1),
]


def example_answer() -> dict[str, Any]:
    """An answer to REQUEST; its confidences are made up, all else is as the service gives it."""
    request = TagRequest.model_validate(REQUEST)
    text = request.articles[0].text
    first, second = sentences(text)
    prediction = Prediction(
        "a1",
        _entities(text),
        topics=(Labelled("politics", 0.97),),
        stances=(Attitude(TARGET, "favor", 0.84, (first, second)),),
        claims=(Attitude(CLAIM, "agree", 0.8, (first,)),),
        tokens=35,
    )
    result = result_dict(text, prediction, request.options)
    return {"results": [result], "model": {"name": "khabar", "version": "1"}}


def _entities(text: str) -> tuple[Entity, ...]:
    entities, end = [], 0
    for i, (surface, label, confidence, owner) in enumerate(_FOUND, 1):
        start = text.index(surface, end)
        end = start + len(surface)
        coarse = label_schema().coarse_of(label)
        entity = Entity(
            f"e{i}", start, end, surface, label, coarse, confidence, surface, f"e{owner}"
        )
        entities.append(entity)
    return tuple(entities)
