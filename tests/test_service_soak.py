"""The service at full size: `make soak` runs it and prints what it measured.

Ratios are taken in one run on the same cores, and times are compared with times of the same run.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from annotations.jsonl import read_documents
from serving.client import KhabarClient
from tests.served import Served, served

ROOT = Path(__file__).parents[1]
TEXTS = [doc.text for doc in read_documents(ROOT / "annotations" / "authored" / "dev.jsonl")]
ROUNDS = 5
IN_PROCESS = """
import sys, time
from annotations.jsonl import read_documents
from pathlib import Path
from serving.tagger import Tagger
texts = [doc.text for doc in read_documents(Path("annotations/authored/dev.jsonl"))]
tagger = Tagger.default()
tagger.tag(texts)
for _ in sys.stdin:
    began = time.perf_counter()
    tagger.tag(texts)
    print(time.perf_counter() - began, flush=True)
"""
pytestmark = pytest.mark.soak


def resident(service: Served) -> int:
    """Bytes of memory that the worker and the process of its model hold, what they share counted
    once.
    """
    (worker,) = service.workers()
    return sum(one.memory_full_info().pss for one in [worker, *worker.children(recursive=True)])


def test_it_is_ready_within_five_seconds_and_small(tmp_path: Path) -> None:
    times = []
    for i in range(3):
        folder = tmp_path / str(i)
        folder.mkdir()
        began = time.monotonic()
        with served(folder) as opened:
            times.append(time.monotonic() - began)
            with KhabarClient(opened.address) as client:
                client.tag(TEXTS * 2, {})
            held = resident(opened)
    print(f"\nready after {', '.join(f'{t:.1f}' for t in times)} s; {held >> 20} MiB a worker")
    assert statistics.median(times) < 5
    assert held < 500 << 20


def test_with_the_client_it_is_nearly_as_fast_as_the_tagger(service: Served) -> None:
    tagger = subprocess.Popen(
        [sys.executable, "-c", IN_PROCESS], cwd=ROOT, text=True, stdin=-1, stdout=-1
    )
    assert tagger.stdin and tagger.stdout
    ratios = []
    with KhabarClient(service.address) as client:
        client.tag(TEXTS)
        for _ in range(ROUNDS):
            tagger.stdin.write("\n")
            tagger.stdin.flush()
            alone = float(tagger.stdout.readline())
            began = time.perf_counter()
            predictions = client.tag(TEXTS)
            ratios.append(alone / (time.perf_counter() - began))
            assert all(prediction.error is None for prediction in predictions)
    tagger.stdin.close()
    tagger.wait(30)
    shown = ", ".join(f"{ratio:.2f}" for ratio in sorted(ratios))
    print(f"\nclient and service against the tagger in its process: {shown} of its speed")
    assert statistics.median(ratios) >= 0.85


def p99(seconds: Sequence[float]) -> float:
    """The 99th percentile."""
    return sorted(seconds)[max(int(len(seconds) * 0.99) - 1, 0)]


def load(service: Served, rate: float, seconds: float) -> tuple[dict[int, int], list[float]]:
    """The statuses of articles sent at that rate, and the seconds of those that were read."""
    command = [sys.executable, "-m", "tests.load", service.address, str(rate), str(seconds)]
    done = subprocess.run(
        command, cwd=ROOT, input=json.dumps(TEXTS).encode(), stdout=subprocess.PIPE, check=True
    )
    found = json.loads(done.stdout)
    return {int(status): n for status, n in found["statuses"].items()}, found["seconds"]


@contextmanager
def health_watched(service: Served) -> Iterator[list[float]]:
    """The seconds that /livez takes, asked ten times a second over a connection of its own each."""
    times: list[float] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.1):
            began = time.perf_counter()
            assert service.request("GET", "/livez")[0] == 200
            times.append(time.perf_counter() - began)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield times
    finally:
        ended.set()
        watching.join()


def test_ten_times_too_much_for_a_minute(service: Served) -> None:
    with KhabarClient(service.address) as client:
        client.tag(TEXTS)
        began = time.perf_counter()
        client.tag(TEXTS * 5)
    capacity = 5 * len(TEXTS) / (time.perf_counter() - began)
    half, calm = load(service, capacity / 2, 60)
    before = resident(service)
    with health_watched(service) as health:
        statuses, times = load(service, capacity * 10, 60)
    after = resident(service)
    print(
        f"\ncapacity {capacity:.0f} articles a second; at half of it {half}, p99 "
        f"{p99(calm):.2f} s; at ten times {statuses}, p99 of those read {p99(times):.2f} s; "
        f"health p99 {p99(health) * 1000:.0f} ms; memory {before >> 20} to {after >> 20} MiB"
    )
    assert half[200] >= 0.99 * sum(half.values()) and set(half) <= {200, 429}
    assert set(statuses) <= {200, 429, 503}
    assert p99(times) <= 3 * p99(calm)
    assert p99(health) < 0.1
    assert after - before < 64 << 20


def test_it_does_not_grow_with_work(service: Served) -> None:
    held = []
    with KhabarClient(service.address) as client:
        for _ in range(10):
            client.tag([text * (1 + i % 5) for i, text in enumerate(TEXTS)])
            held.append(resident(service))
    print(f"\nmemory in MiB, every {len(TEXTS)} articles: {[size >> 20 for size in held]}")
    assert held[-1] - held[2] < 32 << 20
    assert psutil.pid_exists(service.process.pid)
