"""The local engine: real worker processes, which are killed here."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from random import Random
from typing import Any

import pytest
from batch_tagger import (
    DEADLY,
    POISON,
    Heard,
    NameTagger,
    fake_bundle,
    make_dying,
    make_names,
    receipts,
    rejects,
    results,
    run,
    start_job,
    told,
    tree,
    write_jsonl,
)

from annotations.errors import KhabarError
from serving.batch.errors import BatchError
from serving.batch.local import LocalEngine
from serving.batch.options import BatchOptions
from tests.waiting import wait_until

TEXTS = [f"وصل محمد إلى بغداد {'يوما ' * (i % 5)}" for i in range(60)]
OPTIONS = BatchOptions(part_rows=4)


def refuse(bundle: Path) -> NameTagger:
    raise KhabarError(f"{bundle}: damaged; copy it again")


def fail(bundle: Path) -> NameTagger:
    raise ZeroDivisionError("محمد")


def engine(folder: Path, make: Any = make_names, workers: int = 2) -> LocalEngine:
    return LocalEngine(folder, OPTIONS, workers, make)


def test_processes_give_what_one_process_gives(tmp_path: Path) -> None:
    given = write_jsonl(tmp_path / "a.jsonl", [*TEXTS[:20], "", POISON, *TEXTS[20:30]])
    bundle = fake_bundle(tmp_path / "bundle")
    run([given], tmp_path / "one", bundle=bundle, part_rows=4)
    heard = Heard()
    run([given], tmp_path / "two", engine(bundle.folder), bundle, progress=heard, part_rows=4)
    assert tree(tmp_path / "two") == tree(tmp_path / "one")
    assert len(results(tmp_path / "two")) == 30 and len(rejects(tmp_path / "two")) == 2
    articles, tokens = told(tmp_path / "two")
    assert heard.read == (articles + 2, tokens)  # rejects were tried, and no token of them read


def test_a_part_over_which_workers_die_is_named_and_the_rest_is_kept(tmp_path: Path) -> None:
    texts = [*TEXTS[:9], DEADLY, *TEXTS[9:11]]
    given = write_jsonl(tmp_path / "a.jsonl", texts)
    bundle = fake_bundle(tmp_path / "bundle")
    with pytest.raises(BatchError, match=r"part 2: 2 workers died over it \(exit -9; out of mem"):
        run([given], tmp_path / "out", engine(bundle.folder, workers=1), bundle, part_rows=4)
    assert len(list((tmp_path / "out" / "done").iterdir())) == 2


def test_a_part_whose_worker_died_is_read_again(tmp_path: Path) -> None:
    given = write_jsonl(tmp_path / "a.jsonl", TEXTS[:20])
    bundle = fake_bundle(tmp_path / "bundle")
    run([given], tmp_path / "one", bundle=bundle, part_rows=4)
    run([given], tmp_path / "two", engine(bundle.folder, make_dying), bundle, part_rows=4)
    assert (bundle.folder / "died").exists()
    assert tree(tmp_path / "two") == tree(tmp_path / "one")


@pytest.mark.parametrize(
    ("make", "words"),
    [(refuse, "damaged; copy it again"), (fail, r"a worker failed \(ZeroDivisionError at test_b")],
)
def test_a_worker_that_cannot_begin_says_why(tmp_path: Path, make: Any, words: str) -> None:
    given = write_jsonl(tmp_path / "a.jsonl", TEXTS[:4])
    bundle = fake_bundle(tmp_path / "bundle")
    with pytest.raises(BatchError, match=words) as caught:
        run([given], tmp_path / "out", engine(bundle.folder, make, 1), bundle)
    assert "محمد" not in str(caught.value)


def children(process: subprocess.Popen[bytes]) -> list[int]:
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(pid) for pid in path.read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize(
    ("articles", "seconds", "kills"),
    [
        (60, 0.02, (3, 11)),
        pytest.param(
            20_000, 0.001, sorted(Random(7).sample(range(4900), 20)), marks=pytest.mark.soak
        ),
    ],
)
def test_a_job_that_is_killed_again_and_again_ends_as_if_it_never_was(
    tmp_path: Path, articles: int, seconds: float, kills: Sequence[int]
) -> None:
    given = write_jsonl(tmp_path / "a.jsonl", [*islice(cycle(TEXTS), articles)])
    output, whole = tmp_path / "out", tmp_path / "whole"
    bundle = fake_bundle(output.with_suffix(".bundle"))
    workers: list[int] = []
    for parts in kills:  # so many are done, then it is killed
        process = start_job(given, output, seconds)
        while receipts(output) < parts:
            assert process.poll() is None
            time.sleep(0.002)
        workers += children(process)
        process.kill()
        process.wait()
    assert len(workers) >= 2 * len(kills)
    wait_until(lambda: not any(map(alive, workers)))  # they end by themselves
    assert start_job(given, output, 0).wait() == 0
    run([given], whole, bundle=bundle, part_rows=4)
    assert tree(output) == tree(whole)
    assert [r["id"] for r in results(output)] == [f"a{i}" for i in range(articles)]
