"""Where a name ends among marks: in it quotation marks and brackets stand in pairs, and no stop or
comma of the sentence closes it (annotations/GUIDELINES.md).

Marks are words of their own to the model, and of a pair it misses one now and then. A mark that is
alone in the middle of a name stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from annotations.schema import Range
from annotations.text import TATWEEL
from serving.decoding import TaggedSpan, place

STOPS = frozenset(".،,؛;:")
CLOSED_BY = {'"': '"', "«": "»", "“": "”", "(": ")", "[": "]"}
OPENED_BY = {closing: opening for opening, closing in CLOSED_BY.items()}


def mend(text: str, words: Sequence[Range], spans: Sequence[TaggedSpan]) -> list[TaggedSpan]:
    """Spans over `words`, places in a text, with their ends mended.

    Where a mended span would cross another, or overlap one that it was apart from, it stays as it
    was. In order of start, the longer first.
    """
    spelt = [text[start:end] for start, end in words]
    found = []
    for span in spans:
        start, end = mended(text, words, spelt, span.start, span.end)
        found.append(replace(span, start=start, end=end))
    changed = {i for i, span in enumerate(spans) if found[i] != span}
    while clashing := {i for i in changed if _clashes(i, found, spans)}:
        for i in clashing:
            found[i] = spans[i]
        changed -= clashing
    return sorted(found, key=place)


def mended(
    text: str, words: Sequence[Range], spelt: Sequence[str], start: int, end: int
) -> tuple[int, int]:
    """The range of a name, `spelt[start:end]`, with whole pairs and without a stop at its ends.

    Where the partner of a mark inside follows at once, it is taken in; where the two stand around
    the whole name, both are left outside. A mark at an end whose partner is nowhere is cut off. One
    word is left, whatever it is.
    """
    while end - start > 1:
        name = spelt[start:end]
        opening = _partner_behind(text, words, end)
        if opening is not None and _open(name, opening):
            if name[0] == opening and name.count(opening) == 1:
                start += 1
            else:
                end += 1
        elif _loose(name, name[-1]) or (name[-1] in STOPS and not _initial(name)):
            end -= 1
        elif _loose(name, name[0]) or name[0] in STOPS:
            start += 1
        elif end - start > 2 and _around(name):
            start, end = start + 1, end - 1
        else:
            break
    return start, end


def _partner_behind(text: str, words: Sequence[Range], end: int) -> str | None:
    """The mark that the word after a name closes: where it touches the name, or a blank parts them
    and nothing begins at it.
    """
    if end == len(words):
        return None
    first, last = words[end]
    opening = OPENED_BY.get(text[first:last])
    gap, behind = text[words[end - 1][1] : first], text[last : last + 1]
    return opening if not gap or (gap == " " and not behind.isalnum()) else None


def _open(name: Sequence[str], opening: str) -> bool:
    """Whether a pair begins in a name and does not end there."""
    closing = CLOSED_BY[opening]
    if opening == closing:
        return name.count(opening) % 2 == 1
    return name.count(opening) > name.count(closing)


def _loose(name: Sequence[str], mark: str) -> bool:
    """Whether a word is a mark that has no partner in a name."""
    if mark in CLOSED_BY:
        return _open(name, mark)
    opening = OPENED_BY.get(mark)
    return opening is not None and name.count(mark) > name.count(opening)


def _around(name: Sequence[str]) -> bool:
    """Whether the ends of a name are one pair, the only one of its kind."""
    opening = OPENED_BY.get(name[-1])
    ends = {name[0], name[-1]}
    return name[0] == opening and sum(word in ends for word in name) == 2


def _initial(name: Sequence[str]) -> bool:
    """Whether the stop at the end of a name is that of an initial: س. ب. or هـ."""
    letters = sum(sign.isalpha() and sign != TATWEEL for sign in name[-2])
    return name[-1] == "." and letters == 1 and not name[-2].isdigit()


def _clashes(i: int, found: Sequence[TaggedSpan], before: Sequence[TaggedSpan]) -> bool:
    """Whether a mended span crosses another or meets one that it was apart from."""
    one = found[i]
    return any(
        _meet(one, other) and (_cross(one, other) or not _meet(before[i], before[j]))
        for j, other in enumerate(found)
        if j != i
    )


def _meet(one: TaggedSpan, other: TaggedSpan) -> bool:
    return one.start < other.end and other.start < one.end


def _cross(one: TaggedSpan, other: TaggedSpan) -> bool:
    return (one.start - other.start) * (one.end - other.end) > 0
