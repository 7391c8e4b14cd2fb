"""Metrics: what is told is counted, workers are summed, and labels come from our tables alone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter as Tally
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from annotations.labels import label_schema
from serving.api.errors import STATUS
from serving.bundle import DEFAULT_FOLDER, Bundle
from serving.metrics import Metrics, forget_dead_workers
from serving.prediction import Attitude, Entity, Labelled, Prediction
from serving.queue import Load

WORKER = """
from serving.metrics import Metrics
from serving.queue import Load
metrics = Metrics({"internal": 500})
metrics.articles(3, "read")
metrics.batch(2, 700, 0.5)
metrics.load(Load(900, 4, 512))
"""


def entity(label: str, confidence: float) -> Entity:
    return Entity("e1", 0, 5, "بغداد", label, None, confidence, "بغداد", "e1")


PREDICTIONS = [
    Prediction(
        "a1",
        (entity("GPE", 0.97), entity("GPE", 0.55), entity("PERS", 0.81)),
        (Labelled("politics", 0.9),),
        (Attitude("الحكومة", "against", 0.7, ()),),
        (Attitude("ارتفعت الأسعار", "other", 0.6, ()),),
    ),
    Prediction("a2", (entity("PERS", 0.3),), (Labelled("sports", 0.8),)),
    Prediction("a3", error="text is empty; send the words of the article"),
    Prediction("a4", error="not read: an internal fault"),
]


def value(metrics: Metrics, series: str, /, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"khabar_{series}", labels)


def label_values(metrics: Metrics) -> set[str]:
    """Every value of a label that is no bound of a bucket."""
    return {
        found
        for family in metrics.registry.collect()
        for sample in family.samples
        for label, found in sample.labels.items()
        if label != "le"
    }


def test_predictions_are_counted_by_label_and_by_what_became_of_them() -> None:
    metrics = Metrics(STATUS)
    metrics.observe_predictions(PREDICTIONS, failed=1)
    labels = Tally(found.label for p in PREDICTIONS for found in p.entities)
    for label in label_schema().entities:
        assert value(metrics, "entities_total", label=label) == labels[label]
    assert value(metrics, "topics_total", label="sports") == 1
    assert value(metrics, "stances_total", label="against") == 1
    assert value(metrics, "claims_total", label="other") == 1
    outcomes = [value(metrics, "articles_total", outcome=o) for o in ("read", "refused", "failed")]
    assert outcomes == [2, 1, 1]


def test_confidences_are_counted_by_kind() -> None:
    metrics = Metrics(STATUS)
    metrics.observe_predictions(PREDICTIONS)
    sure = [found.confidence for p in PREDICTIONS for found in p.entities]
    assert value(metrics, "confidence_count", kind="entity") == len(sure)
    assert value(metrics, "confidence_sum", kind="entity") == pytest.approx(sum(sure))
    for bound in (0.3, 0.5, 0.9, 1.0):
        below = sum(confidence <= bound for confidence in sure)
        assert value(metrics, "confidence_bucket", kind="entity", le=str(bound)) == below
    assert value(metrics, "confidence_count", kind="claim") == 1


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (200, None, ("2xx", "none")),
        (429, "overloaded", ("4xx", "overloaded")),
        (503, None, ("5xx", "none")),  # an answer of BentoML's own
        (404, "/v1/العراق", ("4xx", "other")),
        (799, None, ("other", "none")),
    ],
)
def test_a_request_is_counted_by_the_class_of_its_status_and_its_code(
    status: int, code: str | None, expected: tuple[str, str]
) -> None:
    metrics = Metrics(STATUS)
    before = value(metrics, "requests_total", status=expected[0], code=expected[1]) or 0
    metrics.request(status, code)
    after = value(metrics, "requests_total", status=expected[0], code=expected[1])
    assert (before, after) == (0, 1)


def test_each_error_code_is_there_at_zero_before_its_first_request() -> None:
    metrics = Metrics(STATUS)
    for code, status in STATUS.items():
        assert value(metrics, "requests_total", status=f"{status // 100}xx", code=code) == 0


@settings(deadline=None, max_examples=30)
@given(status=st.integers(), word=st.text(min_size=1))
def test_no_value_of_a_label_comes_from_a_request(status: int, word: str) -> None:
    strange = f"{word}؟"  # no label or code of ours
    metrics = Metrics(STATUS)
    metrics.request(status, strange)
    metrics.observe_predictions(
        [
            Prediction(
                strange,
                (entity(strange, 0.5),),
                (Labelled(strange, 0.5),),
                (Attitude(strange, strange, 0.5, ()),),
                (Attitude(strange, strange, 0.5, ()),),
            )
        ]
    )
    assert strange not in label_values(metrics)
    for name in ("entities", "topics", "stances", "claims"):
        assert value(metrics, f"{name}_total", label="other") == 1


def test_a_stage_is_counted_also_when_it_fails() -> None:
    metrics = Metrics(STATUS)
    with pytest.raises(KeyError), metrics.stage("parse"):
        raise KeyError
    assert value(metrics, "stage_seconds_count", stage="parse") == 1
    assert value(metrics, "stage_seconds_count", stage="total") == 0


def test_a_batch_is_counted_by_size_and_as_the_stage_of_reading() -> None:
    metrics = Metrics(STATUS)
    metrics.batch(articles=3, pieces=900, seconds=0.75)
    assert value(metrics, "batch_articles_sum") == 3
    assert value(metrics, "batch_pieces_sum") == 900
    assert value(metrics, "stage_seconds_sum", stage="read") == 0.75


@pytest.mark.parametrize("load", [Load(900, 4, 512), Load(0, 0, 0)])
def test_the_load_is_what_the_queue_told_last(load: Load) -> None:
    metrics = Metrics(STATUS)
    for told in (Load(1, 2, 3), load):
        metrics.load(told)
    shown = [value(metrics, name) for name in ("waiting_pieces", "waiting_articles")]
    assert Load(*shown, value(metrics, "running_pieces")) == load


def test_unknown_pieces_are_counted_beside_all_pieces() -> None:
    metrics = Metrics(STATUS)
    metrics.pieces(read=200, unknown=3)
    metrics.pieces(read=100, unknown=0)
    assert value(metrics, "pieces_total") == 300
    assert value(metrics, "unknown_pieces_total") == 3


def test_the_model_is_named_with_the_beginning_of_its_hash() -> None:
    bundle = Bundle.load(DEFAULT_FOLDER)
    told = bundle.summary()
    metrics = Metrics(STATUS)
    metrics.model(bundle)
    named = {"name": told["name"], "version": told["version"], "hash": told["sha256"][:12]}
    assert value(metrics, "model_info", **named) == 1


def test_two_in_a_process_count_apart() -> None:
    first, second = Metrics(STATUS), Metrics(STATUS)
    first.request(200)
    assert value(first, "requests_total", status="2xx", code="none") == 1
    assert value(second, "requests_total", status="2xx", code="none") == 0


def test_the_numbers_of_workers_are_summed_in_their_shared_files(tmp_path: Path) -> None:
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    root = Path(__file__).parents[1]
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER], cwd=root, env=environment)
        for _ in range(2)
    ]
    assert [worker.wait(60) for worker in workers] == [0, 0]
    shown = CollectorRegistry()
    MultiProcessCollector(shown, path=str(tmp_path))
    assert shown.get_sample_value("khabar_articles_total", {"outcome": "read"}) == 6
    assert shown.get_sample_value("khabar_batch_pieces_sum") == 1400
    assert shown.get_sample_value("khabar_waiting_articles") == 8  # until a new worker cleans up


def test_the_queue_of_a_dead_worker_is_forgotten_and_its_counts_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait(60)
    names = [f"gauge_livesum_{dead.pid}.db", f"counter_{dead.pid}.db", f"gauge_all_{dead.pid}.db"]
    names += [f"gauge_livesum_{os.getpid()}.db", f"gauge_livemax_{os.getppid()}.db"]
    for name in names:
        (tmp_path / name).touch()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    forget_dead_workers()
    assert {path.name for path in tmp_path.iterdir()} == set(names[1:])


def test_without_shared_files_there_is_nothing_to_forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    forget_dead_workers()
