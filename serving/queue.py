"""The queue between requests and the Tagger: bounded in pieces, read in batches across requests.

Requests enter from the event loop; threads of its own take their articles in turn, so that a large
request does not hold up a small one. What is refused is refused before any work is done, and what
was accepted is answered, unless its caller has gone: then it is read no further.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from annotations.errors import KhabarError
from serving.prediction import MAX_AUTO_TARGETS, Article, Prediction

CODE_POINTS_A_PIECE = 3.5  # of Arabic news, blanks counted
PHRASES = {"\ufdfa": 17, "\ufdfb": 7}  # signs that are read as phrases: so many letters more
PIECES_A_PAIR = 96  # a target or claim with the sentence it is judged in
PAIRS_A_TARGET = 3  # sentences that name it, judged together with the next one
PAIRS_A_CLAIM = 24
FIRST_PIECES_A_SECOND = 4000.0  # until a rate is measured
MEMORY = 0.8  # share of an old mean that a new value leaves
MAX_RETRY_S = 60

Gone = Callable[[], bool]  # whether nobody waits any more for what is being read
Read = Callable[[Sequence[Article], Gone], list[Prediction]]
OnFault = Callable[[Exception, str], None]


class QueueFullError(KhabarError):
    """No room for a request now; `retry_after_s` is when there should be."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("too many articles are waiting")
        self.retry_after_s = retry_after_s


class QueueClosedError(KhabarError):
    """The service is stopping: what was accepted is answered, nothing else is taken."""


class CallersGoneError(KhabarError):
    """What was being read is given up: nobody waits for it any more."""


def _letters(text: str) -> int:
    """The code points of a text as the model reads it, about."""
    return len(text) + sum(more * text.count(sign) for sign, more in PHRASES.items())


def cost_of(article: Article) -> int:
    """About how many pieces the model reads for an article and what is asked of it.

    An estimate from lengths alone: to count them would be half the work already.
    """
    letters = sum(map(_letters, (article.text, article.title or "")))
    text = math.ceil(letters / CODE_POINTS_A_PIECE)
    targets = MAX_AUTO_TARGETS if article.targets == "auto" else len(article.targets)
    sentences = math.ceil(text / PIECES_A_PAIR)
    pairs = targets * min(PAIRS_A_TARGET, sentences)
    pairs += len(article.claims) * min(PAIRS_A_CLAIM, sentences)
    return 1 + text + pairs * PIECES_A_PAIR


@dataclass(slots=True, eq=False)
class Ticket:
    """A request in the queue; it is done when every article has its prediction."""

    articles: Sequence[Article]
    costs: Sequence[int]
    request_id: str
    entered: float  # time.monotonic()
    done: Future[list[Prediction]] = field(default_factory=Future)
    results: list[Prediction | None] = field(init=False)
    taken: int = 0
    untaken_pieces: int = field(init=False)  # of the articles that no thread has taken yet
    finished: int = 0
    faults: list[Exception] = field(default_factory=list)
    waited_s: float | None = None  # until its first article was taken

    def __post_init__(self) -> None:
        self.results = [None] * len(self.articles)
        self.untaken_pieces = sum(self.costs)

    @property
    def next_cost(self) -> int:
        """The estimated pieces of the article that is taken next."""
        return self.costs[self.taken]

    def take(self) -> Place:
        """The next article, for a thread to read."""
        place = Place(self, self.taken)
        self.taken += 1
        self.untaken_pieces -= place.cost
        return place


@dataclass(frozen=True, slots=True)
class Place:
    """One article of a ticket."""

    ticket: Ticket
    index: int

    @property
    def article(self) -> Article:
        """The article to read."""
        return self.ticket.articles[self.index]

    @property
    def cost(self) -> int:
        """Its estimated pieces."""
        return self.ticket.costs[self.index]


@dataclass(frozen=True, slots=True)
class Load:
    """How full a queue is."""

    waiting_pieces: int
    waiting_articles: int
    running_pieces: int


