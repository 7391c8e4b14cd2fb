"""Refusals: the table of codes and statuses, and the one envelope that carries them."""

from __future__ import annotations

import math

from starlette.responses import Response

from serving.api.response import encode, json_response

STATUS = {
    "invalid_json": 400,
    "disconnected": 400,
    "unauthorized": 401,
    "not_found": 404,
    "method_not_allowed": 405,
    "body_timeout": 408,
    "body_too_large": 413,
    "unsupported_media_type": 415,
    "invalid_request": 422,
    "overloaded": 429,
    "internal": 500,
    "loading": 503,
    "draining": 503,
    "timeout": 504,
}
RETRY_STATUSES = (429, 503)  # their answers say when to come back
DEFAULT_RETRY_AFTER_S = 1.0


class RequestError(Exception):
    """A refused request; `code` is a key of STATUS, `field` the path of what is wrong.

    `retry_after_s` is when a caller who was told to come back (429, 503) should do so.
    """

    def __init__(
        self,
        code: str,
        message: str,
        field: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field
        self.retry_after_s = retry_after_s

    @property
    def status(self) -> int:
        """The HTTP status of its code."""
        return STATUS[self.code]


def error_response(error: RequestError, request_id: str) -> Response:
    """The one envelope of every refusal."""
    detail: dict[str, str | None] = {"code": error.code, "message": error.message}
    detail |= {"field": error.field, "request_id": request_id}
    response = json_response(encode({"error": detail}), error.status)
    if error.status in RETRY_STATUSES:
        wait_s = DEFAULT_RETRY_AFTER_S if error.retry_after_s is None else error.retry_after_s
        response.headers["Retry-After"] = str(max(1, math.ceil(wait_s)))  # whole seconds
        response.headers["Retry-After-Ms"] = str(max(1, math.ceil(wait_s * 1000)))
    if error.code == "unauthorized":
        response.headers["WWW-Authenticate"] = "Bearer"
    if error.code == "body_too_large":
        response.headers["Connection"] = "close"  # the rest of the body may not have been read
    return response
