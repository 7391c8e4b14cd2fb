"""Readers of the public corpora that are no CoNLL: pairs of sentences, tweets with a target, texts
with a topic.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

from annotations.errors import DocumentError, FormatError, not_utf8
from annotations.schema import Claim, Document, Stance

# Names of topics in the corpora, as khabar calls them; labels that are missing here have no
# counterpart.
KHALEEJ_TOPICS = {
    "finance": "economy", "medical": "health", "tech": "technology",
    "politics": "politics", "sports": "sports", "culture": "culture", "religion": "religion",
}  # fmt: skip
ANT_TOPICS = {
    "sport": "sports", "economy": "economy", "culture": "culture", "technology": "technology",
    "politic": "politics", "internationalNews": "politics",
}  # fmt: skip
_TOPICS = {**KHALEEJ_TOPICS, **ANT_TOPICS, "health": "health"}
# Mawqif names its targets in English; the model reads Arabic.
MAWQIF_TARGETS = {
    "women empowerment": "تمكين المرأة",
    "covid vaccine": "لقاح كورونا",
    "digital transformation": "التحول الرقمي",
}
_STANCES = {"favor": "favor", "against": "against", "none": "neutral", "neutral": "neutral"}


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines)
        try:
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                raise FormatError(
                    f"{path}: no column {missing[0]!r}; found {', '.join(reader.fieldnames or ())}"
                )
            for number, row in enumerate(reader, 2):
                if any(row[name] is None for name in columns):
                    raise FormatError(
                        f"{path}: row {number} has too few columns; need {', '.join(columns)}"
                    )
                yield number, row
        except UnicodeDecodeError as error:
            raise not_utf8(str(path), error) from None
        except csv.Error as error:  # a quote that is never closed swallows the rest of the file
            raise FormatError(
                f"{path}: line {reader.line_num}: no CSV ({error}); close its quotes"
            ) from None


def read_ans_pairs(path: Path) -> Iterator[Document]:
    """ANS headline pairs `s1,s2,stance`: what the text s2 says of the claim s1."""
    for number, row in _rows(path, ("s1", "s2", "stance")):
        label = row["stance"].strip().lower()
        if label not in ("agree", "disagree", "other"):
            raise FormatError(
                f"{path}: row {number}: unknown stance {label!r}; use agree, disagree or other"
            )
        yield Document(f"{path.stem}-{number}", row["s2"], claims=(Claim(row["s1"], label),))


def read_mawqif(path: Path) -> Iterator[Document]:
    """Mawqif tweets with a target and Favor, Against or None (an empty stance is None)."""
    for number, row in _rows(path, ("text", "target", "stance")):
        label = _STANCES.get(row["stance"].strip().lower() or "none")
        if label is None:
            raise FormatError(
                f"{path}: row {number}: unknown stance {row['stance']!r}; use Favor, Against "
                "or None"
            )
        target = MAWQIF_TARGETS.get(row["target"].strip().lower(), row["target"])
        try:
            stance = Stance(target, label)
        except DocumentError as error:
            raise FormatError(f"{path}: row {number}: {error}") from None
        yield Document(f"{path.stem}-{number}", row["text"], stances=(stance,))


def read_topics(path: Path) -> Iterator[Document]:
    """Topic JSONL, plain or gzip: `text` and `label` (Khaleej's or ANT's names) or `topic`
    (khabar's).

    A text whose label has no counterpart among khabar's topics has topic None.
    """
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _topic_document(line, f"{path}:{number}", f"{path.stem}-{number}")
    except UnicodeDecodeError as error:
        raise not_utf8(str(path), error) from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise FormatError(f"{path}: no whole gzip file ({error}); get it again") from None


def _topic_document(line: str, where: str, identifier: str) -> Document:
    try:
        row = json.loads(line)
    except ValueError:
        raise FormatError(f"{where}: not JSON; one object a line is needed") from None
    if not isinstance(row, dict) or not isinstance(row.get("text"), str):
        raise FormatError(f"{where}: need an object with the string text")
    label = row.get("topic", row.get("label"))
    if not isinstance(label, str) and not (label is None and "topic" in row):
        raise FormatError(f"{where}: need the string label, or topic, which may be null")
    return Document(
        str(row.get("id", identifier)),
        row["text"],
        title=row.get("title"),
        source=row.get("source"),
        topic=None if label is None else _TOPICS.get(label),
    )
