"""Bodies that the service reads or refuses: their size, their time, their words."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.testclient import TestClient

from serving import service
from serving.api.body import read_body
from serving.api.errors import RequestError
from serving.desk import Desk
from serving.prediction import MAX_BODY_BYTES
from serving.routes import received
from serving.settings import serve_settings
from tests.fake_tagger import SECRET
from tests.worker import JSON


@pytest.mark.parametrize(
    ("body", "headers", "status", "field"),
    [
        (b"{", JSON, 400, None),
        (b"[" * 5_000, JSON, 400, None),
        (b"[" * 100_000, JSON, 422, None),
        (b"{}", {"Content-Type": "text/plain"}, 415, None),
        (b"{}", JSON, 422, "articles"),
        (b'{"articles":[{"text":"' + SECRET.encode() + b'","x":1}]}', JSON, 422, "articles[0].x"),
        (b"x" * (MAX_BODY_BYTES + 1), JSON, 413, None),
        (b"", {**JSON, "Content-Length": "9" * 5000}, 413, None),
    ],
)
def test_refusals_quote_and_log_nothing(
    client: TestClient,
    caplog: pytest.LogCaptureFixture,
    body: bytes,
    headers: dict[str, str],
    status: int,
    field: str | None,
) -> None:
    with caplog.at_level(logging.DEBUG):
        answer = client.post("/v1/tag", content=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]["field"]) == (status, field)
    assert SECRET not in answer.text + caplog.text
    assert "Traceback" not in caplog.text


def test_a_chunked_body_is_counted_as_it_comes(client: TestClient) -> None:
    answer = client.post("/v1/tag", content=(b"x" * 65536 for _ in range(65)), headers=JSON)
    assert answer.status_code == 413
    assert answer.headers["connection"] == "close"


def test_an_endless_body_is_cut_off(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.api.body.DISCARDED_BYTES", 1 << 20)
    sent = 0

    def chunks() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(10_000):
            sent += 65536
            yield b"x" * 65536

    scope = {"type": "http", "method": "POST", "headers": []}
    source = chunks()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": next(source), "more_body": True}

    with pytest.raises(RequestError, match="larger than 4194304 bytes"):
        anyio.run(read_body, Request(scope, receive), MAX_BODY_BYTES)
    assert sent < MAX_BODY_BYTES + (2 << 20)


def test_a_body_of_exactly_the_limit_is_read(client: TestClient) -> None:
    body = json.dumps({"articles": [{"text": "محمد"}]}).encode()
    answer = client.post("/v1/tag", content=body.ljust(MAX_BODY_BYTES), headers=JSON)
    assert answer.status_code == 200


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["articles", "text", "targets", "claims", "id", "options", "utf16"])
            | st.text(st.characters(codec=None), max_size=3),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)
ARTICLE = st.fixed_dictionaries({"text": ANYTHING}, optional={"targets": ANYTHING, "id": ANYTHING})
NEAR = st.fixed_dictionaries(
    {"articles": st.lists(ARTICLE, max_size=3)}, optional={"options": ANYTHING}
)
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@QUICK
@given(body=(ANYTHING | NEAR).map(json.dumps).map(str.encode) | st.binary(max_size=60))
def test_no_body_whatever_is_a_5xx(client: TestClient, body: bytes) -> None:
    answer = client.post("/v1/tag", content=body, headers=JSON)
    assert answer.status_code in (200, 400, 422)
    assert set(answer.json()) in ({"results", "model"}, {"error"})


def test_a_body_that_takes_too_long_is_refused(client: TestClient) -> None:
    limits = serve_settings().model_copy(update={"body_timeout_s": 0})

    async def nothing_comes() -> Any:
        await anyio.sleep_forever()

    request = Request({"type": "http", "method": "POST", "headers": []}, nothing_comes)
    with pytest.raises(RequestError, match="did not arrive within 0 s") as refused:
        anyio.run(received, request, Desk(lambda: None, limits, service.metrics()))  # type: ignore
    assert refused.value.status == 408
