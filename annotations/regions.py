"""Regions of a text as annotation tools have them, and the entities and stances they stand for.

A stance toward a place in the text is a TARGET with a label; EVIDENCE and SCOPE are regions tied to
it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Literal, get_args

from annotations.errors import FormatError, naming
from annotations.offsets import Quoted, reconcile
from annotations.schema import Document, Span, Stance

Kind = Literal["TARGET", "EVIDENCE", "SCOPE"]
KINDS: dict[str, Kind] = {kind: kind for kind in get_args(Kind)}


def placed_stances(document: Document) -> list[Stance]:
    """The stances toward a place in the text, which holds their target; another is an error."""
    placed = [stance for stance in document.stances or () if stance.start is not None]
    for stance in placed:
        if document.text[stance.start : stance.end] != stance.target:
            raise FormatError(
                f"stance toward {stance.target!r}: the text at [{stance.start}, "
                f"{stance.end}) is not the target; correct it or use null"
            )
    return placed


@dataclass
class Regions:
    """The regions of one annotation; those of attitudes by the ids that their tool gives them."""

    entities: list[tuple[str, Quoted]] = field(default_factory=list)
    attitudes: dict[str, tuple[Kind, Quoted]] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)  # of targets
    holders: dict[str, str] = field(default_factory=dict)
    without_evidence: set[str] = field(default_factory=set)  # looked for, and there is none
    parts: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def kind(self, name: str) -> Kind | None:
        """What the region of an attitude is; None where no region has that id."""
        return self.attitudes[name][0] if name in self.attitudes else None

    def read(self, text: str, notes: Counter[str]) -> tuple[list[Span], list[Stance]]:
        """Entities and stances, in order; `notes` counts what was repaired or left out."""
        quoted = [q for _, q in (*self.entities, *self.attitudes.values())]
        reconciled = reconcile(text, quoted)
        places = reconciled.ranges
        if reconciled.repaired:
            notes["span repaired: its offsets were UTF-16 units"] += reconciled.repaired
        if reconciled.ambiguous:
            notes["text whose offsets may be UTF-16 units too, read as code points"] += 1
        spans = [
            Span(*place, label) for (label, _), place in zip(self.entities, places, strict=False)
        ]
        where = dict(zip(self.attitudes, places[len(spans) :], strict=True))
        stances, used = [], set()
        for name, (kind, _) in self.attitudes.items():
            if kind != "TARGET":
                continue
            if name not in self.labels:
                notes["target left out: it has no stance"] += 1
                continue
            parts = [part for part in self.parts[name] if part in where]
            used.update(parts)
            evidence = tuple(where[p] for p in parts if self.attitudes[p][0] == "EVIDENCE")
            scopes = [where[p] for p in parts if self.attitudes[p][0] == "SCOPE"]
            if len(scopes) > 1:
                notes["scope left out: a stance has one"] += len(scopes) - 1
            start, end = where[name]
            with naming(self.attitudes[name][1].where):
                stances.append(
                    Stance(
                        text[start:end],
                        self.labels[name],
                        start,
                        end,
                        scopes[0] if scopes else None,
                        self.holders.get(name),
                        evidence if evidence or name in self.without_evidence else None,
                    )
                )
        alone = [n for n, (kind, _) in self.attitudes.items() if kind != "TARGET" and n not in used]
        if alone:
            notes["evidence or scope left out: no relation ties it to a target"] += len(alone)
        return spans, stances
