"""The family of khabar's errors: each says what, where, what was found and what to do, and never
quotes an article.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_TOLD = 60  # code points of a value that an error quotes


class KhabarError(Exception):
    """Anything that a user can mend; its message says how."""


class DocumentError(KhabarError, ValueError):
    """A document that breaks a rule of the schema."""


class FormatError(KhabarError, ValueError):
    """A file that cannot be read as the format it should be in."""


@contextmanager
def naming(where: str) -> Iterator[None]:
    """Put the file or task that holds a document before the errors of that document."""
    try:
        yield
    except (DocumentError, FormatError) as error:
        raise FormatError(f"{where}: {error}") from None


def told(value: str) -> str:
    """A value of a user's own, quoted in an error where it is short; a long one may be an article,
    of which only the length is told.
    """
    return repr(value) if len(value) <= _TOLD else f"a value of {len(value)} characters"


def not_utf8(where: str, error: UnicodeDecodeError) -> FormatError:
    """The error of a file that holds other bytes than UTF-8."""
    return FormatError(
        f"{where}: not UTF-8 (byte {error.object[error.start]:#04x}); convert the file to UTF-8"
    )


class ConfigError(KhabarError, ValueError):
    """A configuration file with a wrong or unknown setting."""


class MissingExtraError(KhabarError, ImportError):
    """A feature whose optional dependencies are not installed."""
