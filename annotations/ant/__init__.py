"""Passages of the ANT corpus annotated in the project's own standard; CARD.md says how.

The texts stay in the corpus and are joined where it is. `first.jsonl` and `second.jsonl` are two
annotations of the same passages, made apart; `dev.jsonl` is what a third reading made of them.
`judged.jsonl` are further passages, sought for praise and blame: stances alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from annotations.schema import Document
from annotations.standoff import read_standoff
from annotations.textfile import opened_text

FOLDER = Path(__file__).parent


def ant_passages(
    part: Literal["train", "dev", "first", "second", "judged"], corpus: Path
) -> list[Document]:
    """The annotated passages of a part with their texts from `corpus`, ANT's train.jsonl.gz."""

    def texts(ids: set[str]) -> dict[str, str]:
        with opened_text(corpus) as lines:
            rows = (json.loads(line) for line in lines)
            return {row["id"]: row["text"] for row in rows if row["id"] in ids}

    return list(read_standoff(FOLDER / f"{part}.jsonl", texts))
