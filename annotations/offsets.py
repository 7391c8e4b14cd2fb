"""Offsets of other tools made code points: the surface text tells which units a tool counted.

JavaScript tools count UTF-16 units, in which an emoji is two; khabar counts code points.
"""

from __future__ import annotations

import operator
import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from annotations.errors import FormatError
from annotations.schema import Range

Same = Callable[[str, str], bool]


@dataclass(frozen=True, slots=True)
class Quoted:
    """A range as a tool gives it, with the text it says stands there; `where` names document and
    span.
    """

    start: int
    end: int
    surface: str | None
    where: str


def utf16_units(text: str) -> list[int]:
    """Where each code point of a text begins in UTF-16 units, and where the text ends."""
    starts, position = [], 0
    for char in text:
        starts.append(position)
        position += 2 if ord(char) > 0xFFFF else 1
    return [*starts, position]


@dataclass(frozen=True, slots=True)
class Reconciled:
    """Ranges in code points: how many had been given in UTF-16 units, and whether their surfaces
    stand there in either units, so that nothing tells which were meant.
    """

    ranges: list[Range]
    repaired: int
    ambiguous: bool


def reconcile(text: str, quoted: Sequence[Quoted]) -> Reconciled:
    """The ranges of quotations in code points; where nothing tells the units, they are these.

    Units that fit all of a text's spans are those of the tool; where neither does (one tool's spans
    beside another's), each span is read in the units that fit it. A span that fits none is refused.
    Only where the surfaces do not stand there letter by letter, line ends may differ.
    """
    astral = any(ord(char) > 0xFFFF for char in text)
    units = utf16_units(text) if astral else None  # None: both units are the same
    for same in (operator.eq, _same_but_line_ends):
        plain = [_code_points(text, span, units, same) for span in quoted]
        repaired = [None if units is None else _from_utf16(text, s, units, same) for s in quoted]
        if all(plain) or all(repaired):
            break
    if all(plain):
        chosen = plain
    elif all(repaired):
        chosen = repaired
    else:
        chosen = [a or b for a, b in zip(plain, repaired, strict=True)]
    ranges = []
    for span, found in zip(quoted, chosen, strict=True):
        if found is None:
            raise FormatError(_complaint(text, span))
        ranges.append(found)
    changed = sum(
        (span.start, span.end) != found for span, found in zip(quoted, ranges, strict=True)
    )
    ambiguous = all(plain) and all(repaired) and plain != repaired
    return Reconciled(ranges, changed, ambiguous)


def _code_points(text: str, span: Quoted, units: Sequence[int] | None, same: Same) -> Range | None:
    if not 0 <= span.start < span.end <= len(text):
        return None
    if span.surface is None:  # certain only where no sign of two units stands before the end
        return (span.start, span.end) if units is None or units[span.end] == span.end else None
    return (span.start, span.end) if same(text[span.start : span.end], span.surface) else None


def _from_utf16(text: str, span: Quoted, units: Sequence[int], same: Same) -> Range | None:
    start, end = bisect_left(units, span.start), bisect_left(units, span.end)
    whole = start < end < len(units) and units[start] == span.start and units[end] == span.end
    if not whole or span.surface is None or not same(text[start:end], span.surface):
        return None
    return start, end


def _same_but_line_ends(found: str, surface: str) -> bool:
    """Whether a surface is the text found; tools write line ends in their own ways."""
    return _one_line(found) == _one_line(surface)


_LINE_ENDS = re.compile(r"(?:\\n|[\r\n])+")


def _one_line(surface: str) -> str:
    return _LINE_ENDS.sub(" ", surface).replace("\t", " ")


def _complaint(text: str, span: Quoted) -> str:
    place = f"{span.where}: [{span.start}, {span.end})"
    if not 0 <= span.start < span.end:
        return f"{place}: need 0 <= start < end; correct or drop the span"
    if span.surface is None:
        return (
            f"{place} lies past the {len(text)} code points or has no text of its own to tell "
            + ("its units by; export the spans with their text")
        )
    return (
        f"{place} does not hold its own text, in code points or in UTF-16 units; the document was "
        "changed after it was annotated, export both again"
    )
