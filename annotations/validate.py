"""The rules that gold must keep; each breach is told with document, place, what was found and what
to do.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

from annotations.errors import FormatError, told
from annotations.labels import LabelSchema, label_schema
from annotations.schema import Document, Range, crossing_pairs, duplicates, judged_twice
from annotations.text import SURROGATE, is_diacritic

CLAIM_LABELS = ("agree", "disagree", "discuss", "unrelated", "other")


def _known_labels(document: Document, schema: LabelSchema) -> set[str] | None:
    """The entity labels a document may use, or None where its corpus brings its own."""
    return {"fine": set(schema.entities), "coarse": set(schema.coarse)}.get(document.label_set)


def _entity_problems(document: Document, schema: LabelSchema) -> Iterator[str]:
    spans = document.entities or ()
    known = _known_labels(document, schema)
    for span in spans:
        where = f"{span.label} [{span.start}, {span.end})"
        if span.end > len(document.text):
            yield (
                f"{where}: ends past the text of {len(document.text)} code points; correct "
                "the offset"
            )
            continue
        surface = document.surface(span)
        if surface != surface.strip():
            yield f"{where}: begins or ends on a space; narrow it to the letters"
        elif is_diacritic(surface[0]):
            yield f"{where}: begins on a diacritic; move the start to its letter"
        if "\n" in surface:
            yield f"{where}: crosses a line break; split it"
        if known is not None and span.label not in known:
            yield (
                f"{where}: unknown label; label set {document.label_set} has "
                f"{', '.join(sorted(known))}"
            )
    for first, second in crossing_pairs(spans):
        yield (
            f"{first.label} [{first.start}, {first.end}) crosses {second.label} "
            f"[{second.start}, {second.end}); "
            "nest them or part them"
        )
    for twice in duplicates(spans):
        yield f"{twice.label} [{twice.start}, {twice.end}) is given twice; drop one"


def _outside(found: Range | None, document: Document) -> bool:
    return found is not None and not 0 <= found[0] < found[1] <= len(document.text)


def _attitude_problems(document: Document, schema: LabelSchema) -> Iterator[str]:
    for stance in document.stances or ():
        where = f"stance toward {told(stance.target)}"
        if stance.label not in schema.stances:
            yield f"{where}: unknown label {told(stance.label)}; use {', '.join(schema.stances)}"
        for found in (stance.scope, *(stance.evidence or ())):
            if _outside(found, document):
                yield (
                    f"{where}: range {found} lies outside the text of {len(document.text)} "
                    "code points; correct it or use null"
                )
        if stance.start is not None and document.text[stance.start : stance.end] != stance.target:
            yield (
                f"{where}: the text at [{stance.start}, {stance.end}) is not the target; "
                "correct it or use null"
            )
    for claim in document.claims or ():
        if claim.label not in CLAIM_LABELS:
            yield f"claim: unknown label {told(claim.label)}; use {', '.join(CLAIM_LABELS)}"
    for about in judged_twice(document):
        yield f"{told(about)} is judged twice; keep one of its labels"
    if document.topic is not None and document.topic not in schema.topics:
        yield f"topic: unknown label {told(document.topic)}; use {', '.join(schema.topics)}"


def _form_problems(document: Document) -> Iterator[str]:
    if document.form is None:
        return
    if document.form != "NFC":
        yield f"form: unknown Unicode form {told(document.form)}; use NFC or null"
        return
    composed = unicodedata.normalize("NFC", document.text)
    if composed != document.text:
        pairs = enumerate(zip(document.text, composed, strict=False))
        place = next((i for i, (a, b) in pairs if a != b), len(composed))
        yield (
            f"text: claims to be NFC and is not at code point {place}; annotate the text in NFC, "
            "or drop form"
        )


def placed(documents: Iterable[Document], path: Path) -> Iterator[Document]:
    """The documents of a file as they come; FormatError at the first entity, target, scope or
    evidence that lies outside its text: what is scored or taught would be another text's.
    """
    for document in documents:
        stances = document.stances or ()
        ranges: list[Range | None] = [(s.start, s.end) for s in document.entities or ()]
        for s in stances:
            ranges += [s.scope, *(s.evidence or ())]
            ranges.append(None if s.start is None or s.end is None else (s.start, s.end))
        for found in ranges:
            if _outside(found, document):
                raise FormatError(
                    f"{path}: {document.id}: range {found} lies outside the text of "
                    f"{len(document.text)} code points; `khabar annotations validate` lists all "
                    "that is wrong"
                )
        yield document


def problems(documents: Iterable[Document]) -> Iterator[str]:
    """What is wrong with gold documents, one line a breach: `document id: place: found; what to
    do`.
    """
    schema = label_schema()
    seen: set[str] = set()
    for document in documents:
        if SURROGATE.search(document.id + document.text):
            yield f"{document.id!r}: the text or id holds a lone surrogate; mend or remove it"
        if document.id in seen:
            yield f"{document.id}: duplicate id; ids are unique within a file"
        seen.add(document.id)
        for problem in (
            *_form_problems(document),
            *_entity_problems(document, schema),
            *_attitude_problems(document, schema),
        ):
            yield f"{document.id}: {problem}"
