"""What every engine does with a part: its rows become articles, predictions and encoded files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from serving.batch.errors import BatchError
from serving.batch.options import BatchOptions
from serving.batch.parts import Part
from serving.batch.rows import Reject, RejectError, Row, article_of
from serving.batch.sinks import encode_part
from serving.prediction import Article, Prediction

CHUNK_ARTICLES = 64  # asked of the Tagger at once
_CHUNK_CODE_POINTS = 100_000


class TagsArticles(Protocol):
    """The Tagger, or what answers like it."""

    def tag(self, articles: Sequence[Article]) -> Sequence[Prediction]:
        """A prediction an article, in order."""
        ...


Beat = Callable[[int, int], None]  # articles and tokens that were read since the last one


@dataclass(frozen=True, slots=True)
class Heard:
    """A beat on its way from a worker to the driver."""

    articles: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Answered:
    """A row with its article and what was read in it."""

    row: Row
    article: Article
    prediction: Prediction

    def to_dict(self, keep_text: bool) -> dict[str, Any]:
        """The JSON object of the output: the result of the API and its place in the input."""
        found = {"source": self.row.source, "line": self.row.line} | self.prediction.to_dict()
        # the offsets of a page are into its main text, which stands nowhere else
        return (
            found | {"text": self.article.text} if keep_text or self.row.form == "html" else found
        )


@dataclass(frozen=True, slots=True)
class TaggedPart:
    """A part that was read: what tells it from others, its files by name, ready to be written, and
    what they hold. Its rows stay where it was read.
    """

    number: int
    digest: str
    rows: int
    bytes_read: int
    files: Mapping[str, bytes]
    articles: int
    rejects: int


def tag_part(
    part: Part, tagger: TagsArticles, options: BatchOptions, beat: Beat = lambda n, tokens: None
) -> TaggedPart:
    """The answers of a part. Every row is either an answer or a reject, in the order of the rows.

    What is asked of the Tagger at once lies inside of the part, so its answers do not depend on
    how parts are spread over processes.
    """
    answers: list[Answered] = []
    rejects: list[tuple[int, Reject]] = []
    readable: list[tuple[int, Article]] = []
    for i, row in enumerate(part.rows):
        try:
            readable.append((i, article_of(row, options)))
        except RejectError as error:
            rejects.append((i, Reject(row, error.code, error.reason)))
    for chunk in _chunks(readable):
        articles = [article for _, article in chunk]
        predictions = _tagged(articles, tagger)
        for (i, article), answer in zip(chunk, predictions, strict=True):
            row = part.rows[i]
            if answer.error is None:
                answers.append(Answered(row, article, answer))
            else:
                rejects.append((i, Reject(row, "not_read", answer.error)))
        beat(len(articles), sum(answer.tokens for answer in predictions))
    ordered = [reject for _, reject in sorted(rejects, key=lambda pair: pair[0])]
    files = encode_part(
        part.number,
        [answer.to_dict(options.keep_text) for answer in answers],
        [reject.to_dict() for reject in ordered],
        options,
    )
    return TaggedPart(
        part.number,
        part.digest,
        len(part.rows),
        part.bytes_read,
        files,
        len(answers),
        len(ordered),
    )


def _chunks(articles: Sequence[tuple[int, Article]]) -> Iterator[list[tuple[int, Article]]]:
    chunk: list[tuple[int, Article]] = []
    size = 0
    for pair in articles:
        size += len(pair[1].text)
        if chunk and (len(chunk) == CHUNK_ARTICLES or size > _CHUNK_CODE_POINTS):
            yield chunk
            chunk, size = [], len(pair[1].text)
        chunk.append(pair)
    if chunk:
        yield chunk


def _tagged(articles: Sequence[Article], tagger: TagsArticles) -> Sequence[Prediction]:
    """A prediction an article; where asking for all fails, each is asked for alone, so that one
    article harms no other.
    """
    try:
        return tagger.tag(articles)
    except (MemoryError, OSError, BatchError):
        raise  # no fault of an article
    except Exception as error:
        if len(articles) == 1:
            reason = f"the tagger failed on it ({type(error).__name__})"
            return [Prediction(articles[0].id, error=reason)]
        return [_tagged([article], tagger)[0] for article in articles]
