"""Batch jobs at full size, with the shipped model: minutes to an hour long, run by `make soak`."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import psutil
import pytest
from batch_tagger import write_jsonl

from annotations.seed import seed_text
from serving.batch.job import Job
from serving.batch.local import LocalEngine
from serving.batch.model import ModelId
from serving.batch.options import BatchOptions
from serving.batch.tagging import CHUNK_ARTICLES
from serving.bundle import DEFAULT_FOLDER, Bundle
from serving.prediction import Article
from serving.tagger import Tagger

pytestmark = pytest.mark.soak
ROOT = Path(__file__).parent.parent
GB = 1024**3


def short_articles(number: int) -> Iterator[str]:
    """Lines of JSONL, each with 3 to 12 words of the seed article."""
    random, words = Random(11), seed_text().split()
    for i in range(number):
        start = random.randrange(len(words) - 12)
        text = " ".join(words[start : start + random.randint(3, 12)])
        yield json.dumps({"id": str(i), "text": text}, ensure_ascii=False) + "\n"


def memory_of(process: psutil.Process) -> int:
    """The bytes that a process and its children hold, what they share counted once."""
    held = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            held += one.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return held


def test_a_million_short_articles_stream_through_in_flat_memory(tmp_path: Path) -> None:
    number = 1_000_000
    with (tmp_path / "a.jsonl").open("w", encoding="utf-8") as out:
        out.writelines(short_articles(number))
    command = [
        sys.executable, "-m", "khabar", "batch", "--workers", "2", "--json-logs",
        str(tmp_path / "a.jsonl"), str(tmp_path / "out"),
    ]  # fmt: skip
    began = time.monotonic()
    with (tmp_path / "log").open("wb") as log:
        running = subprocess.Popen(command, cwd=ROOT, stderr=log)
        process, seen = psutil.Process(running.pid), list[int]()
        while running.poll() is None:
            seen.append(memory_of(process))
            time.sleep(2)
    assert running.returncode == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_bytes())
    assert (summary["articles"], summary["rejects"]["count"]) == (number, 0)
    early, late = (
        max(seen[len(seen) * a // 10 : len(seen) * b // 10]) for a, b in [(1, 3), (7, 9)]
    )
    print(f"{number} articles in {time.monotonic() - began:.0f} s, at most {max(seen) / GB:.2f} GB")
    print(f"memory early {early / GB:.3f} GB, late {late / GB:.3f} GB; {summary['run']}")
    assert max(seen) < 1.5 * GB
    assert late < 1.1 * early


class Timed:
    """A progress that knows when articles were read."""

    def __init__(self) -> None:
        self.times: list[tuple[float, int]] = []

    def show(self, event: str, pace: Any, **details: Any) -> None:
        if event == "beat":
            self.times.append((time.perf_counter(), pace.articles))

    @property
    def articles_per_s(self) -> float:
        """From the first answer on, when the workers have begun."""
        (first, begun), (last, done) = self.times[0], self.times[-1]
        return (done - begun) / (last - first)


def tagger_speed(texts: Sequence[str]) -> float:
    """The articles that a Tagger of one thread reads in a second."""
    tagger = Tagger.from_bundle(DEFAULT_FOLDER, threads=1)
    tagger.tag([Article(texts[0])])
    began = time.perf_counter()
    for start in range(0, len(texts), CHUNK_ARTICLES):
        tagger.tag([Article(text) for text in texts[start : start + CHUNK_ARTICLES]])
    return len(texts) / (time.perf_counter() - began)


def test_workers_are_as_fast_as_as_many_taggers(tmp_path: Path) -> None:
    """As many Taggers as there are cores, each in a process of its own, against as many workers."""
    random, words = Random(12), seed_text().split()
    texts = [" ".join(random.choices(words, k=150)) for _ in range(3000)]
    workers = len(os.sched_getaffinity(0))
    given = write_jsonl(tmp_path / "a.jsonl", texts)
    options, bundle = BatchOptions(part_rows=32), Bundle.load(DEFAULT_FOLDER)
    plain, ours = list[float](), list[float]()
    print(f"one Tagger alone: {tagger_speed(texts[:500]):.1f} articles/s")
    for turn in range(2):
        with multiprocessing.get_context("spawn").Pool(workers) as pool:
            plain.append(sum(pool.map(tagger_speed, [texts[:1000]] * workers)))
        timed = Timed()
        job = Job([str(given)], str(tmp_path / f"out{turn}"), ModelId.of_bundle(bundle), options)
        job.run(LocalEngine(bundle.folder, options, workers), timed)
        ours.append(timed.articles_per_s)
    ratio = sum(ours) / sum(plain)
    print(f"{workers} Taggers {plain} articles/s, {workers} workers {ours}: ratio {ratio:.3f}")
    assert ratio >= 0.95
