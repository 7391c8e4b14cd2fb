"""Label Studio tasks: documents to annotate, and annotated ones back (its JSON export, not MIN).

Entities are regions of the control `entities`. A stance toward a place in the text is a TARGET
region of the control `attitudes` with a choice and a holder of its own; EVIDENCE and SCOPE regions
point to it by relations. What its editor has no control for (claims, stances toward a phrase, the
document's other fields) travels in the task's data and comes back as it was.
"""

from __future__ import annotations

import codecs
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from annotations.errors import FormatError, naming, not_utf8
from annotations.jsonl import (
    carried_stances,
    document_from_dict,
    document_to_dict,
    merge_stances,
)
from annotations.labels import label_schema
from annotations.offsets import Quoted
from annotations.regions import KINDS, Regions, placed_stances
from annotations.schema import Document, Range, Span, Stance
from annotations.textfile import opened_bytes

Json = dict[str, Any]
ENTITIES, ATTITUDES, STANCE, HOLDER, TOPIC = "entities", "attitudes", "stance", "holder", "topic"
TARGET, EVIDENCE, SCOPE = KINDS
CARRIED = "khabar"  # the field of a task's data for what the editor does not show
_READ_BYTES = 1 << 18
_BETWEEN = re.compile(r"[\s\[\],]*")  # what stands between the tasks of an export
_NO_EVIDENCE = "no evidence"  # a note on a TARGET: looked for, and there is none


def to_task(document: Document, model_version: str | None = None) -> Json:
    """The task of a document: its annotation as completed, or with `model_version` as a prediction.

    A document with nothing annotated is a task with neither.
    """
    row = document_to_dict(document)
    carried = {name: row[name] for name in row if name not in ("text", "entities", "topic")}
    carried["stances"] = carried_stances(row["stances"])
    carried["annotated"] = document.entities is not None
    with naming(document.id):
        _require_unused(document.entities or ())
        result = [
            _region(f"e{i}", ENTITIES, span.label, (span.start, span.end), document.text)
            for i, span in enumerate(document.entities or ())
        ]
        for i, stance in enumerate(placed_stances(document)):
            result.extend(_stance_results(f"s{i}", stance, document.text))
    if document.topic is not None:
        result.append(_item("topic", TOPIC, "choices", {"choices": [document.topic]}))
    data = {"text": document.text, "title": document.title or "", CARRIED: carried}
    if not result and document.entities is None:
        return {"data": data}
    if model_version is not None:
        return {"data": data, "predictions": [{"model_version": model_version, "result": result}]}
    return {"data": data, "annotations": [{"was_cancelled": False, "result": result}]}


def _require_unused(spans: Sequence[Span]) -> None:
    """Refuse a label of an entity that is read as another: a kind of region, or khabar's in
    Arabic.
    """
    meant = {kind.arabic: name for name, kind in label_schema().entities.items()}
    meant.update((kind, f"a region of stances, {kind}") for kind in KINDS)
    for span in spans:
        if span.label in meant:
            raise FormatError(
                f"the label {span.label!r} stands for {meant[span.label]} in Label Studio; rename "
                "it"
            )


def _item(identifier: str, name: str, kind: str, value: Json, **more: Any) -> Json:
    item = {"id": identifier, "from_name": name, "to_name": "text", "type": kind, "value": value}
    return {**item, **more}


def _region(identifier: str, name: str, label: str, place: Range, text: str) -> Json:
    start, end = place
    if not 0 <= start < end <= len(text):
        raise FormatError(f"{label} [{start}, {end}): outside the text; correct it")
    value = {"start": start, "end": end, "text": text[start:end], "labels": [label]}
    return _item(identifier, name, "labels", value)


def _stance_results(identifier: str, stance: Stance, text: str) -> Iterator[Json]:
    assert stance.start is not None and stance.end is not None
    place = {"start": stance.start, "end": stance.end, "text": stance.target}
    target = _region(identifier, ATTITUDES, TARGET, (stance.start, stance.end), text)
    yield {**target, "meta": {"text": [_NO_EVIDENCE]}} if stance.evidence == () else target
    yield _item(identifier, STANCE, "choices", {**place, "choices": [stance.label]})
    if stance.holder is not None:
        yield _item(identifier, HOLDER, "textarea", {**place, "text": [stance.holder]})
    parts = [(SCOPE, stance.scope)] if stance.scope is not None else []
    parts.extend((EVIDENCE, found) for found in stance.evidence or ())
    for i, (kind, found) in enumerate(parts):
        region = f"{identifier}-{i}"
        yield _region(region, ATTITUDES, kind, found, text)
        ends = {"from_id": region, "to_id": identifier, "direction": "right"}
        yield {"type": "relation", **ends, "labels": [kind]}


