"""What a set of annotated documents holds, in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from annotations.schema import Document
from annotations.text import words


def counts(documents: Iterable[Document]) -> dict[str, Any]:
    """Documents, words, entities by type and how many are nested, stances, claims and topics.

    Documents that nobody annotated for entities are counted apart from those without any.
    """
    totals: Counter[str] = Counter()
    tables: dict[str, Counter[str]] = {
        name: Counter()
        for name in ("entities", "stances", "stances_of_holders", "claims", "topics", "label_sets")
    }
    for document in documents:
        totals["documents"] += 1
        totals["words"] += len(words(document.text))
        tables["label_sets"][document.label_set] += 1
        if document.entities is None:
            totals["documents_not_annotated_for_entities"] += 1
        spans = document.entities or ()
        tables["entities"].update(span.label for span in spans)
        totals["nested_entities"] += sum(
            any(o != s and o.start <= s.start and s.end <= o.end for o in spans) for s in spans
        )
        for stance in document.stances or ():
            name = "stances" if stance.holder is None else "stances_of_holders"
            tables[name][stance.label] += 1
        tables["claims"].update(claim.label for claim in document.claims or ())
        if document.topic is not None:
            tables["topics"][document.topic] += 1
    return {**totals, **{name: dict(table.most_common()) for name, table in tables.items()}}
