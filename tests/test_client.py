"""The client against a scripted service and against our own: it answers as the Tagger does."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

import serving.client
from annotations.schema import Document
from serving.client import ClientError, KhabarClient, RequestLimits
from serving.prediction import Article, Prediction
from serving.tagger import Tagger
from tests.clients import ONE, Clock, client_of
from tests.gated import gated
from tests.scripted import (
    OVERLOADED,
    SECRET,
    Service,
    changed,
    fresh_service,  # noqa: F401 - a fixture
    read,
    refuses,
    reset,
    running_service,  # noqa: F401 - a fixture
    says,
)

KEY = "k" * 20
ARTICLES = [
    "زارَ محمدٌ بغداد",
    Document("d1", "القـــاهرة ١٢ و13 😀"),
    Article("وبالبوكمال", "a1", "عنوان", ("الجيش", "أمير"), ("عاد الهدوء",)),
    Article("فاز الأهلي", "", targets="auto"),
    Article("نص \x00 \u202e فيه علامات", id="a\ud800"),
    "a\ud83d",
    " ",
]


def test_the_client_answers_as_the_tagger_does(service: Service) -> None:
    with client_of(service, limits=RequestLimits(pieces=4096)) as client:
        predictions = client.tag(ARTICLES)
    assert predictions == [read(Article.of(article)) for article in ARTICLES]
    assert [prediction.error is None for prediction in predictions] == [True] * 5 + [False] * 2
    assert len(service.requests) == 1


def test_an_answer_may_hold_more_than_a_prediction_and_leave_coarse_out(service: Service) -> None:
    def fine(made: dict[str, Any]) -> None:
        (result,) = made["results"]
        result["sentences"] = [[0, 4]]
        result["entities"][0]["utf16"] = [0, 4]
        del result["entities"][0]["coarse"], result["groups"][0]["coarse"]

    service.script.append(changed(fine))
    with client_of(service) as client:
        (prediction,) = client.tag(["بغداد"], {"view": "fine", "labels": ["PERS"]})
    assert (prediction.entities[0].label, prediction.entities[0].coarse) == ("PERS", None)
    assert prediction.groups[0].coarse is None
    assert service.requests[0][2]["options"] == {"view": "fine", "labels": ["PERS"]}


def test_each_request_has_an_id_of_its_own_and_each_try_its_number(service: Service) -> None:
    service.script.extend([reset, reset])
    with client_of(service, concurrency=1, limits=ONE) as client:
        client.tag(["محمد", "بغداد"])
    ids = [headers["X-Request-ID"] for _, headers, _ in service.requests]
    assert all(re.fullmatch(r"[0-9a-f]{32}\.[0-9]", request_id) for request_id in ids)
    names, tries = zip(*(request_id.split(".") for request_id in ids), strict=True)
    assert tries == ("1", "2", "3", "1")
    assert len(set(names[:3])) == 1 and names[3] != names[0]


def test_the_key_is_sent_and_the_environment_is_not_asked(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with client_of(service, api_key="k-1") as client, client_of(service) as nameless:
        client.tag(["محمد"])
        nameless.tag(["محمد"])
    (_, headers, _), (_, others, _) = service.requests
    assert headers["Authorization"] == "Bearer k-1"
    assert headers["Content-Type"] == "application/json"
    assert "Authorization" not in others
    client = client_of(service, trust_env=True, retries=0)
    with client, pytest.raises(ClientError, match="cannot be reached"):
        client.tag(["محمد"])


def test_a_service_below_a_path_is_found(service: Service) -> None:
    with KhabarClient(f"{service.url}/news/") as client:
        client.tag(["محمد"])
        client.model()
    assert [path for path, _, _ in service.requests] == ["/news/v1/tag", "/news/v1/model"]


def test_the_client_waits_until_the_service_is_ready(service: Service) -> None:
    service.script.extend([reset, refuses(503, "loading"), says(200)])
    clock = Clock()
    with client_of(service, clock) as client:
        client.wait_until_ready(600)
        assert clock.waits == [0.5, 0.5]
        assert client.ready()
        service.script.extend([refuses(503, "draining"), refuses(503, "loading", "it")])
        assert not client.ready()
        with pytest.raises(ClientError, match="not ready within 0 s: it is wrong") as failed:
            client.wait_until_ready(0)
    assert (failed.value.code, failed.value.status) == ("not_ready", 503)
    assert {path for path, _, _ in service.requests} == {"/readyz"}


def test_the_model_is_told_after_the_same_tries(service: Service) -> None:
    service.script.append(OVERLOADED)
    with client_of(service) as client:
        assert client.model() == {"name": "fake"}


def test_answers_of_another_model_are_refused_when_one_is_asked_for(service: Service) -> None:
    with client_of(service, model_version="7") as client:
        client.tag(["محمد"])
    client = client_of(service, model_version="8")
    with client, pytest.raises(ClientError, match="not of version 8, which") as failed:
        client.tag(["محمد"])
    assert failed.value.code == "other_model"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"base_url": "localhost:3000"}, "base_url must be like http://host:3000"),
        ({"base_url": "ftp://host"}, "base_url must be"),
        ({"base_url": "http://"}, "base_url must be"),
        ({"base_url": "http://h:port"}, "base_url must be"),
        ({"base_url": f"http://me:{SECRET}@host"}, "without user, password"),
        ({"api_key": f"{SECRET}"}, "api_key must be visible ASCII"),
        ({"api_key": "a\nb"}, "api_key must be visible ASCII"),
        ({"api_key": ""}, "api_key must be visible ASCII"),
        ({"timeout_s": 0}, r"got 0, 16 and 10"),
        ({"concurrency": 0}, r"got 330\.0, 0 and 10"),
        ({"retries": -1}, r"got 330\.0, 16 and -1"),
    ],
)
def test_a_client_that_could_not_work_is_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ClientError, match=words) as failed:
        KhabarClient(**{"base_url": "http://127.0.0.1", **wrong})
    assert failed.value.code == "invalid_client"
    assert SECRET not in str(failed.value)


def test_the_example_of_the_module_runs(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = re.findall(r"\n\n((?:    .*\n|\n)+)", serving.client.__doc__ or "")
    code = re.sub("^    ", "", example, flags=re.MULTILINE)
    assert "http://127.0.0.1:3000" in code
    exec(code.replace("http://127.0.0.1:3000", service.url), {})
    assert capsys.readouterr().out == "[('وصل', 'PERS')]\n[('فاز', 'PERS')]\n"


@pytest.fixture
def khabar(default_tagger: Tagger, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of our own app with the shipped model, which wants the key KEY."""
    monkeypatch.setenv("KHABAR_API_KEYS", KEY)

    def tag(
        articles: Sequence[Article], max_code_points: int | None = None, gone: Any = None
    ) -> list[Prediction]:
        return default_tagger.tag(articles, max_code_points)

    here = SimpleNamespace(bundle=default_tagger.bundle, tag=tag, problem=None)
    with gated(here) as address:
        yield address


