"""Readers of the public corpora: every one ends in documents, whatever its files look like."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from annotations.catalogue import Corpus, catalogue, corpus_file, corpus_named
from annotations.conll import read_sentences, sentence_document, word_spans
from annotations.copies import without_copies
from annotations.errors import DocumentError, FormatError, told
from annotations.labels import label_schema
from annotations.schema import Claim, Document, Range, Span, Stance
from annotations.textfile import opened_text

# Mawqif names its targets in English; the model reads Arabic.
MAWQIF_TARGETS = {
    "women empowerment": "تمكين المرأة",
    "covid vaccine": "لقاح كورونا",
    "digital transformation": "التحول الرقمي",
}
_STANCES = {"favor": "favor", "against": "against", "none": "neutral", "neutral": "neutral"}


def _rows(
    path: Path, columns: tuple[str, ...], **dialect: Any
) -> Iterator[tuple[int, dict[str, str]]]:
    with opened_text(path, newline="") as lines:
        reader = csv.DictReader(lines, **dialect)
        try:
            wanted = {name.lower(): name for name in columns}
            found = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = [wanted.get(name.lower(), name) for name in found]
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
        except csv.Error as error:  # a quote that is never closed swallows the rest of the file
            raise FormatError(
                f"{path}: line {reader.line_num}: no CSV ({error}); close its quotes"
            ) from None


def _claim_label(row: dict[str, str], known: tuple[str, ...], path: Path, number: int) -> str:
    """What a pair's row says of its claim, one of the corpus's labels."""
    label = row["stance"].strip().lower()
    if label not in known:
        names = f"{', '.join(known[:-1])} or {known[-1]}"
        raise FormatError(f"{path}: row {number}: unknown stance {told(label)}; use {names}")
    return label


def read_ans_pairs(path: Path) -> Iterator[Document]:
    """ANS headline pairs `s1,s2,stance`: what the text s2 says of the claim s1."""
    for number, row in _rows(path, ("s1", "s2", "stance")):
        if "\n" in row["s1"] + row["s2"]:
            raise FormatError(
                f"{path}: row {number}: a headline of several lines; close the quotes before it"
            )
        label = _claim_label(row, ("agree", "disagree", "other"), path, number)
        yield Document(f"{path.stem}-{number}", row["s2"], claims=(Claim(row["s1"], label),))


def read_mawqif(path: Path) -> Iterator[Document]:
    """Mawqif tweets with a target and Favor, Against or None (an empty stance is None)."""
    for number, row in _rows(path, ("text", "target", "stance")):
        label = _STANCES.get(row["stance"].strip().lower() or "none")
        if label is None:
            raise FormatError(
                f"{path}: row {number}: unknown stance {told(row['stance'])}; use Favor, "
                "Against or None"
            )
        target = MAWQIF_TARGETS.get(row["target"].strip().lower(), row["target"])
        try:
            stance = Stance(target, label)
        except DocumentError as error:
            raise FormatError(f"{path}: row {number}: {error}") from None
        yield Document(f"{path.stem}-{number}", row["text"], stances=(stance,))


def read_austr(path: Path) -> Iterator[Document]:
    """AuSTR pairs: what an authority's tweet says of a rumour; the id begins with the rumour's."""
    columns = ("rumor_id", "evidence_id", "rumor_text", "evidence_text", "stance")
    for number, row in _rows(path, columns, delimiter="\t", quoting=csv.QUOTE_NONE):
        label = _claim_label(row, ("agree", "disagree", "other"), path, number)
        name = f"{row['rumor_id']}-{row['evidence_id']}"
        yield Document(name, row["evidence_text"], claims=(Claim(row["rumor_text"], label),))


def read_arabicfc(path: Path) -> Iterator[Document]:
    """ArabicFC pairs: what an article says of a claim; the id begins with the claim's."""
    for number, row in _rows(path, ("claimID", "claim", "articleText", "stance"), delimiter="\t"):
        label = _claim_label(row, ("agree", "disagree", "discuss", "unrelated"), path, number)
        name = f"{row['claimID']}-{number}"
        yield Document(name, row["articleText"], claims=(Claim(row["claim"], label),))


def read_fane(path: Path, label_set: str) -> Iterator[Document]:
    """WikiFANE or NewsFANE sentences, whose clitics are words of their own, written as text."""
    for number, sentence in enumerate(read_sentences(path), 1):
        text, places = joined_clitics(sentence.words)
        spans = tuple(
            Span(places[s.start][0], places[s.end - 1][1], s.label) for s in word_spans(sentence)
        )
        yield Document(f"{label_set}-{number}", text, entities=spans, label_set=label_set)


