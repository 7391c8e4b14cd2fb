"""The errors that say most, with a piece of their text: what a report shows one by one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, zip_longest

from annotations.clitics import NameLexicon
from annotations.matching import shared_words
from annotations.schema import Range, Span, overlap
from annotations.text import sentences
from training.evaluation.novelty import surface_key
from training.report.answers import Answers, EntityItem, LabelItem
from training.report.confusion import Outcome, Pair, pair_spans

MOST = 50
_AROUND = 150  # code points beside an error, where its sentence is longer
_PASSAGE = 420  # code points of a text that was labelled wrongly
_EMPTY_LINES = re.compile(r"\s*\n\s*")
DEFINITION = (
    f"At most {MOST}, an equal share of each head's. Wrong predictions come by their confidence, "
    "the surest first; after every two of them one entity that was missed altogether, those first "
    "whose surface the training data holds most often; a surface is missed once."
)


@dataclass(frozen=True, slots=True)
class Error:
    """A wrong answer: gold and predicted label (None: nothing there), and a passage around it.

    For entities `surface` is the text of the gold one, or of the prediction where there is none;
    `gold_spans` and `predicted_spans` are all of the passage, offsets into it; `taught` counts how
    often the surface of a missed entity is one in the training data.
    """

    head: str
    split: str
    id: str
    outcome: Outcome | str
    gold: str | None
    predicted: str | None
    confidence: float | None
    about: str | None
    surface: str | None
    passage: str
    gold_spans: tuple[Span, ...] = ()
    predicted_spans: tuple[Span, ...] = ()
    taught: int | None = None


def worst_errors(
    answers: Sequence[Answers],
    surfaces: Mapping[str, Mapping[str, int]],
    lexicon: NameLexicon,
    most: int = MOST,
) -> list[Error]:
    """The worst errors, see `DEFINITION`; `surfaces` is how often each surface is taught to a head
    of words.
    """
    by_head: dict[str, list[Answers]] = {}
    for found in answers:
        by_head.setdefault(found.head.name, []).append(found)
    ranked = [
        _entity_errors(group, surfaces.get(head, {}), lexicon)
        if group[0].entities
        else _label_errors(group)
        for head, group in by_head.items()
    ]
    turns = chain.from_iterable(zip_longest(*ranked))
    kept = [error for error in turns if error is not None][:most]
    return sorted(kept, key=lambda error: list(by_head).index(error.head))


def _label_errors(group: Sequence[Answers]) -> list[Error]:
    wrong = [
        (item, found) for found in group for item in found.labelled if item.predicted != item.gold
    ]
    wrong.sort(key=lambda row: -row[0].confidence)
    return [_label_error(item, found) for item, found in wrong]


def _label_error(item: LabelItem, found: Answers) -> Error:
    low, high = _passage_about(item.text, item.about)
    passage = _EMPTY_LINES.sub("\n", _elided(item.text, low, high)[0])
    return Error(
        head=found.head.name,
        split=found.split.name,
        id=item.id,
        outcome="label",
        gold=item.gold,
        predicted=item.predicted,
        confidence=item.confidence,
        about=item.about,
        surface=None,
        passage=passage,
    )


def _passage_about(text: str, about: str | None) -> Range:
    """The part of a text to show: from its start, or from the sentence with most of the words."""
    start = 0
    if about is not None and len(text) > _PASSAGE:
        places = sentences(text)
        start = max(places, key=lambda p: shared_words(about, text[p[0] : p[1]]), default=(0, 0))[0]
    end = min(len(text), start + _PASSAGE)
    whole_words = text.rfind(" ", start, end) if end < len(text) else end
    return start, whole_words if whole_words > start else end


def _entity_errors(
    group: Sequence[Answers], taught: Mapping[str, int], lexicon: NameLexicon
) -> list[Error]:
    """Wrong predictions and missed entities, two of the first for one of the others.

    Of missed entities of one surface the first stays.
    """
    wrong: list[Error] = []
    missed: dict[str, Error] = {}
    for found in group:
        for item in found.entities:
            sure = {scored.span: scored.confidence for scored in item.predicted}
            for pair in pair_spans(item.gold, list(sure)):
                if pair.predicted is None and pair.gold is not None:
                    key = surface_key(item.text, pair.gold, lexicon)
                    error = _entity_error(item, pair, found)
                    missed.setdefault(key, replace(error, taught=taught.get(key, 0)))
                elif pair.predicted is not None and pair.outcome != "right":
                    error = _entity_error(item, pair, found)
                    wrong.append(replace(error, confidence=sure[pair.predicted]))
    wrong.sort(key=lambda error: -(error.confidence or 0))
    others = sorted(missed.values(), key=lambda error: -(error.taught or 0))
    turns = chain.from_iterable(zip_longest(wrong[::2], wrong[1::2], others))
    return [error for error in turns if error is not None]


def _entity_error(item: EntityItem, pair: Pair, found: Answers) -> Error:
    spans = [span for span in (pair.gold, pair.predicted) if span is not None]
    low, high = _passage_around(item.text, min(s.start for s in spans), max(s.end for s in spans))
    passage, shift = _elided(item.text, low, high)

    def inside(all_spans: Sequence[Span]) -> tuple[Span, ...]:
        return tuple(
            Span(s.start + shift, s.end + shift, s.label)
            for s in all_spans
            if low <= s.start and s.end <= high
        )

    return Error(
        head=found.head.name,
        split=found.split.name,
        id=item.id,
        outcome=pair.outcome,
        gold=pair.gold.label if pair.gold else None,
        predicted=pair.predicted.label if pair.predicted else None,
        confidence=None,
        about=None,
        surface=item.text[spans[0].start : spans[0].end],
        passage=passage,
        gold_spans=inside(item.gold),
        predicted_spans=inside([scored.span for scored in item.predicted]),
    )


def _passage_around(text: str, start: int, end: int) -> Range:
    """The sentences that hold a range, or words on both sides where they are long."""
    held = [p for p in sentences(text) if overlap(p, (start, end))]
    low = min([start, *(p[0] for p in held)])
    high = max([end, *(p[1] for p in held)])
    if start - low > _AROUND:
        low = text.find(" ", start - _AROUND, start) + 1 or start
    if high - end > _AROUND:
        cut = text.rfind(" ", end, end + _AROUND)
        high = cut if cut > end else end
    return low, high


def _elided(text: str, low: int, high: int) -> tuple[str, int]:
    """A part of a text with an ellipsis where it was cut, and how far its offsets move."""
    before = "… " if text[:low].strip() else ""
    after = " …" if text[high:].strip() else ""
    return before + text[low:high] + after, len(before) - low
