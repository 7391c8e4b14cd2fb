"""The queue between requests and the Tagger: order, fairness, bounds, faults, the end."""

from __future__ import annotations

import asyncio
import threading
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.prediction import Article, Prediction
from serving.queue import (
    FIRST_PIECES_A_SECOND,
    MAX_RETRY_S,
    Gone,
    QueueClosedError,
    QueueFullError,
    Read,
    Ticket,
    TokenQueue,
    cost_of,
)

POISON = "سمّ"
WAIT_S = 10


def echo(articles: Sequence[Article], gone: Gone) -> list[Prediction]:
    if any(POISON in article.text for article in articles):
        raise ValueError(f"cannot read {articles[0].text}")
    return [Prediction(article.text) for article in articles]


class Door:
    """A reader that keeps the batches it was given and waits at a door."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.entered = threading.Semaphore(0)
        self.batches: list[list[str]] = []

    def __call__(self, articles: Sequence[Article], gone: Gone) -> list[Prediction]:
        self.batches.append([article.text for article in articles])
        self.entered.release()
        assert self.open.wait(WAIT_S)
        return echo(articles, gone)


def test_a_long_article_is_read_in_no_batch_of_others() -> None:
    door = Door()
    with queue_of(door, batch_pieces=192) as queue:
        queue.enter([Article("س" * 70)], "busy")
        assert door.entered.acquire(timeout=WAIT_S)
        tickets = [queue.enter([Article("ص" * n)], "r") for n in (70, 70, 40_000, 71)]
        door.open.set()
        for ticket in tickets:
            ticket.done.result(WAIT_S)
    assert [[len(text) for text in batch] for batch in door.batches] == [
        [70], [70, 70], [40_000], [71],
    ]  # fmt: skip


@contextmanager
def queue_of(
    read: Read = echo,
    *,
    threads: int = 1,
    max_pieces: int = 1_000_000,
    batch_pieces: int = 64,
    faults: list[tuple[str, str]] | None = None,
) -> Iterator[TokenQueue]:
    def note(fault: Exception, request_id: str) -> None:
        if faults is not None:
            faults.append((type(fault).__name__, request_id))

    queue = TokenQueue(
        read, note, threads=threads, max_pieces=max_pieces, batch_pieces=batch_pieces
    )
    try:
        yield queue
    finally:
        queue.close()
        assert queue.join(WAIT_S)


def enter(queue: TokenQueue, *texts: str, request_id: str = "r") -> Ticket:
    return queue.enter([Article(text) for text in texts], request_id)


def ids(ticket: Ticket) -> list[str | None]:
    return [prediction.id for prediction in ticket.done.result(WAIT_S)]


@settings(deadline=None, max_examples=40)
@given(
    requests=st.lists(st.lists(st.text("ابتث ", min_size=1), min_size=1, max_size=9), max_size=12),
    threads=st.integers(1, 3),
    batch_pieces=st.integers(1, 200),
)
def test_every_request_gets_its_own_articles_in_order(
    requests: list[list[str]], threads: int, batch_pieces: int
) -> None:
    with queue_of(threads=threads, batch_pieces=batch_pieces) as queue:
        tickets = [enter(queue, *texts) for texts in requests]
        assert [ids(ticket) for ticket in tickets] == requests
        assert (queue.load.waiting_pieces, queue.load.waiting_articles) == (0, 0)


def test_a_large_request_does_not_hold_up_a_small_one() -> None:
    door = Door()
    with queue_of(door, batch_pieces=1) as queue:
        large = enter(queue, *(f"كبير{i}" for i in range(20)))
        assert door.entered.acquire(timeout=WAIT_S)
        small = enter(queue, "صغير")
        door.open.set()
        assert ids(small) == ["صغير"]
        assert len(ids(large)) == 20
    assert ["صغير"] in door.batches[:3]


def test_what_waits_is_read_together_up_to_the_size_of_a_batch() -> None:
    door = Door()
    cost = cost_of(Article("خبر"))
    with queue_of(door, batch_pieces=4 * cost) as queue:
        first = enter(queue, "خبر")
        assert door.entered.acquire(timeout=WAIT_S)
        others = [enter(queue, "خبر") for _ in range(10)]
        door.open.set()
        assert [ids(ticket) for ticket in [first, *others]] == [["خبر"]] * 11
    assert [len(batch) for batch in door.batches] == [1, 4, 4, 2]


def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    door = Door()
    with queue_of(door, max_pieces=40, batch_pieces=1) as queue:
        enter(queue, "خبر")
        assert door.entered.acquire(timeout=WAIT_S)
        enter(queue, "خبر " * 30)  # 36 pieces
        with pytest.raises(QueueFullError) as refused:
            enter(queue, "خبر " * 8)
        assert 0 < refused.value.retry_after_s <= MAX_RETRY_S
        enter(queue, "خبر")  # there is room for a small one
        door.open.set()


def test_a_large_request_finds_room_between_small_ones() -> None:
    """It counts as a quarter of the queue, however large it is."""
    door = Door()
    with queue_of(door, max_pieces=40, batch_pieces=1) as queue:
        enter(queue, "خبر")
        assert door.entered.acquire(timeout=WAIT_S)
        enter(queue, "خبر " * 20)  # 24 pieces
        large = enter(queue, "خبر " * 3000)
        with pytest.raises(QueueFullError):
            enter(queue, "خبر")
        door.open.set()
        assert large.done.result(WAIT_S)


class Steps:
    """A reader that reads one batch for every step it is allowed."""

    def __init__(self) -> None:
        self.allowed = threading.Semaphore(0)
        self.entered = threading.Semaphore(0)

    def __call__(self, articles: Sequence[Article], gone: Gone) -> list[Prediction]:
        self.entered.release()
        assert self.allowed.acquire(timeout=WAIT_S)
        return echo(articles, gone)

    def wait(self) -> None:
        """Wait until the next batch is being read."""
        assert self.entered.acquire(timeout=WAIT_S)


def test_a_large_request_that_has_begun_leaves_room_for_others() -> None:
    """Until it has begun it counts whole, then as a quarter: they are read in turn with it."""
    steps = Steps()
    with queue_of(steps, max_pieces=40, batch_pieces=1) as queue:
        enter(queue, "خبر")
        steps.wait()
        large = enter(queue, *["خبر " * 20] * 60)
        with pytest.raises(QueueFullError):
            enter(queue, "نبأ")
        steps.allowed.release()
        steps.wait()  # the first of the large one
        small = enter(queue, "نبأ " * 10)
        steps.allowed.release(3)
        assert ids(small) == ["نبأ " * 10]
        assert large.taken < 5
        steps.allowed.release(1000)
        assert len(ids(large)) == 60
        assert (queue.load.waiting_pieces, queue.load.waiting_articles) == (0, 0)


def test_large_requests_that_have_begun_fill_the_queue_by_quarters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There is no room before one of them ends, and they are read in turn."""
    monkeypatch.setattr("serving.queue.MEMORY", 1)  # the rate stays what it is at first
    steps = Steps()
    with queue_of(steps, max_pieces=400, batch_pieces=1) as queue:
        large = []
        for _ in range(4):
            large.append(enter(queue, *["خبر " * 100] * 9))
            while not large[-1].taken:
                steps.wait()
                steps.allowed.release()
        with pytest.raises(QueueFullError) as refused:
            enter(queue, "خبر")
        ahead = queue.load.waiting_pieces + queue.load.running_pieces
        assert refused.value.retry_after_s == pytest.approx(ahead / FIRST_PIECES_A_SECOND)
        steps.allowed.release(1000)
        assert all(len(ids(ticket)) == 9 for ticket in large)


