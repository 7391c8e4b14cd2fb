"""Documents to training examples, by serving's own tokenizer, words and windows; what is lost is
counted.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from annotations.conll import words_of
from annotations.errors import FormatError
from annotations.schema import Document, Range, Span
from serving.attitudes import JudgedText, judged_parts
from serving.bundle import Head
from serving.encoding import FRAME, NO_PIECE, PAIR_FRAME, EncodedText, TextEncoder
from training.label_sets import EVERYTHING, Teaching

log = logging.getLogger(__name__)
Ints = npt.NDArray[np.int64]
Whole = TypeVar("Whole", bound=np.integer[Any])
IGNORED = -100  # the label of a piece that no word begins in
_STRANGE = "unknown type "
_OVERLAP = "entity that overlaps one of its own column"
_INSIDE_SILENT = "name inside one of a type left out"
UNKNOWN = -101  # the label of a word that is O or of a type that its corpus does not annotate
OUTSIDE, BEGIN, INSIDE = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Example:
    """One input of the model with the labels of one head.

    `input_ids` and `segments` are (pieces,). `labels` is (pieces * columns,) for heads of words,
    with a column per type where they nest, and (1,) for texts and pairs. `source` names the corpus.
    `shares`, where teachers say what to learn, are (pieces * columns * classes,) bytes: their
    probabilities in 255ths, all 0 for a piece that they say nothing of.
    """

    input_ids: list[int]
    segments: list[int]
    labels: list[int]
    head: str
    source: str
    shares: bytes = b""


@dataclass
class Losses:
    """What could not be turned into labels, by reason."""

    counts: Counter[str]

    def refuse_strangers(self, source: str, head: Head, entities: int) -> None:
        """Refuse a source of which the head knows no type at all: all its words would be
        outside.
        """
        types = sorted(r.removeprefix(_STRANGE) for r in self.counts if r.startswith(_STRANGE))
        if entities and sum(self.counts[_STRANGE + name] for name in types) == entities:
            raise FormatError(
                f"{source}: none of its types ({', '.join(types[:5])}) is a label of head "
                f"{head.name!r} ({', '.join(head.labels)}); mend heads.{head.name}.labels"
            )

    def report(self, source: str) -> None:
        """Say once what was lost."""
        for reason, count in sorted(self.counts.items()):
            log.warning("%s: %s %d times", source, reason, count)


def word_tags(
    encoded: EncodedText,
    spans: Iterable[Span],
    head: Head,
    losses: Losses,
    known: Teaching = EVERYTHING,
) -> Ints:
    """The tags of each word, (words, columns): per type O B I for a nested head, one BIO tag for a
    flat one.

    Columns of types that the corpus does not annotate are `IGNORED`; in a flat head a word outside
    of all that it does annotate is `UNKNOWN`: O or a type that it leaves out, and so is a name
    inside one of a type left out.
    """
    nested = head.kind == "nested"
    column = {label: i for i, label in enumerate(head.labels)}
    tags = np.zeros((len(encoded.words), len(head.labels) if nested else 1), dtype=np.int64)
    for span in sorted(spans, key=lambda span: (span.start, -span.end)):
        label = known.names.get(span.label, span.label)
        silent = label in known.unannotated
        if label is None or (silent and nested):
            continue  # what the head does not learn from this corpus
        found = words_of(span.start, span.end, encoded.words)
        if found is None or label not in column:
            strange = f"{_STRANGE}{label}"
            losses.counts["entity without a word" if found is None else strange] += 1
            continue
        start, end = found
        # a word without a piece has no label, so a name begins at its first word with one
        start = next((i for i in range(start, end) if encoded.word_pieces[i] != NO_PIECE), end)
        if start == end:
            losses.counts["entity without a piece"] += 1
            continue
        where = column[label] if nested else 0
        if (taken := tags[start:end, where]).any():
            if not silent:
                inside = (taken == UNKNOWN).all()
                losses.counts[_INSIDE_SILENT if inside else _OVERLAP] += 1
            continue
        if silent:  # names inside it are a part of it
            tags[start:end, where] = UNKNOWN
            continue
        begin = BEGIN if nested else 1 + 2 * column[label]
        tags[start:end, where] = begin + 1
        tags[start, where] = begin
    if known.unannotated and nested:
        tags[:, [column[label] for label in known.unannotated]] = IGNORED
    elif known.unannotated:
        tags[tags == OUTSIDE] = UNKNOWN
    return tags


def framed_windows(
    encoded: EncodedText, encoder: TextEncoder, of_words: npt.NDArray[Whole], silent: int
) -> Iterator[tuple[Ints, Ints, npt.NDArray[Whole]]]:
    """The input of each window of a text, ids and segments, with what is said of its words at the
    pieces in which they begin and `silent` at all others.

    of_words is (words, ...), and what comes with an input (pieces, ...).
    """
    of_pieces = np.full((len(encoded.pieces), *of_words.shape[1:]), silent, of_words.dtype)
    has_piece = encoded.word_pieces != NO_PIECE
    # words that share a piece (two signs in one): what is said of the first one stands there
    of_pieces[encoded.word_pieces[has_piece][::-1]] = of_words[has_piece][::-1]
    for window in encoded.windows:
        ids, segments = encoder.frame(encoded.pieces[window.start : window.end])
        framed = np.full((len(ids), *of_words.shape[1:]), silent, of_words.dtype)
        framed[1:-1] = of_pieces[window.start : window.end]
        yield ids, segments, framed


def word_examples(
    documents: Sequence[Document],
    head: Head,
    encoder: TextEncoder,
    source: str,
    known: Teaching = EVERYTHING,
) -> Iterator[Example]:
    """The windows of annotated documents for a head of words."""
    losses = Losses(Counter())
    for document in documents:
        encoded = encoder.encode(document.text)
        tags = word_tags(encoded, document.entities or (), head, losses, known)
        for ids, segments, labels in framed_windows(encoded, encoder, tags, IGNORED):
            yield Example(
                ids.tolist(), segments.tolist(), labels.ravel().tolist(), head.name, source
            )
    losses.refuse_strangers(source, head, sum(len(d.entities or ()) for d in documents))
    losses.report(source)


def text_examples(
    documents: Sequence[Document], head: Head, encoder: TextEncoder, source: str, max_pieces: int
) -> Iterator[Example]:
    """Texts with a topic: at most `max_pieces` of each, which is said once."""
    cut = 0
    for document in documents:
        pieces = encoder.pieces(document.text[: max_pieces * 12])
        cut += len(pieces) > max_pieces - FRAME
        ids, segments = encoder.frame(pieces[: max_pieces - FRAME])
        _known(str(document.topic), head, document)
        label = head.labels.index(str(document.topic))
        yield Example(ids.tolist(), segments.tolist(), [label], head.name, source)
    log.info(
        "%s: %d of %d texts are read for their first %d pieces",
        source,
        cut,
        len(documents),
        max_pieces,
    )


def pairs_of(
    document: Document, head: Head, encoder: TextEncoder
) -> Iterator[tuple[Ints, Ints, int]]:
    """The pieces of each target or claim and of a passage that is judged for it, with the label.

    A text gives a pair for each part that serving would judge. Where a stance has evidence, a part
    without any of it says nothing.
    """
    asked: list[tuple[str, str, tuple[Range, ...] | None]] = [
        (claim.text, claim.label, None) for claim in document.claims or ()
    ]
    if "favor" in head.labels:
        if any(s.holder is not None or s.scope is not None for s in document.stances or ()):
            raise FormatError(
                f"document {document.id}: a stance of a quoted holder, or of a part of the text, "
                "is no stance of the author toward the whole; add #stances to the name of the "
                "file in the recipe, which takes each stance of the author with its part alone"
            )
        asked = [(s.target, s.label, s.evidence) for s in document.stances or ()]
    if not asked:
        return
    read = JudgedText(document.text, encoder.encode(document.text))
    for about, name, evidence in asked:
        for part in judged_parts(head, read, about, encoder.window.room):
            said = name if not evidence or part.overlaps(evidence) else "neutral"
            label = _answer(said, head, document)
            yield encoder.pieces(about), part.pieces, head.labels.index(label)


def require_known(documents: Iterable[Document], head: Head) -> None:
    """Refuse a document whose topic, claims or stances a head of texts or pairs has no label for;
    what would only come to light when a trained model is calibrated.
    """
    for document in documents:
        if head.kind == "text":
            _known(str(document.topic), head, document)
            continue
        stances = [s for s in document.stances or () if s.holder is None]
        for said in stances if "favor" in head.labels else document.claims or ():
            _answer(said.label, head, document)


def _answer(said: str, head: Head, document: Document) -> str:
    """The label of a head of pairs for what a document says; `other` is what has none to itself."""
    if said in ("discuss", "unrelated") and said not in head.labels:
        said = "other"
    _known(said, head, document)
    return said


def _known(label: str, head: Head, document: Document) -> None:
    if label not in head.labels:
        raise FormatError(
            f"document {document.id}: label {label!r} is none of head {head.name!r} "
            f"({', '.join(head.labels)}); mend the document or heads.{head.name}.labels"
        )


def pair_examples(
    documents: Sequence[Document], head: Head, encoder: TextEncoder, source: str, max_pieces: int
) -> Iterator[Example]:
    """(target or claim, passage) pairs."""
    for document in documents:
        for first, second, label in pairs_of(document, head, encoder):
            if len(first) + len(second) + PAIR_FRAME > max_pieces:
                raise FormatError(
                    f"document {document.id}: a target or claim of {len(first)} pieces leaves no "
                    f"room for its passage of {len(second)} in windows.pair_max_pieces "
                    f"({max_pieces}); shorten it or raise the setting"
                )
            ids, segments = encoder.frame_pair(first, second, max_pieces)
            yield Example(ids.tolist(), segments.tolist(), [label], head.name, source)


def examples_of(
    documents: Sequence[Document],
    head: Head,
    encoder: TextEncoder,
    source: str,
    max_pieces: int | None,
    pair_max_pieces: int,
    known: Teaching = EVERYTHING,
) -> Iterator[Example]:
    """The examples of documents for any kind of head; `known` is for heads of words."""
    if head.kind == "text":
        return text_examples(documents, head, encoder, source, max_pieces or encoder.window.size)
    if head.kind == "pair":
        return pair_examples(documents, head, encoder, source, pair_max_pieces)
    return word_examples(documents, head, encoder, source, known)
