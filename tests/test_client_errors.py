"""The client's errors: answers that cannot be true, articles named by their place in the whole
input, and no word of theirs.
"""

from __future__ import annotations

import logging
import pickle
import re
from typing import Any, cast

import pytest

from serving.client import ClientError, RequestLimits
from serving.parcel import parcels
from serving.prediction import Article
from tests.clients import ONE, client_of
from tests.scripted import (
    INTERNAL,
    OVERLOADED,
    SECRET,
    Behaviour,
    Handler,
    Service,
    answer,
    changed,
    fresh_service,  # noqa: F401 - a fixture
    refuses,
    running_service,  # noqa: F401 - a fixture
    says,
)


def swap_ids(made: dict[str, Any]) -> None:
    one, other = made["results"]
    one["id"], other["id"] = other["id"], one["id"]


def first(made: dict[str, Any]) -> dict[str, Any]:
    return cast(dict[str, Any], made["results"][0])


@pytest.mark.parametrize(
    ("behave", "words"),
    [
        (says(200, b"<html>"), "no JSON object"),
        (says(200, b"\xff\xfe\xfa"), "no JSON object"),
        (says(200, b"[" * 100_000), "no JSON object"),
        (says(200, b"[]"), "no JSON object"),
        (says(200, b"{}"), "no results for 2 articles"),
        (changed(lambda made: made["results"].pop()), "1 results for 2 articles"),
        (changed(lambda made: made["results"].append({})), "3 results for 2 articles"),
        (changed(swap_ids), r"result of articles\[0\] has not the id"),
        (
            changed(lambda made: made["results"].reverse()),
            r"result of articles\[0\] has not the id",
        ),
        (
            changed(lambda made: made["results"].__setitem__(1, 7)),
            r"result of articles\[1\] needs id, ",
        ),
        (changed(lambda made: first(made).pop("topics")), r"result of articles\[0\] needs id, "),
        (changed(lambda made: first(made).update(topics={})), r"no valid topics"),
        (changed(lambda made: first(made).update(entities=[3])), r"no valid entities\.0\.id"),
        (changed(lambda made: first(made).update(entities=None)), r"no valid entities"),
        (
            changed(lambda made: first(made)["entities"][0].update(start=1)),
            r"another text .* at entities\.0",
        ),
        (
            changed(lambda made: first(made)["entities"][0].update(start=-9)),
            r"another text .* at entities\.0",
        ),
        (
            changed(lambda made: first(made)["entities"][0].update(end=99)),
            r"another text .* at entities\.0",
        ),
        (
            changed(lambda made: first(made)["entities"][0].update(confidence="high")),
            r"no valid entities\.0\.confidence",
        ),
        (
            changed(lambda made: first(made).update(stances=[{"label": "favor"}])),
            r"no valid stances\.0\.about",
        ),
    ],
)
def test_an_answer_that_cannot_be_true_is_an_error(
    service: Service, behave: Behaviour, words: str
) -> None:
    service.script.append(behave)
    articles = [Article(f"{SECRET} في بغداد", "a"), Article("محمد", "b")]
    with client_of(service) as client, pytest.raises(ClientError, match=words) as failed:
        client.tag(articles)
    assert (failed.value.code, failed.value.status) == ("bad_answer", 200)
    assert len(service.requests) == 1
    assert SECRET not in str(failed.value) + repr(failed.value)


def test_articles_in_an_error_are_counted_in_the_whole_input(service: Service) -> None:
    refused = refuses(422, "invalid_request", "articles[1].targets[0]")
    service.script.extend([answer, answer, refused])
    got = []
    client = client_of(service, concurrency=1, limits=RequestLimits(articles=3))
    with client, pytest.raises(ClientError) as failed:
        for prediction in client.tag_stream(f"خبر{i}" for i in range(20)):
            got.append(prediction.entities[0].text)
    assert got == [f"خبر{i}" for i in range(6)]  # all that precedes the error
    assert failed.value.field == "articles[7].targets[0]"
    assert failed.value.message == "articles[6:9]: articles[7].targets[0] is wrong"


def test_nothing_of_an_article_is_logged_or_told(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    def echoing(handler: Handler, request: Any) -> None:
        handler.wfile.write(f"{SECRET} HTTP\r\n\r\n".encode())
        handler.close_connection = True

    service.script.extend([OVERLOADED, echoing, answer, INTERNAL, INTERNAL])
    with caplog.at_level(logging.DEBUG), client_of(service) as client:
        client.tag([SECRET])
        with pytest.raises(ClientError) as failed:
            client.tag(Article(SECRET, "a", SECRET, (SECRET,), (SECRET,)) for _ in range(2))
    told = [record.getMessage() for record in caplog.records if record.name.startswith("khabar")]
    assert [re.sub(r"[0-9a-f]{32}", "…", line) for line in told] == [
        "request ….1: overloaded; again in 3.5 s",
        "request ….2: connection; again in 1.0 s",
        "request ….1: internal; again in 0.5 s",
    ]
    assert SECRET not in caplog.text + str(failed.value) + repr(failed.value)
    (parcel,) = parcels([SECRET], {}, ONE)
    assert repr(parcel) == "Parcel(articles[0:1])"


def test_an_error_can_go_to_another_process() -> None:
    error = ClientError("overloaded", "m", 429, "r.1", "articles[3].text", 2.5)
    copy = pickle.loads(pickle.dumps(error))
    assert vars(copy) == vars(error) and str(copy) == str(error)
    assert str(error) == "m (overloaded, status 429, request r.1)"
