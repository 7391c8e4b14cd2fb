"""Mentions to entities: exact boundaries, plain forms, and which mentions name the same thing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from annotations.clitics import LOOK_BEHIND, NameLexicon, lexicon_key, plain_form
from annotations.labels import LabelSchema
from annotations.schema import Range
from annotations.text import normalize, words
from serving.prediction import MAX_AUTO_TARGETS, Entity, EntityGroup

# Heads that make another thing of a name: the governorate of Homs is not the city of Homs.
_DISTINCT_HEADS = frozenset(
    {"محافظه", "ولايه", "اقليم", "اماره", "منطقه", "قضاء", "مديريه", "جامعه", "مطار"}
)
# Fine types, and the coarse ones that are no fine ones: of the coarse view and of foreign heads.
_NAMES = frozenset(
    {"PERS", "ORG", "GPE", "LOC", "FAC", "NORP", "EVENT", "PRODUCT", "LAW", "WEBSITE", "LANGUAGE"}
    | {"PER", "MISC"}
)
_PEOPLE = ("PERS", "PER")
_ACTORS = (*_PEOPLE, "ORG", "NORP")


@dataclass(frozen=True, slots=True)
class Mention:
    """A decoded span in the text as received with its calibrated confidence."""

    start: int
    end: int
    label: str
    confidence: float


def clitic_cutter(text: str, lexicon: NameLexicon) -> Callable[[Range], int]:
    """A function that gives where a name begins inside its first word, clitics cut off."""
    counts: Counter[str] = Counter()

    def article_count(key: str) -> int:
        if not counts:
            plain = normalize(text).text
            counts.update(lexicon_key(plain[start:end]) for start, end in words(plain))
        return counts[key]

    def cut(word: Range) -> int:
        letters = normalize(text[word[0] : word[1]])
        length = lexicon.clitics(letters.text, article_count)
        return word[0] + letters.starts[length] if length else word[0]

    return cut


def link_mentions(
    text: str, mentions: Sequence[Mention], schema: LabelSchema, lexicon: NameLexicon
) -> tuple[Entity, ...]:
    """Mentions as entities e1, e2, … in the order of the text, each tied to the entity it belongs
    to.
    """

    def known(key: str) -> int:
        return lexicon.counts.get(key, 0)

    plain = [
        plain_form(text[m.start : m.end], text[max(m.start - LOOK_BEHIND, 0) : m.start], known)
        for m in mentions
    ]
    owners = _owners(mentions, [_key(form) for form in plain])
    return tuple(
        Entity(
            id=f"e{i + 1}",
            start=mention.start,
            end=mention.end,
            text=text[mention.start : mention.end],
            label=mention.label,
            coarse=schema.coarse_of(mention.label),
            confidence=round(mention.confidence, 4),
            normalized=plain[i],
            mention_of=f"e{owners[i] + 1}",
        )
        for i, mention in enumerate(mentions)
    )


def _key(form: str) -> tuple[str, ...]:
    clean = lexicon_key(form).replace("ة", "ه").replace("ى", "ي")
    return tuple(clean.split())


def _owners(mentions: Sequence[Mention], keys: Sequence[tuple[str, ...]]) -> list[int]:
    """For each mention the index of the entity it belongs to: the first of its name, or of the
    longer name.
    """
    first: dict[tuple[str, tuple[str, ...]], int] = {}
    for i, (mention, key) in enumerate(zip(mentions, keys, strict=True)):
        first.setdefault((mention.label, key), i)
    longer: dict[tuple[str, tuple[str, ...]], list[int]] = defaultdict(list)
    for (label, key), i in first.items():
        for short in _short_forms(label, key):
            longer[label, short].append(i)
    owners = []
    for i, (mention, key) in enumerate(zip(mentions, keys, strict=True)):
        if mention.label not in _NAMES:
            owners.append(i)
            continue
        candidates = longer.get((mention.label, key), [])
        owners.append(
            max(candidates, key=lambda j: len(keys[j])) if candidates else first[mention.label, key]
        )
    for i, owner in enumerate(owners):
        while owner != owners[owner]:  # a short form of a short form belongs to the longest
            owner = owners[owner]
        owners[i] = owner
    return owners


def _short_forms(label: str, key: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Shorter names by which a text may call the same thing again."""
    if label in _PEOPLE:
        for start in range(len(key)):
            for end in range(start + 1, min(len(key), start + 6) + 1):
                if end - start < len(key):
                    yield key[start:end]
    elif label in ("ORG", "GPE", "LOC", "FAC") and len(key) > 1 and key[0] not in _DISTINCT_HEADS:
        yield key[1:]


def entity_groups(entities: Sequence[Entity], text_length: int) -> tuple[EntityGroup, ...]:
    """The things an article names, the most salient first; `text_length` is in code points.

    Every mention of a name weighs its confidence, up to twice as much the earlier it stands. The
    salience of a group is its share of the weight of all the names given, so that it speaks of
    these mentions alone: of fewer mentions the shares are larger, and sum to 1 again.
    """
    grouped = _by_owner([entity for entity in entities if entity.label in _NAMES])
    weights = {owner: _weight(mentions, text_length) for owner, mentions in grouped.items()}
    whole = sum(weights.values())
    groups = [
        EntityGroup(
            id=owner,
            name=_longest_name(mentions),
            label=mentions[0].label,
            coarse=mentions[0].coarse,
            mentions=tuple(mention.id for mention in mentions),
            confidence=max(mention.confidence for mention in mentions),
            salience=round(weights[owner] / whole if whole else 1 / len(grouped), 6),
        )
        for owner, mentions in grouped.items()
    ]
    return tuple(sorted(groups, key=lambda group: -weights[group.id]))


def salient_targets(
    entities: Sequence[Entity], text_length: int, fits: Callable[[str], bool]
) -> list[str]:
    """The names of the actors a text turns on, at most five, the most salient first; what does not
    fit beside the text, a "name" of a hundred words, is passed over.
    """
    groups = entity_groups(entities, text_length)
    actors = (group.name for group in groups if group.label in _ACTORS)
    return list(islice(filter(fits, actors), MAX_AUTO_TARGETS))


def _by_owner(entities: Sequence[Entity]) -> dict[str, list[Entity]]:
    grouped: dict[str, list[Entity]] = defaultdict(list)
    for entity in entities:
        grouped[entity.mention_of].append(entity)
    return grouped


def _weight(mentions: Sequence[Entity], text_length: int) -> float:
    """What mentions weigh together, each its confidence times 2 (at the start) to 1 (the end)."""
    length = max(text_length, 1)
    return sum(mention.confidence * (2 - mention.start / length) for mention in mentions)


def _longest_name(mentions: Sequence[Entity]) -> str:
    return max((mention.normalized for mention in mentions), key=len)
