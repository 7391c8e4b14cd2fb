"""The service as a client meets it, in-process, with a small Tagger of the test's own."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import anyio
import prometheus_client
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.testclient import TestClient

from annotations.errors import ConfigError
from serving import service
from serving.bundle import BundleError
from serving.http import STATUS, RequestError, read_body
from serving.prediction import (
    MAX_BODY_BYTES,
    MAX_CODE_POINTS,
    Article,
    Entity,
    Prediction,
    article_problem,
)
from serving.settings import BUNDLE_VARIABLE, bundle_folder, read_settings, serve_settings

if TYPE_CHECKING:
    from httpx2 import Response

SECRET = "سرّ"
POISON = "سمّ"
JSON = {"Content-Type": "application/json"}


class FakeTagger:
    """Finds the first word of an article; falls over POISON and then quotes the article."""

    def __init__(self) -> None:
        self.bundle = SimpleNamespace(name="fake", version="7", summary=lambda: {"name": "fake"})
        self.hold: threading.Event | None = None
        self.running = self.most = 0

    def tag(
        self, articles: Sequence[Article], max_code_points: int | None = None
    ) -> list[Prediction]:
        self.running += 1
        self.most = max(self.most, self.running)
        if self.hold is not None:
            self.hold.wait(10)
        self.running -= 1
        return [self.read(article, max_code_points) for article in articles]

    def read(self, article: Article, max_code_points: int | None) -> Prediction:
        if POISON in article.text:
            raise ValueError(f"cannot read {article.text}")
        if problem := article_problem(article, max_code_points):
            return Prediction(article.id, error=problem)
        word = article.text.split()[0]
        start = article.text.index(word)
        end = start + len(word)
        return Prediction(
            article.id, (Entity("e1", start, end, word, "PERS", "PER", 0.9, word, "e1"),)
        )


@pytest.fixture(scope="module")
def tagger() -> FakeTagger:
    return FakeTagger()


@pytest.fixture(scope="module")
def client(tagger: FakeTagger) -> Iterator[TestClient]:
    news: Any = service.NewsService
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service, "open_tagger", lambda: tagger)
        with TestClient(news.to_asgi()) as opened:
            yield opened


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
    assert "ValueError at test_service.py" in caplog.text


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
    assert 'endpoint="/v1/tag"' in metrics
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
    monkeypatch.setattr("serving.http.DISCARDED_BYTES", 1 << 20)
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
    callers = [threading.Thread(target=post, args=(client, "محمد")) for _ in range(5)]
    for caller in callers:
        caller.start()
    while tagger.running < serve_settings().threads:
        time.sleep(0.01)
    try:
        for path in ("/livez", "/readyz", "/", "/v1/model"):
            assert client.get(path).status_code == 200
    finally:
        tagger.hold.set()
        for caller in callers:
            caller.join()
        tagger.hold = None
    assert tagger.most == serve_settings().threads


def test_a_full_queue_says_when_to_come_back(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = service.app.state.desk
    monkeypatch.setattr(desk, "settings", desk.settings.model_copy(update={"max_waiting": 0}))
    answer = post(client, "محمد")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


def test_the_page_is_ours_and_loads_nothing_from_elsewhere(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.text == (service.PAGE / "index.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert client.get("/static/page.css").headers["content-type"].startswith("text/css")
    assert "javascript" in client.get("/static/page.js").headers["content-type"]


def test_the_page_finds_its_seed_labels_and_model(client: TestClient) -> None:
    assert client.get("/v1/model").json() == {"name": "fake"}
    seed = client.get("/v1/seed").json()
    article = Path(__file__).parents[1] / "annotations" / "seed" / "article.txt"
    assert seed == {"title": None, "text": article.read_bytes().decode()}
    labels = client.get("/v1/labels").json()
    assert set(labels) == {"entities", "coarse", "topics", "stances", "claims"}
    assert set(labels["entities"]["PERS"]) == {"arabic", "colour", "coarse"}
    assert client.get("/docs.json").json()["openapi"].startswith("3.")


def test_the_shipped_settings_are_the_limits_of_the_contract() -> None:
    shipped = serve_settings()
    assert shipped.host == "127.0.0.1"
    assert shipped.max_code_points == MAX_CODE_POINTS
    assert shipped.max_body_bytes == MAX_BODY_BYTES


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prot: 3000", "serving.yaml: .*host"),
        ("{", "serving.yaml is not YAML"),
        ("[]", "serving.yaml: the file"),
        ("port: '3000'", "serving.yaml"),
    ],
)
def test_wrong_settings_name_the_file_and_the_key(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_settings(text, "serving.yaml")


def test_an_unknown_setting_is_named() -> None:
    text = "\n".join(f"{name}: {json.dumps(value)}" for name, value in serve_settings())
    assert read_settings(text) == serve_settings()
    with pytest.raises(ConfigError, match=r"configs/serving.yaml: unknown key 'prot'; use host,"):
        read_settings(text + "\nprot: 1")


def test_a_taken_port_is_told_with_the_way_out() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = cast(int, taken.getsockname()[1])
        with pytest.raises(service.ServeError, match=f"port {port}: .* --port"):
            service.free_address("127.0.0.1", port)


def test_a_free_address_is_numeric() -> None:
    assert service.free_address("127.0.0.1", 0) == "127.0.0.1"


def test_the_address_is_told_once_the_service_is_ready(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Ready(threading.Thread):
        def __init__(self) -> None:
            super().__init__(daemon=True)
            self.listening = socket.create_server(("127.0.0.1", 0))

        def run(self) -> None:
            for status in ("503 Wait", "200 OK"):
                connection, _ = self.listening.accept()
                connection.recv(1000)
                connection.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
                connection.close()

    server = Ready()
    server.start()
    port = server.listening.getsockname()[1]
    service.announce("0.0.0.0", port)
    assert capsys.readouterr().err == f"khabar: http://127.0.0.1:{port}\n"
    server.listening.close()


def test_a_folder_that_is_no_bundle_is_told_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(BUNDLE_VARIABLE, "")
    assert bundle_folder() is None
    with pytest.raises(BundleError, match=r"no bundle\.json"):
        service.serve(bundle=tmp_path)
    assert bundle_folder() == tmp_path.resolve()
