"""The figures of a report: charts of a run's numbers, each with a sentence of what there is to
see.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from training.report import charts
from training.report.analysis import Score
from training.report.charts import Line, Row
from training.report.summary import HeadSummary, SplitSummary, Summary
from training.runs import curve_name

_ENOUGH = 10  # gold entities or items that a best and a worst are named among
_PARTS = ("stances", "claims", "topics", "unrelated")


@dataclass(frozen=True, slots=True)
class Figure:
    """An inline SVG with a heading and a sentence of what to see in it."""

    title: str
    svg: Markup
    caption: str


def loss_figure(summary: Summary) -> Figure | None:
    """The loss of each head over the steps."""
    rows = [row for row in summary.history if "loss" in row]
    heads = [head.name for head in summary.heads if any(f"loss_{head.name}" in r for r in rows)]
    keys = {name: f"loss_{name}" for name in heads} or {"all heads": "loss"}
    lines = [
        Line(name, tuple((row["step"], max(row[key], 1e-6)) for row in rows if key in row))
        for name, key in keys.items()
    ]
    if not rows or not all(line.points for line in lines):
        return None
    falls = "; ".join(
        f"{line.name} {line.points[0][1]:.2g} to {line.points[-1][1]:.2g}" for line in lines
    )
    caption = f"Training loss from the first report to the last, on a logarithmic scale: {falls}."
    chart = charts.curves("loss", "Training loss by head", lines, "step", "loss", log=True)
    return Figure("Training loss", Markup(chart), caption)


def dev_figures(summary: Summary) -> Iterator[Figure]:
    """The development scores of each head after each epoch."""
    rows = [row for row in summary.history if row.get("dev")]
    for head in summary.heads:
        names = {corpus: curve_name(head.name, corpus) for corpus in head.corpora}
        lines = [
            Line(corpus, points)
            for corpus, name in names.items()
            if (points := tuple((r["epoch"], r["dev"][name]) for r in rows if name in r["dev"]))
        ]
        if not lines:
            continue
        metric = "F1" if head.words else "macro F1"
        caption = "After each epoch, on some development examples: " + "; ".join(
            f"{line.name} ends at {line.points[-1][1]:.2f}"
            + (f", best {max(y for _, y in line.points):.2f}" if len(line.points) > 1 else "")
            for line in lines
        )
        chart = charts.curves(
            f"dev-{_slug(head.name)}", f"Development {metric} of {head.name} by epoch",
            lines, "epoch", metric,
        )  # fmt: skip
        yield Figure(f"{head.name} on development data", Markup(chart), caption + ".")


def label_figure(head: HeadSummary, split: SplitSummary) -> Figure:
    """The F1 of each label of a split, the frequent first."""
    labels: dict[str, Any] = split.scores["per_label"]
    known = sorted(
        ((name, found) for name, found in labels.items() if found["support"]),
        key=lambda row: -row[1]["support"],
    )
    rows = [
        Row(name, found["f1"], tuple(found["interval"]), f"n {found['support']}")
        for name, found in known
    ]
    often = [(found["f1"], name) for name, found in known if found["support"] >= _ENOUGH]
    caption = "F1 with its interval; n is the number in gold, the frequent first."
    if often and round(min(often)[0], 2) < round(max(often)[0], 2):
        (low, worst), (high, best) = min(often), max(often)
        caption += f" Of those with {_ENOUGH} or more, {best} is best ({high:.2f}), "
        caption += f"{worst} worst ({low:.2f})."
    name = f"labels-{_slug(head.name)}-{_slug(split.corpus)}"
    chart = charts.intervals(name, f"F1 by label, {head.name} on {split.name}", rows)
    return Figure(f"{head.name} · {split.name}", Markup(chart), caption)


def reliability_figure(head: HeadSummary) -> Figure | None:
    """How far confidences can be believed, before calibration and after."""
    before, after = head.before, head.after
    if before is None or after is None or before.ece is None or after.ece is None:
        return None
    moved = after.ece - before.ece
    verdict = (
        "calibration made no difference here"
        if abs(moved) < 0.005
        else f"calibration {'lowered' if moved < 0 else 'raised'} the error here"
    )
    what = "predicted entities" if head.words else "answers"
    caption = (
        "On the diagonal a confidence is the share of right answers; below it the head is too "
        f"sure. Hollow marks stand for fewer than {charts.FEW} answers. {after.count:,} {what}: "
        f"ECE {before.ece:.3f} before, {after.ece:.3f} after; {verdict}."
    )
    chart = charts.reliability_diagram(
        f"reliability-{_slug(head.name)}", f"Reliability of {head.name}", before, after
    )
    return Figure(head.name, Markup(chart), caption)


def length_figure(head: HeadSummary, split: SplitSummary) -> Figure:
    """The scores of short, middle and long items."""
    rows = _rows(split.lengths, head.words)
    first, last = split.lengths[0], split.lengths[-1]
    name = f"length-{_slug(head.name)}-{_slug(split.corpus)}"
    chart = charts.intervals(name, f"Scores by length, {head.name} on {split.name}", rows)
    caption = f"{_metric(head)} by length in words, the items in thirds."
    if len(split.lengths) > 1:
        caption += f" {_compared('The longest', last, 'the shortest', first)}"
    return Figure(f"{head.name} · {split.name}", Markup(chart), caption)


def source_figure(head: HeadSummary) -> Figure | None:
    """The scores of a head on each corpus and source."""
    found = [
        (f"{_corpus(split.corpus)}: {score.name}" if score.name else _corpus(split.corpus), score)
        for split in head.splits
        for score in split.sources
    ]
    if not found:
        return None
    rows = [
        Row(label, s.value, s.interval, _count(s, head.words), i % len(charts.SERIES))
        for i, (label, s) in enumerate(found)
    ]
    chart = charts.intervals(f"sources-{_slug(head.name)}", f"Scores by source, {head.name}", rows)
    caption = f"{_metric(head)} by corpus, and the source its documents name."
    ranked = sorted(found, key=lambda row: row[1].value)
    if round(ranked[0][1].value, 2) < round(ranked[-1][1].value, 2):
        caption += f" Best on {_compared(*ranked[-1], 'worst on ' + ranked[0][0], ranked[0][1])}"
    return Figure(head.name, Markup(chart), caption)


def novelty_figure(head: HeadSummary) -> Figure | None:
    """Entities that the training data holds against those it does not."""
    found = [(split, split.novelty) for split in head.splits if split.novelty is not None]
    if not found:
        return None
    rows = [
        Row(f"{_corpus(split.corpus)} {kind}", s.value, s.interval, f"n {s.support}", i)
        for split, pair in found
        for i, (kind, s) in enumerate(zip(("seen", "unseen"), pair, strict=True))
    ]
    chart = charts.intervals(
        f"novelty-{_slug(head.name)}", f"F1 of seen and unseen entities, {head.name}", rows
    )
    gaps = "; ".join(
        f"{split.name} {seen.value - unseen.value:+.2f}" for split, (seen, unseen) in found
    )
    caption = f"F1 of entities met in training above those never met; seen minus unseen: {gaps}."
    return Figure(head.name, Markup(chart), caption)


def _rows(scores: Sequence[Score], words: bool) -> list[Row]:
    return [Row(s.name, s.value, s.interval, _count(s, words)) for s in scores]


def _count(score: Score, words: bool) -> str:
    return f"n {score.support if words else score.items}"


def _metric(head: HeadSummary) -> str:
    return "F1 (n gold entities)" if head.words else "Accuracy (n items)"


def _compared(name: str, score: Score, other_name: str, other: Score) -> str:
    """A sentence on two scores; intervals that overlap prove no difference."""
    apart = score.interval[0] > other.interval[1] or other.interval[0] > score.interval[1]
    says = "their intervals are apart" if apart else "their intervals overlap"
    return f"{name} {score.value:.2f}, {other_name} {other.value:.2f}; {says}."


def _corpus(name: str) -> str:
    """The name of a corpus without the task it is used for."""
    first, _, rest = name.partition("-")
    return first if rest in _PARTS else name


def _slug(name: str) -> str:
    return re.sub(r"\W+", "-", name)
