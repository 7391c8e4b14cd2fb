"""The gate before the service, with a small app behind it."""

from __future__ import annotations

import logging
from typing import Any

import anyio
import pytest
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import Message

from serving.api.errors import STATUS, RequestError
from serving.gate import NOTES, SECURITY_HEADERS, Gate, Notes
from serving.keys import Keys
from serving.metrics import Metrics

SECRET = "سرّ"
KEY = "0123456789abcdef"


async def tag(request: Request) -> Response:
    notes: Notes = request.scope[NOTES]
    notes.articles, notes.pieces = 2, 40
    await request.body()
    return JSONResponse({"results": []})


async def broken(request: Request) -> Response:
    return PlainTextResponse(f"Traceback: {SECRET}", int(request.query_params["status"]))


APP = Starlette(
    routes=[Route("/v1/tag", tag, methods=["POST"]), Route("/v1/broken", broken)],
)


class Doors:
    """What a worker says of itself."""

    alive: RequestError | None = None
    ready: RequestError | None = None
    full: RequestError | None = None

    def death(self) -> RequestError | None:
        return self.alive

    def unreadiness(self) -> RequestError | None:
        return self.ready

    def fullness(self) -> RequestError | None:
        return self.full


def gate_of(keys: str = "", doors: type[Doors] = Doors) -> Gate:
    environment = {"KHABAR_API_KEYS": keys} if keys else {}
    return Gate(
        APP,
        APP,
        Keys.from_environment(None, environment),
        Metrics(STATUS, CollectorRegistry()),
        doors(),
    )


def test_every_answer_has_the_security_headers_and_the_request_id() -> None:
    client = TestClient(gate_of())
    answers = [
        client.post("/v1/tag", json={}),
        client.get("/nowhere"),
        client.get("/livez"),
        client.get("/v1/broken?status=500"),
        client.get("/v1/tag"),
    ]
    assert [answer.status_code for answer in answers] == [200, 404, 200, 500, 405]
    for answer in answers:
        assert all(answer.headers[name] == value for name, value in SECURITY_HEADERS.items())
        assert len(answer.headers["x-request-id"]) == 32


@pytest.mark.parametrize(
    ("given", "kept"), [("mine.1-a_B", True), ("x" * 65, False), ("a b", False), ("", False)]
)
def test_a_plain_request_id_is_kept_and_another_replaced(given: str, kept: bool) -> None:
    answer = TestClient(gate_of()).get("/livez", headers={"X-Request-ID": given})
    assert (answer.headers["x-request-id"] == given) is kept


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "internal"), (404, "not_found"), (500, "internal"), (503, "loading"), (504, "timeout")],
)
def test_an_error_that_is_not_ours_loses_its_words(status: int, code: str) -> None:
    answer = TestClient(gate_of()).get(f"/v1/broken?status={status}")
    assert answer.json()["error"]["code"] == code
    assert SECRET not in answer.text
    assert answer.status_code == STATUS[code]


def test_probes_say_what_is_wrong() -> None:
    class Loading(Doors):
        ready = RequestError("loading", "wait", retry_after_s=2)

    client = TestClient(gate_of(doors=Loading))
    assert client.get("/livez").status_code == client.get("/healthz").status_code == 200
    answer = client.get("/readyz")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert client.head("/livez").status_code == 200
    refused = client.post("/readyz")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")


def test_keys_guard_the_api_and_a_body_without_one_is_read_to_its_end() -> None:
    client = TestClient(gate_of(f"batch:{KEY}"))
    answer = client.post("/v1/tag", content=b"x" * 3_000_000)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized")
    assert client.post("/v1/tag", headers={"X-API-Key": KEY}).status_code == 200
    assert client.get("/readyz").status_code == 200


def test_a_full_worker_refuses_articles_at_the_gate_and_nothing_else() -> None:
    class Full(Doors):
        full = RequestError("overloaded", "wait", retry_after_s=0.25)

    client = TestClient(gate_of(f"batch:{KEY}", Full))
    assert client.post("/v1/tag").status_code == 401  # who has no key is told nothing else
    answer = client.post("/v1/tag", content=b"x" * 3_000_000, headers={"X-API-Key": KEY})
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "overloaded")
    assert (answer.headers["retry-after"], answer.headers["retry-after-ms"]) == ("1", "250")
    assert client.get("/v1/tag", headers={"X-API-Key": KEY}).status_code == 405
    assert client.get("/livez").status_code == client.get("/readyz").status_code == 200


def test_the_log_names_the_key_and_what_the_endpoint_told(caplog: pytest.LogCaptureFixture) -> None:
    client = TestClient(gate_of(f"batch:{KEY}"))
    with caplog.at_level(logging.INFO, "khabar.access"):
        client.post(f"/v1/tag?q={SECRET}", content=SECRET.encode(), headers={"X-API-Key": KEY})
    (record,) = caplog.records
    told: dict[str, Any] = vars(record)["fields"]
    assert told.pop("duration_ms") >= 0
    assert told == {
        "method": "POST", "path": "/v1/tag", "status": 200, "bytes_in": len(SECRET.encode()),
        "bytes_out": len(b'{"results":[]}'), "articles": 2, "pieces": 40, "key": "batch",
    }  # fmt: skip


def test_other_protocols_are_closed() -> None:
    sent: list[Message] = []

    async def ask() -> None:
        async def send(message: Message) -> None:
            sent.append(message)

        async def receive() -> Message:
            return {"type": "websocket.connect"}

        await gate_of()({"type": "websocket", "path": "/v1/tag"}, receive, send)

    anyio.run(ask)
    assert sent == [{"type": "websocket.close", "code": 1008}]
