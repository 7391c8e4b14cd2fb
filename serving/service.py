"""The BentoML service: our routes mounted at '/', a gate before them, one Tagger behind threads.

BentoML gives the server, /livez, /readyz, /metrics and the access log. Its `@bentoml.api` would
log a traceback for every bad request and answer in its own words, so `POST /v1/tag` is a route of
a mounted app.
"""

from __future__ import annotations

import http.client
import logging
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import bentoml
from _bentoml_sdk import Service
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from annotations.errors import KhabarError
from annotations.seed import seed_text
from serving.bundle import DEFAULT_FOLDER, Bundle
from serving.http import (
    RequestError,
    TagRequest,
    answer_bytes,
    check_media_type,
    encode,
    error_response,
    json_response,
    openapi,
    parse_request,
    read_body,
    request_id_of,
)
from serving.prediction import Article, Prediction
from serving.settings import BUNDLE_VARIABLE, ServeSettings, bundle_folder, serve_settings
from serving.view import labels_dict

if TYPE_CHECKING:
    from serving.tagger import Tagger

os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")  # read when the server starts
logger = logging.getLogger("khabar.service")
PAGE = Path(__file__).parent / "page"
PAGES = {
    "/": ("index.html", "text/html"),
    "/static/page.css": ("page.css", "text/css"),
    "/static/page.js": ("page.js", "text/javascript"),
}
BENTOML_PATHS = frozenset({"/livez", "/readyz", "/healthz", "/metrics"})
REQUEST_ID = "khabar.request_id"  # in the ASGI scope
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class ServeError(KhabarError):
    """A service that cannot start."""


class Desk:
    """The Tagger with a bound on how many requests it reads at once and how many wait."""

    def __init__(self, tagger: Tagger, settings: ServeSettings) -> None:
        self.tagger = tagger
        self.settings = settings
        self._limiter = anyio.CapacityLimiter(settings.threads)

    async def answer(self, body: bytes, request_id: str) -> bytes:
        """The answer to the body of a request; all the work is done away from the event loop."""
        request = await anyio.to_thread.run_sync(parse_request, body)
        if self._limiter.statistics().tasks_waiting >= self.settings.max_waiting:
            raise RequestError("overloaded", "too many requests are waiting; try again in a moment")
        read = partial(self._read, request, request_id)
        return await anyio.to_thread.run_sync(read, limiter=self._limiter)

    def _read(self, request: TagRequest, request_id: str) -> bytes:
        articles = [article.to_article() for article in request.articles]
        bundle = self.tagger.bundle
        predictions = self._predictions(articles, request_id)
        model = {"name": bundle.name, "version": bundle.version}
        return answer_bytes(request, predictions, model)

    def _predictions(self, articles: Sequence[Article], request_id: str) -> list[Prediction]:
        """One prediction an article; a fault of ours harms its article or, if all meet one, all."""
        try:
            return self._tag(articles)
        except Exception as fault:
            if len(articles) == 1:
                raise
            log_fault(fault, request_id)
        predictions: list[Prediction] = []
        faults: list[Exception] = []
        for article in articles:
            try:
                predictions += self._tag([article])
            except Exception as fault:
                faults.append(fault)
                told = f"not read: an internal fault; please report request {request_id}"
                predictions.append(Prediction(article.id, error=told))
        if len(faults) == len(articles):
            raise faults[0]
        return predictions

    def _tag(self, articles: Sequence[Article]) -> list[Prediction]:
        predictions = self.tagger.tag(articles, max_code_points=self.settings.max_code_points)
        if len(predictions) != len(articles):
            raise RuntimeError("the Tagger must give one prediction an article")
        return predictions


def log_fault(fault: Exception, request_id: str) -> None:
    """Log the type and place of a fault; its message may quote an article and is left out."""
    frames = reversed(traceback.extract_tb(fault.__traceback__)[-4:])
    places = " < ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames)
    logger.error("request %s failed: %s at %s", request_id, type(fault).__name__, places)


Endpoint = Callable[[Request], Awaitable[Response]]


def answered(endpoint: Endpoint) -> Endpoint:
    """An endpoint whose every failure is answered in the one envelope."""

    async def answering(request: Request) -> Response:
        request_id = request.scope[REQUEST_ID]
        try:
            return await endpoint(request)
        except RequestError as error:
            return error_response(error, request_id)
        except Exception as fault:
            log_fault(fault, request_id)
            message = "the service failed; nothing was read, please report the request id"
            return error_response(RequestError("internal", message), request_id)

    return answering


async def tag(request: Request) -> Response:
    """`POST /v1/tag`: the predictions of up to 64 articles."""
    check_media_type(request.headers.get("content-type"))
    desk: Desk = request.app.state.desk
    body = await read_body(request, desk.settings.max_body_bytes)
    return json_response(await desk.answer(body, request.scope[REQUEST_ID]))


async def model(request: Request) -> Response:
    """`GET /v1/model`: what is known of the bundle."""
    return json_response(encode(request.app.state.desk.tagger.bundle.summary()))


