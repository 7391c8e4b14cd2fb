"""News written for this project and annotated in its own standard; CARD.md says how.

`dev.jsonl` is gold that two annotators made apart and a third reading adjudicated; `second.jsonl`
holds the second annotator's work on it. `train.jsonl` was annotated once.
"""

from functools import cache
from pathlib import Path
from typing import Literal

from annotations.jsonl import read_documents
from annotations.schema import Document

FOLDER = Path(__file__).parent


@cache
def authored_documents(part: Literal["train", "dev", "second"]) -> tuple[Document, ...]:
    """The documents of a part, in order."""
    return tuple(read_documents(FOLDER / f"{part}.jsonl"))
