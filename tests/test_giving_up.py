"""Articles whose callers have left are read no further."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence

import pytest

from serving.bundle import DEFAULT_FOLDER
from serving.model_process import ModelProcess
from serving.prediction import Article, Prediction
from serving.queue import CallersGoneError, Gone, TokenQueue
from serving.tagger import Tagger
from tests.served import JSON, Served, served
from tests.waiting import wait_until

WAIT_S = 60
SHORT = Article("زار الرئيس محمد مرسي بغداد.", "short")
LONG = Article("زار الرئيس محمد مرسي بغداد. " * 7_000, "long", claims=("سقطت بغداد.",))


def test_a_queue_tells_when_the_callers_have_gone_and_counts_nothing() -> None:
    begun = threading.Event()
    counted: list[tuple[int, int, float]] = []
    faults: list[Exception] = []

    def read(articles: Sequence[Article], gone: Gone) -> list[Prediction]:
        if articles[0].id == "short":
            return [Prediction(article.id) for article in articles]
        begun.set()
        wait_until(gone)
        raise CallersGoneError("given up")

    queue = TokenQueue(
        read,
        lambda fault, _: faults.append(fault),
        threads=1,
        max_pieces=10**9,
        batch_pieces=64,
        on_batch=lambda *counts: counted.append(counts),
    )
    left = queue.enter([LONG], "left")
    assert begun.wait(WAIT_S)
    after = queue.enter([SHORT], "after")
    assert queue.load.running_pieces > 10_000
    left.done.cancel()
    assert [p.id for p in after.done.result(WAIT_S)] == ["short"]
    queue.close()
    assert queue.join(WAIT_S)
    assert [articles for articles, _, _ in counted] == [1] and not faults
    assert queue.load.running_pieces == 0


@pytest.fixture(scope="module")
def model() -> Iterator[ModelProcess]:
    opened = ModelProcess(DEFAULT_FOLDER, "cpu", 1)
    yield opened
    opened.close()


def test_a_model_gives_up_between_two_batches_and_reads_on(
    model: ModelProcess, default_tagger: Tagger
) -> None:
    began = time.monotonic()
    expected = default_tagger.tag([SHORT])
    child = model._child.process.pid
    for seconds in (0.0, 0.3, 1.0):
        since = time.monotonic()
        with pytest.raises(CallersGoneError):
            model.tag([LONG], gone=lambda: time.monotonic() > since + seconds)  # noqa: B023
        assert model.tag([SHORT]) == expected
    given_up_s = time.monotonic() - began
    began = time.monotonic()
    assert model.tag([LONG])[0].entities
    assert given_up_s < 0.5 * (time.monotonic() - began) + 10
    assert model._child.process.pid == child


@pytest.mark.parametrize("crossed", [1, 4])
def test_an_answer_that_crosses_with_giving_up_is_not_the_next_ones(
    model: ModelProcess, default_tagger: Tagger, monkeypatch: pytest.MonkeyPatch, crossed: int
) -> None:
    monkeypatch.setattr("serving.model_process.GONE_S", 0.0)
    expected = default_tagger.tag([SHORT])
    answers = 0
    seconds = 0.5
    while answers < crossed:
        asked = iter([False])

        def gone() -> bool:  # the answer is there when it says so
            return next(asked, True) and not time.sleep(seconds)  # noqa: B023

        try:
            assert model.tag([SHORT], gone=gone) == expected
            answers += 1
        except CallersGoneError:
            seconds *= 2
            assert seconds < WAIT_S
        assert model.tag([SHORT]) == expected


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("gone")) as running:
        yield running


def test_callers_that_leave_long_articles_behind_hold_nobody_up(service: Served) -> None:
    body = json.dumps({"articles": [{"text": LONG.text, "claims": list(LONG.claims)}]}).encode()
    callers = [service.connect() for _ in range(4)]
    for caller in callers:
        caller.request("POST", "/v1/tag", body, JSON)
    wait_until(lambda: running_pieces(service) > 10_000)
    for caller in callers:
        caller.close()
    wait_until(lambda: running_pieces(service) == 0)
    assert service.tag("محمد")[0] == 200
    assert "fault" not in service.told() and "Traceback" not in service.told()


def running_pieces(service: Served) -> float:
    """How many pieces are being read, by its metrics."""
    figures = service.request("GET", "/metrics")[2].decode().splitlines()
    return sum(float(f.split()[-1]) for f in figures if f.startswith("khabar_running_pieces"))
