"""The errors of a batch job, and the optional packages that it needs."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from annotations.errors import KhabarError, MissingExtraError


class BatchError(KhabarError):
    """A job that stops; what is done stays done, and the same command goes on."""


class UsageError(BatchError):
    """A job that cannot begin as it is asked for."""


def extra(name: str) -> Any:
    """A module of the extra `khabar[batch]`, by its full name."""
    try:
        return import_module(name)
    except ImportError as error:
        missing = error.name or name
        raise MissingExtraError(f"{missing} is not installed; install khabar[batch]") from None
