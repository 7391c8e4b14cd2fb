"""brat standoff: `NAME.txt` with `NAME.ann` beside it, offsets in code points.

Entities are text-bound annotations (`T`). A stance toward a place in the text is a `Target` with an
attribute `Stance` and, for a holder, a note; `Evidence` and `Scope` are tied to it by relations.
What brat cannot hold (topic, claims, stances toward a phrase, other fields) stands in `NAME.json`,
which brat leaves alone.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from annotations.errors import FormatError, KhabarError, naming, not_utf8
from annotations.jsonl import (
    carried_stances,
    document_from_dict,
    document_to_dict,
    merge_stances,
)
from annotations.offsets import Quoted
from annotations.regions import Kind, Regions, placed_stances
from annotations.schema import Document, Range, Stance

TARGET, EVIDENCE, SCOPE, STANCE = "Target", "Evidence", "Scope", "Stance"
_KINDS: dict[str, Kind] = {TARGET: "TARGET", EVIDENCE: "EVIDENCE", SCOPE: "SCOPE"}
_NO_EVIDENCE = "NoEvidence"  # an attribute of a target: looked for, and there is none
_LABEL = re.compile(r"[A-Za-z0-9_-]+")
_NAME = re.compile(r"[^\w.-]+")
_BOUND = re.compile(r"(\S+) (\d{1,15} \d{1,15}(?:;\d{1,15} \d{1,15})*)")


@dataclass
class _Lines:
    """The lines of one `.ann` file; ids count up by kind."""

    lines: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, kind: str, *columns: str) -> str:
        """Add a line of a kind; returns its id."""
        self.counts[kind] += 1
        identifier = f"{kind}{self.counts[kind]}"
        self.lines.append("\t".join((identifier, *columns)))
        return identifier


def write_folder(folder: Path, documents: Iterable[Document]) -> int:
    """Write documents as brat files, numbered in their order; returns how many."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FormatError(f"{folder}: the folder is not empty; give a new one for the brat files")
    count = 0
    for document in documents:
        count += 1
        stem = f"{count:06d}-{_NAME.sub('_', document.id)[:60]}"
        (folder / f"{stem}.txt").write_bytes(document.text.encode("utf-8"))
        (folder / f"{stem}.ann").write_bytes(to_ann(document).encode("utf-8"))
        row = document_to_dict(document)
        kept = {name: row[name] for name in row if name not in ("text", "entities")}
        kept["stances"] = carried_stances(row["stances"])
        kept["annotated"] = row["entities"] is not None
        (folder / f"{stem}.json").write_text(json.dumps(kept, ensure_ascii=False), encoding="utf-8")
    return count


def to_ann(document: Document) -> str:
    """The `.ann` file of a document: its entities and its stances toward places in the text."""
    out = _Lines()
    with naming(document.id):
        for span in document.entities or ():
            if not _LABEL.fullmatch(span.label) or span.label in _KINDS:
                raise FormatError(f"brat has no type {span.label!r}; use letters, digits, - and _")
            out.add("T", *_bound(span.label, (span.start, span.end), document.text))
        for stance in placed_stances(document):
            assert stance.start is not None and stance.end is not None
            _add_stance(out, stance, (stance.start, stance.end), document.text)
    return "".join(line + "\n" for line in out.lines)


def _add_stance(out: _Lines, stance: Stance, place: Range, text: str) -> None:
    if not _LABEL.fullmatch(stance.label):
        raise FormatError(
            f"brat has no value {stance.label!r} of a stance; use letters, digits, - and _"
        )
    target = out.add("T", *_bound(TARGET, place, text))
    out.add("A", f"{STANCE} {target} {stance.label}")
    if stance.evidence == ():
        out.add("A", f"{_NO_EVIDENCE} {target}")
    if stance.holder is not None:
        holder = json.dumps(stance.holder, ensure_ascii=False)  # one line, whatever it holds
        out.add("#", f"AnnotatorNotes {target}", f"holder: {holder}")
    parts = [(SCOPE, stance.scope)] if stance.scope is not None else []
    for kind, found in (*parts, *((EVIDENCE, found) for found in stance.evidence or ())):
        bound = out.add("T", *_bound(kind, found, text))
        out.add("R", f"{kind} Arg1:{bound} Arg2:{target}")


def _bound(label: str, place: Range, text: str) -> tuple[str, str]:
    """Type with offsets, and the surface; a line end parts a span into fragments, as brat does."""
    if not 0 <= place[0] < place[1] <= len(text):
        raise FormatError(f"{label} [{place[0]}, {place[1]}): outside the text; correct it")
    fragments, start = [], place[0]
    for i in range(place[0], place[1] + 1):
        if i == place[1] or text[i] in "\r\n":
            if start < i:
                fragments.append((start, i))
            start = i + 1
    if not fragments or fragments[0][0] != place[0] or fragments[-1][1] != place[1]:
        raise FormatError(
            f"{label} [{place[0]}, {place[1]}): brat has no span that begins or ends on a line end"
        )
    offsets = ";".join(f"{a} {b}" for a, b in fragments)
    return f"{label} {offsets}", " ".join(text[a:b] for a, b in fragments).replace("\t", " ")


