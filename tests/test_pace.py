"""The pace of a client, by a clock of its own."""

from __future__ import annotations

import threading
from itertools import pairwise

import pytest

from serving.pace import FIRST, Pace


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def round_of(pace: Pace, clock: Clock, full: bool = False) -> None:
    """As many requests as may be in flight, all answered alike."""
    turns = [pace.turn() for _ in range(int(pace.limit))]
    begun = [turn.__enter__() for turn in turns]
    clock.now += 1
    for turn, one in zip(turns, begun, strict=True):
        one.taken = not full
        turn.__exit__(None, None, None)
    clock.now += 1


def test_it_grows_by_one_a_round_up_to_the_most() -> None:
    clock = Clock()
    pace = Pace(7, clock)
    limits = [pace.limit]
    for _ in range(12):
        round_of(pace, clock)
        limits.append(pace.limit)
    assert (limits[0], limits[-1]) == (FIRST, 7)
    assert all(0.3 < b - a <= 1 or b == 7 for a, b in pairwise(limits))


def test_what_was_not_tried_or_not_answered_teaches_nothing() -> None:
    pace = Pace(16, Clock())
    for taken in [None] * 50 + [True] * 50:
        with pace.turn() as turn:
            turn.taken = taken
    assert pace.limit == FIRST


def test_a_round_that_is_refused_counts_once() -> None:
    clock = Clock()
    pace = Pace(100, clock)
    clock.now = 1
    round_of(pace, clock, full=True)
    assert pace.limit == 3.0
    round_of(pace, clock, full=True)
    assert pace.limit == 2.25


def test_one_request_is_always_allowed() -> None:
    clock = Clock()
    pace = Pace(1, clock)
    for _ in range(20):
        clock.now += 1
        round_of(pace, clock, full=True)
    assert pace.limit == 1.0


def test_more_wait_until_one_is_answered() -> None:
    pace = Pace(2)
    first, second = pace.turn(), pace.turn()
    first.__enter__()
    second.__enter__()
    entered = threading.Event()

    def third() -> None:
        with pace.turn():
            entered.set()

    waiting = threading.Thread(target=third)
    waiting.start()
    assert not entered.wait(0.1)
    first.__exit__(None, None, None)
    assert entered.wait(10)
    second.__exit__(None, None, None)
    waiting.join(10)


def test_closing_lets_nobody_wait() -> None:
    pace = Pace(1)
    held = pace.turn()
    held.__enter__()
    waiting = threading.Thread(target=lambda: pace.turn().__enter__())
    waiting.start()
    pace.close()
    waiting.join(10)
    assert not waiting.is_alive()


def test_a_request_that_fails_gives_its_turn_back() -> None:
    pace = Pace(1)
    for _ in range(3):
        with pytest.raises(ValueError, match="lost"), pace.turn():
            raise ValueError("lost")