class TaskReader:
    """Label Studio tasks to documents; `notes` counts what was repaired or has no place in a
    document.

    Of a task that several people completed, `annotator` (an id or an address) tells whose
    annotation is read; `predictions` reads predictions where nobody completed a task. Who completed
    one looked for entities and for stances.
    """

    def __init__(self, annotator: str | None = None, predictions: bool = False) -> None:
        self.annotator = annotator
        self.predictions = predictions
        self.notes: Counter[str] = Counter()
        self._arabic = {kind.arabic: name for name, kind in label_schema().entities.items()}

    def document(self, task: Json, where: str) -> Document:
        """The document of a task; `where` names file and task in errors."""
        try:
            return self._document(task, where)
        except FormatError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FormatError(
                f"{where}: the task is malformed ({type(error).__name__}); export as JSON again"
            ) from None

    def _document(self, task: Json, where: str) -> Document:
        data = task.get("data")
        if not isinstance(data, dict) or not isinstance(data.get("text"), str):
            raise FormatError(f"{where}: a task needs data.text; export as JSON, not JSON_MIN")
        carried = dict(data.get(CARRIED) or {})
        name = str(carried.get("id") or data.get("id") or f"task-{task.get('id', where)}")
        annotated, kept = carried.pop("annotated", False), carried.pop("stances", None)
        row = {**carried, "id": name, "text": data["text"]}
        if CARRIED not in data and data.get("title"):
            row["title"] = str(data["title"])
        annotation = self._chosen(task, name)
        with naming(where):
            document = document_from_dict(row)
            if annotation is None:
                return replace(document, stances=merge_stances(kept, ()))
        regions, topic = self._regions(annotation.get("result") or [], name)
        entities, stances = regions.read(document.text, self.notes)
        completed = "completed_by" in annotation
        with naming(where):
            merged = merge_stances(kept, stances)
        return replace(
            document,
            entities=tuple(entities) if entities or annotated or completed else None,
            stances=() if merged is None and completed else merged,
            topic=topic,
        )

    def _chosen(self, task: Json, name: str) -> Json | None:
        """The annotation to read, or None where there is none."""
        done = [a for a in task.get("annotations") or [] if not a.get("was_cancelled")]
        if self.annotator is not None:
            done = [a for a in done if self.annotator in _names(a.get("completed_by"))]
        if len(done) > 1:
            who = sorted({str(a.get("completed_by")) for a in done})
            cure = (
                "say whose with --annotator"
                if len(who) > 1
                else "delete all but one in Label Studio and export again"
            )
            raise FormatError(
                f"{name}: {len(done)} completed annotations (by {', '.join(who)}); {cure}"
            )
        if done:
            return dict(done[0])
        predicted = task.get("predictions") or []
        if not predicted:
            self.notes["task without an annotation, read as not annotated"] += 1
        elif not self.predictions:
            self.notes["task with predictions alone, read as not annotated"] += 1
        return dict(predicted[-1]) if predicted and self.predictions else None

    def _regions(self, result: Sequence[Json], name: str) -> tuple[Regions, str | None]:
        regions, topic = Regions(), None
        relations: list[tuple[str, str]] = []
        for item in result:
            kind, value = item.get("type"), item.get("value") or {}
            identifier, control = str(item.get("id")), item.get("from_name")
            if kind == "labels":
                self._add_labels(regions, item, f"{name}: region {identifier}")
            elif kind == "relation":
                ends = str(item.get("from_id")), str(item.get("to_id"))
                relations.append(ends[::-1] if item.get("direction") == "left" else ends)
            elif kind == "choices" and control == STANCE:
                self._take(regions.labels, identifier, _strings(value.get("choices")), "stance")
            elif kind == "choices" and control == TOPIC:
                topics = _strings(value.get("choices"))
                if len(topics) > 1:
                    self.notes["topic left out: a document has one"] += len(topics) - 1
                topic = topics[0] if topics else None
            elif kind == "textarea" and control == HOLDER:
                self._take(regions.holders, identifier, _strings(value.get("text")), "holder")
            else:
                self.notes[f"{kind} of the control {control!r} left out: no place for it"] += 1
        for part, target in relations:  # a target has parts, whichever way the relation was drawn
            if regions.kind(part) == TARGET and regions.kind(target) in (EVIDENCE, SCOPE):
                part, target = target, part
            if regions.kind(part) is None and regions.kind(target) is None:
                self.notes["relation left out: it ties no evidence or scope to a target"] += 1
            else:
                regions.parts[target].append(part)
        return regions, topic

    def _take(self, table: dict[str, str], identifier: str, found: list[str], what: str) -> None:
        """Keep the first of what was chosen or written for a region, and count the others."""
        for text in found:
            if table.setdefault(identifier, text) is not text:
                self.notes[f"{what} left out: a target has one"] += 1

    def _add_labels(self, regions: Regions, item: Json, where: str) -> None:
        value = item.get("value") or {}
        start, end = value.get("start"), value.get("end")
        if type(start) is not int or type(end) is not int:
            raise FormatError(f"{where}: start and end must be integers; export as JSON")
        surface = value.get("text")
        if surface is not None and not isinstance(surface, str):
            raise FormatError(f"{where}: its text must be a string; export as JSON")
        quoted = Quoted(start, end, surface, where)
        labels = _strings(value.get("labels"))
        if not labels:
            self.notes["region left out: it has no label"] += 1
        if len(labels) > 1 and set(labels) & set(KINDS):
            raise FormatError(f"{where}: {', '.join(labels)} on one region; mark two regions")
        for label in labels:
            if label in KINDS:
                if str(item.get("id")) in regions.attitudes:
                    raise FormatError(f"{where} stands twice; export again")
                regions.attitudes[str(item.get("id"))] = (KINDS[label], quoted)
                if (item.get("meta") or {}).get("text") == [_NO_EVIDENCE]:
                    regions.without_evidence.add(str(item.get("id")))
            else:
                regions.entities.append((self._arabic.get(label, label), quoted))