def test_each_thread_brings_room_of_its_own() -> None:
    door = Door()
    with queue_of(door, threads=3, max_pieces=20, batch_pieces=1) as queue:
        running = [enter(queue, "خبر") for _ in range(3)]
        for _ in running:
            assert door.entered.acquire(timeout=WAIT_S)
        enter(queue, "خبر " * 30)
        enter(queue, "خبر " * 15)  # 36 + 19 of 60
        with pytest.raises(QueueFullError):
            enter(queue, "خبر " * 15)
        door.open.set()


def test_a_request_like_the_last_ones_is_refused_before_its_body_is_read() -> None:
    """There is room for a small one, and none for those that come."""
    door = Door()
    with queue_of(door, max_pieces=400, batch_pieces=1) as queue:
        enter(queue, "خبر")
        assert door.entered.acquire(timeout=WAIT_S)
        enter(queue, "خبر " * 280)  # 321 pieces
        queue.admit()
        for _ in range(30):
            with pytest.raises(QueueFullError):
                enter(queue, "خبر " * 120)
        with pytest.raises(QueueFullError):
            queue.admit()
        enter(queue, "خبر " * 30)
        door.open.set()


def test_a_queue_that_can_take_nothing_more_says_so_before_a_body_is_read() -> None:
    door = Door()
    with queue_of(door, max_pieces=10, batch_pieces=1) as queue:
        enter(queue, "خبر")
        assert door.entered.acquire(timeout=WAIT_S)
        queue.admit()
        enter(queue, "خبر " * 30)
        with pytest.raises(QueueFullError):
            queue.admit()
        door.open.set()


