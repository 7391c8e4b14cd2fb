"""The client's stream: as many requests in flight as allowed, answers in order, a source that is
never read far ahead, and an end that leaves nothing behind.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from itertools import count, islice
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.client import ClientError, KhabarClient, RequestLimits
from serving.prediction import Article, Prediction
from tests.clients import ONE, Clock, client_of
from tests.scripted import (
    LOADING,
    SOON,
    STOPPING,
    Behaviour,
    Handler,
    Service,
    answer,
    fresh_service,  # noqa: F401 - a fixture
    read,
    refuses,
    reset,
    running_service,  # noqa: F401 - a fixture
)

QUICK = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
TRANSIENT = st.sampled_from([refuses(429, "overloaded"), refuses(503, "loading"), reset, None])


@QUICK
@given(
    n=st.integers(0, 40),
    size=st.integers(1, 7),
    concurrency=st.integers(1, 5),
    script=st.lists(TRANSIENT, max_size=8),
)
def test_order_is_kept_and_nothing_is_lost_or_answered_twice(
    running: Service, n: int, size: int, concurrency: int, script: list[Behaviour | None]
) -> None:
    running.forget()
    answered: Counter[str] = Counter()

    def counted(handler: Handler, request: Any) -> None:
        with running.lock:
            answered.update(raw["text"] for raw in request["articles"])
        answer(handler, request)

    running.usual = counted
    running.script.extend(behave or counted for behave in script)
    texts = [f"خبر{i} اليوم" for i in range(n)]
    limits = RequestLimits(articles=size)
    with client_of(running, concurrency=concurrency, retries=8, limits=limits) as client:
        predictions = client.tag(texts)
    assert predictions == [read(Article(text)) for text in texts]
    assert answered == Counter(texts)
    assert running.most <= concurrency


def test_as_many_requests_as_allowed_are_in_flight_for_all_threads_together(
    service: Service,
) -> None:
    together = threading.Barrier(3)

    def meeting(handler: Handler, request: Any) -> None:
        together.wait(20)  # broken, and an error, unless three come at once
        answer(handler, request)

    service.usual = meeting
    found: dict[str, list[Prediction]] = {}
    with client_of(service, concurrency=3, limits=ONE) as client:

        def work(name: str) -> None:
            found[name] = client.tag([f"{name}{i}" for i in range(6)])

        callers = [threading.Thread(target=work, args=(name,)) for name in ("أ", "ب", "ج")]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    assert service.most == 3
    for name, predictions in found.items():
        assert [p.entities[0].text for p in predictions] == [f"{name}{i}" for i in range(6)]
    assert len(found) == 3


def test_a_client_that_is_told_to_stop_sends_less_and_then_more(service: Service) -> None:
    """Fewer are in flight once some were refused, and in the end as many as are allowed."""
    roomy = threading.Event()
    room = threading.Semaphore(4)

    def crowded(handler: Handler, request: Any) -> None:
        if roomy.is_set():
            time.sleep(0.02)
        elif room.acquire(blocking=False):
            time.sleep(0.02)
            room.release()  # before the answer, for the next request may follow it at once
        else:
            SOON(handler, request)
            return
        answer(handler, request)

    service.usual = crowded
    texts = [f"خبر{i}" for i in range(400)]
    with client_of(service, Clock(), concurrency=16, limits=ONE, retries=30) as client:
        client.tag(texts[:200])
        refused = len(service.requests) - 200
        # At the limit one answer in six is a refusal; 16 at once are refused until one gives up.
        assert 0 < refused < 100
        roomy.set()
        service.most = 0
        assert [p.error for p in client.tag(texts)] == [None] * 400
    assert service.most == 16
    assert len(service.requests) == 600 + refused


@pytest.mark.parametrize("field", ["text", "title", "targets", "claims", "id"])
def test_two_halves_of_a_letter_harm_no_other_article(service: Service, field: str) -> None:
    """JSON makes one letter of them, and the service would read another text than was given."""
    halves = "خبر \ud83d\ude00 اليوم"
    given: Any = (halves,) if field in ("targets", "claims") else halves
    odd = Article(**({"text": "خبر", "id": "odd"} | {field: given}))
    with client_of(service) as client:
        before, found, after = client.tag([Article("قبل"), odd, Article("بعد")])
    assert before == read(Article("قبل")) and after == read(Article("بعد"))
    assert found.id == odd.id
    if field == "id":
        assert found.error is None and found.entities
    else:
        assert found.error is not None and "surrogate" in found.error
        assert not any(text == halves for texts in service.texts for text in texts)


@pytest.mark.parametrize(("concurrency", "size"), [(1, 1), (2, 3), (4, 2)])
def test_the_source_is_never_read_far_ahead(service: Service, concurrency: int, size: int) -> None:
    given = 0
    hold = threading.Event()

    def endless() -> Iterator[str]:
        nonlocal given
        for i in count():
            given += 1
            yield f"خبر{i}"

    def held(handler: Handler, request: Any) -> None:
        hold.wait(20)
        answer(handler, request)

    service.usual = held
    with client_of(service, concurrency=concurrency, limits=RequestLimits(size)) as client:
        stream = client.tag_stream(endless())
        assert given == 0
        reader = threading.Thread(target=next, args=(stream,))
        reader.start()
        while given < 2 * concurrency * size:
            assert reader.is_alive()
            time.sleep(0.005)
        time.sleep(0.05)  # in which it would read on, if it could
        assert given == 2 * concurrency * size
        hold.set()
        reader.join()
        for taken, prediction in enumerate(islice(stream, 20), 1):
            assert prediction.entities[0].text == f"خبر{taken}"
            assert given - taken <= 2 * concurrency * size
        stream.close()


def test_what_is_done_comes_before_the_source_is_read_on(service: Service) -> None:
    given = 0

    def slow() -> Iterator[str]:
        nonlocal given
        for _ in range(100):
            given += 1
            yield "خبر"
            time.sleep(0.05)

    with client_of(service, concurrency=50, limits=ONE) as client:
        stream = client.tag_stream(slow())
        next(stream)
        assert given < 100
        stream.close()


def test_closing_ends_every_wait(service: Service) -> None:
    service.usual = LOADING
    client = KhabarClient(service.url)
    ended: list[str] = []

    def work() -> None:
        try:
            client.tag(["محمد"])
        except ClientError as error:
            ended.append(error.code)

    caller = threading.Thread(target=work)
    caller.start()
    assert service.came.acquire(timeout=20)
    closer = threading.Thread(target=client.close)
    closer.start()
    closer.join(20)
    caller.join(20)
    assert ended == ["closed"]
    with pytest.raises(ClientError, match="open another one"):
        client.tag(["محمد"])
    with pytest.raises(ClientError, match="open another one"):
        client.ready()
    client.close()


def test_who_leaves_a_stream_leaves_no_requests_behind(service: Service) -> None:
    begun, over, together = threading.Event(), threading.Event(), threading.Barrier(2)

    def late(handler: Handler, request: Any) -> None:
        if request["articles"][0]["text"] == "خبر0":
            begun.wait(20)
            answer(handler, request)
        else:
            begun.set()
            over.wait(20)
            STOPPING(handler, request)

    def meeting(handler: Handler, request: Any) -> None:
        if request["articles"][0]["text"].startswith("خبر"):  # sent before its reader left
            STOPPING(handler, request)
            return
        together.wait(20)  # both threads of the client are free again
        answer(handler, request)

    service.usual = late
    with client_of(service, concurrency=2, limits=ONE) as client:
        for _ in client.tag_stream(f"خبر{i}" for i in count()):
            break
        service.usual = meeting
        over.set()
        client.tag(["بغداد", "محمد"])
    sent = Counter(text for (text,) in service.texts)
    assert sent.keys() <= {"خبر0", "خبر1", "خبر2", "بغداد", "محمد"}
    assert set(sent.values()) == {1}  # what was in flight was not sent again


def test_the_fault_of_a_source_is_its_own(service: Service) -> None:
    def broken() -> Iterator[str]:
        yield "محمد"
        raise OSError("the disk is gone")

    with client_of(service) as client, pytest.raises(OSError, match="the disk is gone"):
        client.tag(broken())
