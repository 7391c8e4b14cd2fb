"""The answer of `POST /v1/tag`: predictions and options to JSON."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from annotations.schema import Range, Span, outermost
from annotations.text import sentences
from serving.api.response import encode
from serving.api.schema import Options, TagRequest
from serving.mentions import entity_groups
from serving.prediction import Entity, Prediction

Json = dict[str, Any]


def answer_bytes(
    request: TagRequest, predictions: Sequence[Prediction], model: Mapping[str, str]
) -> bytes:
    """The body of the answer: one result for each article, in the order of the request."""
    results = [
        result_dict(article.text, prediction, request.options)
        for article, prediction in zip(request.articles, predictions, strict=True)
    ]
    return encode({"results": results, "model": dict(model)})


def result_dict(text: str, prediction: Prediction, options: Options) -> Json:
    """The JSON object of what was read in a text, as the options want to see it."""
    entities = kept_entities(prediction.entities, options)
    groups = entity_groups(entities, len(text))
    result = replace(prediction, entities=entities, groups=groups).to_dict()
    if options.view == "fine":
        for labelled in (*result["entities"], *result["groups"]):
            del labelled["coarse"]
    if options.sentences:  # of what was not read there are none
        result["sentences"] = [] if prediction.error else [list(r) for r in sentences(text)]
    if options.utf16:
        _add_utf16(result, text)
    return result


def kept_entities(entities: Sequence[Entity], options: Options) -> tuple[Entity, ...]:
    """The entities of the view that the options ask for; mentions of one name stay together."""
    kept = [
        entity
        for entity in (_coarse_view(entities) if options.view == "coarse" else entities)
        if entity.confidence >= options.min_confidence
        and (options.labels is None or _has_label(entity, options))
    ]
    first: dict[str, str] = {}  # a dropped first mention hands over to the first one that is kept
    ids = {entity.id for entity in kept}
    return tuple(
        entity
        if entity.mention_of in ids
        else replace(entity, mention_of=first.setdefault(entity.mention_of, entity.id))
        for entity in kept
    )


def _has_label(entity: Entity, options: Options) -> bool:
    wanted = options.labels or ()
    return entity.label in wanted or (options.view == "both" and entity.coarse in wanted)


def _coarse_view(entities: Sequence[Entity]) -> list[Entity]:
    """The entities that have a coarse label, under that label; of nested ones the outermost."""
    coarse = {
        Span(entity.start, entity.end, entity.coarse): entity
        for entity in reversed(entities)  # of equal spans the first counts
        if entity.coarse is not None
    }
    return [replace(coarse[span], label=span.label) for span in outermost(tuple(coarse))]


def _add_utf16(result: Json, text: str) -> None:
    """Put each range in UTF-16 units beside the one in code points."""
    units = _utf16_ranges(text)
    for entity in result["entities"]:
        entity["utf16"] = units((entity["start"], entity["end"]))
    for attitude in (*result["stances"], *result["claims"]):
        attitude["evidence_utf16"] = [units(place) for place in attitude["evidence"]]
    if "sentences" in result:
        result["sentences_utf16"] = [units(place) for place in result["sentences"]]


def _utf16_ranges(text: str) -> Callable[[Range], list[int]]:
    """A function from a range in code points to the same in UTF-16 units."""
    astral = [i for i, character in enumerate(text) if ord(character) > 0xFFFF]
    return lambda place: [point + bisect_left(astral, point) for point in place]
