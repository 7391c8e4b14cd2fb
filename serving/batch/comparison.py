"""Two outputs of one input side by side: how many articles and spans differ, and where first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from serving.batch.errors import UsageError
from serving.batch.manifest import Manifest

_FIRST = 10  # differing articles that are named
_KINDS = {"topics": "label", "stances": "target", "claims": "claim"}
Result = Mapping[str, Any]
Place = tuple[str, int | None]


@dataclass
class Comparison:
    """What differs of two outputs, counted; an article differs when anything of its answer does."""

    articles: int = 0  # answered in both
    only_in_first: int = 0
    only_in_second: int = 0
    differing: int = 0
    spans: int = 0  # of the first, in the articles of both
    spans_only_in_first: int = 0
    spans_only_in_second: int = 0
    confidences: int = 0  # that differ of equal spans
    largest: float = 0.0  # such difference
    labels: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_KINDS, 0))  # articles
    first_places: list[Place] = field(default_factory=list)

    @property
    def identical(self) -> bool:
        """Whether nothing differs."""
        return not (self.differing or self.only_in_first or self.only_in_second)

    def add(self, first: Result, second: Result) -> None:
        """Compare the answers to one article."""
        self.articles += 1
        ours, theirs = _spans(first), _spans(second)
        self.spans += len(ours)
        if _answer(first) == _answer(second):
            return
        self.differing += 1
        if len(self.first_places) < _FIRST:
            self.first_places.append(_place(first))
        self.spans_only_in_first += len(ours.keys() - theirs.keys())
        self.spans_only_in_second += len(theirs.keys() - ours.keys())
        for span in ours.keys() & theirs.keys():
            self.confidences += ours[span] != theirs[span]
            self.largest = max(self.largest, abs(ours[span] - theirs[span]))
        for kind in _KINDS:
            self.labels[kind] += _labels(first, kind) != _labels(second, kind)

    def to_dict(self) -> dict[str, Any]:
        """The comparison as JSON."""
        return {
            "identical": self.identical,
            "articles": {
                "both": self.articles,
                "only_in_first": self.only_in_first,
                "only_in_second": self.only_in_second,
                "differing": self.differing,
            },
            "spans": {
                "first": self.spans,
                "only_in_first": self.spans_only_in_first,
                "only_in_second": self.spans_only_in_second,
                "other_confidence": self.confidences,
                "largest_difference": self.largest,
            },
            "articles_with_other_labels": self.labels,
            "first": [{"source": source, "line": line} for source, line in self.first_places],
        }

    def to_text(self) -> str:
        """The comparison for people."""
        lines = [
            f"{self.articles} articles in both, {self.only_in_first} only in the first, "
            f"{self.only_in_second} only in the second; {self.differing} differ",
            f"{self.spans} spans, {self.spans_only_in_first} of them only in the first; "
            f"{self.spans_only_in_second} only in the second; {self.confidences} have another "
            f"confidence, by at most {self.largest:.2g}",
        ]
        lines += [f"{n} articles with other {kind}" for kind, n in self.labels.items() if n]
        if self.first_places:
            places = (f"{source}:{line or ''}".rstrip(":") for source, line in self.first_places)
            lines.append(f"the first that differ: {', '.join(places)}")
        return "\n".join(lines)


def compare(first: Manifest, second: Manifest) -> Comparison:
    """What differs of two finished outputs of the same input, however each was cut and written."""
    if first.job["input"] != second.job["input"]:
        raise UsageError(
            f"{first.store.name} and {second.store.name}: of different inputs; compare outputs of "
            "the same files"
        )
    found = Comparison()
    # both are in the order of the input; what only one of them answers keeps the other waiting
    waiting: tuple[dict[Place, Result], dict[Place, Result]] = ({}, {})
    for pair in zip_longest(first.results(), second.results()):
        for side, result in enumerate(pair):
            if result is not None:
                waiting[side][_place(result)] = result
        for place in {_place(result) for result in pair if result is not None}:
            if place in waiting[0] and place in waiting[1]:
                found.add(waiting[0].pop(place), waiting[1].pop(place))
    found.only_in_first, found.only_in_second = map(len, waiting)
    return found


def _place(result: Result) -> Place:
    return result["source"], result["line"]


def _answer(result: Result) -> dict[str, Any]:
    """What was read; the text may have been written beside it or not."""
    return {name: value for name, value in result.items() if name != "text"}


def _spans(result: Result) -> dict[tuple[int, int, str], float]:
    return {(e["start"], e["end"], e["label"]): e["confidence"] for e in result["entities"]}


def _labels(result: Result, kind: str) -> list[tuple[str, str]]:
    about = _KINDS[kind]
    return [(found[about], found["label"]) for found in result[kind]]
