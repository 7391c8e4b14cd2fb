"""Which part a document belongs to: train, calibration or dev, by a rule that depends on nothing
but its group.

A group is what must not be torn apart: a stretch of consecutive sentences, a headline with its
rewrites, an article.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Literal

from annotations.schema import Document

Part = Literal["train", "calibration", "dev"]
DEV_SHARE = 0.10
CALIBRATION_SHARE = 0.06
SENTENCES_PER_GROUP = 25  # ANERcorp has no article boundaries; a few articles stay together


def part_of(group: str) -> Part:
    """The part of a group, by its place in [0, 1)."""
    place = _place(group)
    if place < DEV_SHARE:
        return "dev"
    return "calibration" if place < DEV_SHARE + CALIBRATION_SHARE else "train"


def _place(group: str) -> float:
    """Where a group falls in [0, 1): the first 32 bits of its sha256."""
    return int(hashlib.sha256(group.encode()).hexdigest()[:8], 16) / 2**32


def held_out_part(group: str, share: float = CALIBRATION_SHARE) -> Part:
    """The part of a group in a corpus that brings its own dev file: train or, a `share` of all,
    calibration.
    """
    return "calibration" if 0 <= _place(group) - DEV_SHARE < share else "train"


def train_only(documents: Callable[[], list[Document]]) -> Callable[[Part], list[Document]]:
    """A corpus by its parts of which all is train: what is made for training is no test."""
    return lambda part: documents() if part == "train" else []


def every_nth(total: int, most: int) -> list[int]:
    """The indices of at most `most` items, evenly spread and always the same."""
    return list(range(0, total, -(-total // most))) if total else []