def _strings(value: Any) -> list[str]:
    """The strings of a list, or of one string alone; empty ones say nothing."""
    found = [value] if isinstance(value, str) else value or []
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise TypeError("strings expected")
    return [text for text in found if text.strip()]


def _names(completed_by: Any) -> set[str]:
    """What an annotator may be called: an id, or the fields of a user."""
    if isinstance(completed_by, dict):
        return {str(value) for value in completed_by.values()}
    return {str(completed_by)}


def read_tasks(path: Path) -> Iterator[Json]:
    """The tasks of an export, one at a time, whether a JSON array or one object a line."""
    decoder, decode = json.JSONDecoder(), codecs.getincrementaldecoder("utf-8-sig")().decode
    with opened_bytes(path) as file:
        buffer, at, number, ended, between = "", 0, 0, False, ""
        while True:
            gap = _BETWEEN.match(buffer, at)
            assert gap is not None  # it matches nothing too
            at = gap.end()
            between += gap[0].strip(" \t\r\n,")
            problem = "it ends inside a task"
            if at < len(buffer):
                try:
                    task, at = decoder.raw_decode(buffer, at)
                except json.JSONDecodeError as error:
                    problem = error.msg  # or the task goes on in the next part of the file
                except (ValueError, RecursionError) as error:
                    raise FormatError(
                        f"{path}: task {number + 1} is no JSON ({type(error).__name__})"
                    ) from None
                else:
                    number += 1
                    if not isinstance(task, dict):
                        raise FormatError(f"{path}: task {number} is no object; export as JSON")
                    yield task
                    continue
            if ended:
                break
            chunk = file.read(max(_READ_BYTES, len(buffer) - at))
            ended = not chunk
            try:
                buffer, at = buffer[at:] + decode(chunk, ended), 0
            except UnicodeDecodeError as error:
                raise not_utf8(str(path), error) from None
    if at < len(buffer):
        raise FormatError(f"{path}: task {number + 1} is no JSON ({problem}); export again")
    if between.count("[") != between.count("]"):
        raise FormatError(f"{path}: cut off after task {number}; export again")


def write_tasks(path: Path, documents: Iterable[Document], model_version: str | None = None) -> int:
    """Write the tasks of documents as a JSON array; returns how many."""
    count = 0
    with path.open("w", encoding="utf-8") as out:
        for document in documents:
            task = json.dumps(to_task(document, model_version), ensure_ascii=False)
            out.write(("[\n" if count == 0 else ",\n") + task)
            count += 1
        out.write("[]\n" if count == 0 else "\n]\n")
    return count
