"""Entities that were met and never met: the same scores on each of them apart, for a head that
knows names by heart reads a development split better than the news of tomorrow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from annotations.clitics import NameLexicon, lexicon_key, plain_form
from annotations.schema import Document, Span
from annotations.text import normalize
from serving.bundle import DEFAULT_FOLDER, LEXICON
from training.evaluation.scores import EntityScores

Labelled = tuple[str, int, int]  # label, start, end


def surface_key(text: str, span: Span, lexicon: NameLexicon) -> str:
    """The surface of an entity as it is compared: without diacritics, tatweel, attached clitics and
    the hamza of alef.
    """
    plain = " ".join(normalize(text[span.start : span.end]).text.split())
    cut = lexicon.clitics(plain.partition(" ")[0])
    before = plain[:cut] or text[: span.start]
    return lexicon_key(plain_form(plain[cut:], before, lambda key: lexicon.counts.get(key, 0)))


@dataclass(frozen=True)
class Known:
    """The surfaces that count as met, whatever their type."""

    surfaces: frozenset[str]
    lexicon: NameLexicon

    @classmethod
    def of(cls, documents: Sequence[Document]) -> Known:
        """The surfaces of the entities of documents. Clitics are told by the shipped lexicon,
        whatever bundle is scored.
        """
        lexicon = NameLexicon.read(DEFAULT_FOLDER / LEXICON)
        keys = (surface_key(d.text, span, lexicon) for d in documents for span in d.entities or ())
        return cls(frozenset(keys), lexicon)

    def holds(self, text: str, span: Span) -> bool:
        """Whether an entity of a text was met."""
        return surface_key(text, span, self.lexicon) in self.surfaces


@dataclass
class NoveltyScores:
    """Scores of the entities that were met and of the others: recall counts entities in gold,
    precision those predicted.
    """

    known: Known
    seen: EntityScores = field(default_factory=EntityScores)
    unseen: EntityScores = field(default_factory=EntityScores)

    def add(
        self,
        text: str,
        gold: set[Labelled],
        predicted: set[Labelled],
        words: Sequence[tuple[int, int]] | None = None,
    ) -> None:
        """One item: entities in code points of its text, or in words, whose ranges are given."""

        def is_met(entity: Labelled) -> bool:
            label, start, end = entity
            if words is not None:
                start, end = words[start][0], words[end - 1][1]
            return self.known.holds(text, Span(start, end, label))

        met = {entity for entity in gold | predicted if is_met(entity)}
        self.seen.add_spans(gold & met, predicted & met)
        self.unseen.add_spans(gold - met, predicted - met)

    def report(self) -> dict[str, Any]:
        """`seen` and `unseen`, each with its number of entities in gold."""
        return {"seen": _short(self.seen), "unseen": _short(self.unseen)}


def _short(scores: EntityScores) -> dict[str, Any]:
    report = scores.report()
    kept = {name: report[name] for name in ("f1", "precision", "recall", "interval", "per_label")}
    return {"entities": int(scores.rows()[:, 2].sum()), **kept}
