"""The OpenAPI 3.1 description of the service: `GET /openapi.json`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from functools import cache
from http import HTTPStatus
from typing import Any

from serving.api.errors import RETRY_STATUSES, STATUS
from serving.api.examples import REQUEST, example_answer
from serving.api.schema import TagRequest
from serving.api.shapes import Schema, answer_schemas, ref
from serving.prediction import Limits

VERSION = "1.0.0"
ABOUT = """Entities, topics, stances and claims of Arabic news articles.

Offsets are Unicode code points into the text as received, end exclusive. A request holds at most
{articles} articles and {body_bytes} bytes, text and title of an article at most
{code_points} code points each. What is wrong with the bytes or the schema fails the request;
what is wrong with one article is the `error` of its result and harms no other."""
MEANINGS = {
    "invalid_json": "the body is not JSON in UTF-8",
    "disconnected": "the body did not arrive whole",
    "unauthorized": "an API key is needed, or this one is not known",
    "not_found": "there is no such path",
    "method_not_allowed": "the path has other methods, named by Allow",
    "body_timeout": "the body took too long to arrive",
    "body_too_large": "the body has too many bytes; send fewer articles",
    "unsupported_media_type": "the body does not say that it is JSON in UTF-8",
    "invalid_request": "the body breaks the schema; `field` says where",
    "overloaded": "too much is waiting; come back after Retry-After",
    "internal": "a fault of the service; report the request id",
    "loading": "the model is not ready yet; come back after Retry-After",
    "draining": "the service is stopping; come back after Retry-After",
    "timeout": "reading took too long; send fewer or shorter articles",
}
READ = (401, 405, 500, 503)
PROBED = (405, 500, 503)
POSTED = (400, 401, 405, 408, 413, 415, 422, 429, 500, 503, 504)
X_REQUEST_ID = {"X-Request-ID": {"$ref": "#/components/headers/RequestId"}}
KEYS: list[dict[str, list[str]]] = [{}, {"bearer": []}, {"apiKey": []}]  # {}: it may ask for none


@cache
def openapi(limits: Limits) -> dict[str, Any]:
    """The description of every path, made once for a service's limits; nobody may change it."""
    asked = TagRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas = {**asked.pop("$defs"), "TagRequest": asked, **answer_schemas()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "khabar",
            "version": VERSION,
            "description": ABOUT.format(**asdict(limits)),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [
            {"name": "articles", "description": "What an article says."},
            {"name": "model", "description": "What reads it."},
            {"name": "service", "description": "Health, figures, this description and the page."},
        ],
        "security": KEYS,
        "paths": {"/v1/tag": {"post": _tag(limits)}, **_reads(), **_service()},
        "components": {
            "schemas": schemas,
            "responses": {f"Error{s}": _error_response(s) for s in sorted(set(STATUS.values()))},
            "headers": _headers(),
            "parameters": {"RequestId": _request_id()},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def _operation(
    name: str, tag: str, summary: str, answer: Schema, errors: Collection[int]
) -> dict[str, Any]:
    """An operation; `answer` is the content of its 200."""
    ok = {"description": summary, "headers": X_REQUEST_ID, "content": answer}
    refusals = {str(s): {"$ref": f"#/components/responses/Error{s}"} for s in errors}
    return {
        "operationId": name,
        "tags": [tag],
        "summary": summary,
        "parameters": [{"$ref": "#/components/parameters/RequestId"}],
        "responses": {"200": ok, **refusals},
    }


def _json(schema: Schema, **more: object) -> Schema:
    return {"application/json": {"schema": schema, **more}}


def _tag(limits: Limits) -> dict[str, Any]:
    answer = _json(ref("TagAnswer"), examples={"news": {"value": example_answer()}})
    operation = _operation(
        "tag", "articles", "What the articles say, in their order", answer, POSTED
    )
    operation["description"] = (
        "One result for each article, in the order of the request. Stances and claims are read "
        "only where targets and claims are given."
    )
    operation["requestBody"] = {
        "required": True,
        "description": f"JSON in UTF-8, at most {limits.body_bytes} bytes.",
        "content": _json(ref("TagRequest"), examples={"news": {"value": REQUEST}}),
    }
    return operation


def _reads() -> dict[str, Any]:
    operations = {
        "/v1/model": (
            "model",
            "Name, version, heads, data and scores of the model, and the limits",
            "Model",
        ),
        "/v1/labels": ("labels", "Every label with its Arabic name and its colour", "Labels"),
        "/v1/seed": ("seed", "An article to begin with", "Seed"),
    }
    return {
        path: {"get": _operation(name, "model", summary, _json(ref(schema)), READ)}
        for path, (name, summary, schema) in operations.items()
    }


def _service() -> dict[str, Any]:
    plain: Schema = {"text/plain": {"schema": {"type": "string"}}}
    page: Schema = {"text/html": {"schema": {"type": "string"}}}
    anything = _json({"type": "object"})
    operations = {
        "/openapi.json": ("openapi", "This description", anything, (405, 500)),
        "/livez": ("livez", "The process lives", plain, PROBED),
        "/readyz": ("readyz", "The model is loaded and takes articles", plain, PROBED),
        "/metrics": ("metrics", "Figures in the text format of Prometheus", plain, (405, 500)),
        "/": ("page", "The page for people", page, (405, 500)),
    }
    return {
        path: {"get": {**_operation(name, "service", summary, ok, errors), "security": []}}
        for path, (name, summary, ok, errors) in operations.items()
    }


def _error_response(status: int) -> dict[str, Any]:
    codes = [code for code, its_status in STATUS.items() if its_status == status]
    narrowed = {"properties": {"error": {"properties": {"code": {"enum": codes}}}}}
    headers = dict(X_REQUEST_ID)
    if status in RETRY_STATUSES:
        headers["Retry-After"] = {"$ref": "#/components/headers/RetryAfter"}
        headers["Retry-After-Ms"] = {"$ref": "#/components/headers/RetryAfterMs"}
    if status == 401:
        headers["WWW-Authenticate"] = {"$ref": "#/components/headers/Challenge"}
    if status == 405:
        headers["Allow"] = {"$ref": "#/components/headers/Allow"}
    meanings = "; ".join(f"{code}: {MEANINGS[code]}" for code in codes)
    return {
        "description": f"{HTTPStatus(status).phrase}. {meanings}.",
        "headers": headers,
        "content": _json({"allOf": [ref("Error"), narrowed]}),
    }


def _headers() -> dict[str, Any]:
    def header(description: str, schema: Schema) -> dict[str, Any]:
        return {"description": description, "required": True, "schema": schema}

    return {
        "RequestId": header("The request's id, in logs too", {"type": "string", "minLength": 1}),
        "RetryAfter": header("Seconds until it may go better", {"type": "integer", "minimum": 1}),
        "RetryAfterMs": header("The same in milliseconds", {"type": "integer", "minimum": 1}),
        "Challenge": header("How to send a key", {"const": "Bearer"}),
        "Allow": header("The methods of the path", {"type": "string"}),
    }


def _request_id() -> dict[str, Any]:
    return {
        "name": "X-Request-ID",
        "in": "header",
        "description": "Taken over when it is 1 to 64 letters, digits, `_`, `.` or `-`.",
        "schema": {"type": "string"},
    }
