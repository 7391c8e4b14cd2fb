"""What khabar is asked and what it answers: articles in, predictions out; dicts only at the edge.

All offsets are Unicode code points into `Article.text` as received, end exclusive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from annotations.schema import Claim, Document, Range, Span, Stance
from annotations.text import reject_surrogates

MAX_CODE_POINTS = 200_000  # an article that the service takes; the Tagger itself has no limit
MAX_ASKED = 16  # targets of an article that the service takes, and claims
MAX_PHRASE_CODE_POINTS = 500  # of a target or claim that the service takes
MAX_ARTICLES = 64  # a request
MAX_BODY_BYTES = 4 * 1024 * 1024  # a request
MAX_AUTO_TARGETS = 5  # an article


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a service takes: articles and bytes of a request, code points of a text or title."""

    articles: int = MAX_ARTICLES
    body_bytes: int = MAX_BODY_BYTES
    code_points: int = MAX_CODE_POINTS


Targets = tuple[str, ...] | Literal["auto"]


@dataclass(frozen=True, slots=True)
class Article:
    """A text to read, with the targets and claims whose stance is asked; `auto` takes the most
    salient entities.

    The title informs topic, stance and claim and is never tagged.
    """

    text: str
    id: str | None = None
    title: str | None = None
    targets: Targets = ()
    claims: tuple[str, ...] = ()

    @classmethod
    def of(cls, source: str | Document | Article) -> Article:
        """The article of a string or of a document (whose gold is not looked at)."""
        if isinstance(source, Article):
            return source
        if isinstance(source, Document):
            return cls(source.text, id=source.id, title=source.title)
        return cls(source)


@dataclass(frozen=True, slots=True)
class Entity:
    """A mention, `article.text[start:end] == text`.

    `normalized` is without clitics, diacritics and tatweel; `mention_of` is the id of the entity it
    belongs to: the first mention of the same name, or of the longer name whose short form it is.
    """

    id: str
    start: int
    end: int
    text: str
    label: str
    coarse: str | None
    confidence: float
    normalized: str
    mention_of: str


@dataclass(frozen=True, slots=True)
class EntityGroup:
    """A thing that an article names, with all mentions that name it.

    `id` is the id of the mention that the others' `mention_of` names, `mentions` their ids in the
    order of the article. `name` is the longest normalized form, `confidence` that of the surest
    mention. `salience` is the share of the article's naming that falls to it, 0 to 1; the shares of
    an article sum to 1.
    """

    id: str
    name: str
    label: str
    coarse: str | None
    mentions: tuple[str, ...]
    confidence: float
    salience: float


@dataclass(frozen=True, slots=True)
class Labelled:
    """A label with the calibrated probability that it is right."""

    label: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Attitude:
    """What a text feels toward a target, or says of a claim, with the sentences that carry it."""

    about: str
    label: str
    confidence: float
    evidence: tuple[Range, ...]  # sentences, the surest first


