"""Our own app on loopback in a thread, without BentoML, whose app starts once a process only."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from serving.api.errors import STATUS
from serving.desk import Desk
from serving.gate import Gate
from serving.keys import Keys
from serving.metrics import Metrics
from serving.routes import app
from serving.settings import serve_settings


@contextmanager
def gated(tagger: Any) -> Iterator[str]:
    """The address of the app with a tagger; it wants the keys of the environment."""
    metrics = Metrics(STATUS)
    before = getattr(app.state, "desk", None)  # of the fixture `client`, which is up all session
    desk = app.state.desk = Desk(lambda: tagger, serve_settings(), metrics)
    gate = Gate(app, app, Keys.from_environment(), metrics, desk)
    server = uvicorn.Server(uvicorn.Config(gate, port=0, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.02)
    desk.open()
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()
    app.state.desk = before
