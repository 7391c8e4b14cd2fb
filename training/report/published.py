"""Published scores that stand beside a run's own in its report: `configs/published.yaml`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic import Field

import configs
from training.strict import Settings, load_settings


class PublishedScore(Settings):
    """A score in 0 to 1 that somebody measured on a split of a corpus."""

    corpus: str
    system: str
    metric: str
    value: float = Field(ge=0, le=1)
    split: str = Field(min_length=1)
    citation: str = Field(min_length=1)


class PublishedScores(Settings):
    """All of a file."""

    scores: tuple[PublishedScore, ...]


def published_scores(corpora: Iterable[str], path: Path | None = None) -> list[PublishedScore]:
    """The published scores on some corpora, in the order of the file."""
    found = load_settings(path or configs.folder() / "published.yaml", PublishedScores)
    wanted = set(corpora)
    return [score for score in found.scores if score.corpus in wanted]
