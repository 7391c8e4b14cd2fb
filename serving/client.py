"""A client of the service: what `Tagger.tag` does, over HTTP, for any number of articles.

    from serving.client import KhabarClient

    with KhabarClient("http://127.0.0.1:3000") as client:
        client.wait_until_ready(timeout_s=60)
        for prediction in client.tag_stream(["وصل سامح شكري إلى بغداد.", "فاز الأهلي في القاهرة."]):
            print([(entity.text, entity.label) for entity in prediction.entities])

Nothing of an article is logged or told in an error.
"""

from __future__ import annotations

import random
import re
import ssl
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Any, Literal, Self, TypedDict

import httpx

from annotations.schema import Document
from serving.exchange import (
    ClientError,
    Exchange,
    bad_answer,
    closed,
    json_object,
    request_id_of,
)
from serving.parcel import Parcel, RequestLimits, own_problem, parcels, read_prediction
from serving.prediction import (
    MAX_CODE_POINTS,
    Article,
    Prediction,
    article_problem,
)

__all__ = ["ClientError", "KhabarClient", "RequestLimits", "TagOptions"]

IDLE_S = 3.0  # servers close a connection that idles for 5 s; one about to close is not used again
POLL_S, MAX_POLL_S = 0.5, 5.0  # between questions for readiness, and for the answer to one
READ_AHEAD = 2  # requests for each that may be in flight, so that a slow one does not idle the rest


class TagOptions(TypedDict, total=False):
    """Which entities to answer with; what the API can add to the JSON has no place in a
    Prediction.
    """

    view: Literal["both", "fine", "coarse"]  # of entities in the fine view, `coarse` is None
    labels: Sequence[str]
    min_confidence: float


