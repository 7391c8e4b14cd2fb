"""Engines: what maps parts of articles to parts of predictions, near or far."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from serving.batch.parts import Part
from serving.batch.tagging import Beat, TaggedPart


class Engine(Protocol):
    """Reads parts, as many at once as it has workers.

    Parts are taken as workers become free, at most one ahead of them, so that whatever their number
    few are held in memory; they come back as they are ready, in any order. The local engine and
    that of Ray batch an article with others of its part only; a service may do so with those of
    other callers.
    """

    def run(self, parts: Iterable[Part], beat: Beat) -> Iterator[TaggedPart]:
        """Every part tagged; `beat` hears of articles and tokens as they are read."""
        ...