def test_the_service_answers_through_the_client_as_the_tagger_does_here(
    khabar: str, default_tagger: Tagger
) -> None:
    articles = [
        Article("زار الرئيس محمد مرسي بغداد، وبالبوكمال عاد الهدوء.", "a1", targets="auto"),
        Article("a\ud800", "a\ud800"),
        Article("فاز الأهلي على الزمالك في القاهرة 😀.", claims=("فاز الزمالك",)),
    ]
    with KhabarClient(khabar) as nameless, pytest.raises(ClientError, match="unauthorized, status"):
        nameless.tag(["محمد"])
    with KhabarClient(khabar, KEY, limits=ONE, concurrency=1) as client:
        client.wait_until_ready(120)
        predictions = client.tag(articles)
        assert client.model()["version"] == default_tagger.bundle.version
        (blank,) = client.tag([Article("محمد", claims=(" ",))])
        with pytest.raises(ClientError, match=r"articles\[0:1\]: .*options\.labels") as failed:
            client.tag([Article("محمد")], {"labels": ["X"]})
    assert (failed.value.code, failed.value.status) == ("invalid_request", 422)
    assert predictions == default_tagger.tag(articles)
    assert predictions[0].entities and predictions[0].groups
    assert (blank.error or "").startswith("claims[0] has 1 code points; the service takes 1 to 500")
