"""The desk behind the service: what it answers when it is busy, full, late, not ready or gone."""

from __future__ import annotations

import threading
from typing import Any

import anyio
import pytest
from prometheus_client import REGISTRY
from starlette.testclient import TestClient

from serving import service
from serving.desk import Desk, State
from serving.model_process import ModelProcessError
from serving.settings import serve_settings
from tests.fake_tagger import FakeTagger
from tests.waiting import wait_until
from tests.worker import desk_of, post


def test_health_and_the_page_answer_while_articles_are_read(
    client: TestClient, tagger: FakeTagger
) -> None:
    tagger.hold, tagger.most = threading.Event(), 0
    number = serve_settings().reading_threads + 3
    callers = [threading.Thread(target=post, args=(client, "محمد")) for _ in range(number)]
    for i, caller in enumerate(callers, 1):
        caller.start()
        # the others find them all busy
        wait_until(lambda i=i: tagger.running >= min(i, serve_settings().reading_threads))
    try:
        for path in ("/livez", "/readyz", "/", "/v1/model"):
            assert client.get(path).status_code == 200
    finally:
        tagger.hold.set()
        for caller in callers:
            caller.join()
        tagger.hold = None
    assert tagger.most == serve_settings().reading_threads


def test_a_full_queue_says_when_to_come_back(client: TestClient, tagger: FakeTagger) -> None:
    limits = serve_settings()
    tagger.hold = threading.Event()
    callers = [
        threading.Thread(target=post, args=(client, "محمد " * 60_000))
        for _ in range(limits.reading_threads + 1)
    ]
    for i, caller in enumerate(callers, 1):
        caller.start()
        # else the next one finds this one waiting
        wait_until(lambda i=i: tagger.running >= min(i, limits.reading_threads))
    try:
        wait_until(lambda: desk_of().queue.load.waiting_pieces >= limits.max_waiting_pieces)
        answer = post(client, "محمد")
    finally:
        tagger.hold.set()
        for caller in callers:
            caller.join()
        tagger.hold = None
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert answer.json()["error"]["code"] == "overloaded"
    assert post(client, "محمد").status_code == 200


def test_too_many_open_requests_are_refused(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = serve_settings().model_copy(update={"max_open_requests": 0})
    monkeypatch.setattr(desk_of(), "settings", changed)
    assert post(client, "محمد").status_code == 429


def test_an_answer_that_takes_too_long_is_a_504(
    client: TestClient, tagger: FakeTagger, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = serve_settings().model_copy(update={"timeout_s": 0})
    monkeypatch.setattr(desk_of(), "settings", changed)
    tagger.hold = threading.Event()
    before = failed_articles()
    answer = post(client, "محمد", "بغداد")
    tagger.hold.set()
    tagger.hold = None
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "timeout")
    assert failed_articles() == before + 2


def failed_articles() -> float:
    return REGISTRY.get_sample_value("khabar_articles_total", {"outcome": "failed"}) or 0.0


@pytest.mark.parametrize(
    ("state", "alive", "code"),
    [(State.LOADING, 200, "loading"), (State.FAILED, 503, "loading"),
     (State.DRAINING, 200, "draining")],
)  # fmt: skip
def test_a_service_that_is_not_ready_says_so(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, state: State, alive: int, code: str
) -> None:
    monkeypatch.setattr(desk_of(), "state", state)
    monkeypatch.setattr(desk_of(), "_queue", None)
    monkeypatch.setattr(desk_of(), "_tagger", None)
    assert client.get("/livez").status_code == alive
    for answer in (client.get("/readyz"), post(client, "محمد"), client.get("/v1/model")):
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, code)
        assert int(answer.headers["retry-after"]) >= 1
    assert client.get("/").status_code == 200


def test_a_model_that_is_gone_for_good_makes_the_service_unready_and_dead(
    client: TestClient, tagger: FakeTagger
) -> None:
    tagger.problem = "model.onnx is damaged"
    tagger.fault = ModelProcessError("it cannot be started anew")
    try:
        for path in ("/livez", "/readyz"):
            assert client.get(path).status_code == 503
            assert "damaged" not in client.get(path).text  # the log says it
        answer = post(client, "محمد")  # it is tried, for that may bring the model back
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "loading")
        assert int(answer.headers["retry-after"]) >= 1
    finally:
        tagger.problem = tagger.fault = None
    assert client.get("/livez").status_code == client.get("/readyz").status_code == 200


def test_a_desk_lets_its_model_go_when_it_is_drained_or_could_not_warm_it() -> None:
    tagger = FakeTagger()
    desk = Desk(lambda: tagger, serve_settings(), service.metrics())
    desk.open()
    desk.wait()
    assert not tagger.closed
    anyio.run(desk.drain)
    assert tagger.closed
    cold = FakeTagger()
    cold.read = None  # type: ignore[assignment, method-assign]
    desk = Desk(lambda: cold, serve_settings(), service.metrics())
    desk.open()
    desk.wait()
    assert (desk.state, cold.closed) == (State.FAILED, True)


def test_a_desk_that_is_drained_while_it_loads_stays_so() -> None:
    loading, loaded = threading.Event(), threading.Event()

    def fail_later() -> Any:
        loading.set()
        loaded.wait(10)
        raise OSError("the child was stopped as well")

    desk = Desk(fail_later, serve_settings(), service.metrics())
    desk.open()
    loading.wait(10)
    anyio.run(desk.drain)
    loaded.set()
    desk.wait()
    assert desk.state is State.DRAINING
    refusal = desk.unreadiness()
    assert refusal is not None and (refusal.code, refusal.retry_after_s) == ("draining", 5)
    assert desk.death() is None


def test_a_bundle_that_cannot_be_loaded_is_told(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> Any:
        raise OSError("model.onnx is damaged")

    desk = Desk(fail, serve_settings(), service.metrics())
    desk.open()
    desk.wait()
    assert desk.state is State.FAILED and desk.death() is not None
    assert "model.onnx is damaged" in caplog.text
