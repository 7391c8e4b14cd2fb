"""Waits that end: a test whose condition never comes true fails, whatever the machine does."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(holds: Callable[[], bool], timeout_s: float = 60) -> None:
    """Return as soon as it holds; fail when it does not in time."""
    end = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < end, f"not so within {timeout_s} s"
        time.sleep(0.01)