class KhabarClient:
    """A connection to a service, safe to share between threads.

    At most `concurrency` requests of articles are in flight, of all threads together, and fewer
    when the service cannot take as many. A request is tried again up to `retries` times while the
    service is busy, starting or out of reach; after an internal error or a timeout once.
    `timeout_s` is for the answer to one try; the default outlasts the service's own.
    `model_version` refuses the answers of any other bundle. Proxies, .netrc and certificates of the
    environment count only with `trust_env`.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        *,
        timeout_s: float = 330.0,
        concurrency: int = 16,
        retries: int = 10,
        limits: RequestLimits = RequestLimits(),
        model_version: str | None = None,
        trust_env: bool = False,
        verify: ssl.SSLContext | bool = True,
        jitter: Callable[[float, float], float] = random.uniform,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        _check_address(base_url, api_key)
        if not (timeout_s > 0 and concurrency > 0 and retries >= 0):
            got = f"{timeout_s}, {concurrency} and {retries}"
            message = f"need timeout_s > 0, concurrency > 0 and retries >= 0, got {got}"
            raise ClientError("invalid_client", message)
        self._timeout_s = timeout_s
        self._limits = limits
        self._model_version = model_version
        self._window = READ_AHEAD * concurrency
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="khabar-client")
        connections = httpx.Client(
            base_url=base_url,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            limits=httpx.Limits(max_keepalive_connections=concurrency, keepalive_expiry=IDLE_S),
            trust_env=trust_env,
            verify=verify,
        )
        self._exchange = Exchange(connections, concurrency, retries, jitter, sleep)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the requests in flight end, send no others, and close the connections."""
        self._exchange.stop()
        self._threads.shutdown(cancel_futures=True)
        self._exchange.close()

    def tag(
        self, articles: Iterable[str | Document | Article], options: TagOptions | None = None
    ) -> list[Prediction]:
        """A prediction an article, in order; what cannot be read gets an `error` of its own."""
        return list(self.tag_stream(articles, options))

    def tag_stream(
        self, articles: Iterable[str | Document | Article], options: TagOptions | None = None
    ) -> Generator[Prediction, None, None]:
        """The predictions of a stream of articles, in order, as they come.

        The source is read in the caller's thread, and never more than 2 * `concurrency` requests
        and an article ahead of what was taken. Before a ClientError comes all that precedes its
        articles.
        """
        unwanted = threading.Event()
        pending: deque[Future[list[Prediction]]] = deque()
        try:
            for parcel in parcels(articles, options or {}, self._limits):
                pending.append(self._submit(parcel, unwanted))
                while pending and (len(pending) >= self._window or pending[0].done()):
                    yield from _result(pending.popleft())
            while pending:
                yield from _result(pending.popleft())
        finally:
            unwanted.set()
            for future in pending:
                future.cancel()

    def model(self) -> dict[str, Any]:
        """What the service tells of its bundle."""
        return json_object(self._exchange.ask("GET", "/v1/model", self._timeout_s))

    def ready(self) -> bool:
        """Whether the service takes articles now; asked once."""
        return self._unready() is None

    def wait_until_ready(self, timeout_s: float) -> None:
        """Return when the service takes articles; a ClientError when it does not in time."""
        until = time.monotonic() + timeout_s
        while error := self._unready():
            left_s = until - time.monotonic()
            if left_s <= 0:
                message = f"the service was not ready within {timeout_s} s: {error.message}"
                raise ClientError("not_ready", message, error.status, error.request_id)
            self._exchange.sleep(min(POLL_S, left_s))

    def _unready(self) -> ClientError | None:
        self._exchange.check_open()
        timeout_s = min(self._timeout_s, MAX_POLL_S)
        try:
            self._exchange.ask_once("GET", "/readyz", timeout_s, None, uuid.uuid4().hex)
        except ClientError as error:
            return error
        return None

    def _submit(self, parcel: Parcel, unwanted: threading.Event) -> Future[list[Prediction]]:
        try:
            return self._threads.submit(self._answer, parcel, unwanted)
        except RuntimeError:  # the threads take nothing any more
            raise closed() from None

    def _answer(self, parcel: Parcel, unwanted: threading.Event) -> list[Prediction]:
        """The predictions of a request's articles."""
        limit = self._limits.body_bytes
        if len(parcel.articles) == 1 and (asked := own_problem(parcel.articles[0])):
            return [Prediction(parcel.articles[0].id, error=asked)]
        if len(parcel.body) > limit:  # an article that no request can hold
            (article,) = parcel.articles
            told = f"alone it makes a request of {len(parcel.body)} bytes; the limit is {limit}, "
            told += "shorten its text, title or claims"
            problem = article_problem(article, MAX_CODE_POINTS) or told
            return [Prediction(article.id, error=problem)]
        try:
            response = self._exchange.ask("POST", "/v1/tag", self._timeout_s, parcel.body, unwanted)
            return self._read(parcel, response)
        except ClientError as error:
            raise error.placed(parcel) from None

    def _read(self, parcel: Parcel, response: httpx.Response) -> list[Prediction]:
        """The predictions in an answer, each checked against its article."""
        answer = json_object(response)
        results, model = answer.get("results"), answer.get("model")
        if not isinstance(results, list) or len(results) != len(parcel.articles):
            got = len(results) if isinstance(results, list) else "no"
            raise bad_answer(response, f"{got} results for {len(parcel.articles)} articles")
        version = model.get("version") if isinstance(model, dict) else None
        if self._model_version not in (None, version):
            message = f"the answer is not of version {self._model_version}, which was asked for"
            raise ClientError("other_model", message, 200, request_id_of(response))
        predictions = []
        for i, (raw, article) in enumerate(zip(results, parcel.articles, strict=True)):
            try:
                predictions.append(read_prediction(raw, article))
            except ValueError as error:
                raise bad_answer(response, f"the result of articles[{i}] {error}") from None
        return predictions


def _result(future: Future[list[Prediction]]) -> list[Prediction]:
    try:
        return future.result()
    except CancelledError:  # closed by another thread
        raise closed() from None


def _check_address(base_url: str, api_key: str | None) -> None:
    """Refuse what no request can be made with; neither a key nor a password in a URL is told."""
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL:
        url = httpx.URL()
    if url.scheme not in ("http", "https") or not url.host or url.userinfo or url.query:
        message = "base_url must be like http://host:3000, without user, password or query"
        raise ClientError("invalid_client", message)
    if api_key is not None and re.fullmatch(r"[!-~]+", api_key) is None:
        message = "api_key must be visible ASCII characters without blanks"
        raise ClientError("invalid_client", message)
