"""A dry run: what an input holds, and how long it would take, measured on a sample of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from random import Random

from serving.batch.bytestream import Meter
from serving.batch.formats import read_rows
from serving.batch.options import BatchOptions
from serving.batch.parts import Part, chosen, cut
from serving.batch.rows import RejectError, Row, article_of
from serving.batch.sources import Source
from serving.batch.tagging import TagsArticles, tag_part

_SAMPLE_ROWS = 32


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a job would have to do; `seconds` None when there was nothing to measure. They are those
    of one worker where `workers` is None.

    The main text of web pages is looked for in the sample only, so their rejects are not known.
    """

    files: int
    rows: int
    articles: int
    rejects: dict[str, int]
    row_bytes: int
    parts: int
    sampled: int
    seconds: float | None
    workers: int | None

    def to_text(self) -> str:
        """The estimate for people."""
        why = ", ".join(f"{count} {code}" for code, count in self.rejects.items())
        lines = [
            f"{self.files} files, {self.rows} rows, {self.row_bytes / 1e6:.1f} MB in "
            f"{self.parts} parts",
            f"{self.articles} articles, {sum(self.rejects.values())} rejects"
            + (f" ({why})" if why else ""),
        ]
        if self.seconds is not None:
            with_workers = f" with {self.workers} workers" if (self.workers or 0) > 1 else ""
            if self.workers is None:
                with_workers = " on one core (--workers tells how many the cluster has free)"
            lines.append(
                f"about {_spoken(self.seconds)}{with_workers}, by the time that {self.sampled} of "
                "the articles took"
            )
        return "\n".join(lines)


def estimate(
    sources: Sequence[Source],
    options: BatchOptions,
    workers: int | None,
    open_tagger: Callable[[], AbstractContextManager[TagsArticles]],
    clock: Callable[[], float] = time.perf_counter,
) -> Estimate:
    """Count an input and measure a sample drawn over all of its articles; nothing is written."""
    meter, random = Meter(), Random(options.seed)
    sample: list[Row] = []
    rejects: Counter[str] = Counter()
    parts = articles = row_bytes = readable_bytes = 0
    for part in cut(chosen(read_rows(sources, options, meter), options), options, meter):
        parts += 1
        for row in part.rows:
            row_bytes += len(row.raw)
            code = _problem(row, options)
            if code is not None:
                rejects[code] += 1
                continue
            articles += 1
            readable_bytes += len(row.raw)
            if len(sample) < _SAMPLE_ROWS:
                sample.append(row)
            elif (at := random.randrange(articles)) < _SAMPLE_ROWS:
                sample[at] = row
    seconds = None
    if sample:
        with open_tagger() as tagger:
            taken = _seconds(sample, options, tagger, clock)
        share = readable_bytes / max(sum(len(row.raw) for row in sample), 1)
        seconds = taken * share / (workers or 1)
    return Estimate(
        len(sources),
        articles + rejects.total(),
        articles,
        dict(sorted(rejects.items())),
        row_bytes,
        parts,
        len(sample),
        seconds,
        workers,
    )


def _problem(row: Row, options: BatchOptions) -> str | None:
    if row.form == "html" and row.problem is None:
        return None  # looking for its text takes as long as reading it
    try:
        article = article_of(row, options)
    except RejectError as error:
        return error.code
    return None if article.text.strip() else "not_read"


def _seconds(
    sample: Sequence[Row],
    options: BatchOptions,
    tagger: TagsArticles,
    clock: Callable[[], float],
) -> float:
    tag_part(Part(0, tuple(sample[:1]), ""), tagger, options)  # the first is slower than the rest
    began = clock()
    tag_part(Part(0, tuple(sample), ""), tagger, options)
    return clock() - began


def _spoken(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