def test_a_closed_queue_takes_nothing_and_answers_what_it_had() -> None:
    door = Door()
    with queue_of(door, batch_pieces=1) as queue:
        accepted = [enter(queue, f"خبر{i}", f"نبأ{i}") for i in range(5)]
        assert door.entered.acquire(timeout=WAIT_S)
        queue.close()
        with pytest.raises(QueueClosedError):
            enter(queue, "خبر")
        with pytest.raises(QueueClosedError):
            queue.admit()
        assert not queue.join(0)
        door.open.set()
        assert queue.join(WAIT_S)
        assert [ids(ticket) for ticket in accepted] == [[f"خبر{i}", f"نبأ{i}"] for i in range(5)]


def test_an_article_that_cannot_be_read_harms_no_other() -> None:
    faults: list[tuple[str, str]] = []
    door = Door()
    with queue_of(door, batch_pieces=10_000, faults=faults) as queue:
        enter(queue, "أول")
        assert door.entered.acquire(timeout=WAIT_S)
        sick = enter(queue, "قبل", POISON, "بعد", request_id="sick")
        well = enter(queue, "سليم", request_id="well")
        door.open.set()
        assert ids(well) == ["سليم"]
        results = sick.done.result(WAIT_S)
    assert [result.error is None for result in results] == [True, False, True]
    assert "sick" in str(results[1].error) and POISON not in str(results[1].error)
    assert faults == [("ValueError", "sick")]


def test_a_request_of_nothing_but_faults_fails_whole() -> None:
    with queue_of() as queue:
        ticket = enter(queue, POISON, POISON)
        assert isinstance(ticket.done.exception(WAIT_S), ValueError)


def test_a_reader_that_loses_an_article_is_a_fault() -> None:
    with queue_of(lambda articles, gone: echo(articles, gone)[1:]) as queue:
        fault = enter(queue, "خبر", "نبأ").done.exception(WAIT_S)
    assert isinstance(fault, RuntimeError) and "one prediction an article" in str(fault)


def test_articles_of_a_caller_that_left_are_not_read() -> None:
    door = Door()

    async def leave(queue: TokenQueue) -> None:
        ticket = enter(queue, *(f"متروك{i}" for i in range(5)))
        waiting = asyncio.ensure_future(queue.finished(ticket))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    with queue_of(door, batch_pieces=1) as queue:
        enter(queue, "أول")
        assert door.entered.acquire(timeout=WAIT_S)
        asyncio.run(leave(queue))
        assert (queue.load.waiting_pieces, queue.load.waiting_articles) == (0, 0)
        door.open.set()
        assert ids(enter(queue, "آخر")) == ["آخر"]
    assert door.batches == [["أول"], ["آخر"]]


@pytest.mark.parametrize(
    ("less", "more"),
    [
        (Article("خبر"), Article("خبر " * 100)),
        (Article("خبر " * 100), Article("خبر " * 100, targets=("بغداد",))),
        (Article("خبر " * 100, targets=("بغداد",)), Article("خبر " * 100, targets="auto")),
        (Article("خبر " * 2000), Article("خبر " * 2000, claims=("سقطت",))),
        (Article("خبر"), Article("خبر", title="عنوان طويل من كلمات")),
    ],
)
def test_what_asks_for_more_costs_more(less: Article, more: Article) -> None:
    assert 0 < cost_of(less) < cost_of(more)


def test_a_sign_that_is_a_phrase_counts_as_one() -> None:
    phrase = unicodedata.normalize("NFKC", "\ufdfa\ufdfb" * 100)
    assert cost_of(Article("\ufdfa\ufdfb" * 100)) == cost_of(Article(phrase))
