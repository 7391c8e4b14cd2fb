"""The description of the service holds for what the service takes and gives."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import asdict
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from annotations.seed import seed_text
from serving.api.answer import answer_bytes, result_dict
from serving.api.body import check_media_type, read_body
from serving.api.errors import STATUS, RequestError, error_response
from serving.api.examples import REQUEST, example_answer
from serving.api.openapi import MEANINGS, openapi
from serving.api.response import json_response
from serving.api.schema import Options, TagRequest, parse_request
from serving.bundle import DEFAULT_FOLDER, Bundle
from serving.prediction import MAX_BODY_BYTES, Article, Limits, Prediction, article_problem
from serving.tagger import Tagger
from serving.view import labels_dict
from tests.random_predictions import Read, options, read_texts

DESCRIBED = openapi(Limits())


def validator(schema: dict[str, Any]) -> jsonschema_rs.Validator:
    """A validator of a schema that may refer to the components."""
    return jsonschema_rs.validator_for({**schema, "components": DESCRIBED["components"]})


def component(name: str) -> jsonschema_rs.Validator:
    return validator({"$ref": f"#/components/schemas/{name}"})


ANSWER, RESULT = component("TagAnswer"), component("Result")


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method, operation)
        for path, methods in DESCRIBED["paths"].items()
        for method, operation in methods.items()
    ]


def test_every_path_is_described_once_and_in_words() -> None:
    assert set(DESCRIBED["paths"]) == {
        *("/v1/tag", "/v1/model", "/v1/labels", "/v1/seed"),
        *("/openapi.json", "/livez", "/readyz", "/metrics", "/"),
    }
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(set(names)) == len(names)
    assert all(operation["summary"] for _, _, operation in operations())
    assert {method for _, method, _ in operations()} == {"get", "post"}


def test_every_reference_leads_somewhere() -> None:
    found: list[str] = []

    def walk(node: object) -> None:
        if isinstance(node, dict):
            found.extend([node["$ref"]] if "$ref" in node else [])
            node = list(node.values())
        if isinstance(node, list):
            for inner in node:
                walk(inner)

    walk(DESCRIBED)
    assert len(set(found)) > 20
    for reference in found:
        node: Any = DESCRIBED
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]


def test_every_status_of_the_table_has_a_response_and_a_meaning() -> None:
    assert set(MEANINGS) == set(STATUS)
    responses = DESCRIBED["components"]["responses"]
    assert set(responses) == {f"Error{status}" for status in STATUS.values()}
    posted = set(DESCRIBED["paths"]["/v1/tag"]["post"]["responses"])
    assert posted == {"200", *(str(status) for status in STATUS.values())} - {"404"}


@pytest.mark.parametrize("code", STATUS)
def test_every_refusal_is_as_it_is_described(code: str) -> None:
    described = DESCRIBED["components"]["responses"][f"Error{STATUS[code]}"]
    response = error_response(RequestError(code, "words", "articles[0].text"), "r1")
    envelope = json.loads(bytes(response.body))
    schema = validator(described["content"]["application/json"]["schema"])
    assert schema.is_valid(envelope)
    assert not schema.is_valid({"error": {**envelope["error"], "code": "another"}})
    assert not schema.is_valid({**envelope, "more": 1})
    added = {"X-Request-ID", "Allow"}  # by the gate and by the router
    assert all(name in response.headers for name in set(described["headers"]) - added)


def test_the_examples_are_a_request_and_its_answer() -> None:
    component("TagRequest").validate(REQUEST)
    answer = example_answer()
    ANSWER.validate(answer)
    (article,), (result,) = REQUEST["articles"], answer["results"]
    assert all(article["text"][e["start"] : e["end"]] == e["text"] for e in result["entities"])
    assert [s["target"] for s in result["stances"]] == article["targets"]
    assert [c["claim"] for c in result["claims"]] == article["claims"]
    assert result["tokens"] > 0


def test_the_limits_are_in_the_schema() -> None:
    schemas = DESCRIBED["components"]["schemas"]
    assert schemas["ArticleIn"]["required"] == ["text"]
    assert schemas["ArticleIn"]["properties"]["text"]["type"] == "string"
    assert schemas["TagRequest"]["properties"]["articles"]["maxItems"] == 64
    claims = schemas["ArticleIn"]["properties"]["claims"]["anyOf"][0]
    assert (claims["maxItems"], claims["items"]["maxLength"]) == (16, 500)
    body = DESCRIBED["paths"]["/v1/tag"]["post"]["requestBody"]
    assert str(MAX_BODY_BYTES) in body["description"]
    others = openapi(Limits(body_bytes=1001, code_points=77))
    assert "64 articles and 1001 bytes" in others["info"]["description"]
    assert "77 code points" in others["info"]["description"]
    assert "1001 bytes" in others["paths"]["/v1/tag"]["post"]["requestBody"]["description"]


def test_the_other_answers_are_as_they_are_described() -> None:
    component("Model").validate(
        {**Bundle.load(DEFAULT_FOLDER).summary(), "limits": asdict(Limits())}
    )
    component("Labels").validate(labels_dict())
    component("Seed").validate({"title": None, "text": seed_text()})


@settings(max_examples=150, deadline=None)
@given(read=read_texts(), asked=options())
def test_every_result_is_as_it_is_described(read: Read, asked: Options) -> None:
    RESULT.validate(result_dict(read.text, read.prediction, asked))


@pytest.mark.parametrize(
    "asked", [{}, {"view": "fine"}, {"view": "coarse", "utf16": True, "sentences": True}]
)
def test_what_the_tagger_reads_is_as_it_is_described(
    random_tagger: Tagger, asked: dict[str, object]
) -> None:
    body = {
        "articles": [
            {"text": seed_text()[:600], "targets": "auto", "claims": ["دخلت القوات المدينة"]},
            {"text": " "},
        ],
        "options": asked,
    }
    request = parse_request(json.dumps(body).encode())
    predictions = random_tagger.tag([article.to_article() for article in request.articles])
    answer = json.loads(answer_bytes(request, predictions, {"name": "n", "version": "v"}))
    ANSWER.validate(answer)
    result = answer["results"][0]
    assert result["groups"] and result["stances"] and result["tokens"]
    assert answer["results"][1]["error"]


# ------------------------------------------------------------- `POST /v1/tag` under schemathesis


def read(article: Article) -> Prediction:
    return Prediction(article.id, error=article_problem(article))


async def tag(request: Request) -> Response:
    try:
        check_media_type(request.headers.get("content-type"))
        asked: TagRequest = parse_request(await read_body(request, MAX_BODY_BYTES))
        predictions = [read(article.to_article()) for article in asked.articles]
        response = json_response(answer_bytes(asked, predictions, {"name": "n", "version": "v"}))
    except RequestError as error:
        response = error_response(error, "r1")
    response.headers["X-Request-ID"] = "r1"
    return response


described = schemathesis.openapi.from_dict(
    {**deepcopy(DESCRIBED), "paths": {"/v1/tag": deepcopy(DESCRIBED["paths"]["/v1/tag"])}}
)
described.app = Starlette(routes=[Route("/v1/tag", tag, methods=["POST"])])


@described.parametrize()
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_schema_of_a_request_is_exact(case: schemathesis.Case) -> None:
    case.call_and_validate()
