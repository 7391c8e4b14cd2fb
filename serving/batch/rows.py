"""Rows: one row of an input, and the article that it holds or the reason why it holds none.

A row keeps its bytes as received, so that what cannot be read is written down whole.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal

from annotations.text import reject_surrogates
from serving.batch.options import BatchOptions
from serving.batch.webpage import PageError, declared_encoding, main_text
from serving.prediction import Article, Targets, targets_of

Form = Literal["json", "text", "html"]
MAX_ROW_BYTES = 64 * 1024 * 1024  # a longer row is passed over and rejected without its bytes


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a source as received.

    `line` counts from 1: lines of JSONL and CSV, rows of Parquet; None is the file itself.
    `encoding` None is as a page declares. A `problem` (its code and words) was found when reading
    and makes the row a reject.
    """

    source: str
    line: int | None
    raw: bytes
    form: Form = "json"
    encoding: str | None = "utf-8"
    problem: tuple[str, str] | None = None

    @property
    def place(self) -> str:
        """Where the row stands, in words."""
        return self.source if self.line is None else f"{self.source}:{self.line}"

    def digest(self) -> bytes:
        """What tells a row from another."""
        found = blake2b(digest_size=16)
        head = json.dumps(
            [self.source, self.line, self.form, self.encoding, self.problem, len(self.raw)]
        )
        found.update(head.encode())
        found.update(self.raw)
        return found.digest()


class RejectError(Exception):
    """Why a row gives no article: a code for counting and words without its text."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


@dataclass(frozen=True, slots=True)
class Reject:
    """A row without an answer."""

    row: Row
    code: str
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of `rejects.jsonl`; bytes that are no UTF-8 are in base64."""
        found: dict[str, Any] = {
            "source": self.row.source,
            "line": self.row.line,
            "code": self.code,
            "reason": self.reason,
        }
        try:
            return found | {"raw": self.row.raw.decode("utf-8")}
        except UnicodeDecodeError:
            return found | {"raw_base64": base64.b64encode(self.row.raw).decode("ascii")}


def article_of(row: Row, options: BatchOptions) -> Article:
    """The article of a row; `RejectError` when it holds none."""
    if row.problem is not None:
        raise RejectError(*row.problem)
    article = _READERS[row.form](row, options)
    for name, value in (("text", article.text), ("title", article.title or "")):
        if len(value) > options.max_code_points:
            raise RejectError(
                "too_long",
                f"{name} has {len(value)} code points, the limit is {options.max_code_points}; "
                "split the article or raise --max-code-points",
            )
    return article


def _of_json(row: Row, options: BatchOptions) -> Article:
    text = _decoded(row).removeprefix("\ufeff")  # a byte order mark
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise RejectError("not_json", f"not JSON ({error.msg} at column {error.colno})") from None
    except (ValueError, RecursionError) as error:  # a number too long, brackets too deep
        raise RejectError("not_json", f"not JSON ({type(error).__name__})") from None
    if not isinstance(found, dict):
        raise RejectError("not_object", f"got a JSON {type(found).__name__}, need an object")

    def value(name: str) -> Any:
        return found.get(options.column(name))

    if options.column("text") not in found:
        raise RejectError(
            "no_text", f"no {options.column('text')!r}; map it with --column text=NAME"
        )
    return Article(
        _string(value("text"), options.column("text")),
        id=_identifier(value("id"), options.column("id")) or row.place,
        title=None if value("title") is None else _string(value("title"), options.column("title")),
        targets=_targets(value("targets"), options),
        claims=_strings(value("claims"), options.column("claims")) or options.claims,
    )


def _of_text(row: Row, options: BatchOptions) -> Article:
    return Article(_decoded(row), id=row.source, targets=options.targets, claims=options.claims)


def _of_html(row: Row, options: BatchOptions) -> Article:
    try:
        page = main_text(_decoded(row))
    except PageError as error:
        reason = f"the search for the main text of the page failed ({error})"
        raise RejectError("no_main_text", reason) from None
    if page is None:
        raise RejectError("no_main_text", "no main text was found in the page")
    return Article(
        page.text, id=row.source, title=page.title, targets=options.targets, claims=options.claims
    )


_READERS: dict[Form, Callable[[Row, BatchOptions], Article]] = {
    "json": _of_json,
    "text": _of_text,
    "html": _of_html,
}


def _decoded(row: Row) -> str:
    encoding = row.encoding or declared_encoding(row.raw)
    try:
        return row.raw.decode(encoding)
    except UnicodeDecodeError as error:
        found = f"byte {error.object[error.start]:#04x} at offset {error.start}"
    except UnicodeError as error:  # of a codec that does not say where
        found = type(error).__name__
    raise RejectError(
        "encoding", f"not {encoding} ({found}); convert the file or name its --encoding"
    )


def _string(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise RejectError("type", f"{name!r} must be a string, got {type(value).__name__}")
    return value


def _identifier(value: Any, name: str) -> str | None:
    if value is None or value == "":
        return None
    if type(value) is int:
        return str(value)
    identifier = _string(value, name)
    try:
        reject_surrogates(identifier, name)
    except ValueError as error:
        raise RejectError("surrogates", str(error)) from None
    return identifier


def _strings(value: Any, name: str) -> tuple[str, ...]:
    if value is None or value == "":
        return ()
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list):
        raise RejectError("type", f"{name!r} must be a list, got {type(value).__name__}")
    return tuple(_string(item, f"{name}[{i}]") for i, item in enumerate(value))


def _targets(value: Any, options: BatchOptions) -> Targets:
    name = options.column("targets")
    try:
        return targets_of(_strings(value, name)) or options.targets
    except ValueError as error:
        raise RejectError("targets", f"{name!r}: {error}") from None
