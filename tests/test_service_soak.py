"""The service at full size: `make soak` runs it and prints what it measured.

Ratios are taken in one run on the same cores, and times are compared with times of the same run.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import httpx
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
    """Bytes of memory that the worker holds."""
    (worker,) = service.workers()
    held: int = worker.memory_info().rss
    return held


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


async def load(port: int, rate: float, seconds: float) -> tuple[Counter[int], list[float]]:
    """Articles sent one a request at random moments: the statuses, and the seconds of those that
    were read.
    """
    draws = random.Random(13)
    statuses: Counter[int] = Counter()
    times: list[float] = []
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(timeout=120, limits=limits, trust_env=False) as client:

        async def ask() -> None:
            body = {"articles": [{"text": draws.choice(TEXTS)}]}
            began = time.perf_counter()
            answer = await client.post(f"http://127.0.0.1:{port}/v1/tag", json=body)
            statuses[answer.status_code] += 1
            if answer.status_code == 200:
                times.append(time.perf_counter() - began)

        asked = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            asked.append(asyncio.ensure_future(ask()))
            await asyncio.sleep(draws.expovariate(rate))
        await asyncio.gather(*asked)
    return statuses, times


async def watch_health(port: int, times: list[float]) -> None:
    """Ask /livez four times a second, over a connection of its own each."""
    while True:
        began = time.perf_counter()
        async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
            assert (await client.get(f"http://127.0.0.1:{port}/livez")).status_code == 200
        times.append(time.perf_counter() - began)
        await asyncio.sleep(0.25)


def test_ten_times_too_much_for_a_minute(service: Served) -> None:
    began = time.perf_counter()
    with KhabarClient(service.address) as client:
        client.tag(TEXTS * 3)
    capacity = 3 * len(TEXTS) / (time.perf_counter() - began)
    half, calm = asyncio.run(load(service.port, capacity / 2, 30))
    before = resident(service)
    health: list[float] = []

    async def overload() -> tuple[Counter[int], list[float]]:
        watching = asyncio.ensure_future(watch_health(service.port, health))
        found = await load(service.port, capacity * 10, 60)
        watching.cancel()
        return found

    statuses, times = asyncio.run(overload())
    after = resident(service)
    print(
        f"\ncapacity {capacity:.0f} articles a second; at half of it {dict(half)}, p99 "
        f"{p99(calm):.2f} s; at ten times {dict(statuses)}, p99 of those read {p99(times):.2f} s; "
        f"health p99 {p99(health) * 1000:.0f} ms; memory {before >> 20} to {after >> 20} MiB"
    )
    assert set(half) == {200}
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
