"""The shapes of the answers as JSON schemas, for the description; a test holds answers to them."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from annotations.labels import label_schema
from serving.prediction import Limits

Schema = dict[str, Any]


def a_list(items: Schema, **limits: object) -> Schema:
    """A list of things of one shape."""
    return {"type": "array", "items": items, **limits}


def an_object(fields: Mapping[str, Schema], optional: Collection[str] = ()) -> Schema:
    """An object with these fields and no others."""
    return {
        "type": "object",
        "properties": dict(fields),
        "required": [name for name in fields if name not in optional],
        "additionalProperties": False,
    }


def ref(name: str) -> Schema:
    """A schema of the components, by name."""
    return {"$ref": f"#/components/schemas/{name}"}


def told(schema: Schema, description: str) -> Schema:
    """A schema with words for people."""
    return {**schema, "description": description}


STRING: Schema = {"type": "string"}
MAYBE_STRING: Schema = {"type": ["string", "null"]}
OFFSET: Schema = {"type": "integer", "minimum": 0}
COUNT: Schema = {"type": "integer", "minimum": 1}
SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
RANGE = a_list(OFFSET, minItems=2, maxItems=2)
RANGES = a_list(RANGE)
CONFIDENCE = told(SHARE, "The calibrated probability that this is right.")
OTHER_LABELS = "A bundle with labels of its own may give others."


def _known(labels: Iterable[str]) -> Schema:
    return told(STRING, f"One of {', '.join(labels)}. {OTHER_LABELS}")


def _entity() -> Schema:
    fields = {
        "id": STRING,
        "start": OFFSET,
        "end": told(OFFSET, "In code points, end exclusive: text[start:end] is `text`."),
        "text": STRING,
        "label": _known(label_schema().entities),
        "coarse": told(MAYBE_STRING, "Left out in view `fine`."),
        "confidence": CONFIDENCE,
        "normalized": told(STRING, "Without clitics, diacritics and tatweel."),
        "mention_of": told(
            STRING, "The id of the first mention of this name, or of its long form."
        ),
        "utf16": told(RANGE, "start and end in UTF-16 code units; with option `utf16`."),
    }
    return an_object(fields, optional=("coarse", "utf16"))


def _group() -> Schema:
    fields = {
        "id": told(STRING, "The id that `mention_of` of its mentions names."),
        "name": told(STRING, "The longest normalized form."),
        "label": STRING,
        "coarse": told(MAYBE_STRING, "Left out in view `fine`."),
        "mentions": a_list(STRING, minItems=1, uniqueItems=True),
        "confidence": told(SHARE, "Of the surest mention."),
        "salience": told(
            SHARE,
            "The group's share of what is named: each mention weighs its confidence, up to twice "
            "as much the earlier it stands. The shares of a result's groups sum to 1.",
        ),
    }
    return told(
        an_object(fields, optional=("coarse",)),
        "A thing that the article names, with all its mentions; dates and numbers form none.",
    )


def _attitude(kind: str, labels: Iterable[str]) -> Schema:
    fields = {
        kind: STRING,
        "label": _known(labels),
        "confidence": CONFIDENCE,
        "evidence": told(RANGES, "The sentences that carry it, the surest first, in code points."),
        "evidence_utf16": told(RANGES, "The same in UTF-16 code units; with option `utf16`."),
    }
    return an_object(fields, optional=("evidence_utf16",))


def _result() -> Schema:
    fields = {
        "id": told(MAYBE_STRING, "As it came with the article."),
        "entities": a_list(ref("Entity")),
        "groups": told(a_list(ref("EntityGroup")), "The most salient first."),
        "topics": a_list(ref("Topic")),
        "stances": told(a_list(ref("Stance")), "One a target, in their order."),
        "claims": told(a_list(ref("Claim")), "One a claim, in their order."),
        "tokens": told(
            {"type": "integer", "minimum": 0},
            "Pieces of the text and its title in the model's vocabulary; 0 where it was not read.",
        ),
        "error": told(MAYBE_STRING, "Why this article was not read; all lists are empty then."),
        "sentences": told(RANGES, "In code points; with option `sentences`."),
        "sentences_utf16": told(RANGES, "With options `sentences` and `utf16`."),
    }
    return an_object(fields, optional=("sentences", "sentences_utf16"))


def _label_table() -> Schema:
    kind = an_object({"arabic": STRING, "colour": STRING, "coarse": MAYBE_STRING})
    kinds = {"type": "object", "additionalProperties": kind}
    names = {"type": "object", "additionalProperties": STRING}
    sections = {"entities": kinds, "coarse": kinds}
    return an_object({**sections, "topics": names, "stances": names, "claims": names})


def _model() -> Schema:
    head = an_object({"kind": STRING, "labels": a_list(STRING)})
    fields = {
        "name": STRING,
        "version": STRING,
        "sha256": told(STRING, "Of its bundle.json, which names all its files."),
        "encoder": STRING,
        "heads": {"type": "object", "additionalProperties": head},
        "experimental": told(a_list(STRING), "Heads whose answers are not to be relied on yet."),
        "data": told({}, "What it was trained on."),
        "scores": told({}, "On named splits."),
        "limits": told(
            an_object({field.name: COUNT for field in dataclasses.fields(Limits)}),
            "Articles and bytes of a request, code points of a text or title.",
        ),
    }
    return {**an_object(fields), "additionalProperties": True}


def _error() -> Schema:
    fields = {
        "code": told(STRING, "What went wrong, for programs."),
        "message": told(STRING, "What went wrong and what to do; never quotes the request."),
        "field": told(MAYBE_STRING, "The path of what is wrong, such as articles[3].text."),
        "request_id": told(STRING, "As in the header X-Request-ID."),
    }
    return an_object({"error": an_object(fields)})


def answer_schemas() -> dict[str, Schema]:
    """The schemas of all answers of JSON, by name."""
    labels = label_schema()
    topic = an_object({"label": _known(labels.topics), "confidence": CONFIDENCE})
    model = an_object({"name": STRING, "version": STRING})
    return {
        "TagAnswer": an_object({"results": a_list(ref("Result")), "model": model}),
        "Result": _result(),
        "Entity": _entity(),
        "EntityGroup": _group(),
        "Topic": topic,
        "Stance": _attitude("target", labels.stances),
        "Claim": _attitude("claim", labels.claims),
        "Model": _model(),
        "Labels": _label_table(),
        "Seed": an_object({"title": MAYBE_STRING, "text": STRING}),
        "Error": _error(),
    }
