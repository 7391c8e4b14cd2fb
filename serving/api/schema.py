"""The body of `POST /v1/tag`: its schema, its limits, and the words for what breaks them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import islice
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    InstanceOf,
    Tag,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from annotations.labels import label_schema
from serving.api.errors import RequestError
from serving.prediction import (
    MAX_ARTICLES,
    MAX_ASKED,
    MAX_AUTO_TARGETS,
    MAX_PHRASE_CODE_POINTS,
    Article,
    is_phrase,
    targets_of,
)

MAX_LABELS = 64  # of `options.labels`, more than there are
# Strings, lists, objects and commas of a body, more than the largest request has.
MAX_VALUES = MAX_ARTICLES * (4 * MAX_ASKED + 32) + 2 * MAX_LABELS + 32
VALUE = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{,]', re.DOTALL)
View = Literal["both", "fine", "coarse"]
MESSAGES = {  # by pydantic's error type; pydantic's own words may quote the input
    "missing": "is missing",
    "extra_forbidden": "is not a field of the request",
    "is_instance_of": "must be a string",
    "list_type": "must be a list",
    "literal_error": "must be {expected}",
    "targets": 'must be "auto", a list of strings or null',
    "string_unicode": "must be valid Unicode",
    "model_type": "must be an object",
    "bool_type": "must be true or false",
    "float_type": "must be a number",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than_equal": "must be at most {le:g}",
    "too_short": "needs at least {min_length} item",
    "too_long": "has more than {max_length} items",
    "auto_beside": 'holds "auto" beside others; ask about the main actors or about targets',
    "phrase": "must hold 1 to {limit} code points that are not all blanks",
    "label": "is no label of view {view}; use {known}",
}
AUTO, PHRASES = "<auto>", "<phrases>"  # the two shapes of `targets`, left out of field paths
SANE_KEY = re.compile(r"[A-Za-z0-9_-]{1,40}")
# All that str.isspace() takes for a blank, spelled out: other languages' \s is another set.
NOT_BLANK = r"[^\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"


def view_labels(view: View) -> tuple[str, ...]:
    """The entity labels that a view knows: fine ones, coarse ones or, in `both`, either."""
    schema = label_schema()
    fine, coarse = tuple(schema.entities), tuple(schema.coarse)
    return {"fine": fine, "coarse": coarse, "both": tuple(dict.fromkeys(fine + coarse))}[view]


def _checked_phrase(phrase: str) -> str:
    if not is_phrase(phrase):
        raise PydanticCustomError("phrase", "phrase", {"limit": MAX_PHRASE_CODE_POINTS})
    return phrase


def _checked_targets(phrases: list[str]) -> list[str]:
    try:
        targets_of(phrases)
    except ValueError:
        raise PydanticCustomError("auto_beside", "auto_beside") from None
    return phrases


def _checked_label(label: str, info: ValidationInfo) -> str:
    view: View | None = info.data.get("view")  # None: refused already, for its own fault
    known = view_labels(view or "both")
    if label not in known:
        raise PydanticCustomError("label", "label", {"view": view, "known": ", ".join(known)})
    return label


def _shape_of_targets(value: object) -> str:
    return AUTO if isinstance(value, str) else PHRASES


# InstanceOf lets lone surrogates pass, where `str` would refuse the request for one article's sake.
Text = InstanceOf[str]
PHRASE = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_PHRASE_CODE_POINTS,
    "pattern": NOT_BLANK,
}
Phrase = Annotated[Text, AfterValidator(_checked_phrase), WithJsonSchema(PHRASE)]
Phrases = Annotated[list[Phrase], Field(max_length=MAX_ASKED, fail_fast=True)]
AUTO_ALONE = {"anyOf": [{"items": {"not": {"const": "auto"}}}, {"items": {"const": "auto"}}]}
TargetPhrases = Annotated[
    Phrases, Field(json_schema_extra=AUTO_ALONE), AfterValidator(_checked_targets)
]
Targets = Annotated[
    Annotated[Literal["auto"], Tag(AUTO)] | Annotated[TargetPhrases, Tag(PHRASES)],
    Discriminator(_shape_of_targets),
]
Label = Annotated[Text, AfterValidator(_checked_label)]
Labels = Annotated[list[Label], Field(max_length=MAX_LABELS, fail_fast=True)]


class Strict(BaseModel):
    """An object of the request: unknown fields are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ArticleIn(Strict):
    """One article to read."""

    text: Text = Field(
        description="The article; all offsets are into it as received. One that is empty, too long "
        "or no valid Unicode has an error in its result and harms no other."
    )
    id: Text | None = Field(default=None, description="Comes back in the result.")
    title: Text | None = Field(
        default=None,
        description="As long as a text at most; informs topic, stances and claims, is not tagged.",
    )
    targets: Targets | None = Field(
        default=None,
        description="Names or phrases: what does the text feel toward them? "
        "`auto`, also as the one item of a list, takes the most salient people and groups, at "
        f"most {MAX_AUTO_TARGETS}.",
    )
    claims: Phrases | None = Field(
        default=None, description="Sentences: does the text agree with them?"
    )

    def to_article(self) -> Article:
        """The article as the Tagger takes it."""
        targets = self.targets if self.targets == "auto" else targets_of(self.targets or ())
        return Article(self.text, self.id, self.title, targets, tuple(self.claims or ()))


