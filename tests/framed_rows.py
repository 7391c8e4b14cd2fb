"""Made-up rows of pieces as a model reads them, alone, in batches and as training examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.runtime import padded

PAD = 1
Rows = list[tuple[NDArray[np.int64], NDArray[np.int64]]]


def framed(lengths: Sequence[int], seed: int) -> Rows:
    """Made-up rows, every third of them a pair."""
    random = np.random.default_rng(seed)
    rows: Rows = []
    for i, length in enumerate(lengths):
        ids = random.integers(4, 200, length)
        segments = np.ones(length, np.int64)
        segments[[0, -1]] = 0
        if i % 3 == 0:
            segments[length // 2 : -1] = 2
        rows.append((ids, segments))
    return rows


def batch(rows: Rows, longest: int = 0) -> tuple[NDArray[np.int64], ...]:
    """Rows as one batch, padded to the longest or further."""
    filler = np.zeros(longest, np.int64)
    ids, segments, mask = (
        padded([*columns, filler + value], value)[: len(rows)]
        for columns, value in (
            ([ids for ids, _ in rows], PAD),
            ([segments for _, segments in rows], 0),
            ([np.ones(len(ids), np.int64) for ids, _ in rows], 0),
        )
    )
    return ids, mask, segments


def examples(seed: int) -> list[dict[str, Any]]:
    rows = framed([12, 40, 25, 80, 9, 33] * 4, seed)
    return [{"input_ids": ids.tolist(), "segments": part.tolist()} for ids, part in rows]
