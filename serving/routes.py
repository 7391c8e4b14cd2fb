"""What the service answers, path by path; `serving.service` mounts the app in BentoML."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from annotations.seed import seed_text
from serving.api.body import check_media_type, discard, read_body
from serving.api.errors import RequestError, error_response
from serving.api.openapi import openapi
from serving.api.response import encode, json_response
from serving.desk import Desk
from serving.gate import NOTES, Notes
from serving.logs import fault_places
from serving.view import MEDIA_TYPES, labels_dict

logger = logging.getLogger("khabar.service")
PAGE = Path(__file__).parent / "page"
PAGES = {"/": (PAGE / "index.html", "text/html")} | {
    f"/static/{path.name}": (path, MEDIA_TYPES[path.suffix])
    for path in sorted(PAGE.iterdir())
    if path.suffix in MEDIA_TYPES
}

T = TypeVar("T")
Endpoint = Callable[[Request], Awaitable[Response]]


def answered(endpoint: Endpoint) -> Endpoint:
    """An endpoint whose every failure is answered in the one envelope."""

    async def answering(request: Request) -> Response:
        notes: Notes = request.scope[NOTES]
        try:
            return await endpoint(request)
        except RequestError as error:
            refusal = error
        except Exception as fault:
            logger.error("a request failed: %s", fault_places(fault))
            message = "the service failed; nothing was read, please report the request id"
            refusal = RequestError("internal", message)
        notes.code = refusal.code
        return error_response(refusal, notes.request_id)

    return answering


async def tag(request: Request) -> Response:
    """`POST /v1/tag`: the predictions of up to 64 articles."""
    desk: Desk = request.app.state.desk
    notes: Notes = request.scope[NOTES]
    try:
        sent = request.headers
        check_media_type(sent.get("content-type"), sent.get("content-encoding"))
    except RequestError:
        await discard(request.receive)  # its sender would see a reset and not the refusal
        raise
    with desk.opened():
        body = await received(request, desk)
        answer = await unless_left(request, desk.answer(body, notes.request_id))
    notes.articles, notes.pieces = answer.articles, answer.pieces
    return json_response(answer.body)


async def unless_left(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of some work, which is cancelled when the caller closes the connection."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
    finally:
        leaving.cancel()
        working.cancel()
    raise RequestError("disconnected", "the caller left before the answer")


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def received(request: Request, desk: Desk) -> bytes:
    """The body of a request, which must arrive in time."""
    settings = desk.settings
    try:
        with anyio.fail_after(settings.body_timeout_s):
            return await read_body(request, settings.max_body_bytes)
    except TimeoutError:
        told = f"the body did not arrive within {settings.body_timeout_s} s"
        raise RequestError("body_timeout", told) from None


async def model(request: Request) -> Response:
    """`GET /v1/model`: what is known of the bundle, and how much the service takes."""
    desk: Desk = request.app.state.desk
    limits = asdict(desk.settings.limits)
    return json_response(encode({**desk.tagger.bundle.summary(), "limits": limits}))


async def labels(_: Request) -> Response:
    """`GET /v1/labels`: every label with its Arabic name, and the colours of the entity types."""
    return json_response(encode(labels_dict()))


async def seed(_: Request) -> Response:
    """`GET /v1/seed`: the seed article, for the page to begin with."""
    return json_response(encode({"title": None, "text": seed_text()}))


async def docs(request: Request) -> Response:
    """`GET /openapi.json`; `/docs.json` is where BentoML has its own, which leaves us out."""
    desk: Desk = request.app.state.desk
    return json_response(encode(openapi(desk.settings.limits)))


async def page(request: Request) -> Response:
    """`GET /` and what it loads."""
    path, media_type = PAGES[request.url.path]
    # read here, not by a FileResponse: its failure would come after us, and BentoML waits for it
    return Response(path.read_bytes(), 200, {"Cache-Control": "no-cache"}, media_type)


ROUTES = [
    Route("/v1/tag", answered(tag), methods=["POST"]),
    Route("/v1/model", answered(model)),
    Route("/v1/labels", answered(labels)),
    Route("/v1/seed", answered(seed)),
    Route("/openapi.json", answered(docs)),
    Route("/docs.json", answered(docs)),
    *(Route(path, answered(page)) for path in PAGES),
]
app = Starlette(routes=ROUTES)
