"""Where paragraphs begin: no name goes over into the next one.

The model reads line breaks as spaces, so that a headline and the place that the article below it
begins with look like one name.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from annotations.schema import Range
from serving.decoding import TaggedSpan

# Of the longest line: a line that would be longer than that with the next word was wrapped there.
FULL = 0.7

Floats = npt.NDArray[np.float32]
Decode = Callable[[Floats], list[TaggedSpan]]


def paragraph_starts(text: str, words: Sequence[Range]) -> list[int]:
    """The words that begin a paragraph, by their index; the first word of a text is not told.

    A paragraph ends at a blank line, and at the end of a line that has room for the next word.
    """
    lines = text.splitlines(keepends=True)
    full = FULL * max((len(line.strip()) for line in lines), default=0)
    begins = []
    at, before = 0, None  # the length of the line before, None where there is none
    for line in lines:
        stripped = line.strip()
        if stripped and at:
            word = len(stripped.split(maxsplit=1)[0])
            if before is None or before + 1 + word <= full:
                begins.append(at)
        before = len(stripped) or None
        at += len(line)
    starts = [start for start, _ in words]
    found = {bisect_left(starts, begin) for begin in begins}
    return sorted(found - {0, len(words)})


def decode_apart(logits: Floats, starts: Sequence[int], decode: Decode) -> list[TaggedSpan]:
    """What `decode` finds in the scores of a text, (words, ...), of which no entity goes over one
    of `starts`.

    The text is read as one sequence, and parted only where an entity would go over.
    """
    spans = decode(logits)
    cuts: Sequence[int] = _crossed(spans, starts)
    while cuts:
        spans = [
            replace(span, start=low + span.start, end=low + span.end)
            for low, high in pairwise([0, *cuts, len(logits)])
            for span in decode(logits[low:high])
        ]
        cuts = starts if _crossed(spans, starts) else ()
    return spans


def _crossed(spans: Sequence[TaggedSpan], starts: Sequence[int]) -> list[int]:
    """Which of `starts`, in order, lie within a span."""
    crossed: set[int] = set()
    for span in spans:
        crossed.update(starts[bisect_right(starts, span.start) : bisect_left(starts, span.end)])
    return sorted(crossed)
