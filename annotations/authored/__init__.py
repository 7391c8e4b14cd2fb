"""News written for this project and annotated in its own standard; CARD.md says how.

`first.jsonl` and `second.jsonl` are two annotations of the same passages, made apart; a third
reading adjudicated them. All of `dev.jsonl` and a part of `train.jsonl` are such gold.
`headlines.jsonl` are pairs of headlines: what the one says of the other as a claim.
`snippets.jsonl` are texts of a few sentences with the author's stance toward each of their targets,
`reports.jsonl` such in the tone of wire news. `names.jsonl` are passages dense with names, which
follow ANERcorp's rules and its four types.
"""

from functools import cache
from pathlib import Path
from typing import Literal

from annotations.jsonl import read_documents
from annotations.schema import Document

FOLDER = Path(__file__).parent


@cache
def authored_documents(
    part: Literal["train", "dev", "first", "second", "headlines", "snippets", "reports", "names"],
) -> tuple[Document, ...]:
    """The documents of a part, in order."""
    return tuple(read_documents(FOLDER / f"{part}.jsonl"))
