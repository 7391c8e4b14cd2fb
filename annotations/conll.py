"""CoNLL: `token TAG`, flat, or with several tag columns for nested entities (Wojood); a blank line
ends a sentence.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from annotations.errors import FormatError, told
from annotations.schema import Document, Span, nested_order, outermost
from annotations.text import sentences, words
from annotations.textfile import opened_text

# Corpora write the same type in two ways.
_ALIASES = {"PER": "PERS"}
_TAG = re.compile("[BI]-.+")
_OPENING = frozenset("([{«“")
_CLOSING = frozenset(")]}»”.,،؛:;!?؟%")


@dataclass(frozen=True, slots=True)
class Sentence:
    """Words with the tags of each; `tags[i]` holds one tag, or several where entities nest."""

    words: tuple[str, ...]
    tags: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class WordSpan:
    """An entity over the words `[start, end)` of a sentence."""

    start: int
    end: int
    label: str


def read_sentences(path: Path) -> Iterator[Sentence]:
    """The sentences of a CoNLL file, plain or gzip; a malformed line is an error that names it."""
    with opened_text(path) as lines:
        yield from parse_sentences(lines, str(path))


def parse_sentences(lines: Iterable[str], where: str) -> Iterator[Sentence]:
    """The sentences of CoNLL lines."""
    words: list[str] = []
    tags: list[tuple[str, ...]] = []
    for number, line in enumerate(lines, 1):
        fields = line.split()
        if not fields:
            if words:
                yield Sentence(tuple(words), tuple(tags))
                words, tags = [], []
            continue
        bad = [tag for tag in fields[1:] if tag != "O" and not _TAG.fullmatch(tag)]
        if len(fields) < 2 or bad:
            found = f"the tag {told(bad[0])}" if bad else "no tag"
            raise FormatError(
                f"{where}:{number}: {found}; a line is a word and tags O, B-TYPE or I-TYPE"
            )
        words.append(fields[0])
        tags.append(tuple(fields[1:]))
    if words:
        yield Sentence(tuple(words), tuple(tags))


def entity_types(sentence: Sentence) -> set[str]:
    """The types that occur in a sentence."""
    return {tag[2:] for tags in sentence.tags for tag in tags if tag != "O"}


def word_spans(sentence: Sentence) -> list[WordSpan]:
    """The entities of a sentence, read type by type; an I- that follows nothing of its type begins
    an entity.
    """
    spans = []
    for label in sorted(entity_types(sentence)):
        start = None
        for i, tags in enumerate((*sentence.tags, ())):
            begins, inside = f"B-{label}" in tags, f"I-{label}" in tags
            if start is not None and (begins or not inside):
                spans.append(WordSpan(start, i, label))
                start = None
            if begins or (inside and start is None):
                start = i
    return sorted(spans, key=lambda span: (span.start, -span.end, span.label))


def type_tags(length: int, spans: Iterable[WordSpan], label: str) -> list[str]:
    """The BIO tags of one type over `length` words; where spans of one type meet, the first in
    order stays.
    """
    tags = ["O"] * length
    for span in spans:
        if span.label == label and all(tag == "O" for tag in tags[span.start : span.end]):
            tags[span.start : span.end] = [f"B-{label}"] + [f"I-{label}"] * (
                span.end - span.start - 1
            )
    return tags


def word_offsets(words: Sequence[str], natural: bool = False) -> list[tuple[int, int]]:
    """Where each word stands in the joined words: single spaces between, or the spacing of real
    text.

    Natural spacing attaches closing marks to the word before, opening ones to the word after,
    quotes in turn.
    """
    offsets: list[tuple[int, int]] = []
    position, attach, quoted = 0, True, False
    for word in words:
        opens = word in _OPENING or (word == '"' and not quoted)
        closes = word in _CLOSING or (word == '"' and quoted)
        quoted ^= word == '"'
        if not (attach or (natural and closes)):
            position += 1
        offsets.append((position, position + len(word)))
        position += len(word)
        attach = natural and opens
    return offsets


def join_words(words: Sequence[str], offsets: Sequence[tuple[int, int]]) -> str:
    """The text in which each word stands at its offset."""
    ends = [0, *(end for _, end in offsets)]
    return "".join(
        " " * (start - end) + word
        for word, (start, _), end in zip(words, offsets, ends, strict=False)
    )


def words_of(start: int, end: int, ranges: Sequence[tuple[int, int]]) -> tuple[int, int] | None:
    """The words (as a range of indices) that a range of the text touches; None when it touches
    none.
    """
    first = bisect_right(ranges, start, key=lambda found: found[1])
    last = bisect_left(ranges, end, key=lambda found: found[0])
    return (first, last) if first < last else None


def canonical_label(label: str) -> str:
    """One name for a type that corpora write in two ways (PER is PERS)."""
    return _ALIASES.get(label, label)


def sentence_document(
    sentence: Sentence, identifier: str, label_set: str, natural: bool = False
) -> Document:
    """A sentence as a document: its words joined, its entities as spans of the joined text.

    In the label set coarse PER is a type of its own; elsewhere it is another name of PERS.
    """
    offsets = word_offsets(sentence.words, natural)
    name = str if label_set == "coarse" else canonical_label
    return Document(
        id=identifier,
        text=join_words(sentence.words, offsets),
        entities=tuple(
            Span(offsets[span.start][0], offsets[span.end - 1][1], name(span.label))
            for span in word_spans(sentence)
        ),
        label_set=label_set,
    )


def document_sentences(document: Document, flat: bool, notes: Counter[str]) -> Iterator[Sentence]:
    """The sentences of a document as words with tags; `notes` counts what CoNLL cannot hold.

    Flat, a word has one tag: of nested entities the outermost stays, of others that share a word
    the first. Else it has a tag for each entity it is in, the longest first, and `O` where there is
    none.
    """
    spans = nested_order(document.entities or ())
    for span in spans:
        if (
            span.end > len(document.text)
            or not _TAG.fullmatch(f"B-{span.label}")
            or (span.label.split() != [span.label])
        ):
            raise FormatError(
                f"{document.id}: {told(span.label)} [{span.start}, {span.end}): CoNLL needs a "
                f"label without spaces and a place in the text of {len(document.text)} code points"
            )
    _note_left_out(document, notes)
    if flat:
        kept = outermost(spans)
        _note(
            notes,
            "entity inside another left out: flat CoNLL holds one tag",
            len(spans) - len(kept),
        )
        spans = kept
    held = 0
    empty = True
    first_letters = [span.end - len(document.surface(span).lstrip()) for span in spans]
    for low, high in sentences(document.text):
        ranges = [(low + a, low + b) for a, b in words(document.text[low:high])]
        found: list[WordSpan] = []
        for span, letter in zip(spans, first_letters, strict=True):
            place = words_of(span.start, span.end, ranges) if low <= letter < high else None
            if place is None:
                continue
            held += 1
            if flat and found and place[0] < found[-1].end:
                notes["entity sharing a word with another left out: flat CoNLL holds one tag"] += 1
                continue
            first, last = ranges[place[0]], ranges[place[1] - 1]
            if span.end > high:
                notes["entity cut at the end of its sentence"] += 1
            elif (first[0], last[1]) != (span.start, span.end):
                notes["entity widened to whole words"] += 1
            found.append(WordSpan(*place, span.label))
        columns = [
            type_tags(len(ranges), found, label) for label in dict.fromkeys(s.label for s in found)
        ]
        lost = len(found) - sum(tag.startswith("B-") for column in columns for tag in column)
        _note(notes, "entity inside another of its type left out: CoNLL holds one a type", lost)
        if not ranges:
            continue  # invisible signs alone
        empty = False
        yield Sentence(
            tuple(document.text[a:b] for a, b in ranges),
            tuple(
                tuple(column[i] for column in columns if column[i] != "O") or ("O",)
                for i in range(len(ranges))
            ),
        )
    _note(notes, "entity without a word left out", len(spans) - held)
    _note(notes, "document without a word left out", empty)


def _note_left_out(document: Document, notes: Counter[str]) -> None:
    """Count what of a document is no entity."""
    _note(notes, "not annotated, written as O: CoNLL has no third", document.entities is None)
    _note(notes, "stance left out: CoNLL has none", len(document.stances or ()))
    _note(notes, "claim left out: CoNLL has none", len(document.claims or ()))
    for name in ("title", "source", "date", "license", "topic", "form"):
        _note(notes, f"{name} left out: CoNLL has none", getattr(document, name) is not None)
    if document.label_set != "fine":
        notes[f"label set {document.label_set} left out: CoNLL names none"] += 1


def _note(notes: Counter[str], what: str, count: int) -> None:
    if count:
        notes[what] += count


def write_sentences(path: Path, found: Iterable[Sentence]) -> int:
    """Write sentences as CoNLL lines; returns how many."""
    count = 0
    with path.open("w", encoding="utf-8") as out:
        for sentence in found:
            for word, tags in zip(sentence.words, sentence.tags, strict=True):
                out.write(f"{word} {' '.join(tags)}\n")
            out.write("\n")
            count += 1
    return count
