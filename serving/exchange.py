"""One request to the service, sent until it is answered or trying again cannot help.

Here are the rules of trying again, and the one error of a client; what is asked and answered is in
`serving.client`.
"""

from __future__ import annotations

import itertools
import json
import logging
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import httpx

from annotations.errors import KhabarError
from serving.pace import Pace
from serving.parcel import Parcel

FULL = 429
RETRIED = frozenset({FULL, 502, 503})  # as often as the client may
RETRIED_ONCE = frozenset({500, 504})  # the work was begun, and may well fail again
FIRST_BACKOFF_S, MAX_BACKOFF_S = 0.5, 20.0
MAX_RETRY_AFTER_S = 60.0  # a service that asks for more is asked again after this
MAX_CONNECT_S = 10.0
TIMEOUT, CONNECTION, BAD_ANSWER = "timeout", "connection", "bad_answer"
ARTICLE_INDEX = re.compile(r"articles\[(\d+)\]")
logger = logging.getLogger("khabar.client")


class ClientError(KhabarError):
    """A request without a good answer, after the last try.

    `code` is the service's, or the client's: connection, timeout, bad_answer, unexpected_status,
    other_model, not_ready, closed, invalid_client. `status` is None where nothing came back;
    `field` is the place of what is wrong, with articles counted in the caller's input. A request id
    ends in the number of the try.
    """

    def __init__(
        self,
        code: str,
        message: str,
        status: int | None = None,
        request_id: str | None = None,
        field: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(code, message, status, request_id, field, retry_after_s)  # for pickle
        self.code = code
        self.message = message
        self.status = status
        self.request_id = request_id
        self.field = field
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        status = "" if self.status is None else f", status {self.status}"
        request = "" if self.request_id is None else f", request {self.request_id}"
        return f"{self.message} ({self.code}{status}{request})"

    @property
    def is_fault(self) -> bool:
        """Whether the service failed at the work or did not end it in time."""
        return self.code == TIMEOUT or self.status in RETRIED_ONCE

    @property
    def is_passing(self) -> bool:
        """Whether the service is only busy, starting or out of reach."""
        return self.code == CONNECTION or self.status in RETRIED

    def placed(self, parcel: Parcel) -> ClientError:
        """The error with the articles of its request counted as the caller counts them."""

        def counted(found: re.Match[str]) -> str:
            return f"articles[{parcel.first + int(found[1])}]"

        message = ARTICLE_INDEX.sub(counted, self.message)
        field = self.field and ARTICLE_INDEX.sub(counted, self.field)
        told = (self.status, self.request_id, field, self.retry_after_s)
        return ClientError(self.code, f"articles[{parcel.first}:{parcel.end}]: {message}", *told)


class Exchange:
    """The connections to a service and the patience with it; safe to share between threads.

    `sleep` waits for that many seconds; by default closing ends the wait.
    """

    def __init__(
        self,
        connections: httpx.Client,
        concurrency: int,
        retries: int,
        jitter: Callable[[float, float], float],
        sleep: Callable[[float], object] | None,
    ) -> None:
        self._connections = connections
        self._pace = Pace(concurrency)
        self._retries = retries
        self._jitter = jitter
        self._closed = threading.Event()
        self.sleep = sleep or self._closed.wait

    def stop(self) -> None:
        """Send nothing more."""
        self._closed.set()
        self._pace.close()

    def close(self) -> None:
        """Send nothing more and close the connections, which none should be using."""
        self.stop()
        self._connections.close()

    def check_open(self) -> None:
        """Refuse to go on when closed."""
        if self._closed.is_set():
            raise closed()

    def ask(
        self,
        method: str,
        path: str,
        timeout_s: float,
        body: bytes | None = None,
        unwanted: threading.Event | None = None,
    ) -> httpx.Response:
        """The good answer to a request, sent again while that may help and it is not unwanted.

        One with a body waits for its turn in the client's pace.
        """
        request_id = uuid.uuid4().hex
        faults = 0
        for attempt in itertools.count(1):
            try:
                with nullcontext() if body is None else self._paced():
                    self.check_open()
                    if unwanted is not None and unwanted.is_set():
                        raise ClientError("closed", "nobody waits for the answer any more")
                    return self.ask_once(method, path, timeout_s, body, f"{request_id}.{attempt}")
            except ClientError as error:
                faults += error.is_fault
                again = error.is_passing or (error.is_fault and faults == 1)
                if not again or attempt > self._retries:
                    raise
                delay_s = self._delay_s(attempt, error.retry_after_s)
                told = (error.request_id, error.code, delay_s)
            logger.info("request %s: %s; again in %.1f s", *told)
            self.sleep(delay_s)
        raise AssertionError("the tries have no end")

    @contextmanager
    def _paced(self) -> Iterator[None]:
        """A turn in the pace, which learns whether the service took the request."""
        with self._pace.turn() as turn:
            try:
                yield
                turn.taken = True
            except ClientError as error:
                if error.status == FULL:
                    turn.taken = False
                raise

    def _delay_s(self, attempt: int, asked_s: float | None) -> float:
        """Seconds until the next try: what the service asks for, and exponential with full jitter
        after that.
        """
        wait_s = min(asked_s or 0.0, MAX_RETRY_AFTER_S)
        first_s = min(wait_s or FIRST_BACKOFF_S, FIRST_BACKOFF_S)
        return wait_s + self._jitter(0.0, min(MAX_BACKOFF_S, first_s * 2 ** min(attempt - 1, 16)))

    def ask_once(
        self, method: str, path: str, timeout_s: float, body: bytes | None, request_id: str
    ) -> httpx.Response:
        """The answer to a request sent once, if it is a 200."""
        headers = {"X-Request-ID": request_id}
        if body is not None:
            headers["Content-Type"] = "application/json"
        timeout = httpx.Timeout(timeout_s, connect=min(timeout_s, MAX_CONNECT_S), pool=None)
        try:
            response = self._connections.request(
                method, path, content=body, headers=headers, timeout=timeout
            )
        except (httpx.ReadTimeout, httpx.WriteTimeout):
            message = f"no answer within {timeout_s} s; send less at once or allow more time"
            raise ClientError(TIMEOUT, message, request_id=request_id) from None
        except httpx.TransportError as error:  # other words than of connecting may quote an answer
            words = str(error) if isinstance(error, httpx.ConnectError) else type(error).__name__
            where = self._connections.base_url
            message = f"{where} cannot be reached ({words}); is the service running there?"
            raise ClientError(CONNECTION, message, request_id=request_id) from None
        except httpx.HTTPError as error:
            message = f"the answer cannot be read: {type(error).__name__}"
            raise ClientError(BAD_ANSWER, message, request_id=request_id) from None
        if response.status_code != 200:
            raise refusal(response)
        return response


def refusal(response: httpx.Response) -> ClientError:
    """The error of an answer that is no 200."""
    status = response.status_code
    retry_after_s = _number(response, "retry-after")
    if (exactly_ms := _number(response, "retry-after-ms")) is not None:
        retry_after_s = exactly_ms / 1000
    try:
        told = json_object(response).get("error")
    except ClientError:
        told = None
    if isinstance(told, dict) and isinstance(told.get("code"), str):
        code, message, field = told["code"], str(told.get("message")), told.get("field")
    else:
        code, field = "unexpected_status", None
        message = f"{response.url.host} did not answer as khabar does; is the address right?"
    field = field if isinstance(field, str) else None
    return ClientError(code, message, status, request_id_of(response), field, retry_after_s)


def _number(response: httpx.Response, header: str) -> float | None:
    value = response.headers.get(header, "")
    return float(value) if re.fullmatch(r"[0-9]{1,9}", value) else None


def bad_answer(response: httpx.Response, what: str) -> ClientError:
    """The error of an answer that cannot be true."""
    message = f"{what}; is the service of another version?"
    return ClientError(BAD_ANSWER, message, response.status_code, request_id_of(response))


def json_object(response: httpx.Response) -> dict[str, Any]:
    """The JSON object that an answer holds."""
    try:
        answer = json.loads(response.content)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise bad_answer(response, "the answer is no JSON object")
    return answer


def request_id_of(response: httpx.Response) -> str:
    """The id that the request was sent with."""
    return response.request.headers["X-Request-ID"]


def closed() -> ClientError:
    """The error of asking a client that is closed."""
    return ClientError("closed", "the client is closed; open another one")
