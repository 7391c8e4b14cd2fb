"""Which part a document belongs to: train, calibration or dev, by a rule that depends on nothing
but its group.

A group is what must not be torn apart: a stretch of consecutive sentences, a headline with its
rewrites, an article.
"""

from __future__ import annotations

import hashlib
from typing import Literal

Part = Literal["train", "calibration", "dev"]
DEV_SHARE = 0.10
CALIBRATION_SHARE = 0.06
SENTENCES_PER_GROUP = 25  # ANERcorp has no article boundaries; a few articles stay together


def part_of(group: str) -> Part:
    """The part of a group, by the first 32 bits of its sha256."""
    place = int(hashlib.sha256(group.encode()).hexdigest()[:8], 16) / 2**32
    if place < DEV_SHARE:
        return "dev"
    return "calibration" if place < DEV_SHARE + CALIBRATION_SHARE else "train"


def held_out_part(group: str) -> Part:
    """The part of a group in a corpus that brings its own dev file: train or calibration."""
    return "calibration" if part_of(group) == "calibration" else "train"
