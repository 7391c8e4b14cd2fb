"""A small Tagger for tests of what stands around it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from types import SimpleNamespace

from serving.prediction import Article, Entity, Prediction, article_problem
from serving.queue import Gone

SECRET = "سرّ"
POISON = "سمّ"


class FakeTagger:
    """Finds the first word of an article; falls over POISON and then quotes the article."""

    def __init__(self) -> None:
        self.bundle = SimpleNamespace(
            name="fake", version="7", digest="0" * 64, summary=lambda: {"name": "fake"}
        )
        self.on_read: Callable[[int, int], None] | None = None
        self.problem: str | None = None
        self.fault: Exception | None = None
        self.closed = False
        self.hold: threading.Event | None = None
        self.running = self.most = 0

    def tag(
        self,
        articles: Sequence[Article],
        max_code_points: int | None = None,
        gone: Gone = lambda: False,
    ) -> list[Prediction]:
        self.running += 1
        self.most = max(self.most, self.running)
        if self.hold is not None:
            self.hold.wait(10)
        self.running -= 1
        if self.fault is not None:
            raise self.fault
        return [self.read(article, max_code_points) for article in articles]

    def close(self) -> None:
        self.closed = True

    def read(self, article: Article, max_code_points: int | None) -> Prediction:
        if POISON in article.text:
            raise ValueError(f"cannot read {article.text}")
        if problem := article_problem(article, max_code_points):
            return Prediction(article.id, error=problem)
        word = article.text.split()[0]
        start = article.text.index(word)
        end = start + len(word)
        return Prediction(
            article.id, (Entity("e1", start, end, word, "PERS", "PER", 0.9, word, "e1"),)
        )
