"""Documents and what is annotated on them.

Every reader of a corpus ends here and every model starts here. Offsets are Unicode code points into
`Document.text` as received, end exclusive: `text[start:end]` is the surface, always.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from annotations.errors import DocumentError, told

Range = tuple[int, int]


def require_range(what: str, start: int, end: int) -> None:
    """Refuse an empty, negative or reversed range."""
    if not 0 <= start < end:
        raise DocumentError(f"{what}: need 0 <= start < end, got {start}, {end}")


def overlap(one: Range, other: Range) -> bool:
    """Whether two ranges share a code point."""
    return one[0] < other[1] and other[0] < one[1]


@dataclass(frozen=True, slots=True)
class Span:
    """An entity mention, `text[start:end]`; code points, end exclusive."""

    start: int
    end: int
    label: str

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:  # a label is quoted in this case alone
            require_range(told(self.label), self.start, self.end)


@dataclass(frozen=True, slots=True)
class Stance:
    """What a text feels toward a target: favor, against or neutral.

    `start`, `end` place the target in the text, or are None when it is a phrase that does not stand
    there. `scope` is the part of the text that is judged (None: all of it), `holder` who feels so
    when it is not the author, `evidence` the ranges that carry the judgement (None: not annotated).
    """

    target: str
    label: str
    start: int | None = None
    end: int | None = None
    scope: Range | None = None
    holder: str | None = None
    evidence: tuple[Range, ...] | None = None

    def __post_init__(self) -> None:
        if not self.target.strip():
            raise DocumentError(
                "stance: the target is empty; name whom or what the stance is toward"
            )
        where = f"stance toward {told(self.target)}"
        if self.holder is not None and not self.holder.strip():
            raise DocumentError(f"{where}: the holder is empty; name it or use null")
        if (self.start is None) != (self.end is None):
            raise DocumentError(f"{where}: start and end are set together")
        if self.start is not None and self.end is not None:
            require_range(where, self.start, self.end)


@dataclass(frozen=True, slots=True)
class Claim:
    """What a text says of a claim sentence: agree, disagree, discuss, unrelated (or other: one of
    the last two).
    """

    text: str
    label: str


@dataclass(frozen=True, slots=True)
class Document:
    """An article with its annotation.

    `entities` is None when nobody looked for entities and () when there are none; `stances` and
    `claims` likewise. `label_set` names the labels in use: fine, coarse or a corpus's own.
    """

    id: str
    text: str
    title: str | None = None
    source: str | None = None
    date: str | None = None
    license: str | None = None
    entities: tuple[Span, ...] | None = None
    label_set: str = "fine"
    stances: tuple[Stance, ...] | None = None
    claims: tuple[Claim, ...] | None = None
    topic: str | None = None
    form: str | None = None

    def surface(self, span: Span) -> str:
        """The text of a span."""
        return self.text[span.start : span.end]

    def with_entities(self, entities: tuple[Span, ...]) -> Document:
        """The same document with other entities."""
        return replace(self, entities=entities)


def nested_order(spans: tuple[Span, ...]) -> tuple[Span, ...]:
    """The spans by start, the longer first."""
    return tuple(sorted(spans, key=lambda span: (span.start, -span.end, span.label)))


def crossing_pairs(spans: tuple[Span, ...]) -> list[tuple[Span, Span]]:
    """Pairs of spans that overlap with neither inside the other."""
    pairs: list[tuple[Span, Span]] = []
    open_spans: list[Span] = []
    for span in nested_order(spans):
        open_spans = [other for other in open_spans if other.end > span.start]
        pairs.extend((other, span) for other in open_spans if other.end < span.end)
        open_spans.append(span)
    return pairs


def outermost(spans: tuple[Span, ...]) -> tuple[Span, ...]:
    """Spans that do not overlap: of nested ones the outermost, of crossing ones that which begins
    first, of two equal ranges the first in order.
    """
    kept: list[Span] = []
    for span in nested_order(spans):
        if not kept or span.start >= kept[-1].end:
            kept.append(span)
    return tuple(kept)


def judged_twice(document: Document) -> tuple[str, ...]:
    """The targets and claims that a document judges more than once: targets by the same holder at
    the same place and in the same part of the text.
    """
    stances = Counter(
        (s.target, s.start, s.scope or (0, len(document.text)), s.holder)
        for s in document.stances or ()
    )
    claims = Counter(claim.text for claim in document.claims or ())
    return (
        *(target for (target, *_), count in stances.items() if count > 1),
        *(text for text, count in claims.items() if count > 1),
    )


def duplicates(spans: tuple[Span, ...]) -> tuple[Span, ...]:
    """The spans that are given more than once, each once, in order."""
    return tuple(span for span, count in Counter(nested_order(spans)).items() if count > 1)
