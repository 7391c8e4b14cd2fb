"""khabar JSONL: one document a line, the format in which every corpus and every prediction
meets.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from annotations.errors import DocumentError, FormatError, not_utf8, told
from annotations.schema import Claim, Document, Range, Span, Stance
from annotations.textfile import opened_bytes

_FIELDS = {
    "id", "text", "title", "source", "date", "license", "entities", "label_set", "stances",
    "claims", "topic", "form",
}  # fmt: skip
_SPAN_FIELDS = {"start", "end", "label", "text"}
_STANCE_FIELDS = {"target", "label", "start", "end", "scope", "holder", "evidence"}
_CLAIM_FIELDS = {"text", "label"}
_OPTIONAL_STRINGS = ("title", "source", "date", "license", "label_set", "topic", "form")


def _offset(value: Any) -> int:
    if type(value) is not int:  # true and 1.0 would pass for integers
        raise TypeError(f"an offset must be an integer, got {type(value).__name__}")
    return value


def _range(value: Any) -> Range:
    start, end = value
    return _offset(start), _offset(end)


def _string(row: dict[str, Any], name: str) -> str:
    if not isinstance(row[name], str):
        raise TypeError(f"{name!r} must be a string, got {type(row[name]).__name__}")
    return str(row[name])


def _require_known(row: Any, fields: set[str], what: str) -> None:
    if not isinstance(row, dict):
        raise TypeError(f"{what} must be an object, got {type(row).__name__}")
    unknown = sorted(set(row) - fields)
    if unknown:
        raise FormatError(
            f"unknown field {told(unknown[0])}; {what} has {', '.join(sorted(fields))}"
        )


def _span(row: dict[str, Any], text: str) -> Span:
    """The span of a JSON object; where it brings its surface as `text`, that of the document."""
    _require_known(row, _SPAN_FIELDS, "an entity")
    span = Span(_offset(row["start"]), _offset(row["end"]), _string(row, "label"))
    if row.get("text") is not None and text[span.start : span.end] != _string(row, "text"):
        raise FormatError(
            f"{span.label} [{span.start}, {span.end}) is not its text; correct the offsets, in "
            "code points"
        )
    return span


def stance_from_dict(row: dict[str, Any]) -> Stance:
    """The stance of a JSON object; unknown fields are errors."""
    _require_known(row, _STANCE_FIELDS, "a stance")
    start, end, scope = row.get("start"), row.get("end"), row.get("scope")
    return Stance(
        target=_string(row, "target"),
        label=_string(row, "label"),
        start=None if start is None else _offset(start),
        end=None if end is None else _offset(end),
        scope=None if scope is None else _range(scope),
        holder=None if row.get("holder") is None else _string(row, "holder"),
        evidence=_optional_tuple(row.get("evidence"), _range),
    )


def _claim(row: dict[str, Any]) -> Claim:
    _require_known(row, _CLAIM_FIELDS, "a claim")
    return Claim(_string(row, "text"), _string(row, "label"))


def _optional_tuple(rows: Any, build: Any) -> Any:
    if rows is None:
        return None
    if not isinstance(rows, list):
        raise TypeError(f"annotations come as a list, got {type(rows).__name__}")
    return tuple(build(row) for row in rows)


def document_from_dict(row: dict[str, Any]) -> Document:
    """The document of a JSON object; unknown fields, there and in its annotations, and missing ids
    or texts are errors, as is an entity with another `text` than stands at its place.
    """
    _require_known(row, _FIELDS, "a document")
    for name in ("id", "text"):
        if not isinstance(row.get(name), str):
            raise FormatError(
                f"field {name!r} must be a string, got {type(row.get(name)).__name__}"
            )
    for name in _OPTIONAL_STRINGS:
        if not isinstance(row.get(name, ""), str | None):
            raise FormatError(
                f"field {name!r} must be a string or null, got {type(row[name]).__name__}"
            )
    return Document(
        id=row["id"],
        text=row["text"],
        title=row.get("title"),
        source=row.get("source"),
        date=row.get("date"),
        license=row.get("license"),
        entities=_optional_tuple(row.get("entities"), lambda found: _span(found, row["text"])),
        label_set=row.get("label_set") or "fine",
        stances=_optional_tuple(row.get("stances"), stance_from_dict),
        claims=_optional_tuple(row.get("claims"), _claim),
        topic=row.get("topic"),
        form=row.get("form"),
    )


def carried_stances(
    rows: Sequence[dict[str, Any]] | None,
) -> list[dict[str, Any] | None] | None:
    """What of a document's stances (JSON objects) has no place in its text; None for each that has.

    `merge_stances` is the way back.
    """
    if rows is None:
        return None
    return [row if row["start"] is None else None for row in rows]


def merge_stances(
    kept: Sequence[dict[str, Any] | None] | None, placed: Sequence[Stance]
) -> tuple[Stance, ...] | None:
    """Stances of two sources in their first order: None in `kept` stands for the next of `placed`.

    Formats with regions hold the stances that have a place in the text; the others travel as JSON
    objects. None where neither was annotated.
    """
    if kept is None:
        return tuple(placed) or None
    left, merged = list(placed), []
    for row in kept:
        if row is not None:
            merged.append(stance_from_dict(row))
        elif left:
            merged.append(left.pop(0))
    return (*merged, *left)


def document_to_dict(document: Document) -> dict[str, Any]:
    """The JSON object of a document."""
    return {
        "id": document.id,
        "text": document.text,
        "title": document.title,
        "source": document.source,
        "date": document.date,
        "license": document.license,
        "entities": _optional_list(document.entities, ("start", "end", "label")),
        "label_set": document.label_set,
        "stances": _optional_list(
            document.stances, ("target", "start", "end", "label", "scope", "holder", "evidence")
        ),
        "claims": _optional_list(document.claims, ("text", "label")),
        "topic": document.topic,
        **({} if document.form is None else {"form": document.form}),
    }


def _optional_list(
    rows: Iterable[Any] | None, fields: tuple[str, ...]
) -> list[dict[str, Any]] | None:
    return None if rows is None else [{name: getattr(row, name) for name in fields} for row in rows]


def parse_document(line: str, where: str) -> Document:
    """The document on one line; `where` names file and line in errors."""
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise FormatError(
            f"{where}: not JSON ({error.msg} at column {error.colno}); one object a line is needed"
        ) from None
    except (ValueError, RecursionError) as error:  # a number too long, brackets too deep
        raise FormatError(
            f"{where}: not JSON ({type(error).__name__}); one object a line is needed"
        ) from None
    if not isinstance(row, dict):
        raise FormatError(
            f"{where}: got a JSON {type(row).__name__}, need an object with id and text"
        )
    try:
        return document_from_dict(row)
    except (FormatError, DocumentError) as error:
        raise FormatError(f"{where}: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FormatError(
            f"{where}: an annotation is malformed ({type(error).__name__}: {error})"
        ) from None


def read_documents(path: Path) -> Iterator[Document]:
    """The documents of a khabar JSONL file, plain or gzip, in order; blank lines are passed over,
    and so is a byte order mark.
    """
    with opened_bytes(path) as lines:
        for number, line in enumerate(lines, 1):
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            if line.strip():
                yield parse_document(_decoded(line, f"{path}:{number}"), f"{path}:{number}")


def _decoded(line: bytes, where: str) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise not_utf8(where, error) from None


def write_documents(path: Path, documents: Iterable[Document]) -> int:
    """Write documents as khabar JSONL; returns how many."""
    count = 0
    with path.open("w", encoding="utf-8") as out:
        for document in documents:
            out.write(json.dumps(document_to_dict(document), ensure_ascii=False) + "\n")
            count += 1
    return count
