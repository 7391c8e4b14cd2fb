"""The client's tries: what passes is asked for again after longer and longer waits, and of
the last try the error is told.
"""

from __future__ import annotations

import socket
import threading
from typing import cast

import pytest

from serving.client import ClientError, KhabarClient
from serving.prediction import Article
from tests.clients import Clock, client_of
from tests.scripted import (
    INTERNAL,
    LATE,
    LOADING,
    OVERLOADED,
    SOON,
    Behaviour,
    Service,
    answer,
    fresh_service,  # noqa: F401 - a fixture
    read,
    refuses,
    reset,
    running_service,  # noqa: F401 - a fixture
    says,
)


@pytest.mark.parametrize(
    ("script", "waits"),
    [
        ([OVERLOADED], [3 + 0.5]),
        ([OVERLOADED, OVERLOADED, OVERLOADED], [3 + 0.5, 3 + 1, 3 + 2]),
        ([LOADING], [60 + 0.5]),
        ([SOON, SOON, SOON], [0.125 + 0.125, 0.125 + 0.25, 0.125 + 0.5]),
        ([refuses(429, "overloaded", Retry_After="1", Retry_After_Ms="1.5")], [1 + 0.5]),
        ([refuses(429, "overloaded", Retry_After="soon")], [0.5]),
        ([refuses(429, "overloaded", Retry_After="-5")], [0.5]),
        ([refuses(429, "overloaded", Retry_After="١")], [0.5]),
        ([says(502, b"<html>")], [0.5]),
        ([says(503)], [0.5]),
        ([reset, reset], [0.5, 1]),
        ([INTERNAL], [0.5]),
        ([LATE], [0.5]),
        ([INTERNAL, OVERLOADED, reset], [0.5, 3 + 1, 2]),
        ([reset] * 8, [0.5, 1, 2, 4, 8, 16, 20, 20]),
    ],
)
def test_what_passes_is_tried_again_after_longer_and_longer_waits(
    service: Service, script: list[Behaviour], waits: list[float]
) -> None:
    service.script.extend(script)
    clock = Clock()
    with client_of(service, clock, retries=8) as client:
        assert client.tag(["محمد"]) == [read(Article("محمد"))]
    assert clock.waits == waits
    assert service.texts == [["محمد"]] * (len(script) + 1)


def test_waits_are_drawn_from_nothing_to_the_most(service: Service) -> None:
    drawn: list[tuple[float, float]] = []

    def draw(least: float, most: float) -> float:
        drawn.append((least, most))
        return most / 4

    service.script.extend([reset, OVERLOADED])
    clock = Clock()
    with KhabarClient(service.url, jitter=draw, sleep=clock.sleep) as client:
        client.tag(["محمد"])
    assert drawn == [(0.0, 0.5), (0.0, 1.0)]
    assert clock.waits == [0.125, 3 + 0.25]


@pytest.mark.parametrize(
    ("script", "code", "status", "tries"),
    [
        ([OVERLOADED] * 9, "overloaded", 429, 3),
        ([LOADING] * 9, "loading", 503, 3),
        ([reset] * 9, "connection", None, 3),
        ([INTERNAL] * 9, "internal", 500, 2),
        ([LATE, INTERNAL, answer], "internal", 500, 2),
        ([INTERNAL, OVERLOADED, LATE], "timeout", 504, 3),
        ([refuses(400, "invalid_json")], "invalid_json", 400, 1),
        ([refuses(401, "unauthorized")], "unauthorized", 401, 1),
        ([refuses(404, "not_found")], "not_found", 404, 1),
        ([refuses(408, "slow_body", Retry_After="1")], "slow_body", 408, 1),
        ([refuses(413, "body_too_large")], "body_too_large", 413, 1),
        ([refuses(422, "invalid_request")], "invalid_request", 422, 1),
        ([says(302, b"", {"Location": "/v1/tag"})], "unexpected_status", 302, 1),
        ([says(404, b"<html>")], "unexpected_status", 404, 1),
        ([says(400, b'{"error":"no"}')], "unexpected_status", 400, 1),
        ([says(400, b"[" * 100_000)], "unexpected_status", 400, 1),
        ([says(204)], "unexpected_status", 204, 1),
    ],
)
def test_after_the_last_try_the_error_tells_what_it_was(
    service: Service, script: list[Behaviour], code: str, status: int | None, tries: int
) -> None:
    service.script.extend(script)
    clock = Clock()
    with client_of(service, clock, retries=2) as client, pytest.raises(ClientError) as failed:
        client.tag(["محمد"])
    error = failed.value
    assert (error.code, error.status) == (code, status)
    assert (len(service.requests), len(clock.waits)) == (tries, tries - 1)
    assert error.request_id == service.requests[-1][1]["X-Request-ID"]
    assert str(error).startswith("articles[0:1]: ") and cast(str, error.request_id) in str(error)


def test_an_answer_that_takes_too_long_is_asked_for_once_more(service: Service) -> None:
    over = threading.Event()
    service.usual = lambda *_: over.wait(20)
    words = r"no answer within 0\.1 s; send less"
    client = client_of(service, timeout_s=0.1)
    with client, pytest.raises(ClientError, match=words) as failed:
        client.tag(["محمد"])
    over.set()
    assert (failed.value.code, failed.value.status) == ("timeout", None)
    assert len(service.requests) == 2


def test_a_service_that_is_not_there_is_told_with_its_address() -> None:
    with socket.socket() as unheard:  # bound, and does not listen
        unheard.bind(("127.0.0.1", 0))
        port = unheard.getsockname()[1]
        clock = Clock()
        url = f"http://127.0.0.1:{port}"
        with KhabarClient(url, retries=2, sleep=clock.sleep) as client:
            assert not client.ready()
            words = rf"127\.0\.0\.1:{port}/? cannot be reached .* is the service running"
            with pytest.raises(ClientError, match=words):
                client.tag(["محمد"])
            with pytest.raises(ClientError, match="cannot be reached"):
                client.model()
            with pytest.raises(ClientError, match=r"not ready within 0 s: .*cannot be reached"):
                client.wait_until_ready(0)
    assert len(clock.waits) == 4
