"""A small batch job: seven articles, read two a part by an engine that needs no processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from batch_tagger import InlineEngine, write_jsonl

from serving.batch.options import BatchOptions

TEXTS = [f"وصل محمد إلى بغداد {'يوما ' * i}" for i in range(7)]


@pytest.fixture(name="given")
def seven_articles(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "a.jsonl", TEXTS)


def engine(**settings: Any) -> InlineEngine:
    return InlineEngine(BatchOptions(part_rows=2), **settings)