class TokenQueue:
    """Articles of many requests, read by `threads` threads in batches of at most `batch_pieces`, a
    longer article alone.

    `read` gives one prediction an article, in order, or CallersGoneError once it finds that its
    callers have gone. `on_fault` is told each exception of it and the id of the request it struck;
    `on_batch` the articles, estimated pieces and seconds of each batch; `on_load` how full the
    queue is, whenever that changes. `max_pieces` may wait for each thread. A large request counts
    as a quarter of what may wait for all, when it enters and once it has begun: from then on others
    are read in turn with it.
    """

    def __init__(
        self,
        read: Read,
        on_fault: OnFault,
        *,
        threads: int,
        max_pieces: int,
        batch_pieces: int,
        on_batch: Callable[[int, int, float], None] | None = None,
        on_load: Callable[[Load], None] | None = None,
    ) -> None:
        self._read = read
        self._on_fault = on_fault
        self._on_batch = on_batch
        self._on_load = on_load
        self._max_pieces = max_pieces * threads
        self._batch_pieces = batch_pieces
        self._waiting: deque[Ticket] = deque()
        self._waiting_pieces = self._running_pieces = self._waiting_articles = 0
        self._rate = FIRST_PIECES_A_SECOND * threads
        self._usual_pieces = 1.0  # of a request
        self._closed = False
        self._work = threading.Condition()
        self._threads = [
            threading.Thread(target=self._serve, name=f"khabar-reader-{i}", daemon=True)
            for i in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    async def finished(self, ticket: Ticket) -> list[Prediction]:
        """The predictions of a ticket. A caller that is cancelled takes its articles out."""
        try:
            return await asyncio.wrap_future(ticket.done)
        except asyncio.CancelledError:
            self._take_out(ticket)
            raise

    def enter(self, articles: Sequence[Article], request_id: str) -> Ticket:
        """Queue the articles of a request, or refuse them all for what waits before them."""
        costs = [cost_of(article) for article in articles]
        ticket = Ticket(articles, costs, request_id, time.monotonic())
        with self._work:
            if self._closed:
                raise QueueClosedError("the service is stopping")
            self._usual_pieces += (1 - MEMORY) * (sum(costs) - self._usual_pieces)
            self._refuse_overload(sum(costs))
            self._waiting.append(ticket)
            self._waiting_pieces += sum(costs)
            self._waiting_articles += len(articles)
            self._tell_load()
            self._work.notify_all()
        return ticket

    def admit(self) -> None:
        """Refuse now what `enter` would most likely refuse later, before a body is read: a request
        like those before it.
        """
        with self._work:
            if self._closed:
                raise QueueClosedError("the service is stopping")
            self._refuse_overload(self._usual_pieces)

    def _refuse_overload(self, pieces: float) -> None:
        """Refuse a request of so many pieces for what waits before it. A large one counts as a
        quarter of the queue, or it would find room only where nothing waits; and one that has begun
        too, or nobody would find room until it is read.
        """
        quarter = self._max_pieces / 4
        large = [t for t in self._waiting if t.taken and t.untaken_pieces > quarter]
        passing = self._waiting_pieces - sum(ticket.untaken_pieces for ticket in large)
        waiting = passing + len(large) * quarter
        excess = waiting + min(pieces, quarter) - self._max_pieces
        if waiting and excess > 0:
            # there is room when as much of the small ones is read, or else when large ones end
            ahead = waiting if excess <= passing else self._waiting_pieces
            raise QueueFullError(min((ahead + self._running_pieces) / self._rate, MAX_RETRY_S))

    @property
    def load(self) -> Load:
        """How full the queue is."""
        with self._work:
            return Load(self._waiting_pieces, self._waiting_articles, self._running_pieces)

    def _tell_load(self) -> None:
        if self._on_load is not None:
            self._on_load(self.load)

    def close(self) -> None:
        """Take nothing more; what waits is still read, and then the threads end."""
        with self._work:
            self._closed = True
            self._work.notify_all()

    def join(self, timeout_s: float) -> bool:
        """Wait for a closed queue to end; whether it did."""
        until = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(until - time.monotonic(), 0))
        return not any(thread.is_alive() for thread in self._threads)

    def _take_out(self, ticket: Ticket) -> None:
        """Forget the articles of a ticket that no thread has taken."""
        ticket.done.cancel()
        with self._work:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
                self._waiting_pieces -= ticket.untaken_pieces
                self._waiting_articles -= len(ticket.articles) - ticket.taken
                self._tell_load()

    def _serve(self) -> None:
        while batch := self._next_batch():
            began = time.monotonic()
            read = self._read_batch(batch)
            self._settle(batch, time.monotonic() - began if read else None)

    def _next_batch(self) -> list[Place]:
        """The next articles, one of each waiting request in turn; none when the queue has ended."""
        with self._work:
            while not self._waiting:
                if self._closed:
                    return []
                self._work.wait()
            batch: list[Place] = []
            pieces = 0
            now = time.monotonic()
            while self._waiting:
                if batch and pieces + self._waiting[0].next_cost > self._batch_pieces:
                    break  # its length is not for these to wait for
                ticket = self._waiting.popleft()
                if ticket.waited_s is None:
                    ticket.waited_s = now - ticket.entered
                place = ticket.take()
                batch.append(place)
                pieces += place.cost
                if ticket.taken < len(ticket.articles):
                    self._waiting.append(ticket)
            self._waiting_pieces -= pieces
            self._waiting_articles -= len(batch)
            self._running_pieces += pieces
            self._tell_load()
            return batch

    def _read_batch(self, batch: Sequence[Place]) -> bool:
        """Read a batch; where it fails, each of its articles alone, so that one harms no other.
        False where it was given up, as its callers have gone.
        """
        try:
            for place, prediction in zip(batch, self._predictions(batch), strict=True):
                place.ticket.results[place.index] = prediction
            return True
        except CallersGoneError:
            return False
        except Exception as fault:
            if len(batch) == 1:
                self._note_fault(batch[0], fault)
                return True
        return all([self._read_batch([place]) for place in batch])

    def _predictions(self, batch: Sequence[Place]) -> list[Prediction]:
        def gone() -> bool:
            return all(place.ticket.done.cancelled() for place in batch)

        predictions = self._read([place.article for place in batch], gone)
        if len(predictions) != len(batch):
            raise RuntimeError("the Tagger must give one prediction an article")
        return predictions

    def _note_fault(self, place: Place, fault: Exception) -> None:
        request_id = place.ticket.request_id
        self._on_fault(fault, request_id)
        told = f"not read: an internal fault; please report request {request_id}"
        place.ticket.results[place.index] = Prediction(place.article.id, error=told)
        place.ticket.faults.append(fault)

    def _settle(self, batch: Sequence[Place], seconds: float | None) -> None:
        """Count a batch as done and answer the requests that it completes; `seconds` None: it was
        not read to its end.
        """
        pieces = sum(place.cost for place in batch)
        whole: list[Ticket] = []
        with self._work:
            self._running_pieces -= pieces
            self._tell_load()
            if seconds is not None:
                rate = len(self._threads) * pieces / max(seconds, 1e-6)
                self._rate = MEMORY * self._rate + (1 - MEMORY) * rate
            for place in batch:
                place.ticket.finished += 1
                if place.ticket.finished == len(place.ticket.articles):
                    whole.append(place.ticket)
        if self._on_batch is not None and seconds is not None:
            self._on_batch(len(batch), pieces, seconds)
        for ticket in whole:
            if ticket.done.set_running_or_notify_cancel():
                _answer(ticket)


def _answer(ticket: Ticket) -> None:
    """Hand a request its predictions, or the fault that struck every one of its articles."""
    if len(ticket.faults) == len(ticket.articles):
        ticket.done.set_exception(ticket.faults[0])
        return
    predictions = [prediction for prediction in ticket.results if prediction is not None]
    assert len(predictions) == len(ticket.articles)
    ticket.done.set_result(predictions)
