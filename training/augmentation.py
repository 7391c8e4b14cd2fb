"""Rewritten documents: other names in the places of names, so that a head reads what stands around
them (mention replacement, Dai and Adel 2020), letters as careless writers leave them, and stretches
of texts, so that a topic is not read off a byline.

Annotations follow the text; offsets stay exact.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import replace

from annotations.schema import Document, Span
from annotations.text import is_diacritic

Bank = Mapping[str, Sequence[str]]  # surfaces by label
_CARELESS = str.maketrans("أإآ", "ااا")  # hamza above, hamza below and madda left off an alef
_STRETCH = (12, 80)  # words; a headline with its lead to what a window holds
_LAM = "ل"
_ARTICLE = "ال"


def variants(
    documents: Sequence[Document], bank: Bank, count: int, share: float, careless: float, seed: int
) -> list[Document]:
    """`count` rewritten versions of each document: a `share` of its mentions replaced, and of the
    versions a share `careless` without hamza on alefs.
    """
    made = []
    for document in documents:
        for number in range(count):
            rng = random.Random(f"{seed}-{number}-{document.id}-{document.text[:40]}")
            version = with_other_names(document, bank, share, rng)
            if rng.random() < careless:
                version = replace(version, text=version.text.translate(_CARELESS))
            made.append(replace(version, id=f"{document.id}-variant-{number}"))
    return made


def stretches(
    documents: Sequence[Document], share: float, bare: float, seed: int
) -> list[Document]:
    """Documents with a topic: a `share` of them as 12 to 80 consecutive words from anywhere in the
    text, a share `bare` without digits and punctuation. Nothing else that is annotated stays.
    """
    made = []
    for document in documents:
        rng = random.Random(f"{seed}-stretch-{document.id}")
        words = document.text.split()
        if rng.random() < share:
            length = rng.randint(*_STRETCH)
            start = rng.randint(0, max(len(words) - length, 0))
            words = words[start : start + length]
        if rng.random() < bare:
            words = [kept for word in words if (kept := "".join(filter(_is_letter, word)))] or words
        made.append(Document(document.id, " ".join(words), topic=document.topic))
    return made


def _is_letter(sign: str) -> bool:
    return sign.isalpha() or is_diacritic(sign)


def harvest(documents: Sequence[Document]) -> dict[str, list[str]]:
    """The surfaces of the innermost mentions of documents by label, each once, in order of the
    first.
    """
    found: dict[str, dict[str, None]] = {}
    for document in documents:
        for span in innermost(document.entities or ()):
            surface = document.surface(span)
            if surface.startswith(_LAM) and _attached(document.text, span.start):
                continue  # of لل the first is a clitic: what is left is no name as it stands alone
            found.setdefault(span.label, {})[" ".join(surface.split())] = None
    return {label: list(surfaces) for label, surfaces in found.items()}


def innermost(spans: Sequence[Span]) -> list[Span]:
    """The spans that hold no other one, by start; of two of one range neither counts, for their
    names would have to be of both types.
    """
    return sorted(
        (
            span
            for i, span in enumerate(spans)
            if not any(
                i != j and span.start <= other.start and other.end <= span.end
                for j, other in enumerate(spans)
            )
        ),
        key=lambda span: span.start,
    )


def with_other_names(document: Document, bank: Bank, share: float, rng: random.Random) -> Document:
    """A document with a share of its innermost mentions replaced by others of the same label.

    A mention that stands twice gets the same name twice. Stances and claims, which speak of the old
    names, are dropped; so is what quotes the text.
    """
    chosen: dict[tuple[str, str], str] = {}
    edits: list[tuple[int, int, str]] = []
    last = 0
    for span in innermost(document.entities or ()):
        surface = document.surface(span)
        attached = _attached(document.text, span.start)
        if span.start < last or span.label not in bank or (attached and surface[0] == _LAM):
            continue
        key = (span.label, surface)
        if key not in chosen:
            chosen[key] = rng.choice(bank[span.label]) if rng.random() < share else surface
        name = chosen[key]
        follows_lam = attached and document.text[span.start - 1] == _LAM
        if name != surface and not (follows_lam and name.startswith(_ARTICLE)):
            edits.append((span.start, span.end, name))
            last = span.end
    return _edited(document, edits)


def _attached(text: str, start: int) -> bool:
    """Whether a letter stands right before a place, so that a clitic is written on to what begins
    there.
    """
    return start > 0 and text[start - 1].isalpha()


def _edited(document: Document, edits: Sequence[tuple[int, int, str]]) -> Document:
    """A document after edits (start, end, new text) that do not overlap, in order; its spans hold
    the same places.
    """
    parts: list[str] = []
    ends: list[int] = []  # of the edits in the old text
    shifts = [0]  # of what stands after so many edits
    at = 0
    for start, end, name in edits:
        parts += [document.text[at:start], name]
        at = end
        ends.append(end)
        shifts.append(shifts[-1] + len(name) - (end - start))
    parts.append(document.text[at:])

    def moved(place: int) -> int:
        return place + shifts[bisect_right(ends, place)]

    spans = tuple(
        Span(moved(span.start), moved(span.end), span.label) for span in document.entities or ()
    )
    return replace(
        document,
        text="".join(parts),
        entities=None if document.entities is None else spans,
        title=None,
        stances=None,
        claims=None,
    )
