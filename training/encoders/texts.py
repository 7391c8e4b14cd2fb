"""Running text to adapt an encoder to: the train parts of corpora, and a user's own files.

What is developed or scored on stays out: development and calibration parts, and the articles whose
passages are annotated for them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from annotations.authored import authored_documents
from annotations.catalogue import corpus_file
from annotations.conll import sentence_document
from annotations.corpora import read_fane, read_topics
from annotations.errors import FormatError
from annotations.seed import seed_text
from annotations.textfile import opened_text
from training.corpora import sentences_of
from training.gold import gold_documents
from training.splits import SENTENCES_PER_GROUP, Part, held_out_part, part_of


def topic_texts(corpus: str) -> Iterator[str]:
    """The train texts of Khaleej or ANT, of every class."""
    path = corpus_file(corpus, f"topic_{corpus}/train.jsonl.gz")
    held_out: tuple[Part, ...] = ("dev", "calibration") if corpus == "ant" else ()
    annotated = {d.id for part in held_out for d in gold_documents("antnews", part, path)}
    for document in read_topics(path):
        if document.id not in annotated and held_out_part(document.id) == "train":
            yield document.text


def anercorp_texts() -> Iterator[str]:
    """ANERcorp's train part, consecutive sentences together, with the spacing of real text."""
    for _, group in groupby(sentences_of("anercorp", "train"), key=lambda row: row[0]):
        yield "\n".join(sentence_document(s, "", "anercorp", natural=True).text for _, s in group)


def wikifane_texts() -> Iterator[str]:
    """WikiFANE's train part, consecutive sentences together, with its clitics on their words
    again.
    """
    path = corpus_file("wikifane", "wikifane_gold/wikifane_gold.conll.gz")
    rows = enumerate(read_fane(path, "wikifane"))
    for i, group in groupby(rows, key=lambda row: row[0] // SENTENCES_PER_GROUP):
        if part_of(f"wikifane-{i}") == "train":
            yield "\n".join(document.text for _, document in group)


CORPORA: dict[str, Callable[[], Iterator[str]]] = {
    "khaleej": lambda: topic_texts("khaleej"),
    "ant": lambda: topic_texts("ant"),
    "anercorp": anercorp_texts,
    "wikifane": wikifane_texts,
}


def texts_of(name: str) -> Iterator[str]:
    """The texts of a corpus by its name, or of a file; empty ones are left out."""
    found = CORPORA[name]() if name in CORPORA else file_texts(Path(name))
    return (text for text in found if text.strip())


def sample_texts(files: Sequence[Path] = ()) -> list[str]:
    """The texts of files to measure on, or, where none is given, the project's own: the seed and
    the authored news.
    """
    if files:
        return [text for path in files for text in texts_of(str(path))]
    authored = [d.text for part in ("train", "dev") for d in authored_documents(part)]
    return [seed_text(), *authored]


def file_texts(path: Path) -> Iterator[str]:
    """The texts of a file: .txt (blank lines separate them) or .jsonl (the key `text`), each plain
    or .gz.
    """
    kind = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    if kind not in (".txt", ".jsonl"):
        raise FormatError(
            f"{path}: texts are read from .txt and .jsonl (also .gz) or from one of "
            f"{', '.join(CORPORA)}; convert the file or give its right name"
        )
    if not path.is_file():
        raise FormatError(f"{path}: no such file; paths begin where khabar is started")
    with opened_text(path) as lines:
        yield from _paragraphs(lines) if kind == ".txt" else _rows(lines, path)


def _paragraphs(lines: Iterator[str]) -> Iterator[str]:
    for blank, group in groupby(lines, key=lambda line: not line.strip()):
        if not blank:
            yield "".join(group)


def _rows(lines: Iterator[str], path: Path) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            raise FormatError(f"{path}:{number}: not JSON; one object a line is needed") from None
        if not isinstance(row, dict) or not isinstance(row.get("text"), str):
            raise FormatError(f"{path}:{number}: need an object with the string text")
        yield row["text"]
