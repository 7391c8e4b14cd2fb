"""What the service counts of itself, for Prometheus; BentoML shows it at /metrics beside its own.

In a worker the numbers live in files of PROMETHEUS_MULTIPROC_DIR, from which all workers are
summed. No value of a label comes from a request: labels are those of the schema, codes those of
the API, and whatever else turns up is `other`.
"""

from __future__ import annotations

import os
import time
from collections import Counter as Tally
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from annotations.labels import label_schema
from serving.bundle import HASH_DIGITS, Bundle
from serving.prediction import Prediction

if TYPE_CHECKING:
    from serving.queue import Load

Outcome = Literal["read", "refused", "failed"]
Stage = Literal["parse", "queue", "read", "answer", "total"]
Kind = Literal["entity", "topic", "stance", "claim"]

OTHER = "other"  # a value that no table knows
NONE = "none"  # no error code
STAGE_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
BATCH_ARTICLES = (1, 2, 4, 8, 16, 32, 64, 128)
BATCH_PIECES = (64, 128, 192, 256, 384, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072)
CONFIDENCES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)


class Metrics:
    """The counters of a process; `codes` are the error codes of the API with their statuses.

    A registry of its own keeps two of them apart, except in a worker, where both would write to
    the same files: make one there.
    """

    def __init__(self, codes: Mapping[str, int], registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._codes = codes
        self._set_up_work()
        self._set_up_answers()

    def _set_up_work(self) -> None:
        """The numbers of the way from a request to its answer."""
        articles = self._counter("articles", "Articles by what became of them.", "outcome")
        self._articles = {outcome: articles.labels(outcome) for outcome in get_args(Outcome)}
        self._pieces = self._counter("pieces", "Pieces (tokens) read.")
        self._unknown = self._counter("unknown_pieces", "Pieces read that no vocabulary knows.")
        self._waiting_articles = self._gauge("waiting_articles", "Articles in the queue.")
        self._waiting_pieces = self._gauge("waiting_pieces", "Pieces in the queue, estimated.")
        self._running_pieces = self._gauge("running_pieces", "Pieces being read, estimated.")
        self._batch_articles = self._histogram(
            "batch_articles", "Articles read together.", BATCH_ARTICLES
        )
        self._batch_pieces = self._histogram("batch_pieces", "Pieces read together.", BATCH_PIECES)
        seconds = self._histogram(
            "stage_seconds", "Seconds of a request by stage.", STAGE_SECONDS, "stage"
        )
        self._seconds = {stage: seconds.labels(stage) for stage in get_args(Stage)}
        self._requests = self._counter(
            "requests", "Requests by class of status and error code.", "status", "code"
        )
        self._requests.labels("2xx", NONE)  # a series that begins at 0 shows its first increase
        for code, status in self._codes.items():
            self._requests.labels(_status_class(status), code)
        self._info = Gauge(
            "khabar_model_info",
            "The model that answers: 1.",
            ("name", "version", "hash"),
            registry=self.registry,
            multiprocess_mode="livemax",
        )

    def _set_up_answers(self) -> None:
        """The numbers of what was found, by which a drift of the news or of the model shows."""
        schema = label_schema()
        names: dict[Kind, tuple[str, Iterable[str]]] = {
            "entity": ("entities", {**schema.entities, **schema.coarse}),
            "topic": ("topics", schema.topics),
            "stance": ("stances", schema.stances),
            "claim": ("claims", schema.claims),
        }
        confidence = self._histogram(
            "confidence", "Calibrated confidence of what was found.", CONFIDENCES, "kind"
        )
        self._found = {
            kind: _children(self._counter(name, f"Found {name} by label.", "label"), labels)
            for kind, (name, labels) in names.items()
        }
        self._confidence = {kind: confidence.labels(kind) for kind in names}

    def _counter(self, name: str, told: str, *labels: str) -> Counter:
        return Counter(f"khabar_{name}_total", told, labels, registry=self.registry)

    def _gauge(self, name: str, told: str) -> Gauge:
        """A gauge that is summed over the living workers."""
        return Gauge(f"khabar_{name}", told, registry=self.registry, multiprocess_mode="livesum")

    def _histogram(self, name: str, told: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(f"khabar_{name}", told, labels, registry=self.registry, buckets=buckets)

    def model(self, bundle: Bundle) -> None:
        """Say which model answers; the hash is the beginning of what `/v1/model` tells."""
        self._info.labels(bundle.name, bundle.version, bundle.digest[:HASH_DIGITS]).set(1)

    def request(self, status: int, code: str | None = None) -> None:
        """Count an answered request; `code` is that of its error envelope, if it has one."""
        known = NONE if code is None else code if code in self._codes else OTHER
        self._requests.labels(_status_class(status), known).inc()

    def articles(self, count: int, outcome: Outcome) -> None:
        """Count articles that were read, refused (their `error`) or failed by a fault of ours."""
        self._articles[outcome].inc(count)

    def pieces(self, read: int, unknown: int) -> None:
        """Count the pieces that were read and how many of them were unknown."""
        self._pieces.inc(read)
        self._unknown.inc(unknown)

    def load(self, load: Load) -> None:
        """Tell how full the queue is from now on."""
        self._waiting_articles.set(load.waiting_articles)
        self._waiting_pieces.set(load.waiting_pieces)
        self._running_pieces.set(load.running_pieces)

    def batch(self, articles: int, pieces: int, seconds: float) -> None:
        """Count a batch by its size and the time it took to read."""
        self._batch_articles.observe(articles)
        self._batch_pieces.observe(pieces)
        self.observe("read", seconds)

    def observe(self, stage: Stage, seconds: float) -> None:
        """Count the seconds that a request (or, of `read`, a batch) spent in a stage."""
        self._seconds[stage].observe(seconds)

    @contextmanager
    def stage(self, stage: Stage) -> Iterator[None]:
        """Count the seconds of a block as those of a stage, also when it fails."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.observe(stage, time.perf_counter() - began)

    def observe_predictions(self, predictions: Sequence[Prediction], failed: int = 0) -> None:
        """Count articles by what became of them, and the labels found with their confidences.

        `failed` is how many of those with an error met a fault of ours; the others were refused.
        """
        read = sum(prediction.error is None for prediction in predictions)
        self.articles(read, "read")
        self.articles(failed, "failed")
        self.articles(len(predictions) - read - failed, "refused")
        for prediction in predictions:
            self._observe("entity", [(e.label, e.confidence) for e in prediction.entities])
            self._observe("topic", [(t.label, t.confidence) for t in prediction.topics])
            self._observe("stance", [(s.label, s.confidence) for s in prediction.stances])
            self._observe("claim", [(c.label, c.confidence) for c in prediction.claims])

    def _observe(self, kind: Kind, found: Sequence[tuple[str, float]]) -> None:
        counters, confidence = self._found[kind], self._confidence[kind]
        for label, count in Tally(label for label, _ in found).items():
            counters.get(label, counters[OTHER]).inc(count)
        for _, sureness in found:
            confidence.observe(sureness)


def _children(counter: Counter, values: Iterable[str]) -> dict[str, Counter]:
    """The series of each value of a counter's only label, and one for all others."""
    return {value: counter.labels(value) for value in (*values, OTHER)}


def _status_class(status: int) -> str:
    return f"{status // 100}xx" if 100 <= status < 600 else OTHER


def forget_dead_workers() -> None:
    """Take the gauges of workers that are gone out of the shared files: a killed worker's queue
    would wait for ever.
    """
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if folder is None:
        return
    for path in Path(folder).glob("gauge_live*.db"):
        pid = path.stem.rpartition("_")[2]
        if pid.isdecimal() and not _lives(int(pid)):
            path.unlink(missing_ok=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
