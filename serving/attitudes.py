"""Stance and claim: a target or claim against the parts of a text, and the sentences that carry the
answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from annotations.conll import words_of
from annotations.matching import WordForms, asked_words, share_of, shared_words
from annotations.schema import Range, overlap
from annotations.text import sentences
from serving.bundle import Head
from serving.decoding import log_softmax
from serving.encoding import NO_PIECE, PAIR_FRAME, EncodedText
from serving.prediction import Attitude
from serving.reader import Reader
from serving.windows import Window

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
MAX_SENTENCES = 24  # that are judged for one target or claim: those that share most words with it
MAX_MENTIONS = 64  # of a target that are judged in a text
MAX_EVIDENCE = 3
_UNDECIDED = frozenset({"other", "neutral"})


class TargetError(ValueError):
    """A target or claim that leaves no room for the text beside it."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a text that is judged at once: its pieces, and its range of code points (None: the
    title).
    """

    pieces: Ints
    place: Range | None
    shared: float  # the share of the target's or claim's words in it

    def overlaps(self, places: Sequence[Range]) -> bool:
        """Whether it holds some of these places; a title holds none."""
        return self.place is not None and any(overlap(self.place, place) for place in places)


@dataclass(frozen=True)
class JudgedText:
    """A text about which targets and claims are asked, with what is the same for all of them, made
    once when it is needed.
    """

    text: str
    encoded: EncodedText

    @cached_property
    def sentences(self) -> list[_Stretch]:
        """Its sentences, those without a piece left out."""
        begun = np.unique(self.encoded.word_pieces[self.encoded.word_pieces != NO_PIECE])
        found = []
        for start, end in sentences(self.text):
            inside = words_of(start, end, self.encoded.words)
            pieces = self.encoded.word_pieces[slice(*inside or (0, 0))]
            pieces = pieces[pieces != NO_PIECE]
            if not len(pieces):
                continue
            after = begun[begun.searchsorted(pieces[-1], "right") :]
            last = int(after[0]) if len(after) else len(self.encoded.pieces)
            found.append(self._stretch((start, end), int(pieces[0]), last))
        return found

    @cached_property
    def windows(self) -> list[_Stretch]:
        """Its windows, each from its first word to its last."""
        return [self._stretch(self._place(w), w.start, w.end) for w in self.encoded.windows]

    def _place(self, window: Window) -> Range:
        pieces = self.encoded.word_pieces
        found = np.flatnonzero((pieces >= window.start) & (pieces < window.end))
        if not len(found):
            return (0, len(self.text))
        return (self.encoded.words[found[0]][0], self.encoded.words[found[-1]][1])

    def _stretch(self, place: Range, first: int, last: int) -> _Stretch:
        return _Stretch(place, first, last, WordForms.of(self.text[slice(*place)]))


@dataclass(frozen=True, slots=True)
class _Stretch:
    """A range of a text, its first piece and the one after its last, and its words."""

    place: Range
    first: int
    last: int
    forms: WordForms


def attitudes(
    reader: Reader, head: Head, read: JudgedText, title: str | None, asked: Sequence[str]
) -> tuple[Attitude, ...]:
    """What a text feels toward each target, or says of each claim; a TargetError names the one that
    leaves it no room.
    """
    found = []
    for i, about in enumerate(asked):
        try:
            found.append(_attitude(reader, head, read, title, about))
        except TargetError as error:
            what = "target" if head.name == "stance" else head.name
            raise TargetError(f"{what} {i + 1} {error}") from None
    return tuple(found)


def _attitude(
    reader: Reader, head: Head, read: JudgedText, title: str | None, about: str
) -> Attitude:
    parts, logits = judge_text(reader, head, read, title, about)
    probabilities = head.probabilities(logits)
    combined = combine(probabilities, head)
    label = int(combined.argmax())
    evidence: tuple[Range, ...] = ()
    if head.labels[label] not in _UNDECIDED:
        if head.unit != "sentence":  # too much to be evidence: sentences are judged one by one
            spoken = _evidence(probabilities, parts, label)
            alone = _sentence_parts(read, about, reader.encoder.window.room)
            parts = _likeliest([part for part in alone if part.overlaps(spoken)] or alone)
            first = _asked_pieces(reader, about)
            probabilities = head.probabilities(_judge(reader, head, first, parts))
        evidence = _evidence(probabilities, parts, label)
    return Attitude(about, head.labels[label], round(float(combined[label]), 4), evidence)


def combine(probabilities: Floats, head: Head) -> Floats:
    """One distribution (labels,) from those of the parts, (parts, labels), by the bundle's rule.

    mean: their mean. most_decided: the part that is least undecided (other, neutral) speaks for the
    text. two_most_decided: the two that are, by the mean of their logits, so that one alone does
    not carry it and the many that merely name a target do not drown them.
    """
    if head.combine == "mean":
        mean: Floats = probabilities.mean(axis=0)
        return mean
    undecided = [i for i, label in enumerate(head.labels) if label in _UNDECIDED]
    order = probabilities[:, undecided].sum(axis=1).argsort(kind="stable")
    spoken = probabilities[order[: 2 if head.combine == "two_most_decided" else 1]]
    if len(spoken) == 1:
        chosen: Floats = spoken[0]
        return chosen
    logits = np.log(np.maximum(spoken, np.finfo(np.float32).tiny)).mean(axis=0)
    together: Floats = np.exp(log_softmax(logits))
    return together


def judge_text(
    reader: Reader, head: Head, read: JudgedText, title: str | None, about: str
) -> tuple[list[Part], Floats]:
    """The parts of a text and its title that are judged for a target or claim, and what the head
    says of each, (parts, labels); TargetError where the target or claim leaves them no room.
    """
    first = _asked_pieces(reader, about)
    size = reader.encoder.window.room
    parts = (
        _likeliest(_sentence_parts(read, about, size))
        if head.unit == "sentence"
        else judged_parts(head, read, about, size)
    )
    pieces = reader.encoder.pieces(title or "")[:size]
    if title and len(pieces):
        parts = [*parts, Part(pieces, None, shared_words(about, title))]
    return parts, _judge(reader, head, first, parts)


def _judge(reader: Reader, head: Head, first: Ints, parts: Sequence[Part]) -> Floats:
    """What the head says of each part, (parts, labels); of one alone, where the head is mirrored,
    the mean of the logits of both orders.
    """
    pairs = [(first, part.pieces) for part in parts]
    if not head.mirrored or len(pairs) != 1:
        return reader.judge(head, pairs)
    both: Floats = reader.judge(head, [*pairs, *(pair[::-1] for pair in pairs)]).mean(
        axis=0, keepdims=True
    )
    return both


def _asked_pieces(reader: Reader, about: str) -> Ints:
    """The pieces of a target or claim, which must leave room for the text beside it."""
    pieces, room = reader.encoder.pieces(about), _room(reader)
    if not 0 < len(pieces) <= room:
        raise TargetError(f"has {len(pieces)} pieces of the model; it needs 1 to {room}")
    return pieces


def _room(reader: Reader) -> int:
    """How many pieces a target or claim may have beside the text."""
    return reader.bundle.manifest.pair_max_pieces - reader.encoder.window.room - PAIR_FRAME


def fits(reader: Reader, about: str) -> bool:
    """Whether a target or claim leaves room for the text beside it."""
    return 0 < len(reader.encoder.pieces(about)) <= _room(reader)


def judged_parts(head: Head, read: JudgedText, about: str, size: int) -> list[Part]:
    """The parts of a text that a head of windows or mentions judges; `size` is in pieces."""
    if head.unit == "mention":
        return mention_parts(read, about, size) or window_parts(read, about)
    return window_parts(read, about)


def mention_parts(read: JudgedText, about: str, size: int) -> list[Part]:
    """The sentences that hold all words of a target, each with the one that follows it; of more
    than `MAX_MENTIONS` as many, evenly over the text.
    """
    alone = _sentence_parts(read, about, size)
    parts = []
    for part, following in zip(alone, [*alone[1:], None], strict=True):
        if part.shared < 1 or part.place is None:
            continue
        if following is None or following.place is None:
            parts.append(part)
            continue
        pieces = np.concatenate((part.pieces, following.pieces))[:size]
        parts.append(Part(pieces, (part.place[0], following.place[1]), part.shared))
    if len(parts) <= MAX_MENTIONS:
        return parts
    return [parts[i * len(parts) // MAX_MENTIONS] for i in range(MAX_MENTIONS)]


def window_parts(read: JudgedText, about: str) -> list[Part]:
    """The windows that hold all words of a target or claim, or all windows where none does."""
    asked = asked_words(about)
    parts = [
        Part(read.encoded.pieces[w.first : w.last], w.place, share_of(asked, w.forms))
        for w in read.windows
    ]
    return [part for part in parts if part.shared == 1] or parts


def _sentence_parts(read: JudgedText, about: str, size: int) -> list[Part]:
    """The sentences, one longer than a window in several parts."""
    asked, parts = asked_words(about), []
    for sentence in read.sentences:
        shared = share_of(asked, sentence.forms)
        for low in range(sentence.first, sentence.last, size):
            pieces = read.encoded.pieces[low : min(low + size, sentence.last)]
            parts.append(Part(pieces, sentence.place, shared))
    return parts


def _likeliest(parts: list[Part]) -> list[Part]:
    """The parts that share most words with the target or claim, at most `MAX_SENTENCES`."""
    return sorted(parts, key=lambda part: -part.shared)[:MAX_SENTENCES]


def _evidence(probabilities: Floats, parts: Sequence[Part], label: int) -> tuple[Range, ...]:
    """The sentences that say the same, the surest first; where none does, the one that says it
    most.
    """
    surest = (-probabilities[:, label]).argsort(kind="stable").tolist()
    order = [i for i in surest if parts[i].place is not None]
    agreeing = [i for i in order if probabilities[i].argmax() == label] or order[:1]
    places = list(dict.fromkeys(place for i in agreeing if (place := parts[i].place) is not None))
    return tuple(places[:MAX_EVIDENCE])
