"""The edge of the service: bytes to articles, predictions to bytes, refusals in one envelope.

Here are the schema of a request, its limits and the table of statuses; the routes are in
`serving.service`. No message quotes a request: a refusal names the field, never its value.
"""

from __future__ import annotations

import json
import math
import re
import uuid
from bisect import bisect_left
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import anyio
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    InstanceOf,
    Tag,
    ValidationError,
)
from pydantic_core import ErrorDetails, PydanticCustomError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from serving.prediction import MAX_ARTICLES, Article, Prediction

MAX_ASKED = 16  # targets of an article, and claims
MAX_PHRASE_CODE_POINTS = 500  # a target or a claim
DISCARDED_BYTES = 64 * 1024 * 1024  # of a body that is too large, before its sender is cut off
DISCARD_S = 5.0
STATUS = {
    "invalid_json": 400,
    "disconnected": 400,
    "not_found": 404,
    "method_not_allowed": 405,
    "body_too_large": 413,
    "unsupported_media_type": 415,
    "invalid_request": 422,
    "internal": 500,
    "overloaded": 503,
}
MESSAGES = {  # by pydantic's error type; pydantic's own words may quote the input
    "missing": "is missing",
    "extra_forbidden": "is not a field of the request",
    "is_instance_of": "must be a string",
    "list_type": "must be a list",
    "literal_error": 'must be "auto", a list of strings or null',
    "string_unicode": "must be valid Unicode",
    "model_type": "must be an object",
    "bool_type": "must be true or false",
    "float_type": "must be a number",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "too_short": "needs at least {min_length} item",
    "too_long": "has more than {max_length} items",
    "phrase": "must hold 1 to {limit} code points that are not all blanks",
}
AUTO, PHRASES = "<auto>", "<phrases>"  # the two shapes of `targets`, left out of field paths
SANE_KEY = re.compile(r"[A-Za-z0-9_-]{1,40}")
SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class RequestError(Exception):
    """A refused request; `code` is a key of STATUS, `field` the path of what is wrong."""

    def __init__(self, code: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field


def _checked_phrase(phrase: str) -> str:
    if not phrase.strip() or len(phrase) > MAX_PHRASE_CODE_POINTS:
        raise PydanticCustomError("phrase", "phrase", {"limit": MAX_PHRASE_CODE_POINTS})
    return phrase


def _shape_of_targets(value: object) -> str:
    return AUTO if isinstance(value, str) else PHRASES


# InstanceOf lets lone surrogates pass, where `str` would refuse the request for one article's sake.
Text = InstanceOf[str]
Phrase = Annotated[Text, AfterValidator(_checked_phrase)]
Phrases = Annotated[list[Phrase], Field(max_length=MAX_ASKED, fail_fast=True)]
Targets = Annotated[
    Annotated[Literal["auto"], Tag(AUTO)] | Annotated[Phrases, Tag(PHRASES)],
    Discriminator(_shape_of_targets),
]


class Strict(BaseModel):
    """An object of the request: unknown fields are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ArticleIn(Strict):
    """One article to read."""

    text: Text
    id: Text | None = None
    title: Text | None = None
    targets: Targets | None = None
    claims: Phrases | None = None

    def to_article(self) -> Article:
        """The article as the Tagger takes it."""
        targets = self.targets if self.targets == "auto" else tuple(self.targets or ())
        return Article(self.text, self.id, self.title, targets, tuple(self.claims or ()))


class Options(Strict):
    """What to add to the answer and what to leave out (`min_confidence`: entities only)."""

    utf16: bool = Field(default=False, strict=True)
    min_confidence: float = Field(default=0.0, ge=0, le=1, strict=True)


class TagRequest(Strict):
    """The body of `POST /v1/tag`."""

    articles: list[ArticleIn] = Field(min_length=1, max_length=MAX_ARTICLES, fail_fast=True)
    options: Options = Options()


def check_media_type(header: str | None) -> None:
    """Refuse a body that does not say it is JSON in UTF-8."""
    media_type, *parameters = (header or "").lower().split(";")
    others = [p for p in parameters if re.fullmatch(r'\s*charset="?utf-8"?\s*', p) is None]
    if media_type.strip() != "application/json" or any("charset" in other for other in others):
        message = "send JSON in UTF-8 with Content-Type: application/json"
        raise RequestError("unsupported_media_type", message)


async def read_body(request: Request, max_bytes: int) -> bytes:
    """The body of a request, counted as it comes.

    What goes beyond the limit is thrown away, up to a bound: a client that is still sending when
    the connection closes would see a reset and not the refusal.
    """
    body = bytearray()
    try:
        too_large = _announced(request) > max_bytes
        chunks = request.stream()
        if not too_large:
            async for chunk in chunks:
                body += chunk
                if too_large := len(body) > max_bytes:
                    break
        if too_large:
            await _discard(chunks)
    except ClientDisconnect:
        raise RequestError("disconnected", "the body did not arrive whole") from None
    if too_large:
        message = f"the body is larger than {max_bytes} bytes; send fewer articles"
        raise RequestError("body_too_large", message)
    return bytes(body)


def _announced(request: Request) -> float:
    """The bytes a request announces; 0 where it announces none."""
    announced = request.headers.get("content-length", "")
    if not announced.isdecimal():
        return 0
    return math.inf if len(announced) > 20 else int(announced)


async def _discard(chunks: AsyncIterator[bytes]) -> None:
    """Read and forget what a client is still sending, within bounds of size and time."""
    left = DISCARDED_BYTES
    with anyio.move_on_after(DISCARD_S):
        async for chunk in chunks:
            left -= len(chunk)
            if left < 0:
                break


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def parse_request(body: bytes) -> TagRequest:
    """The checked request in a body of JSON."""
    try:
        raw = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
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


def _words(found: ErrorDetails) -> str:
    return MESSAGES.get(found["type"], "is not valid").format_map(found.get("ctx", {}))


def field_path(loc: Sequence[str | int]) -> str | None:
    """Where in the request, as `articles[3].text`; an unknown key that is no plain name is `?`."""
    path = ""
    for part in loc:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part not in (AUTO, PHRASES):
            path += f".{part if SANE_KEY.fullmatch(part) else '?'}"
    return path.removeprefix(".") or None


def answer_bytes(
    request: TagRequest, predictions: Sequence[Prediction], model: Mapping[str, str]
) -> bytes:
    """The body of the answer: one result for each article, in the order of the request."""
    results = [
        _result(article.text, prediction, request.options)
        for article, prediction in zip(request.articles, predictions, strict=True)
    ]
    return encode({"results": results, "model": dict(model)})


def _result(text: str, prediction: Prediction, options: Options) -> dict[str, Any]:
    result = prediction.to_dict()
    kept = [e for e in result["entities"] if e["confidence"] >= options.min_confidence]
    first: dict[str, str] = {}  # a dropped first mention hands over to the first one that is kept
    ids = {entity["id"] for entity in kept}
    for entity in kept:
        if entity["mention_of"] not in ids:
            entity["mention_of"] = first.setdefault(entity["mention_of"], entity["id"])
    if options.utf16:
        astral = [i for i, character in enumerate(text) if ord(character) > 0xFFFF]
        for entity in kept:
            start, end = entity["start"], entity["end"]
            entity["utf16"] = [start + bisect_left(astral, start), end + bisect_left(astral, end)]
    return {**result, "entities": kept}


def encode(payload: object) -> bytes:
    """JSON in UTF-8, Arabic as it is; escaped only when an id holds what UTF-8 cannot."""
    try:
        return json.dumps(payload, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(payload, allow_nan=False).encode("ascii")


def json_response(body: bytes, status: int = 200) -> Response:
    """A response of JSON that is already encoded."""
    return Response(body, status, {"Cache-Control": "no-store"}, "application/json")


def error_response(error: RequestError, request_id: str) -> Response:
    """The one envelope of every refusal."""
    detail: dict[str, str | None] = {"code": error.code, "message": error.message}
    detail |= {"field": error.field, "request_id": request_id}
    response = json_response(encode({"error": detail}), STATUS[error.code])
    if error.code == "overloaded":
        response.headers["Retry-After"] = "1"
    if error.code == "body_too_large":
        response.headers["Connection"] = "close"  # the rest of the body may not have been read
    return response


def request_id_of(header: str | None) -> str:
    """The caller's request id when it is plain, else a new one."""
    return header if header and SANE_REQUEST_ID.fullmatch(header) else uuid.uuid4().hex


def openapi() -> dict[str, Any]:
    """The OpenAPI description of the service."""
    answers = {str(status): {"description": code} for code, status in STATUS.items()}
    asked = TagRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas = {**asked.pop("$defs"), "TagRequest": asked}
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/TagRequest"}}}
    ok = {"200": {"description": "ok"}}
    tag = {"requestBody": {"required": True, "content": content}, "responses": {**ok, **answers}}
    read = {"get": {"responses": ok}}
    paths = {
        "/v1/tag": {"post": tag},
        **{f"/v1/{name}": read for name in ("model", "labels", "seed")},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "khabar", "version": "1"},
        "paths": paths,
        "components": {"schemas": schemas},
    }
