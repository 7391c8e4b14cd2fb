"""Refusals, the media type and arrival of a body, and what all responses share: ids and JSON."""

from __future__ import annotations

import json

import anyio
import pytest
from starlette.requests import Request

from serving.api.body import check_media_type, read_body
from serving.api.errors import STATUS, RequestError, error_response
from serving.api.response import encode, request_id_of


@pytest.mark.parametrize(
    "header",
    ["application/json", "Application/JSON ; charset=UTF-8", 'application/json; charset="utf-8"'],
)
def test_json_in_utf8_is_taken(header: str) -> None:
    check_media_type(header)


@pytest.mark.parametrize(
    "header",
    [None, "", "text/plain", "application/jsonx", "application/json; charset=windows-1256"],
)
def test_another_media_type_is_a_415(header: str | None) -> None:
    with pytest.raises(RequestError, match="Content-Type: application/json") as caught:
        check_media_type(header)
    assert STATUS[caught.value.code] == 415


def test_a_compressed_body_is_a_415() -> None:
    check_media_type("application/json", "Identity")
    with pytest.raises(RequestError, match="without Content-Encoding") as caught:
        check_media_type("application/json", "gzip")
    assert STATUS[caught.value.code] == 415


@pytest.mark.parametrize("header", ["a-1_b.C", "x" * 64])
def test_a_plain_request_id_is_kept(header: str) -> None:
    assert request_id_of(header) == header


@pytest.mark.parametrize("header", ["x" * 65, "a b", "a\n", "رقم", "", None])
def test_another_request_id_is_replaced(header: str | None) -> None:
    assert request_id_of(header) != header
    assert len(request_id_of(header)) == 32


@pytest.mark.parametrize("code", STATUS)
def test_every_code_has_the_one_envelope(code: str) -> None:
    response = error_response(RequestError(code, "words", "articles[0]"), "r1")
    detail = {"code": code, "message": "words", "field": "articles[0]", "request_id": "r1"}
    assert response.status_code == STATUS[code]
    assert json.loads(bytes(response.body)) == {"error": detail}
    assert ("retry-after" in response.headers) is (response.status_code in (429, 503))
    assert response.headers.get("www-authenticate") == (
        "Bearer" if response.status_code == 401 else None
    )


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("invalid_json", 400),
        ("unauthorized", 401),
        ("not_found", 404),
        ("method_not_allowed", 405),
        ("body_too_large", 413),
        ("unsupported_media_type", 415),
        ("invalid_request", 422),
        ("overloaded", 429),
        ("internal", 500),
        ("loading", 503),
        ("draining", 503),
        ("timeout", 504),
    ],
)
def test_the_statuses_are_those_of_the_contract(code: str, status: int) -> None:
    assert RequestError(code, "words").status == status


@pytest.mark.parametrize(
    ("wait_s", "header"), [(None, "1"), (0, "1"), (0.2, "1"), (7.01, "8"), (30, "30")]
)
def test_when_to_come_back_is_told_in_whole_seconds(wait_s: float | None, header: str) -> None:
    error = RequestError("overloaded", "words", retry_after_s=wait_s)
    assert error_response(error, "r1").headers["retry-after"] == header


@pytest.mark.parametrize(("wait_s", "header"), [(None, "1000"), (0, "1"), (0.1234, "124")])
def test_when_to_come_back_is_told_exactly_as_well(wait_s: float | None, header: str) -> None:
    error = RequestError("overloaded", "words", retry_after_s=wait_s)
    assert error_response(error, "r1").headers["retry-after-ms"] == header


def test_who_cannot_come_back_is_not_told_when() -> None:
    response = error_response(RequestError("timeout", "words", retry_after_s=5), "r1")
    assert "retry-after" not in response.headers


def test_a_body_that_does_not_arrive_whole_is_a_400() -> None:
    async def receive() -> dict[str, object]:
        return {"type": "http.disconnect"}

    request = Request({"type": "http", "method": "POST", "headers": []}, receive)
    with pytest.raises(RequestError, match="did not arrive whole") as caught:
        anyio.run(read_body, request, 10)
    assert caught.value.status == 400


def test_arabic_is_sent_as_it_is_and_what_utf8_cannot_hold_is_escaped() -> None:
    assert encode({"text": "خبر"}) == '{"text": "خبر"}'.encode()
    assert json.loads(encode({"id": "خبر\ud800"})) == {"id": "خبر\ud800"}
