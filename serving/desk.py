"""The desk of a worker: the bundle loaded beside the running server, then requests through the
queue.
"""

from __future__ import annotations

import enum
import gc
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import anyio
import anyio.to_thread

from serving.api.answer import answer_bytes
from serving.api.errors import RequestError
from serving.api.schema import TagRequest, parse_request
from serving.bundle import Bundle
from serving.logs import fault_places
from serving.metrics import Metrics
from serving.model_process import ModelProcessError, ReadingFault
from serving.prediction import Article, Prediction
from serving.queue import Gone, QueueClosedError, QueueFullError, Ticket, TokenQueue
from serving.settings import ServeSettings

if TYPE_CHECKING:
    from serving.reader import OnRead

T = TypeVar("T")
logger = logging.getLogger("khabar.service")
LOADING_RETRY_S = 2
DRAINING_RETRY_S = 5
QUICK_BYTES = 16_384  # of a request that is parsed or answered in a few milliseconds
WARM_UP = "أعلنت وزارة الصحة في عمان يوم الأحد خطة جديدة لدعم المستشفيات."


class Reads(Protocol):
    """The model in its process, or what reads like it."""

    bundle: Bundle
    on_read: OnRead | None
    problem: str | None  # that keeps it from reading now

    def tag(
        self,
        articles: Sequence[Article],
        max_code_points: int | None = None,
        gone: Gone = lambda: False,
    ) -> list[Prediction]:
        """A prediction an article, in order; CallersGoneError may end it once `gone` is true."""
        ...

    def close(self) -> None:
        """Let go of the model for good; what is being read is lost."""
        ...


