"""The BentoML service: our routes mounted at '/', the gate before them, a desk in each worker.

BentoML gives the server, its workers and /metrics. Its `@bentoml.api` would log a traceback for
every bad request and answer in its own words, so `POST /v1/tag` is a route of a mounted app.
"""

from __future__ import annotations

import asyncio
import http.client
import logging
import os
import signal
import socket
import sys
import threading
import time
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import bentoml
from _bentoml_sdk import Service
from bentoml._internal.configuration.containers import BentoMLContainer
from prometheus_client import REGISTRY
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from annotations.errors import KhabarError
from serving import logs
from serving.api.errors import STATUS
from serving.bundle import DEFAULT_FOLDER, Bundle
from serving.desk import Desk
from serving.gate import Gate
from serving.keys import FILE_VARIABLE, Keys
from serving.metrics import Metrics, forget_dead_workers
from serving.model_process import ROOT, ModelProcess
from serving.routes import app
from serving.settings import BUNDLE_VARIABLE, SETTINGS_VARIABLE, bundle_folder, serve_settings

os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")  # read when the server starts
logger = logging.getLogger("khabar.service")
SETTINGS = serve_settings()
METRICS_S = 60  # that /metrics may take, the one path that BentoML answers
LOOPBACK = ("127.", "::1")
PLACES = (  # variables that may name a place by its way from the folder that `serve` was called in
    SETTINGS_VARIABLE,
    BUNDLE_VARIABLE,
    FILE_VARIABLE,
    "BENTOML_HOME",
    "BENTOML_CONFIG",
)


class ServeError(KhabarError):
    """A service that cannot start."""


class GatedService(Service[Any]):  # type: ignore[misc]
    """A BentoML service behind the gate."""

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        """The app that a worker runs."""
        logs.configure(SETTINGS.logs)
        forget_dead_workers()
        desk = app.state.desk = Desk(open_tagger, SETTINGS, metrics())
        inner: ASGIApp = super().to_asgi(is_main)
        keys = Keys.from_environment()
        gate = app.state.gate = Gate(app, inner, keys, metrics(), desk)
        if SETTINGS.cors_origins:
            return CORSMiddleware(
                gate,
                allow_origins=SETTINGS.cors_origins,
                allow_methods=["GET", "POST"],
                allow_headers=["Authorization", "Content-Type", "X-API-Key", "X-Request-ID"],
                expose_headers=["Retry-After", "Retry-After-Ms", "X-Request-ID"],
            )
        return gate


@cache
def metrics() -> Metrics:
    """The counters of this process, of which there can be only one set."""
    return Metrics(STATUS, REGISTRY)


def open_tagger() -> ModelProcess:
    """The model of KHABAR_BUNDLE, of the Bento, or of the bundle that comes with the package, in
    its process.
    """
    from serving.model_store import bento_bundle

    service: Any = NewsService  # the decorator makes it a Service, which mypy cannot see
    folder = bundle_folder() or bento_bundle(service.bento) or DEFAULT_FOLDER
    return ModelProcess(folder, SETTINGS.device, SETTINGS.reading_threads, SETTINGS.logs)


@bentoml.service(
    service_class=GatedService,
    workers=SETTINGS.workers,
    traffic={"timeout": METRICS_S},
    logging={"access": {"enabled": False}},  # the gate has its own
)
@bentoml.asgi_app(app, path="/")
class NewsService:
    """Entities, topics, stances and claims of Arabic news articles."""

    def __init__(self) -> None:
        desk: Desk = app.state.desk
        desk.open()
        if threading.current_thread() is threading.main_thread():
            drain_on_signal(desk, asyncio.get_running_loop())


def drain_on_signal(desk: Desk, loop: asyncio.AbstractEventLoop) -> None:
    """Let SIGTERM and SIGINT first drain the desk, while new requests are told to go elsewhere, and
    then do what they did.
    """
    draining: set[asyncio.Task[None]] = set()

    async def drain_then(number: int, stop: Any) -> None:
        await desk.drain()
        if callable(stop):
            stop(number, None)

    def begin(number: int, stop: Any) -> None:
        if not draining:  # a second signal, as Ctrl-C and the supervisor send, changes nothing
            draining.add(loop.create_task(drain_then(number, stop)))

    def handle(stop: Any, number: int, _: object) -> None:
        loop.call_soon_threadsafe(begin, number, stop)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, partial(handle, signal.getsignal(number)))


def serve(host: str | None = None, port: int | None = None, bundle: Path | None = None) -> None:
    """Serve until interrupted; says on stderr where, once the service answers."""
    host, port = host or SETTINGS.host, port or SETTINGS.port
    if bundle is not None:
        os.environ[BUNDLE_VARIABLE] = str(bundle.resolve())
    Bundle.load(bundle_folder() or DEFAULT_FOLDER)  # a worker would fail again and again
    require_bentoml_home()
    logs.configure(SETTINGS.logs)
    keys = Keys.from_environment()
    address = free_address(host, port)
    if keys.names == () and not address.startswith(LOOPBACK):
        logger.warning("the service listens on %s and asks for no API key", address)
    threading.Thread(target=announce, args=(address, port), daemon=True).start()
    server: Any = NewsService  # the decorator makes it a Service, which mypy cannot see
    leave_folder(server)
    with TemporaryDirectory(prefix="khabar-metrics-", ignore_cleanup_errors=True) as folder:
        # by default all services of a user share one folder, which each empties when it starts
        BentoMLContainer.prometheus_multiproc_dir.set(folder)
        server.serve_http(host=address, port=port)


def require_bentoml_home() -> None:
    """Refuse to start where BentoML cannot make the folder that it keeps its own files in."""
    try:
        BentoMLContainer.bentoml_home.get()
    except OSError as error:
        where = error.filename or os.environ.get("BENTOML_HOME", "~/bentoml")
        raise ServeError(
            f"{where}: {error.strerror}; BentoML needs a folder for its own files, which is "
            "~/bentoml unless BENTOML_HOME names another: set it to one that can be written"
        ) from None


def leave_folder(server: Any) -> None:
    """Let the workers start beside our packages: they import from where they start, and the folder
    of the caller may hold a `configs` or `serving` of its own.
    """
    for variable in PLACES:
        named = os.environ.get(variable, "").strip()
        if named and not named.startswith(("~", "$")):  # which BentoML expands
            os.environ[variable] = os.path.abspath(named)
    server.working_dir = str(ROOT)


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