async def labels(_: Request) -> Response:
    """`GET /v1/labels`: every label with its Arabic name, and the colours of the entity types."""
    return json_response(encode(labels_dict()))


async def seed(_: Request) -> Response:
    """`GET /v1/seed`: the seed article, for the page to begin with."""
    return json_response(encode({"title": None, "text": seed_text()}))


async def docs(_: Request) -> Response:
    """`GET /docs.json`: OpenAPI, in place of BentoML's, which leaves mounted routes out."""
    return json_response(encode(openapi()))


async def page(request: Request) -> Response:
    """`GET /` and what it loads."""
    name, media_type = PAGES[request.url.path]
    # read here, not by a FileResponse: its failure would come after us, and BentoML waits for it
    return Response((PAGE / name).read_bytes(), 200, {"Cache-Control": "no-cache"}, media_type)


async def refuse_method(request: Request, error: Exception) -> Response:
    """The envelope for a known path with a method it does not have."""
    assert isinstance(error, HTTPException)
    allowed = (error.headers or {}).get("Allow", "")
    refused = RequestError("method_not_allowed", f"use {allowed} here")
    response = error_response(refused, request.scope[REQUEST_ID])
    response.headers["Allow"] = allowed
    return response


ROUTES = [
    Route("/v1/tag", answered(tag), methods=["POST"]),
    Route("/v1/model", answered(model)),
    Route("/v1/labels", answered(labels)),
    Route("/v1/seed", answered(seed)),
    Route("/docs.json", answered(docs)),
    *(Route(path, answered(page)) for path in PAGES),
]
app = Starlette(routes=ROUTES, exception_handlers={405: refuse_method})


class Gate:
    """The outermost app: request ids and security headers for all, 404 for unknown paths.

    BentoML keeps a metric for every path it sees; strange ones (and websockets) end here.
    """

    def __init__(self, inner: ASGIApp) -> None:
        self.inner = inner
        self.paths = BENTOML_PATHS | {route.path for route in ROUTES}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let an HTTP request for a known path through, with its request id."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self.inner(scope, receive, send)
            return
        request_id = scope[REQUEST_ID] = request_id_of(Headers(scope=scope).get("x-request-id"))

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update({"X-Request-ID": request_id, **SECURITY_HEADERS})
            await send(message)

        if scope["path"] in self.paths:
            await self.inner(scope, receive, send_with_headers)
        else:
            missing = RequestError("not_found", "no such path; see /docs.json")
            await error_response(missing, request_id)(scope, receive, send_with_headers)


class GatedService(Service[Any]):  # type: ignore[misc]
    """A BentoML service behind the Gate."""

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        """The app that the server runs."""
        return Gate(super().to_asgi(is_main))


def open_tagger() -> Tagger:
    """The Tagger of KHABAR_BUNDLE, or of the bundle that comes with the package."""
    from serving.tagger import Tagger  # here: only the worker needs ONNX Runtime

    folder = bundle_folder()
    return Tagger.default() if folder is None else Tagger.from_bundle(folder)


SETTINGS = serve_settings()


@bentoml.service(
    service_class=GatedService,
    workers=1,
    traffic={"timeout": SETTINGS.timeout_s},
    # a Content-Type that is not UTF-8 would break BentoML's log line, and with it the answer
    logging={"access": {"request_content_type": False}},
)
@bentoml.asgi_app(app, path="/")
class NewsService:
    """Entities, topics, stances and claims of Arabic news articles."""

    def __init__(self) -> None:
        app.state.desk = Desk(open_tagger(), SETTINGS)


def serve(host: str | None = None, port: int | None = None, bundle: Path | None = None) -> None:
    """Serve until interrupted; says on stderr where, once the service answers."""
    host, port = host or SETTINGS.host, port or SETTINGS.port
    if bundle is not None:
        os.environ[BUNDLE_VARIABLE] = str(bundle.resolve())
    Bundle.load(bundle_folder() or DEFAULT_FOLDER)  # a worker would fail again and again
    address = free_address(host, port)
    threading.Thread(target=announce, args=(address, port), daemon=True).start()
    server: Any = NewsService  # the decorator makes it a Service, which mypy cannot see
    server.serve_http(host=address, port=port)


def free_address(host: str, port: int) -> str:
    """The numeric address of a host where the port can be listened on."""
    try:
        family, kind, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
    except OSError as error:
        raise ServeError(
            f"cannot listen on {host} port {port}: {error.strerror}; "
            "choose another port with --port or another address with --host"
        ) from None
    return str(where[0])


def announce(address: str, port: int) -> None:
    """Print the address on stderr as soon as /readyz says yes."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)
    while True:
        connection = http.client.HTTPConnection(reachable, port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                break
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(0.2)
    shown = f"[{reachable}]" if ":" in reachable else reachable
    sys.stderr.write(f"khabar: http://{shown}:{port}\n")
    sys.stderr.flush()