class State(enum.Enum):
    """How far a worker is."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"  # its bundle cannot be loaded
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class Answered:
    """The body of an answer, and what the access log tells of it."""

    body: bytes
    articles: int
    pieces: int  # estimated


class Desk:
    """A model behind the queue; it answers only once its bundle is verified and warm."""

    def __init__(
        self, open_tagger: Callable[[], Reads], settings: ServeSettings, metrics: Metrics
    ) -> None:
        self.settings = settings
        self.metrics = metrics
        self.state = State.LOADING
        self._open_tagger = open_tagger
        self._tagger: Reads | None = None
        self._queue: TokenQueue | None = None
        self._open = 0  # requests
        self._turning = threading.Lock()  # what is loaded when the worker drains stays closed
        self._loader = threading.Thread(target=self._load, name="khabar-loader", daemon=True)

    def open(self) -> None:
        """Begin to load the bundle, beside the event loop."""
        self._loader.start()

    def wait(self) -> None:
        """Wait until the bundle is loaded, or has failed to."""
        self._loader.join()

    def _load(self) -> None:
        tagger = None
        try:
            tagger = self._open_tagger()
            tagger.tag([Article(WARM_UP, targets="auto")])
            self._take_up(tagger)
        except Exception as fault:
            self._turn(State.FAILED)
            logger.error("the bundle cannot be loaded: %s", fault)  # it has seen no article
            if tagger is not None:
                tagger.close()

    def _take_up(self, tagger: Reads) -> None:
        """Open the queue before a tagger that is warm."""
        tagger.on_read = self.metrics.pieces
        self.metrics.model(tagger.bundle)
        self._tagger = tagger
        self._queue = queue = TokenQueue(
            self._read,
            self._on_fault,
            threads=self.settings.reading_threads,
            max_pieces=self.settings.max_waiting_pieces,
            batch_pieces=self.settings.batch_pieces,
            on_batch=self.metrics.batch,
            on_load=self.metrics.load,
        )
        gc.freeze()  # what is here now stays: no collection need look at it again
        if not self._turn(State.READY):
            queue.close()

    def _turn(self, state: State) -> bool:
        """Go on from loading to another state; false when the worker drains by now."""
        with self._turning:
            if self.state is State.LOADING:
                self.state = state
            return self.state is state

    @property
    def tagger(self) -> Reads:
        """The loaded tagger; before it is there, the refusal that says so."""
        if self._tagger is None:
            raise self._not_ready()
        return self._tagger

    @property
    def queue(self) -> TokenQueue:
        """The queue, open or draining; before it is there, the refusal that says so."""
        if self._queue is None:
            raise self._not_ready()
        return self._queue

    def death(self) -> RequestError | None:
        """What keeps the worker from ever answering; a supervisor may start it anew."""
        return self._not_ready() if self._has_failed() else None

    def unreadiness(self) -> RequestError | None:
        """What keeps the worker from taking requests now."""
        if self.state is State.READY and not self._has_failed():
            return None
        return self._not_ready()

    def _has_failed(self) -> bool:
        broken = self._tagger is not None and self._tagger.problem is not None
        return self.state is State.FAILED or (self.state is State.READY and broken)

    def _not_ready(self) -> RequestError:
        if self.state is State.DRAINING:
            return draining()
        words = "the model is being loaded; try again in a moment"
        if self._has_failed():
            words = "the bundle cannot be loaded; the service's log says why"
        return RequestError("loading", words, retry_after_s=LOADING_RETRY_S)

    def fullness(self) -> RequestError | None:
        """What keeps the worker from taking one more article now, before its body is read."""
        if self._open >= self.settings.max_open_requests:
            told = "too many requests are open; try again after Retry-After seconds"
            return RequestError("overloaded", told, retry_after_s=LOADING_RETRY_S)
        try:
            with refused():
                self.queue.admit()
        except RequestError as refusal:
            return refusal
        return None

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Count a request as open."""
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1

    async def answer(self, body: bytes, request_id: str) -> Answered:
        """The answer to the body of a request."""
        with self.metrics.stage("parse"):
            request = await _beside(len(body), parse_request, body)
        articles = [article.to_article() for article in request.articles]
        with refused():
            ticket = self.queue.enter(articles, request_id)
        predictions = await self._finished(ticket)
        self.metrics.observe("queue", ticket.waited_s or 0.0)
        self.metrics.observe_predictions(predictions, failed=len(ticket.faults))
        with self.metrics.stage("answer"):
            encoded = await _beside(len(body), self._encode, request, predictions)
        return Answered(encoded, len(articles), sum(ticket.costs))

    async def _finished(self, ticket: Ticket) -> list[Prediction]:
        try:
            with anyio.fail_after(self.settings.timeout_s):
                return await self.queue.finished(ticket)
        except TimeoutError:
            self.metrics.articles(len(ticket.articles), "failed")
            told = f"no answer within {self.settings.timeout_s} s; send fewer or shorter articles"
            raise RequestError("timeout", told) from None
        except Exception as error:
            self.metrics.articles(len(ticket.articles), "failed")
            if isinstance(error, ModelProcessError) and self._has_failed():
                raise self._not_ready() from None  # trying it is what starts the process anew
            raise

    def _encode(self, request: TagRequest, predictions: Sequence[Prediction]) -> bytes:
        bundle = self.tagger.bundle
        return answer_bytes(request, predictions, {"name": bundle.name, "version": bundle.version})

    def _read(self, articles: Sequence[Article], gone: Gone) -> list[Prediction]:
        return self.tagger.tag(articles, self.settings.max_code_points, gone)

    def _on_fault(self, fault: Exception, request_id: str) -> None:
        told = fault_places(fault)
        if isinstance(fault, (ReadingFault, ModelProcessError)):  # they tell nothing of an article
            told = str(fault)
        logger.error("an article was not read: %s", told, extra={"request_id": request_id})

    async def drain(self) -> None:
        """Take nothing more and wait until all that was accepted is answered."""
        with self._turning:
            self.state = State.DRAINING
        if self._queue is None:
            return
        self._queue.close()
        await anyio.to_thread.run_sync(self._queue.join, self.settings.drain_timeout_s)
        await anyio.to_thread.run_sync(self.tagger.close)


async def _beside(size: int, work: Callable[..., T], *arguments: Any) -> T:
    """The result of some work for a body of so many bytes, in a thread where it takes long."""
    if size <= QUICK_BYTES:
        return work(*arguments)
    return await anyio.to_thread.run_sync(partial(work, *arguments))


@contextmanager
def refused() -> Iterator[None]:
    """What the queue refuses, as the refusal of a request."""
    try:
        yield
    except QueueFullError as full:
        told = "too many articles are waiting; try again after Retry-After seconds"
        raise RequestError("overloaded", told, retry_after_s=full.retry_after_s) from None
    except QueueClosedError:
        raise draining() from None


def draining() -> RequestError:
    """The refusal of a worker that is stopping."""
    told = "the service is stopping; another will take over"
    return RequestError("draining", told, retry_after_s=DRAINING_RETRY_S)
