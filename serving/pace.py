"""The pace of a client: as many requests in flight as the service takes, found by trying.

One more for every round of answers, a quarter less when the service is full (additive increase,
multiplicative decrease: Chiu and Jain 1989, as TCP does). Without it a client that asks for too
much spends its time waiting to try again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

FIRST = 4.0
KEPT = 0.75  # of the limit, when the service is full


@dataclass(slots=True)
class Turn:
    """A request in flight, and whether the service took it; None while that is not known."""

    began: float
    taken: bool | None = None


class Pace:
    """At most `most` requests in flight, of all threads together."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._limit = min(FIRST, most)
        self._in_flight = 0
        self._lowered = clock()
        self._open = True
        self._freed = threading.Condition()

    @property
    def limit(self) -> float:
        """The requests that may be in flight now."""
        return self._limit

    @contextmanager
    def turn(self) -> Iterator[Turn]:
        """Wait until there is room for a request in flight, and count it until the block ends."""
        with self._freed:
            while self._open and self._in_flight and self._in_flight + 1 > self._limit:
                self._freed.wait()
            self._in_flight += 1
        turn = Turn(self._clock())
        try:
            yield turn
        finally:
            with self._freed:
                self._learn(turn, self._in_flight)
                self._in_flight -= 1
                self._freed.notify_all()

    def _learn(self, turn: Turn, in_flight: int) -> None:
        """Learn from what the service said. Where less than half of what is allowed was in flight
        it was not asked for more.
        """
        if turn.taken is None:
            return
        if turn.taken:
            if 2 * in_flight >= self._limit:
                self._limit = min(self._limit + 1 / self._limit, self._most)
        elif turn.began >= self._lowered:  # those sent before the limit was lowered say nothing new
            self._limit = max(self._limit * KEPT, 1.0)
            self._lowered = self._clock()

    def close(self) -> None:
        """Let nobody wait any more."""
        with self._freed:
            self._open = False
            self._freed.notify_all()
