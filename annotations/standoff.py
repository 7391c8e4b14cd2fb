"""Annotations apart from their text: the corpus keeps the text, the project keeps offsets.

A line holds the document's fields without its text, `passage` in its place (the id of the corpus
document, a range of code points in it and the sha256 of that range) and the surface of each entity.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from annotations.errors import FormatError, naming
from annotations.jsonl import document_from_dict, document_to_dict
from annotations.schema import Document


@dataclass(frozen=True, slots=True)
class Passage:
    """The range `[start, end)` of a corpus document, in code points of its text."""

    corpus_id: str
    start: int
    end: int


def digest(text: str) -> str:
    """The sha256 of a text in UTF-8, in hexadecimal."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def without_text(document: Document, passage: Passage) -> dict[str, Any]:
    """The JSON object of a document whose text stays in its corpus."""
    row = document_to_dict(document)
    text = row.pop("text")
    row["passage"] = {
        "corpus_id": passage.corpus_id,
        "start": passage.start,
        "end": passage.end,
        "sha256": digest(text),
    }
    for entity in row["entities"] or ():
        entity["surface"] = text[entity["start"] : entity["end"]]
    return row


def with_text(row: dict[str, Any], text: str, where: str) -> Document:
    """The document of a JSON object and its passage's text; another text is an error."""
    if digest(text) != row["passage"]["sha256"]:
        raise FormatError(
            f"{where}: the passage of {row['passage']['corpus_id']} has another text in this "
            "corpus; get the version that configs/data names"
        )
    entities = row["entities"]
    for entity in entities or ():
        if text[entity["start"] : entity["end"]] != entity["surface"]:
            raise FormatError(
                f"{where}: {entity['label']} [{entity['start']}, {entity['end']}) is not its "
                "surface; restore the file"
            )
    kept = {name: value for name, value in row.items() if name != "passage"}
    if entities is not None:
        kept["entities"] = [
            {name: entity[name] for name in ("start", "end", "label")} for entity in entities
        ]
    with naming(where):
        return document_from_dict({**kept, "text": text})


def read_standoff(path: Path, texts: Callable[[set[str]], dict[str, str]]) -> Iterator[Document]:
    """The documents of a standoff file; `texts` gives the corpus texts of a set of ids."""
    lines = path.read_bytes().decode("utf-8").split("\n")
    rows = [json.loads(line) for line in lines if line.strip()]
    found = texts({row["passage"]["corpus_id"] for row in rows})
    for number, row in enumerate(rows, 1):
        passage = row["passage"]
        if passage["corpus_id"] not in found:
            raise FormatError(
                f"{path}:{number}: {passage['corpus_id']} is not in this corpus; get the version "
                "that configs/data names"
            )
        text = found[passage["corpus_id"]][passage["start"] : passage["end"]]
        yield with_text(row, text, f"{path}:{number}")


def write_standoff(path: Path, rows: Iterable[tuple[Document, Passage]]) -> int:
    """Write documents without their texts; returns how many."""
    count = 0
    with path.open("w", encoding="utf-8") as out:
        for document, passage in rows:
            out.write(json.dumps(without_text(document, passage), ensure_ascii=False) + "\n")
            count += 1
    return count
