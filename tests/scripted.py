"""A service that misbehaves on script, over real connections, and remembers what it was asked."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

import pytest

from serving.prediction import (
    Article,
    Attitude,
    Entity,
    EntityGroup,
    Labelled,
    Prediction,
    article_problem,
)

SECRET = "سرّ"
Behaviour = Callable[["Handler", Any], None]


def read(article: Article) -> Prediction:
    """A full answer made of the first word and of what is asked."""
    if problem := article_problem(article):
        return Prediction(article.id, error=problem)
    word = article.text.split()[0]
    start = article.text.index(word)
    targets = [word] if article.targets == "auto" else article.targets
    return Prediction(
        article.id,
        (Entity("e1", start, start + len(word), word, "PERS", "PER", 0.9, word, "e1"),),
        (Labelled("politics" if article.title else "sports", 0.75),),
        tuple(Attitude(target, "favor", 0.5, ((0, 4), (5, 9))) for target in targets),
        tuple(Attitude(claim, "agree", 0.25, ()) for claim in article.claims),
        (EntityGroup("e1", word, "PERS", "PER", ("e1",), 0.9, 1.0),),
        len(article.text.split()),
    )


def article_of(raw: dict[str, Any]) -> Article:
    targets = raw.get("targets") or ()
    return Article(
        raw["text"],
        raw.get("id"),
        raw.get("title"),
        targets if targets == "auto" else tuple(targets),
        tuple(raw.get("claims") or ()),
    )


def good(request: Any) -> dict[str, Any]:
    results = [read(article_of(raw)).to_dict() for raw in request["articles"]]
    return {"results": results, "model": {"name": "fake", "version": "7"}}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self.take(None)

    def do_POST(self) -> None:
        self.take(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def take(self, request: Any) -> None:
        service = cast(Service, self.server)
        with service.lock:
            service.requests.append((self.path, dict(self.headers), request))
            behave = service.script.popleft() if service.script else service.usual
            service.in_flight += 1
            service.most = max(service.most, service.in_flight)
        service.came.release()
        try:
            behave(self, request)
        finally:
            with service.lock:
                service.in_flight -= 1

    def reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Service(ThreadingHTTPServer):
    """Follows its script, and then answers as usual; remembers what it was asked."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.forget()

    def forget(self) -> None:
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.script: deque[Behaviour] = deque()
        self.usual: Behaviour = answer
        self.in_flight = self.most = 0
        self.came = threading.Semaphore(0)

    def handle_error(self, *_: object) -> None:
        pass  # a connection that was reset on script

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def texts(self) -> list[list[str]]:
        """The texts of each request."""
        return [[raw["text"] for raw in request["articles"]] for _, _, request in self.requests]


def answer(handler: Handler, request: Any) -> None:
    handler.reply(200, json.dumps(good(request) if request else {"name": "fake"}).encode())


def changed(change: Callable[[dict[str, Any]], object]) -> Behaviour:
    """An answer that was good until a change was made."""

    def behave(handler: Handler, request: Any) -> None:
        made = good(request)
        change(made)
        handler.reply(200, json.dumps(made).encode())

    return behave


def says(status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> Behaviour:
    return lambda handler, _: handler.reply(status, body, headers)


def refuses(status: int, code: str, field: str | None = None, **headers: str) -> Behaviour:
    told = {"code": code, "message": f"{field} is wrong", "field": field, "request_id": "r"}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return says(status, json.dumps({"error": told}).encode(), named)


def reset(handler: Handler, _: Any) -> None:
    """Cut the connection with a reset."""
    linger = struct.pack("ii", 1, 0)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    handler.connection.close()
    handler.close_connection = True


OVERLOADED = refuses(429, "overloaded", Retry_After="3")
LOADING = refuses(503, "loading", Retry_After="9999")
STOPPING = refuses(503, "draining", Retry_After="3")
SOON = refuses(429, "overloaded", Retry_After="1", Retry_After_Ms="125")
INTERNAL = refuses(500, "internal")
LATE = refuses(504, "timeout")


@pytest.fixture(name="running", scope="module")
def running_service() -> Iterator[Service]:
    with Service() as opened:
        thread = threading.Thread(target=opened.serve_forever, args=(0.02,))
        thread.start()
        yield opened
        opened.shutdown()
        thread.join()


@pytest.fixture(name="service")
def fresh_service(running: Service) -> Service:
    running.forget()
    return running