def read_folder(folder: Path, notes: Counter[str]) -> Iterator[Document]:
    """The documents of a brat folder and of the folders in it, by file name; `notes` counts what
    was repaired or left out.

    A document without `NAME.json` has its path in the folder for an id.
    """
    files = _files(folder)
    if not files:
        raise FormatError(f"{folder}: no .txt file; give a folder of brat files")
    places: dict[str, Path] = {}
    for path in files:
        ann = path.with_suffix(".ann")
        if not ann.is_file():
            notes["text without .ann, read as not annotated"] += 1
        lines = _text(ann).split("\n") if ann.is_file() else None
        kept = path.with_suffix(".json")
        name = path.relative_to(folder).with_suffix("").as_posix()
        row = _kept(kept) if kept.is_file() else {"id": name}
        try:
            document = from_ann(_text(path), lines, row, str(ann), notes, str(kept))
        except KhabarError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FormatError(f"{kept}: malformed ({type(error).__name__}); restore it") from None
        other = places.setdefault(document.id, path.parent)
        if other != path.parent:
            raise FormatError(
                f"{path}: the id {document.id!r} stands in {other} too; read one of the two alone"
            )
        yield document


def _files(folder: Path) -> list[Path]:
    """The texts of a folder and of those in it, links too, in order; annotation without its text is
    an error.
    """
    found, seen = [], set[str]()
    for inner, folders, names in os.walk(folder, onerror=_refuse, followlinks=True):
        if (real := os.path.realpath(inner)) in seen:
            folders.clear()  # a link to a folder around it
            continue
        seen.add(real)
        folders.sort()
        for name in names:
            path = Path(inner, name)
            if path.suffix == ".txt":
                found.append(path)
            elif path.suffix == ".ann" and not path.with_suffix(".txt").is_file():
                raise FormatError(f"{path}: its text, {path.stem}.txt, is missing; restore it")
    return sorted(found)


def _refuse(error: OSError) -> None:
    raise error


def _kept(path: Path) -> dict[str, Any]:
    """The fields that brat does not hold."""
    try:
        row = json.loads(_text(path))
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):
        raise FormatError(f"{path}: no JSON object; restore it or remove it")
    return row


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise not_utf8(str(path), error) from None


def from_ann(
    text: str,
    lines: Iterable[str] | None,
    row: dict[str, Any],
    where: str,
    notes: Counter[str],
    row_where: str | None = None,
) -> Document:
    """The document of a text with its `.ann` lines (None: not annotated) and its other fields.

    `where` and `row_where` name their files in errors. Stances are None where the lines have none
    and `row` does not say that someone looked: brat cannot tell.
    """
    row = dict(row)
    annotated, kept = row.pop("annotated", True), row.pop("stances", None)
    with naming(row_where or where):
        document = document_from_dict({**row, "text": text})
        if lines is None:
            return replace(document, stances=merge_stances(kept, ()))
    entities, stances = _parse(lines, text, where, notes).read(text, notes)
    with naming(row_where or where):
        return replace(
            document,
            entities=tuple(entities) if entities or annotated else None,
            stances=merge_stances(kept, stances),
        )


def _parse(lines: Iterable[str], text: str, where: str, notes: Counter[str]) -> Regions:
    found = Regions()
    for number, line in enumerate(lines, 1):
        columns = line.rstrip("\r").split("\t")
        kind, fields = columns[0][:1], (columns[1] if len(columns) > 1 else "").split(" ")
        if not line.strip():
            continue
        if kind == "T":
            _add_bound(found, columns, text, f"{where}:{number}", notes)
        elif kind in ("A", "M") and fields[0] == STANCE and len(fields) == 3:
            _keep_first(found.labels, fields[1], fields[2], "stance", notes)
        elif kind in ("A", "M") and fields[0] == _NO_EVIDENCE and len(fields) == 2:
            found.without_evidence.add(fields[1])
        elif kind == "R" and fields[0] in (EVIDENCE, SCOPE) and len(fields) == 3:
            found.parts[fields[2].removeprefix("Arg2:")].append(fields[1].removeprefix("Arg1:"))
        elif kind == "#" and len(columns) > 2 and columns[2].startswith("holder: "):
            holder = _holder(columns[2].removeprefix("holder: "))
            _keep_first(found.holders, fields[-1], holder, "holder", notes)
        elif kind in ("A", "M", "R", "E", "N", "*", "#"):
            what = {"#": "note", "R": "relation", "E": "event", "N": "normalisation"}
            notes[f"{what.get(kind, 'attribute')} left out: a document has no place for it"] += 1
        else:
            raise FormatError(f"{where}:{number}: no brat line; it begins with {kind!r}")
    return found


def _keep_first(
    table: dict[str, str], target: str, value: str, what: str, notes: Counter[str]
) -> None:
    if target in table:
        notes[f"{what} left out: a target has one"] += 1
    table.setdefault(target, value)


def _holder(note: str) -> str:
    """A holder as this module writes it, a JSON string, or as a person types it."""
    try:
        value = json.loads(note)
    except (ValueError, RecursionError):
        return note
    return value if isinstance(value, str) else note


def _add_bound(
    found: Regions, columns: list[str], text: str, where: str, notes: Counter[str]
) -> None:
    bound = _BOUND.fullmatch(columns[1]) if len(columns) == 3 else None
    if bound is None:
        raise FormatError(f"{where}: a T line is `T1<TAB>TYPE START END<TAB>words`; restore it")
    places = [tuple(map(int, part.split(" "))) for part in bound[2].split(";")]
    for (_, end), (start, _) in pairwise(places):
        if text[end:start].strip("\r\n"):
            notes["discontinuous span left out: a document has none"] += 1
            return
    start, end = places[0][0], places[-1][1]
    quoted = Quoted(start, end, columns[2], f"{where}: {columns[0]}")
    if bound[1] in _KINDS:
        if columns[0] in found.attitudes:
            raise FormatError(f"{where}: {columns[0]} stands twice; drop one or renumber it")
        found.attitudes[columns[0]] = (_KINDS[bound[1]], quoted)
    else:
        found.entities.append((bound[1], quoted))