def _labels_of_each_view(schema: dict[str, Any]) -> None:
    """Say in a JSON schema which labels go with which view; `both` is the view where none is
    given.
    """
    schema["anyOf"] = [
        {
            "properties": {
                "view": {"const": view},
                "labels": {"items": {"enum": list(view_labels(view))}},
            }
        }
        for view in get_args(View)
    ]


class Options(Strict):
    """What to add to the answer and what to leave out.

    The view is taken first, then the entities are kept whose label and confidence are asked for.
    A first mention that is left out hands its name over to the first one that is kept, and the
    groups and their salience are those of the mentions that are kept.
    """

    model_config = ConfigDict(json_schema_extra=_labels_of_each_view)

    view: View = Field(
        default="both",
        description="both: the fine label, and the coarse one beside it. fine: without the coarse "
        "one. coarse: only the entities that have a coarse label, of nested ones the outermost.",
    )
    labels: Labels | None = Field(
        default=None,
        description="The labels of the view to keep, in both fine or coarse ones; null keeps all.",
    )
    min_confidence: float = Field(
        default=0.0, ge=0, le=1, strict=True, description="Of the entities to keep."
    )
    utf16: bool = Field(
        default=False,
        strict=True,
        description="Add each range in UTF-16 code units, for JavaScript, Java and C#.",
    )
    sentences: bool = Field(
        default=False, strict=True, description="Add the ranges of the sentences."
    )


class TagRequest(Strict):
    """The body of `POST /v1/tag`."""

    articles: list[ArticleIn] = Field(min_length=1, max_length=MAX_ARTICLES, fail_fast=True)
    options: Options = Options()


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def parse_request(body: bytes) -> TagRequest:
    """The checked request in a body of JSON."""
    try:
        text = body.decode("utf-8")
        _refuse_overfull(text)
        raw = json.loads(text, parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise RequestError("invalid_json", f"the body is not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        where = f"at character {error.pos}: {error.msg}"
        raise RequestError("invalid_json", f"the body is not JSON {where}") from None
    except RecursionError:
        raise RequestError("invalid_json", "the body is nested too deeply") from None
    except ValueError:  # NaN, Infinity, or an integer of thousands of digits
        message = "the body holds a number that is not JSON or is too long"
        raise RequestError("invalid_json", message) from None
    try:
        return TagRequest.model_validate(raw)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)[0]
    field = field_path(found["loc"])
    raise RequestError("invalid_request", f"{field or 'the body'} {_words(found)}", field)


def _refuse_overfull(text: str) -> None:
    """Refuse a body with more in it than any request has before all that is made into objects:
    four megabytes of empty lists would hold up everybody for a second.
    """
    if next(islice(VALUE.finditer(text), MAX_VALUES, None), None) is not None:
        told = "the body holds more values than any request has; send fewer articles"
        raise RequestError("invalid_request", told)


def _words(found: ErrorDetails) -> str:
    kind = "targets" if found["loc"][-1:] == (AUTO,) else found["type"]
    return MESSAGES.get(kind, "is not valid").format_map(found.get("ctx", {}))


def field_path(loc: Sequence[str | int]) -> str | None:
    """Where in the request, as `articles[3].text`; an unknown key that is no plain name is `?`."""
    path = ""
    for part in loc:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part not in (AUTO, PHRASES):
            path += f".{part if SANE_KEY.fullmatch(part) else '?'}"
    return path.removeprefix(".") or None
