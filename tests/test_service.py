"""The service as a client meets it, in-process, with a small Tagger of the test's own."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import prometheus_client
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.testclient import TestClient

from serving import service
from serving.api.body import read_body
from serving.api.errors import STATUS, RequestError
from serving.desk import Desk, State
from serving.keys import Keys
from serving.prediction import MAX_BODY_BYTES, MAX_CODE_POINTS
from serving.routes import PAGE, received
from serving.settings import serve_settings
from tests.fake_tagger import POISON, SECRET, FakeTagger

if TYPE_CHECKING:
    from httpx2 import Response

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def tagger() -> FakeTagger:
    return FakeTagger()


@pytest.fixture(scope="module")
def client(tagger: FakeTagger) -> Iterator[TestClient]:
    news: Any = service.NewsService
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service, "open_tagger", lambda: tagger)
        with TestClient(news.to_asgi()) as opened:
            desk_of().wait()
            yield opened


def desk_of() -> Desk:
    desk: Desk = service.app.state.desk
    return desk


def post(client: TestClient, *texts: str) -> Response:
    body = json.dumps({"articles": [{"text": text} for text in texts]})
    return client.post("/v1/tag", content=body, headers=JSON)


def test_results_come_in_the_order_of_the_request(client: TestClient) -> None:
    words = [f"كلمة{i}" for i in range(64)]
    answer = post(client, *words)
    assert answer.status_code == 200
    assert [result["entities"][0]["text"] for result in answer.json()["results"]] == words
    assert answer.json()["model"] == {"name": "fake", "version": "7"}


def test_a_bad_article_harms_no_other(client: TestClient) -> None:
    results = post(client, "محمد", "a\ud800", " ", "x" * (MAX_CODE_POINTS + 1), "بغداد").json()[
        "results"
    ]
    assert [result["error"] is None for result in results] == [True, False, False, False, True]
    assert "surrogate" in results[1]["error"]
    assert str(MAX_CODE_POINTS) in results[3]["error"]
    assert results[4]["entities"][0]["text"] == "بغداد"


def test_an_article_that_meets_a_fault_of_ours_harms_no_other(
    client: TestClient, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG):
        answer = post(client, "محمد", f"{POISON} {SECRET}", "بغداد")
    results = answer.json()["results"]
    assert [result["error"] is None for result in results] == [True, False, True]
    assert answer.headers["x-request-id"] in results[1]["error"]
    told = answer.text + caplog.text + "".join(capfd.readouterr())
    assert SECRET not in told and "Traceback" not in told
    assert "ValueError at fake_tagger.py" in caplog.text


def test_a_fault_in_every_article_is_a_500_that_tells_nothing(
    client: TestClient, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG):
        answers = [post(client, f"{POISON} {SECRET}"), post(client, POISON, f"{POISON} {SECRET}")]
    for answer in answers:
        assert answer.status_code == 500
        assert answer.json()["error"]["code"] == "internal"
    told = answers[0].text + answers[1].text + caplog.text + "".join(capfd.readouterr())
    assert SECRET not in told and "cannot read" not in told and "Traceback" not in told


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/v1/tag", "method_not_allowed"),
        ("OPTIONS", "/v1/tag", "method_not_allowed"),
        ("DELETE", "/", "method_not_allowed"),
        ("POST", "/v1/model", "method_not_allowed"),
        ("GET", "/nowhere", "not_found"),
        ("POST", "/v1/tag/", "not_found"),
        ("GET", f"/{SECRET}", "not_found"),
        ("GET", "/static/../http.py", "not_found"),
        ("GET", "/schema.json", "not_found"),
    ],
)
def test_other_paths_and_methods_get_the_envelope(
    client: TestClient, method: str, path: str, code: str
) -> None:
    answer = client.request(method, path, headers={"X-Request-ID": "mine.1"})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (STATUS[code], code)
    assert error["request_id"] == answer.headers["x-request-id"] == "mine.1"
    assert set(error) == {"code", "message", "field", "request_id"}
    assert ("allow" in answer.headers) is (code == "method_not_allowed")


def test_strange_paths_leave_no_metric(client: TestClient) -> None:
    client.get("/strange-path-1")
    post(client, "محمد")
    metrics = prometheus_client.generate_latest().decode()  # the server's /metrics, in-process
    assert 'khabar_requests_total{code="none",status="2xx"}' in metrics
    assert "strange-path-1" not in metrics


@pytest.mark.parametrize(
    ("body", "headers", "status", "field"),
    [
        (b"{", JSON, 400, None),
        (b"[" * 100_000, JSON, 400, None),
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


def test_health_and_the_page_answer_while_articles_are_read(
    client: TestClient, tagger: FakeTagger
) -> None:
    tagger.hold, tagger.most = threading.Event(), 0
    number = serve_settings().reading_threads + 3
    callers = [threading.Thread(target=post, args=(client, "محمد")) for _ in range(number)]
    for i, caller in enumerate(callers, 1):
        caller.start()
        while tagger.running < min(
            i, serve_settings().reading_threads
        ):  # the others find them all busy
            time.sleep(0.01)
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
        while tagger.running < min(
            i, limits.reading_threads
        ):  # else the next one finds this one waiting
            time.sleep(0.01)
    try:
        while desk_of().queue.load.waiting_pieces < limits.max_waiting_pieces:
            time.sleep(0.01)
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
    answer = post(client, "محمد")
    tagger.hold.set()
    tagger.hold = None
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "timeout")


def test_a_body_that_takes_too_long_is_refused(client: TestClient) -> None:
    limits = serve_settings().model_copy(update={"body_timeout_s": 0})

    async def nothing_comes() -> Any:
        await anyio.sleep_forever()

    request = Request({"type": "http", "method": "POST", "headers": []}, nothing_comes)
    with pytest.raises(RequestError, match="did not arrive within 0 s") as refused:
        anyio.run(received, request, Desk(lambda: None, limits, service.metrics()))  # type: ignore
    assert refused.value.status == 408


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
    try:
        for path in ("/livez", "/readyz"):
            assert client.get(path).status_code == 503
            assert "damaged" not in client.get(path).text  # the log says it
    finally:
        tagger.problem = None
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


def test_a_bundle_that_cannot_be_loaded_is_told(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> Any:
        raise OSError("model.onnx is damaged")

    desk = Desk(fail, serve_settings(), service.metrics())
    desk.open()
    desk.wait()
    assert desk.state is State.FAILED and desk.death() is not None
    assert "model.onnx is damaged" in caplog.text


def test_where_there_are_keys_one_is_needed(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    keys = Keys.from_environment(None, {"KHABAR_API_KEYS": "batch:0123456789abcdef"})
    monkeypatch.setattr(service.app.state.gate, "keys", keys)
    refused = post(client, "محمد")
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert client.get("/v1/model").status_code == 401
    for path in ("/", "/livez", "/readyz", "/openapi.json"):
        assert client.get(path).status_code == 200
    for key in ({"Authorization": "Bearer 0123456789abcdef"}, {"X-API-Key": "0123456789abcdef"}):
        assert client.get("/v1/model", headers=key).status_code == 200
    assert "0123456789abcdef" not in caplog.text


def test_errors_of_the_server_behind_leave_in_the_envelope(client: TestClient) -> None:
    answer = client.post("/metrics")
    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"]


def test_a_request_is_logged_once_without_its_text(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "khabar.access"):
        post(client, f"محمد {SECRET}", "بغداد")
    (record,) = [r for r in caplog.records if r.name == "khabar.access"]
    told: dict[str, Any] = vars(record)["fields"]
    assert (told["method"], told["path"], told["status"]) == ("POST", "/v1/tag", 200)
    assert told["articles"] == 2 and told["pieces"] > 0
    assert SECRET not in str(told)


def test_the_page_is_ours_and_loads_nothing_from_elsewhere(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.text == (PAGE / "index.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert client.get("/static/page.css").headers["content-type"].startswith("text/css")
    assert "javascript" in client.get("/static/begin.js").headers["content-type"]


def test_the_page_finds_its_seed_labels_and_model(client: TestClient) -> None:
    assert client.get("/v1/model").json() == {"name": "fake"}
    seed = client.get("/v1/seed").json()
    article = Path(__file__).parents[1] / "annotations" / "seed" / "article.txt"
    assert seed == {"title": None, "text": article.read_bytes().decode()}
    labels = client.get("/v1/labels").json()
    assert set(labels) == {"entities", "coarse", "topics", "stances", "claims"}
    assert set(labels["entities"]["PERS"]) == {"arabic", "colour", "coarse"}
    assert client.get("/docs.json").json()["openapi"].startswith("3.")
