"""JSON responses and their request ids: what all answers of the service have in common."""

from __future__ import annotations

import json
import re
import uuid

from starlette.responses import Response

SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def encode(payload: object) -> bytes:
    """JSON in UTF-8, Arabic as it is; escaped only when an id holds what UTF-8 cannot."""
    try:
        return json.dumps(payload, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(payload, allow_nan=False).encode("ascii")


def json_response(body: bytes, status: int = 200) -> Response:
    """A response of JSON that is already encoded."""
    return Response(body, status, {"Cache-Control": "no-store"}, "application/json")


def request_id_of(header: str | None) -> str:
    """The caller's request id when it is plain, else a new one."""
    return header if header and SANE_REQUEST_ID.fullmatch(header) else uuid.uuid4().hex
