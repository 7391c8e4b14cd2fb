"""Bootstrap intervals of the score of one system and of the difference of two."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
RESAMPLES = 1000


def bootstrap(
    rows: Floats,
    score: Callable[[Floats], float],
    seed: int = 0,
    articles: Sequence[str | None] = (),
) -> tuple[float, float]:
    """The 95 % percentile interval of a score over items drawn with replacement (Efron 1979), 1000
    times; draws without a score (nan) say nothing.

    Items of one article stand or fall together: with `articles`, that of each item, whole articles
    are drawn (the cluster bootstrap, Field and Welsh 2007).
    """
    rng = np.random.default_rng(seed)
    members = _members(len(rows), articles)
    draws = []
    for _ in range(RESAMPLES):
        drawn = rng.integers(0, len(members), len(members))
        draws.append(score(rows[np.concatenate([members[i] for i in drawn])]))
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return round(float(low), 4), round(float(high), 4)


def _members(items: int, articles: Sequence[str | None]) -> list[npt.NDArray[np.intp]]:
    """The items of each article, in order; each item alone where no articles are told."""
    if not articles:
        return list(np.arange(items)[:, None])
    members: dict[str | None, list[int]] = defaultdict(list)
    for i, article in enumerate(articles):
        members[article].append(i)
    return [np.array(found) for found in members.values()]


def paired_bootstrap(
    first: Floats, second: Floats, score: Callable[[Floats], float], seed: int = 0
) -> tuple[float, float]:
    """The 95 % percentile interval of score(first) - score(second) for two systems on the same
    items: each of 1000 draws takes the same items of both (Efron and Tibshirani 1993; Koehn 2004).
    """
    if len(first) != len(second):
        raise ValueError(f"paired systems need the same items, got {len(first)} and {len(second)}")
    rng = np.random.default_rng(seed)
    differences = []
    for _ in range(RESAMPLES):
        drawn = rng.integers(0, len(first), len(first))
        differences.append(score(first[drawn]) - score(second[drawn]))
    low, high = np.percentile(differences, [2.5, 97.5])
    return round(float(low), 4), round(float(high), 4)
