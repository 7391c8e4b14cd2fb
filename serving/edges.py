"""Where a name ends among marks: in it quotation marks and brackets stand in pairs, and no stop or
comma of the sentence closes it (annotations/GUIDELINES.md).

Marks are words of their own to the model, and of a pair it misses one now and then.
"""

from __future__ import annotations

from collections.abc import Sequence

STOPS = frozenset(".،,؛;:")
CLOSED_BY = {'"': '"', "«": "»", "“": "”", "(": ")", "[": "]"}
OPENED_BY = {closing: opening for opening, closing in CLOSED_BY.items()}


def mended(words: Sequence[str], start: int, end: int) -> tuple[int, int]:
    """The range of a name, `words[start:end]`, with whole pairs and without a stop at its ends.

    Where the partner of a mark inside is the next word, it is taken in; when the two stand around
    the whole name, both are left outside. A mark at an end whose partner is nowhere is cut off. One
    word is left, whatever it is.
    """
    while end - start > 1:
        name, after = words[start:end], words[end] if end < len(words) else ""
        opening = OPENED_BY.get(after)
        if opening is not None and _open(name, opening):
            if name[0] == opening and name.count(opening) == 1:
                start += 1
            else:
                end += 1
        elif _loose(name, name[-1]) or (name[-1] in STOPS and not _initial(name)):
            end -= 1
        elif _loose(name, name[0]) or name[0] in STOPS:
            start += 1
        else:
            break
    return start, end


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


def _initial(name: Sequence[str]) -> bool:
    """Whether the stop at the end of a name is that of an initial: س. ب."""
    return name[-1] == "." and len(name[-2]) == 1 and name[-2].isalpha()
