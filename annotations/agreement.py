"""How far two annotations of the same documents agree: span F1 and Cohen's kappa."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from annotations.errors import DocumentError, told
from annotations.schema import Document, Range, Span, judged_twice

# (part, target, its start where that tells two stances apart, holder) -> label
_Judged = dict[tuple[Range, str, int | None, str | None], str]


@dataclass(frozen=True, slots=True)
class SpanAgreement:
    """Spans of two annotators: how many each has, how many both have (same range and label), and
    the F1.
    """

    first: int
    second: int
    both: int

    @property
    def f1(self) -> float:
        """2 * both / (first + second); 1 where neither marked anything."""
        return 2 * self.both / (self.first + self.second) if self.first + self.second else 1.0


def span_agreement(first: Sequence[Document], second: Sequence[Document]) -> SpanAgreement:
    """Exact agreement on ranges and labels over paired documents."""
    pairs = paired(first, second)
    sets = [(set(a.entities or ()), set(b.entities or ())) for a, b in pairs if _both(a, b)]
    return SpanAgreement(
        sum(len(a) for a, _ in sets), sum(len(b) for _, b in sets), sum(len(a & b) for a, b in sets)
    )


def _both(a: Document, b: Document) -> bool:
    """Whether both annotators looked for entities."""
    return a.entities is not None and b.entities is not None


def disagreements(first: Document, second: Document) -> list[tuple[str, Span]]:
    """Spans that only one annotator has, as (`first` or `second`, span) by place."""
    if not _both(first, second):
        return []
    a, b = set(first.entities or ()), set(second.entities or ())
    only = [("first", span) for span in a - b] + [("second", span) for span in b - a]
    return sorted(only, key=lambda item: (item[1].start, item[1].end, item[1].label))


def cohen_kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> float:
    """Cohen's kappa (Cohen 1960) of two raters' labels of the same items; 1.0 where both always say
    the same one.
    """
    if len(first) != len(second) or not first:
        raise DocumentError(
            f"kappa needs two label lists of one length above 0, got {len(first)} and {len(second)}"
        )
    observed = sum(a == b for a, b in zip(first, second, strict=True)) / len(first)
    counts_a, counts_b = Counter(first), Counter(second)
    expected = sum(counts_a[label] * counts_b[label] for label in counts_a) / len(first) ** 2
    return 1.0 if expected == 1.0 else (observed - expected) / (1 - expected)


def paired(
    first: Sequence[Document], second: Sequence[Document]
) -> list[tuple[Document, Document]]:
    """The documents of two annotations, by id; both must hold the same ids and texts."""
    for side in (first, second):
        for document in side:
            if twice := judged_twice(document):
                raise DocumentError(
                    f"{document.id}: one annotation judges {told(twice[0])} twice; keep one label"
                )
        if repeated := [d for d, count in Counter(d.id for d in side).items() if count > 1]:
            raise DocumentError(f"{repeated[0]}: stands twice in one annotation; ids are unique")
    others = {document.id: document for document in second}
    known = {document.id for document in first}
    alone = [document.id for document in second if document.id not in known]
    if alone:
        raise DocumentError(f"{alone[0]}: only the second annotation has it; give both the same")
    for document in first:
        if document.id not in others or others[document.id].text != document.text:
            raise DocumentError(
                f"{document.id}: the two annotations need the same ids and the same texts"
            )
    return [(document, others[document.id]) for document in first]


def partial_agreement(pairs: Sequence[tuple[Document, Document]]) -> SpanAgreement:
    """Agreement where spans of one label count as the same when they overlap; each counts once."""
    first = second = both = 0
    for a, b in pairs:
        if not _both(a, b):
            continue
        sides = [set(document.entities or ()) for document in (a, b)]
        first, second = first + len(sides[0]), second + len(sides[1])
        for label in {span.label for span in sides[0]}:
            both += _most_pairs(*([s for s in side if s.label == label] for side in sides))
    return SpanAgreement(first, second, both)


def _most_pairs(first: Iterable[Span], second: Iterable[Span]) -> int:
    """How many pairs of overlapping spans there are at most, a span in one pair.

    The span that ends first takes, of those it overlaps, the one that ends first: what overlaps
    that one overlaps the others too, so nothing is lost.
    """
    left, right = (sorted(side, key=lambda span: span.end) for side in (first, second))
    pairs = 0
    while left and right:
        if right[0].end < left[0].end:
            left, right = right, left
        end = left.pop(0).end
        match = next((i for i, span in enumerate(right) if span.start < end), None)
        if match is not None:
            del right[match]
            pairs += 1
    return pairs


def agreement_report(first: Sequence[Document], second: Sequence[Document]) -> dict[str, Any]:
    """Span F1 (exact, partial and per type), kappa with the share of equal labels for stance (of
    the text, of its parts, of holders), claims and topic, and every disagreement.

    Entities, stances and claims are compared where both looked for them; there is no F1 (None) of
    spans where they nowhere did. A target or claim that one annotator did not judge counts as
    `none`; parts of a text are compared where one of the two judged parts. A stance without scope
    judges the whole text.
    """
    pairs = paired(first, second)
    rows: dict[str, list[tuple[str, str]]] = {
        "stance_of_text": [],
        "stance_of_paragraphs": [],
        "stance_of_holders": [],
        "claims": [],
        "topic": [],
    }
    found: list[dict[str, Any]] = []
    for a, b in pairs:
        found.extend(
            {"id": a.id, "only": who, "label": span.label, "start": span.start, "end": span.end}
            for who, span in disagreements(a, b)
        )
        for kind, about, labels in _judgements(a, b):
            rows[kind].append(labels)
            if labels[0] != labels[1]:
                found.append({"id": a.id, kind: about, "first": labels[0], "second": labels[1]})
    looked = [pair for pair in pairs if _both(*pair)]
    report: dict[str, Any] = {
        "spans": _counts(span_agreement(first, second), bool(looked)),
        "spans_partial": _counts(partial_agreement(pairs), bool(looked)),
        "spans_per_type": _per_type(looked),
    }
    for kind, labels_of_kind in rows.items():
        if labels_of_kind:
            left, right = zip(*labels_of_kind, strict=True)
            same = sum(x == y for x, y in labels_of_kind) / len(labels_of_kind)
            report[kind] = {
                "items": len(labels_of_kind),
                "same": round(same, 4),
                "kappa": round(cohen_kappa(left, right), 4),
            }
    report["disagreements"] = found
    return report


def _counts(spans: SpanAgreement, compared: bool = True) -> dict[str, Any]:
    counts = {"first": spans.first, "second": spans.second, "both": spans.both}
    return {**counts, "f1": round(spans.f1, 4) if compared else None}


def _per_type(pairs: Sequence[tuple[Document, Document]]) -> dict[str, dict[str, Any]]:
    """The counts of each type, over documents in which both looked for entities."""
    labels = sorted({s.label for pair in pairs for d in pair for s in d.entities or ()})

    def of(document: Document, label: str) -> Document:
        return document.with_entities(
            tuple(span for span in document.entities or () if span.label == label)
        )

    return {
        label: _counts(
            span_agreement([of(a, label) for a, _ in pairs], [of(b, label) for _, b in pairs])
        )
        for label in labels
    }


def _judgements(a: Document, b: Document) -> Iterator[tuple[str, str, tuple[str, str]]]:
    """(kind, what about, the labels of both) of every judgement that either made."""
    if a.stances is not None and b.stances is not None:
        yield from _stance_judgements(a, b)
    if a.claims is not None and b.claims is not None:
        first, second = ({claim.text: claim.label for claim in d.claims or ()} for d in (a, b))
        for text in first | second:
            yield "claims", text, (first.get(text, "none"), second.get(text, "none"))
    if a.topic is not None and b.topic is not None:
        yield "topic", "topic", (a.topic, b.topic)


def _stance_judgements(a: Document, b: Document) -> Iterator[tuple[str, str, tuple[str, str]]]:
    everything = (0, len(a.text))
    own = _stances(a, b, everything, holders=False)
    targets = sorted({target for side in own for _, target, _, _ in side})
    parts = {scope for side in own for scope, _, _, _ in side} - {everything}
    whole = paragraphs(a.text) if parts else []
    if len(whole) == 1:
        whole = []  # it is the text
    for scope in (everything, *whole, *sorted(parts - set(whole))):
        kind = "stance_of_text" if scope == everything else "stance_of_paragraphs"
        for target in targets:
            starts = {key[2] for side in own for key in side if key[:2] == (scope, target)}
            if not starts and scope in whole:
                starts = {None}  # a target of other parts, which both left out here
            for start in sorted(starts, key=lambda start: -1 if start is None else start):
                place = (scope, target, start, None)
                yield kind, target, (own[0].get(place, "none"), own[1].get(place, "none"))
    held = _stances(a, b, everything, holders=True)
    sides = [_by_holder(side, held) for side in held]
    for key in sorted({key for side in sides for key in side}, key=repr):
        yield "stance_of_holders", key[1], (sides[0].get(key, "none"), sides[1].get(key, "none"))


def _by_holder(own: _Judged, both: Sequence[_Judged]) -> _Judged:
    """Stances without their holder, whom annotators name in their own words, where neither has
    more than one for a part and target.
    """
    crowded = {
        place
        for side in both
        for place, count in Counter(key[:3] for key in side).items()
        if count > 1
    }
    return {(*key[:3], key[3] if key[:3] in crowded else None): label for key, label in own.items()}


def _stances(a: Document, b: Document, everything: Range, holders: bool) -> list[_Judged]:
    """The labels that each gave, of the author or of those whom a text quotes.

    Where one of the two has a target more than once in a part, its start tells them apart.
    """
    sides = [
        [
            (s.scope or everything, s)
            for s in document.stances or ()
            if (s.holder is not None) == holders
        ]
        for document in (a, b)
    ]
    repeated = {
        key[:2]
        for side in sides
        for key, count in Counter((part, s.target, s.holder) for part, s in side).items()
        if count > 1
    }
    return [
        {
            (part, s.target, s.start if (part, s.target) in repeated else None, s.holder): s.label
            for part, s in side
        }
        for side in sides
    ]


def paragraphs(text: str) -> list[Range]:
    """The paragraphs of a text: its lines that are not blank."""
    ranges, position = [], 0
    for line in text.split("\n"):
        if line.strip():
            ranges.append((position, position + len(line)))
        position += len(line) + 1
    return ranges
