"""The http engine: a running service reads the parts; threads here send articles and take answers.

The service may be busy, and says so: the client then waits as long as it is told to. A part is
taken from the input only when a thread is free, so that little is held here however slow it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from queue import SimpleQueue
from threading import Lock

from serving.batch.errors import BatchError, UsageError, failure
from serving.batch.model import ModelId
from serving.batch.options import BatchOptions
from serving.batch.parts import Part
from serving.batch.tagging import Beat, Heard, TaggedPart, tag_part
from serving.client import ClientError, KhabarClient
from serving.prediction import Article, Prediction

DEFAULT_WORKERS = 4
REQUESTS_A_WORKER = 4  # in flight at most; the client finds out how many the service takes
READY_S = 30.0  # for a service that is just starting
RETRIES = 60  # of a request: a service may be busy or gone for about ten minutes
MAX_FAULTS = 20  # in a row, each of an article that was sent alone
_OF_THE_ARTICLE = frozenset({400, 413, 422})  # statuses that another article would not get


@dataclass(frozen=True, slots=True)
class Service:
    """Where a service is; the key is not told in its repr."""

    url: str
    api_key: str | None = None

    def __repr__(self) -> str:
        return f"Service({self.url!r})"

    def connect(self, concurrency: int = 1, version: str | None = None) -> KhabarClient:
        """A client of the service; one with a version takes the answers of no other model."""
        try:
            return KhabarClient(
                self.url,
                self.api_key,
                concurrency=concurrency,
                retries=RETRIES,
                model_version=version,
            )
        except ClientError as error:
            raise UsageError(f"--url {self.url}: {error.message}") from None

    def model(self) -> ModelId:
        """The model that is served, once the service is ready."""
        with self.connect() as client:
            try:
                client.wait_until_ready(READY_S)
                return ModelId.of_summary(client.model(), self.url)
            except ClientError as error:
                raise UsageError(f"{self.url}: {error}") from None


class ServiceTagger:
    """A service that is asked like a Tagger; safe to share between threads."""

    def __init__(self, client: KhabarClient) -> None:
        self.client = client
        self._faults = 0
        self._counting = Lock()

    def tag(self, articles: Sequence[Article]) -> list[Prediction]:
        """A prediction an article, in order.

        What an article is refused for is the error of its prediction; where several were sent the
        refusal is raised, and the caller sends each alone. What no article is to blame for stops
        the job.
        """
        try:
            answers = self.client.tag(articles)
        except ClientError as error:
            if error.status not in _OF_THE_ARTICLE and not _is_failed_work(error):
                raise BatchError(f"{error}; start the same command again to go on") from None
            if len(articles) > 1:
                raise
            return [Prediction(articles[0].id, error=self._refusal(error))]
        with self._counting:
            self._faults = 0
        return answers

    def _refusal(self, error: ClientError) -> str:
        if error.status in _OF_THE_ARTICLE:
            return error.message.removeprefix("articles[0:1]: ")
        with self._counting:
            self._faults += 1
            is_hopeless = self._faults >= MAX_FAULTS
        if is_hopeless:
            raise BatchError(f"the service fails at one article after the other, last with {error}")
        return f"the service failed on it ({error.code})"


def _is_failed_work(error: ClientError) -> bool:
    """Whether the service answered that it could not do the work."""
    return error.is_fault and error.status is not None


@contextmanager
def service_tagger(service: Service, model: ModelId, workers: int) -> Iterator[ServiceTagger]:
    """A service as a Tagger for that many workers, with no answer of another model."""
    with service.connect(REQUESTS_A_WORKER * workers, model.version) as client:
        yield ServiceTagger(client)


@dataclass(frozen=True)
class HttpEngine:
    """Threads before a service, each with a part in hand."""

    service: Service
    model: ModelId
    options: BatchOptions
    workers: int = DEFAULT_WORKERS

    def run(self, parts: Iterable[Part], beat: Beat) -> Iterator[TaggedPart]:
        """See `Engine.run`. A model that is replaced on the way stops the job."""
        told: SimpleQueue[TaggedPart | Heard | BatchError] = SimpleQueue()
        todo = iter(parts)
        in_hand = 0
        with (
            ThreadPoolExecutor(self.workers, "khabar-part") as threads,
            # closed first, so that no thread waits for a service that is gone
            service_tagger(self.service, self.model, self.workers) as tagger,
        ):
            for part in islice(todo, self.workers):
                threads.submit(self._work, part, tagger, told)
                in_hand += 1
            while in_hand:
                answer = told.get()
                if isinstance(answer, Heard):
                    beat(answer.articles, answer.tokens)
                elif isinstance(answer, BatchError):
                    raise answer
                else:
                    in_hand -= 1
                    for part in islice(todo, 1):  # before the driver is busy with writing
                        threads.submit(self._work, part, tagger, told)
                        in_hand += 1
                    yield answer

    def _work(
        self,
        part: Part,
        tagger: ServiceTagger,
        told: SimpleQueue[TaggedPart | Heard | BatchError],
    ) -> None:
        try:
            tagged = tag_part(
                part, tagger, self.options, lambda n, tokens: told.put(Heard(n, tokens))
            )
            self._require_same(tagger.client)
            told.put(tagged)
        except Exception as error:
            told.put(failure(error))

    def _require_same(self, client: KhabarClient) -> None:
        """Refuse a part that another model of the same version may have read."""
        now = ModelId.of_summary(client.model(), self.service.url)
        if now != self.model:
            raise BatchError(
                f"{self.service.url}: serves another model now ({now.name} {now.version}, "
                f"{now.sha256[:12]}…); serve the one that the job began with to go on"
            )
