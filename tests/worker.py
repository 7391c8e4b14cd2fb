"""The app of a worker in this process, as BentoML runs it, which starts once a process only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from starlette.testclient import TestClient

from serving import service
from serving.desk import Desk
from tests.fake_tagger import FakeTagger

if TYPE_CHECKING:
    from httpx2 import Response


JSON = {"Content-Type": "application/json"}


@contextmanager
def worker(tagger: FakeTagger) -> Iterator[TestClient]:
    """A client of the app with a tagger of the test's own."""
    news: Any = service.NewsService
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service, "open_tagger", lambda: tagger)
        app = news.to_asgi()
    with TestClient(app) as opened:
        desk_of().wait()
        yield opened


def desk_of() -> Desk:
    desk: Desk = service.app.state.desk
    return desk


def post(client: TestClient, *texts: str) -> Response:
    body = json.dumps({"articles": [{"text": text} for text in texts]})
    return client.post("/v1/tag", content=body, headers=JSON)
