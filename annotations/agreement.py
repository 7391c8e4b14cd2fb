"""How far two annotations of the same documents agree: span F1 and Cohen's kappa."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from annotations.errors import DocumentError
from annotations.schema import Document, Range, Span


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
    pairs = _paired(first, second)
    sets = [(set(a.entities or ()), set(b.entities or ())) for a, b in pairs]
    return SpanAgreement(
        sum(len(a) for a, _ in sets), sum(len(b) for _, b in sets), sum(len(a & b) for a, b in sets)
    )


def disagreements(first: Document, second: Document) -> list[tuple[str, Span]]:
    """Spans that only one annotator has, as (`first` or `second`, span) by place."""
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


def _paired(
    first: Sequence[Document], second: Sequence[Document]
) -> list[tuple[Document, Document]]:
    others = {document.id: document for document in second}
    alone = [document.id for document in second if document.id not in {d.id for d in first}]
    if alone:
        raise DocumentError(f"{alone[0]}: only the second annotation has it; give both the same")
    for document in first:
        if document.id not in others or others[document.id].text != document.text:
            raise DocumentError(
                f"{document.id}: the two annotations need the same ids and the same texts"
            )
    return [(document, others[document.id]) for document in first]


def agreement_report(first: Sequence[Document], second: Sequence[Document]) -> dict[str, Any]:
    """Span F1 with its counts, and kappa with the share of equal labels for stance (whole text and
    parts) and claims.

    A part of a text toward a target counts as `none` for an annotator who gave it no stance; a
    stance without scope judges the whole text.
    """
    pairs = _paired(first, second)
    spans = span_agreement(first, second)
    whole: list[tuple[str, str]] = []
    parts: list[tuple[str, str]] = []
    claims: list[tuple[str, str]] = []
    for a, b in pairs:
        everything = (0, len(a.text))
        sides = [
            {(s.scope or everything, s.target): s.label for s in document.stances or ()}
            for document in (a, b)
        ]
        targets = sorted({target for side in sides for _, target in side})
        for scope in dict.fromkeys((everything, *paragraphs(a.text))):
            kind = whole if scope == everything else parts
            kind.extend(
                (sides[0].get((scope, target), "none"), sides[1].get((scope, target), "none"))
                for target in targets
            )
        others = {claim.text: claim.label for claim in b.claims or ()}
        claims.extend(
            (claim.label, others[claim.text]) for claim in a.claims or () if claim.text in others
        )
    counts = {"first": spans.first, "second": spans.second, "both": spans.both}
    report: dict[str, Any] = {"spans": {**counts, "f1": round(spans.f1, 4)}}
    for name, rows in (
        ("stance_of_text", whole),
        ("stance_of_paragraphs", parts),
        ("claims", claims),
    ):
        if rows:
            left, right = zip(*rows, strict=True)
            same = sum(x == y for x, y in rows) / len(rows)
            report[name] = {
                "items": len(rows),
                "same": round(same, 4),
                "kappa": round(cohen_kappa(left, right), 4),
            }
    report["disagreements"] = [
        {"id": a.id, "only": who, "label": span.label, "start": span.start, "end": span.end}
        for a, b in pairs
        for who, span in disagreements(a, b)
    ]
    return report


def paragraphs(text: str) -> list[Range]:
    """The paragraphs of a text: its lines that are not blank."""
    ranges, position = [], 0
    for line in text.split("\n"):
        if line.strip():
            ranges.append((position, position + len(line)))
        position += len(line) + 1
    return ranges
