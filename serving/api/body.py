"""The body of a request as it comes: its media type, its bytes counted, a bound on what is read."""

from __future__ import annotations

import math
import re

import anyio
from starlette.requests import Request
from starlette.types import Receive

from serving.api.errors import RequestError

DISCARDED_BYTES = 64 * 1024 * 1024  # of a body that is too large, before its sender is cut off
DISCARD_S = 5.0


def check_media_type(header: str | None, coding: str | None = None) -> None:
    """Refuse a body that does not say it is JSON in UTF-8, or that says it is compressed."""
    if (coding or "identity").strip().lower() != "identity":
        message = "send the body as it is, without Content-Encoding"
        raise RequestError("unsupported_media_type", message)
    media_type, *parameters = (header or "").lower().split(";")
    others = [p for p in parameters if re.fullmatch(r'\s*charset="?utf-8"?\s*', p) is None]
    if media_type.strip() != "application/json" or any("charset" in other for other in others):
        message = "send JSON in UTF-8 with Content-Type: application/json"
        raise RequestError("unsupported_media_type", message)


async def read_body(request: Request, max_bytes: int) -> bytes:
    """The body of a request, counted as it comes.

    What goes beyond the limit is thrown away, up to a bound: a client that is still sending when
    the connection closes would see a reset and not the refusal.
    """
    body = bytearray()
    too_large = _announced(request) > max_bytes
    more = True
    while more and not too_large:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise RequestError("disconnected", "the body did not arrive whole")
        body += message.get("body", b"")
        more = message.get("more_body", False)
        too_large = len(body) > max_bytes
    if not too_large:
        return bytes(body)
    if more:
        await discard(request.receive)
    told = f"the body is larger than {max_bytes} bytes; send fewer articles"
    raise RequestError("body_too_large", told)


def _announced(request: Request) -> float:
    """The bytes a request announces; 0 where it announces none."""
    announced = request.headers.get("content-length", "")
    if not announced.isdecimal():
        return 0
    return math.inf if len(announced) > 20 else int(announced)


async def discard(receive: Receive) -> None:
    """Read and forget what a client is still sending, within bounds of size and time."""
    left = DISCARDED_BYTES
    more = True
    with anyio.move_on_after(DISCARD_S):
        while more and left >= 0:
            message = await receive()
            more = message.get("more_body", False)
            left -= len(message.get("body", b""))
