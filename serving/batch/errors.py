"""The errors of a batch job, and the optional packages that it needs."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from annotations.errors import KhabarError, MissingExtraError
from serving.logs import fault_places


class BatchError(KhabarError):
    """A job that stops; what is done stays done, and the same command goes on."""


class UsageError(BatchError):
    """A job that cannot begin as it is asked for."""


def failure(error: Exception) -> BatchError:
    """What a worker fell over, as the error that stops the job.

    The words of an unexpected error may quote an article, its places do not.
    """
    if isinstance(error, KhabarError):
        return BatchError(str(error))
    return BatchError(f"a worker failed ({fault_places(error)}); start again")


def extra(name: str, of: str = "batch") -> Any:
    """A module of an extra of khabar, by its full name."""
    try:
        return import_module(name)
    except ImportError as error:
        missing = error.name or name
        raise MissingExtraError(f"{missing} is not installed; install khabar[{of}]") from None
