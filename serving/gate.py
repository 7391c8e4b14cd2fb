"""The gate before the service: request ids, keys, security headers, one envelope and one log line
for every request.

Behind it stand our app and, with /metrics, BentoML's. What is neither's ends here, and errors of
other words leave in our envelope.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.api.body import discard
from serving.api.errors import RequestError, error_response
from serving.api.response import request_id_of
from serving.keys import Keys
from serving.logs import REQUEST_ID, log_access
from serving.metrics import Metrics

METRICS = "/metrics"
LIVE, READY = ("/livez", "/healthz"), "/readyz"
TAG = ("POST", "/v1/tag")
KEYED = "/v1/"  # what needs a key, where there are keys
NOTES = "khabar.notes"  # in the ASGI scope: what an endpoint tells the access log
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(slots=True)
class Notes:
    """What is told of a request when it is answered; endpoints fill in what they know."""

    request_id: str
    began: float
    articles: int | None = None
    pieces: int | None = None
    code: str | None = None
    key: str | None = None
    status: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


class Door(Protocol):
    """What a worker says of itself; None where nothing is wrong."""

    def death(self) -> RequestError | None:
        """What keeps it from ever answering."""
        ...

    def unreadiness(self) -> RequestError | None:
        """What keeps it from taking requests."""
        ...

    def fullness(self) -> RequestError | None:
        """What keeps it from taking one more article now."""
        ...


class Gate:
    """The outermost app of a worker, with ours and BentoML's inside.

    Our paths do not go through BentoML's middlewares: they take longer than a refusal, and keep a
    timer for every request, with all that it holds, until its time limit is over. Articles for
    which there is no room are refused here.
    """

    def __init__(
        self,
        ours: Starlette,
        bentoml: ASGIApp,
        keys: Keys,
        metrics: Metrics,
        door: Door,
    ) -> None:
        self.ours = ours
        self.bentoml = bentoml
        self.paths = frozenset(route.path for route in ours.routes if isinstance(route, Route))
        self.keys = keys
        self.metrics = metrics
        self.door = door
        self.probes = {**dict.fromkeys(LIVE, door.death), READY: door.unreadiness}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer an HTTP request; other protocols are closed, the server's own events pass."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self.bentoml(scope, receive, send)
            return
        headers = Headers(scope=scope)
        notes = Notes(request_id_of(headers.get("x-request-id")), time.perf_counter())
        scope[NOTES] = notes
        REQUEST_ID.set(notes.request_id)  # each request is a task with a context of its own
        try:
            app = self._app_for(scope, headers, notes)
            await app(scope, _counting(receive, notes), Answer(scope, receive, send, notes))
        finally:
            self._tell(scope, notes)

    def _app_for(self, scope: Scope, headers: Headers, notes: Notes) -> ASGIApp:
        """What answers a request: a probe, a refusal, or the app inside."""
        path = scope["path"]
        if path in self.probes:
            return _probed(self.probes[path](), scope["method"], notes)
        if path == METRICS:
            return self.bentoml
        if path not in self.paths:
            return _refusal(RequestError("not_found", "no such path; see /openapi.json"), notes)
        if path.startswith(KEYED) and scope["method"] != "OPTIONS":  # browsers ask without keys
            notes.key = self.keys.allow(headers)
            if notes.key is None:
                words = "send a key of this service as Authorization: Bearer KEY"
                return _unread(_refusal(RequestError("unauthorized", words), notes))
        if (scope["method"], path) == TAG and (full := self.door.fullness()):
            return _unread(_refusal(full, notes))
        return self.ours

    def _tell(self, scope: Scope, notes: Notes) -> None:
        seconds = time.perf_counter() - notes.began
        status = notes.status or 499  # the caller left before the answer began
        if scope["path"].startswith(KEYED):
            self.metrics.request(status, notes.code)
            self.metrics.observe("total", seconds)
        log_access(
            method=scope["method"],
            path=scope["path"],
            status=status,
            duration_ms=seconds * 1000,
            bytes_in=notes.bytes_in,
            bytes_out=notes.bytes_out,
            articles=notes.articles,
            pieces=notes.pieces,
            code=notes.code,
            key=notes.key,
        )


class Answer:
    """The way of an answer out: it gets the common headers, is counted, and where it is an error
    that is not in our envelope it is put there.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, notes: Notes) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        self.notes = notes
        self.replaced = False

    async def __call__(self, message: Message) -> None:
        """Pass on a message of the answer."""
        if message["type"] == "http.response.start":
            await self._start(message)
        elif not self.replaced:
            self.notes.bytes_out += len(message.get("body", b""))
            await self.send(message)

    async def _start(self, message: Message) -> None:
        self.notes.status = message["status"]
        headers = MutableHeaders(scope=message)
        if message["status"] >= 400 and headers.get("content-type") != "application/json":
            self.replaced = True
            error = _foreign_error(message["status"], headers.get("allow"))
            response = error_response(error, self.notes.request_id)
            self.notes.code = error.code
            if "allow" in headers:
                response.headers["Allow"] = headers["allow"]
            again = Answer(self.scope, self.receive, self.send, self.notes)
            await response(self.scope, self.receive, again)
            return
        headers.update({"X-Request-ID": self.notes.request_id, **SECURITY_HEADERS})
        await self.send(message)


def _foreign_error(status: int, allowed: str | None) -> RequestError:
    """An error that the server behind us answered, in our words."""
    if status == 405:
        return RequestError("method_not_allowed", f"use {allowed or 'GET'} here")
    if status == 404:
        return RequestError("not_found", "no such path; see /openapi.json")
    if status == 504:
        return RequestError("timeout", "no answer in time; send fewer or shorter articles")
    if status == 503:
        return RequestError("loading", "the service is not ready; try again in a moment")
    return RequestError("internal", "the service failed; please report the request id")


def _counting(receive: Receive, notes: Notes) -> Receive:
    async def counted() -> Message:
        message = await receive()
        notes.bytes_in += len(message.get("body", b""))
        return message

    return counted


def _refusal(error: RequestError, notes: Notes) -> ASGIApp:
    notes.code = error.code
    return error_response(error, notes.request_id)


def _unread(app: ASGIApp) -> ASGIApp:
    """An answer that waits for the body, whose sender would see a reset and not the refusal."""

    async def waiting(scope: Scope, receive: Receive, send: Send) -> None:
        await discard(receive)
        await app(scope, receive, send)

    return waiting


def _probed(wrong: RequestError | None, method: str, notes: Notes) -> ASGIApp:
    """The answer of a health path: 200 and a line, or what is wrong."""
    if method not in ("GET", "HEAD"):
        return PlainTextResponse(status_code=405, headers={"Allow": "GET, HEAD"})
    return PlainTextResponse("\n") if wrong is None else _refusal(wrong, notes)
