"""Articles on their way to the service and back: cut into requests, read from answers.

The client sends a parcel and checks each result against the article that was sent in its place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from annotations.schema import Document
from serving.api.response import encode
from serving.prediction import (
    MAX_ARTICLES,
    MAX_BODY_BYTES,
    Article,
    Prediction,
    article_problem,
    asked_phrases,
    asked_problem,
)
from serving.queue import cost_of

RESULT_KEYS = ("id", "entities", "topics", "stances", "claims", "tokens", "error")
ABOUT = {"entities": None, "groups": None, "stances": "target", "claims": "claim"}
PREDICTION = TypeAdapter(Prediction)
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")  # which JSON takes for one letter


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """How much goes into one request; an article of more than `pieces` travels alone.

    Small ones share the queue of a service best.
    """

    articles: int = MAX_ARTICLES
    body_bytes: int = MAX_BODY_BYTES
    pieces: int = 512  # as `cost_of` counts; about 1,800 code points when nothing is asked of them


@dataclass(frozen=True, slots=True)
class Parcel:
    """The articles and the body of one request; `first` is the place of its first article in the
    caller's input.
    """

    first: int
    articles: tuple[Article, ...]
    body: bytes

    def __repr__(self) -> str:
        return f"Parcel(articles[{self.first}:{self.end}])"

    @property
    def end(self) -> int:
        """The place after its last article."""
        return self.first + len(self.articles)


def parcels(
    sources: Iterable[str | Document | Article],
    options: Mapping[str, object],
    limits: RequestLimits,
) -> Iterator[Parcel]:
    """The requests of a stream of articles, in order, each as soon as it is full."""
    head, tail = b'{"articles":[', b'],"options":' + encode(options) + b"}"
    spare = limits.body_bytes - len(head) - len(tail)
    first = 0
    for group in _groups(map(Article.of, sources), limits, spare):
        body = head + b",".join(part for _, part in group) + tail
        yield Parcel(first, tuple(article for article, _ in group), body)
        first += len(group)


def _groups(
    articles: Iterable[Article], limits: RequestLimits, max_bytes: int
) -> Iterator[list[tuple[Article, bytes]]]:
    group: list[tuple[Article, bytes]] = []
    size = pieces = 0
    for article in articles:
        part, cost = encode(article_dict(article)), cost_of(article)
        alone = own_problem(article) is not None  # the service would refuse all of its request
        size += len(part) + 1  # a comma
        pieces += cost
        if group and (alone or size - 1 > max_bytes or pieces > limits.pieces):
            yield group
            group, size, pieces = [], len(part) + 1, cost
        group.append((article, part))
        if alone or len(group) == limits.articles:
            yield group
            group, size, pieces = [], 0, 0
    if group:
        yield group


def own_problem(article: Article) -> str | None:
    """What the client says of an article without asking: that the service would refuse the whole
    request for what is asked of it, or read another text than was given.
    """
    phrases = (phrase for _, asked in asked_phrases(article) for phrase in asked)
    if any(map(_PAIR.search, (article.text, article.title or "", *phrases))):
        return article_problem(article)
    return asked_problem(article)


def article_dict(article: Article) -> dict[str, Any]:
    """The JSON object of an article in a request."""
    named = {"id": article.id, "title": article.title}
    asked = {"targets": article.targets or None, "claims": article.claims or None}
    given = {name: value for name, value in {**named, **asked}.items() if value is not None}
    return {"text": article.text, **given}


def read_prediction(raw: Any, article: Article) -> Prediction:
    """The prediction in a result of the API; a ValueError says what does not fit the article."""
    if not isinstance(raw, dict) or not raw.keys() >= set(RESULT_KEYS):
        raise ValueError(f"needs {', '.join(RESULT_KEYS)}")
    if raw["id"] != _as_sent(article.id):
        raise ValueError("has not the id of the article that was sent in its place")
    shaped = {**raw, "id": None}  # an id may hold surrogates, which a checked string may not
    for name, about in ABOUT.items():
        shaped[name] = _filled(raw.get(name, []), about)
    try:
        prediction = PREDICTION.validate_python(shaped)
    except ValidationError as error:
        place = error.errors(include_url=False, include_input=False)[0]["loc"]
        raise ValueError(f"has no valid {'.'.join(map(str, place))}") from None
    for i, entity in enumerate(prediction.entities):
        inside = 0 <= entity.start < entity.end <= len(article.text)
        if not inside or article.text[entity.start : entity.end] != entity.text:
            raise ValueError(f"has another text than the article at entities.{i}")
    return replace(prediction, id=article.id)


def _as_sent(name: str | None) -> str | None:
    """An id as JSON brings it: two halves of a surrogate pair as one letter."""
    return name and name.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def _filled(items: Any, about: str | None) -> Any:
    """The objects of a list with our keys; what is no object becomes one that is refused."""
    if not isinstance(items, list):
        return items
    filled = []
    for item in items:
        found = item if isinstance(item, dict) else {}
        more = {"about": found.get(about)} if about else {"coarse": None}
        filled.append({**more, **found})
    return filled
