"""The child of `serving.model_process` with a model that some words are too much for."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from typing import Any

from serving import model_child
from serving.tagger import Tagger

DEADLY, WRONG, PANIC = "قاتل", "خاطئ", "هلع"
tag = Tagger.tag


class Panic(BaseException):
    """What a panic of Rust is in Python."""


def poisonable(self: Tagger, articles: Sequence[Any], max_code_points: int | None = None) -> Any:
    """`Tagger.tag`, but DEADLY ends the process, and WRONG and PANIC are errors that quote it."""
    for article in articles:
        if DEADLY in article.text:
            os.kill(os.getpid(), signal.SIGKILL)
        if WRONG in article.text:
            raise ValueError(f"cannot read {article.text}")
        if PANIC in article.text:
            raise Panic(f"cannot slice {article.text}")
    return tag(self, articles, max_code_points)


def main() -> None:
    """The life of such a child."""
    Tagger.tag = poisonable  # type: ignore[method-assign]
    model_child.main()
