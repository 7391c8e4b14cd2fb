"""The service as a client meets it, in-process, with a small Tagger of the test's own."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
from starlette.testclient import TestClient

from serving import service
from serving.api.errors import STATUS
from serving.keys import Keys
from serving.prediction import MAX_CODE_POINTS
from serving.routes import PAGE
from tests.fake_tagger import POISON, SECRET
from tests.worker import post


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
    limits = {"articles": 64, "body_bytes": 4194304, "code_points": 200000}
    assert client.get("/v1/model").json() == {"name": "fake", "limits": limits}
    seed = client.get("/v1/seed").json()
    article = Path(__file__).parents[1] / "annotations" / "seed" / "article.txt"
    assert seed == {"title": None, "text": article.read_bytes().decode()}
    labels = client.get("/v1/labels").json()
    assert set(labels) == {"entities", "coarse", "topics", "stances", "claims"}
    assert set(labels["entities"]["PERS"]) == {"arabic", "colour", "coarse"}
    assert client.get("/docs.json").json()["openapi"].startswith("3.")
