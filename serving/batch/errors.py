"""The errors of a batch job, and the optional packages that it needs."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
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


def reason_of(error: Exception) -> str:
    """Why a filesystem could not do something, in its own words. That behind a URL may raise what
    is no OSError, of a missing login for example.
    """
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    words = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def extra(name: str, of: str = "batch") -> Any:
    """A module of an extra of khabar, by its full name."""
    try:
        return import_module(name)
    except ImportError as error:
        raise _missing(error.name or name, of) from None


def require(name: str, of: str = "batch") -> None:
    """Refuse to begin where a module of an extra is missing; it is not loaded yet."""
    if find_spec(name) is None:
        raise _missing(name, of)


def _missing(name: str, of: str) -> MissingExtraError:
    return MissingExtraError(
        f'{name} is not installed; run `pip install -c constraints.txt -e ".[{of}]"`'
    )
