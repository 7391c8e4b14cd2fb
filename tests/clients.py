"""Clients of a scripted service whose waits take no time."""

from __future__ import annotations

from typing import Any

from serving.client import KhabarClient, RequestLimits
from tests.scripted import Service

ONE = RequestLimits(articles=1)


class Clock:
    """Remembers how long it was asked to wait, and waits not at all."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)


def client_of(service: Service, clock: Clock | None = None, **more: Any) -> KhabarClient:
    """A client whose waits take no time and are as long as they can be."""
    sleep = (clock or Clock()).sleep
    longest = {"jitter": lambda _, most: most, "sleep": sleep}
    return KhabarClient(service.url, verify=False, **longest, **more)