_PROCLITICS = frozenset("وفبلك")
_ENCLITICS = frozenset({"ه", "ها", "هم", "هما", "هن", "كم", "نا", "ي", "ني"})


def joined_clitics(words: Sequence[str]) -> tuple[str, list[Range]]:
    """Words as text, one-letter proclitics written on to the next word and pronouns on to the one
    before; gives the place of each word too.

    Of ل before ال the alef goes (ل + السودان is للسودان), so that the word's place is a letter
    shorter than the word.
    """
    text, places, attach = "", [], True
    for i, word in enumerate(words):
        joins = word in _ENCLITICS and i > 0 and words[i - 1].isalpha()
        if not (attach or joins):
            text += " "
        if attach and i > 0 and words[i - 1] == "ل" and word.startswith("ال") and len(word) > 3:
            word = word[1:]
        places.append((len(text), len(text) + len(word)))
        text += word
        attach = word in _PROCLITICS and i + 1 < len(words) and words[i + 1][:1].isalpha()
    return text, places


def read_corpus(name: str, part: str, notes: Counter[str], mapped: bool = False) -> list[Document]:
    """The documents of a part of a corpus under KHABAR_DATA, in its own labels, or in khabar's.

    `notes` counts what was left out: near copies, and entities whose label has no counterpart.
    """
    corpus = corpus_named(name)
    if part not in corpus.parts:
        parts = ", ".join(corpus.parts) or "none: it is the project's own"
        raise FormatError(f"{name}: no part {part!r} to read; its parts are {parts}")
    documents = list(_documents(name, corpus, corpus_file(name, corpus.parts[part]), notes))
    return [_mapped(d, corpus, notes) for d in documents] if mapped else documents


def _documents(name: str, corpus: Corpus, path: Path, notes: Counter[str]) -> Iterator[Document]:
    if corpus.reader == "conll":
        for number, sentence in enumerate(read_sentences(path), 1):
            yield sentence_document(sentence, f"{name}-{number}", name)
    elif corpus.reader == "fane":
        yield from read_fane(path, name)
    elif corpus.reader == "mawqif":
        yield from without_copies(read_mawqif(path), notes)
    else:
        pairs = {"ans": read_ans_pairs, "austr": read_austr, "arabicfc": read_arabicfc}
        yield from pairs.get(corpus.reader, read_topics)(path)


def _mapped(document: Document, corpus: Corpus, notes: Counter[str]) -> Document:
    """A document in khabar's labels; nested spans that come to the same label and place are one."""
    if document.entities is None or corpus.target is None:
        return document
    spans: dict[Span, None] = {}
    for span in document.entities:
        label = corpus.labels.get(span.label, None if corpus.labels else span.label)
        if label is None:
            notes[f"{span.label} left out: it has no counterpart"] += 1
        else:
            spans[Span(span.start, span.end, label)] = None
    return replace(document, entities=tuple(spans), label_set=corpus.target)


def read_topics(path: Path, own: Container[str] = ()) -> Iterator[Document]:
    """Topic JSONL, plain or gzip: `text` and `label` (Khaleej's or ANT's names) or `topic`
    (khabar's); also khabar JSONL, whose documents may be without one.

    Labels that are `own`, or of none of these, stay as they are. A text whose label has no
    counterpart among khabar's topics has topic None.
    """
    with opened_text(path) as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield _topic_document(line, f"{path}:{number}", f"{path.stem}-{number}", own)


@cache
def _topics() -> dict[str, str | None]:
    """Topics by the names that khabar and the corpora give them; None: no counterpart."""
    names: dict[str, str | None] = {}
    for corpus in catalogue().values():
        if corpus.reader == "topics":
            names.update(corpus.labels)
    names.update((topic, topic) for topic in label_schema().topics)
    return names


def _topic_document(line: str, where: str, identifier: str, own: Container[str]) -> Document:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        raise FormatError(f"{where}: not JSON; one object a line is needed") from None
    if not isinstance(row, dict) or not isinstance(row.get("text"), str):
        raise FormatError(f"{where}: need an object with the string text")
    for name in ("title", "source"):
        if not isinstance(row.get(name), str | None):
            raise FormatError(f"{where}: {name} must be a string or null")
    label = row.get("topic", row.get("label"))
    if not isinstance(label, str) and not (label is None and {"topic", "id"} & row.keys()):
        raise FormatError(f"{where}: need the string label, or topic, which may be null")
    return Document(
        str(row.get("id", identifier)),
        row["text"],
        title=row.get("title"),
        source=row.get("source"),
        topic=label if label is None or label in own else _topics().get(label, label),
    )
