"""The summary of a finished job, made from the files that it wrote and from nothing else."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from hashlib import blake2b
from heapq import nsmallest
from itertools import chain
from typing import Any, Generic, TypeVar

from serving.batch.manifest import Manifest

_TOP_OF_A_TYPE = 20
_TOP_TARGETS = 20
_FIRST = 10  # examples of rejects and of repeated ids
_BINS = 10
_MAX_COUNTED = 1_000_000

Key = TypeVar("Key", bound=Hashable)


class Tally(Generic[Key]):
    """Counts in bounded memory: where more kinds come than it holds, the rarest are let go and
    `exact` turns false.
    """

    def __init__(self, capacity: int = _MAX_COUNTED) -> None:
        self.counts: Counter[Key] = Counter()
        self.capacity, self.exact = capacity, True

    def add(self, key: Key, count: int = 1) -> bool:
        """Count a key; true when the rarest were let go."""
        self.counts[key] += count
        if len(self.counts) <= self.capacity:
            return False
        ranked = sorted(self.counts.items(), key=lambda item: (-item[1], str(item[0])))
        self.counts = Counter(dict(ranked[: self.capacity // 2]))
        self.exact = False
        return True

    def top(self, number: int) -> list[tuple[Key, int]]:
        """The most frequent, the first in alphabet of equals."""
        return sorted(self.counts.items(), key=lambda item: (-item[1], str(item[0])))[:number]


class Summary:
    """What is in the results, added up one by one."""

    def __init__(self) -> None:
        self.articles = 0
        self.labels: Counter[str] = Counter()
        self.topics: Counter[str] = Counter()
        self.names: Tally[tuple[str, str]] = Tally()  # articles that name it
        self.mentions: Tally[tuple[str, str]] = Tally()
        self.targets: Tally[str] = Tally()
        self.stances: Counter[tuple[str, str]] = Counter()  # of the targets that are counted
        self.confidence = {kind: [0] * _BINS for kind in ("entities", "topics", "stances")}
        self.rejects: Counter[str] = Counter()
        self.first_rejects: list[dict[str, Any]] = []
        self._ids: set[bytes] = set()  # 8 bytes of each, whatever its length
        self.repeated, self.first_repeated = 0, list[dict[str, Any]]()

    def add(self, result: Mapping[str, Any]) -> None:
        """Count a result."""
        self.articles += 1
        self._add_id(result)
        for entity in result["entities"]:
            self.labels[entity["label"]] += 1
            self._sure("entities", entity["confidence"])
        for group in result["groups"]:
            self.mentions.add((group["name"], group["label"]), len(group["mentions"]))
        for name in sorted({(group["name"], group["label"]) for group in result["groups"]}):
            self.names.add(name)
        for topic in result["topics"]:
            self.topics[topic["label"]] += 1
            self._sure("topics", topic["confidence"])
        for stance in result["stances"]:
            self.stances[stance["target"], stance["label"]] += 1
            self._sure("stances", stance["confidence"])
            if self.targets.add(stance["target"]):
                kept = self.targets.counts.keys()
                self.stances = Counter({k: n for k, n in self.stances.items() if k[0] in kept})

    def add_reject(self, reject: Mapping[str, Any]) -> None:
        """Count a reject; its row stays where it is."""
        self.rejects[reject["code"]] += 1
        if len(self.first_rejects) < _FIRST:
            names = ("source", "line", "code", "reason")
            self.first_rejects.append({name: reject[name] for name in names})

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of `summary.json`, without what a run took."""
        return {
            "articles": self.articles,
            "rejects": {
                "count": self.rejects.total(),
                "by_code": dict(sorted(self.rejects.items())),
                "first": self.first_rejects,
            },
            "duplicate_ids": {"count": self.repeated, "first": self.first_repeated},
            "entities": _ranked(self.labels),
            "top_entities": [
                {"name": name, "label": label, "articles": articles, "mentions": mentions}
                for (name, label), articles, mentions in self._top_names()
            ],
            "top_entities_exact": self.names.exact,
            "topics": _ranked(self.topics),
            "stances": {
                target: {
                    label: self.stances[target, label] for label in ("favor", "against", "neutral")
                }
                for target, _ in self.targets.top(_TOP_TARGETS)
            },
            "top_targets_exact": self.targets.exact,
            "confidence": self.confidence,
        }

    def _top_names(self) -> list[tuple[tuple[str, str], int, int]]:
        """Of each type the names that most articles name, with these and their mentions."""
        by_label: dict[str, list[tuple[tuple[str, str], int, int]]] = {}
        for name, articles in self.names.counts.items():
            mentions = max(self.mentions.counts[name], articles)
            by_label.setdefault(name[1], []).append((name, articles, mentions))
        found = (nsmallest(_TOP_OF_A_TYPE, names, key=_rank) for names in by_label.values())
        return sorted(chain.from_iterable(found), key=_rank)

    def _add_id(self, result: Mapping[str, Any]) -> None:
        key = blake2b(result["id"].encode("utf-8", "surrogatepass"), digest_size=8).digest()
        if key in self._ids:
            self.repeated += 1
            if len(self.first_repeated) < _FIRST:
                self.first_repeated.append({n: result[n] for n in ("id", "source", "line")})
        self._ids.add(key)

    def _sure(self, kind: str, confidence: float) -> None:
        self.confidence[kind][min(int(confidence * _BINS), _BINS - 1)] += 1


def summarise(manifest: Manifest) -> Summary:
    """The summary of all parts; a file that is not as it was written stops it."""
    summary = Summary()
    for result in manifest.results():
        summary.add(result)
    for line in manifest.rejects():
        summary.add_reject(json.loads(line))
    return summary


def _rank(item: tuple[tuple[str, str], int, int]) -> tuple[int, int, tuple[str, str]]:
    name, articles, mentions = item
    return -articles, -mentions, name


def _ranked(counts: Mapping[str, int] | Iterable[Any]) -> dict[str, int]:
    return dict(sorted(Counter(counts).items(), key=lambda item: (-item[1], item[0])))