@dataclass(frozen=True, slots=True)
class Prediction:
    """All that was read in one article; `error` says why an article was not read, and then the rest
    is empty. The groups are of names only, the most salient first. `tokens` are the pieces of the
    text and its title in the model's vocabulary, whatever is asked of them.
    """

    id: str | None
    entities: tuple[Entity, ...] = ()
    topics: tuple[Labelled, ...] = ()
    stances: tuple[Attitude, ...] = ()
    claims: tuple[Attitude, ...] = ()
    groups: tuple[EntityGroup, ...] = ()
    tokens: int = 0
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of the API."""
        return {
            "id": self.id,
            "entities": [entity_dict(entity) for entity in self.entities],
            "groups": [_group_dict(group) for group in self.groups],
            "topics": [
                {"label": topic.label, "confidence": topic.confidence} for topic in self.topics
            ],
            "stances": [_attitude_dict("target", stance) for stance in self.stances],
            "claims": [_attitude_dict("claim", claim) for claim in self.claims],
            "tokens": self.tokens,
            "error": self.error,
        }


def document_of(given: Document, prediction: Prediction) -> Document:
    """What was read in a document in the place of its own annotation, to be corrected by a person.

    One that could not be read is without annotation. Evidence comes along; targets are names, which
    need not stand in the text letter by letter.
    """
    plain = replace(given, entities=None, label_set="fine", stances=None, claims=None, topic=None)
    if prediction.error is not None:
        return plain
    return replace(
        plain,
        entities=tuple(Span(e.start, e.end, e.label) for e in prediction.entities),
        stances=tuple(Stance(s.about, s.label, evidence=s.evidence) for s in prediction.stances)
        or None,
        claims=tuple(Claim(claim.about, claim.label) for claim in prediction.claims) or None,
        topic=prediction.topics[0].label if prediction.topics else None,
    )


def entity_dict(entity: Entity) -> dict[str, Any]:
    """The JSON object of an entity."""
    return {name: getattr(entity, name) for name in Entity.__dataclass_fields__}


def _group_dict(group: EntityGroup) -> dict[str, Any]:
    fields = {name: getattr(group, name) for name in EntityGroup.__dataclass_fields__}
    return {**fields, "mentions": list(group.mentions)}


def _attitude_dict(kind: str, attitude: Attitude) -> dict[str, Any]:
    return {
        kind: attitude.about,
        "label": attitude.label,
        "confidence": attitude.confidence,
        "evidence": [list(found) for found in attitude.evidence],
    }


def article_problem(article: Article, max_code_points: int | None = None) -> str | None:
    """What keeps an article from being read, in words without its text; None when nothing does."""
    if not article.text.strip():
        return "text is empty; send the words of the article"
    read = {"text": (article.text, "split the article"), "title": (article.title or "", "cut it")}
    for name, (value, what_to_do) in read.items():
        if max_code_points is not None and len(value) > max_code_points:
            return (
                f"{name} has {len(value)} code points; the limit is {max_code_points}, {what_to_do}"
            )
    fields: Sequence[tuple[str, str]] = [("text", article.text), ("title", article.title or "")]
    for name, phrases in asked_phrases(article):
        fields = [*fields, *((f"{name}[{i}]", phrase) for i, phrase in enumerate(phrases))]
    try:
        for name, value in fields:
            reject_surrogates(value, name)
    except ValueError as error:
        return str(error)
    return None


def asked_problem(article: Article) -> str | None:
    """What keeps the service from taking what is asked of an article, in words without its text;
    None when nothing does.
    """
    for name, phrases in asked_phrases(article):
        if len(phrases) > MAX_ASKED:
            return f"{len(phrases)} {name}; the service takes {MAX_ASKED}, ask in several articles"
        for i, phrase in enumerate(phrases):
            if not is_phrase(phrase):
                return (
                    f"{name}[{i}] has {len(phrase)} code points; the service takes 1 to "
                    f"{MAX_PHRASE_CODE_POINTS} that are not all blanks, shorten it"
                )
    if article.targets != "auto":
        try:
            targets_of(article.targets)
        except ValueError as error:
            return f"targets: {error}"
    return None


def is_phrase(text: str) -> bool:
    """Whether the service takes a text as a target or claim."""
    return bool(text.strip()) and len(text) <= MAX_PHRASE_CODE_POINTS


def targets_of(phrases: Sequence[str]) -> Targets:
    """The targets that phrases ask about: `auto` alone is no phrase, beside others a ValueError."""
    if "auto" not in phrases:
        return tuple(phrases)
    if set(phrases) == {"auto"}:
        return "auto"
    raise ValueError("auto asks about the main actors; ask about others without it")


def asked_phrases(article: Article) -> list[tuple[str, tuple[str, ...]]]:
    """The phrases that are asked of an article, by the name of their field."""
    targets = () if article.targets == "auto" else article.targets
    return [("claims", article.claims), ("targets", targets)]
