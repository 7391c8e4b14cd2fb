"""Items of a report and the recipe behind them, for tests of its numbers."""

from __future__ import annotations

from annotations.clitics import NameLexicon
from annotations.schema import Span
from training.report.answers import EntityItem, LabelItem, ScoredSpan
from training.settings import HeadSettings, Recipe, Source

LEXICON = NameLexicon({"بغداد": 5, "ولاية": 3, "العراق": 4, "لبنان": 6})


def recipe_of(*pairs: tuple[str, str]) -> Recipe:
    """A recipe whose sources are (corpus, head); only these matter to a report."""
    heads = {head: HeadSettings(kind="nested", labels="fine") for _, head in pairs}
    sources = tuple(Source(corpus=corpus, head=head) for corpus, head in pairs)
    return Recipe(name="r", version="1", encoder={"source": "tiny"}, heads=heads, sources=sources)  # type: ignore[arg-type]


def entity_item(text: str, gold: list[Span], predicted: list[Span], name: str = "i") -> EntityItem:
    scored = tuple(ScoredSpan(span, 0.9 - 0.1 * i, 0.5) for i, span in enumerate(predicted))
    return EntityItem(name, text, None, tuple(gold), scored)


def label_item(text: str, gold: str, predicted: str, confidence: float = 0.8) -> LabelItem:
    return LabelItem("l", text, None, None, gold, predicted, confidence, (predicted, 0.6))
