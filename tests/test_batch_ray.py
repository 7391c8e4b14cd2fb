"""The ray engine: actors on a cluster of this machine, which are killed here."""

from __future__ import annotations

import signal
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from batch_tagger import (
    DEADLY,
    POISON,
    Heard,
    fake_bundle,
    make_dying,
    make_names,
    receipts,
    run,
    start_job,
    told,
    tree,
    write_jsonl,
)

from annotations.errors import MissingExtraError
from serving.batch.cluster import RayEngine, Reader
from serving.batch.engines import Wanted, chosen_engine
from serving.batch.errors import BatchError, UsageError
from serving.batch.model import ModelId
from serving.batch.options import BatchOptions
from serving.batch.parts import Part
from serving.bundle import DEFAULT_FOLDER, Bundle, bundle_digest
from serving.cores import usable_cores

TEXTS = [f"وصل محمد إلى بغداد {'يوما ' * (i % 5)}" for i in range(40)]
OPTIONS = BatchOptions(part_rows=4)

try:
    import ray
except ImportError:
    ray = None

needs_ray = pytest.mark.skipif(ray is None, reason="needs Ray: pip install khabar[ray]")


@pytest.fixture(autouse=True)
def seen_by_workers() -> None:
    """The tagger of names travels to the actors, which do not know the folder of the tests."""
    if ray is not None:
        import batch_tagger

        ray.cloudpickle.register_pickle_by_value(batch_tagger)


def engine(folder: Path, make: Any = make_names, workers: int = 2) -> RayEngine:
    return RayEngine(folder, OPTIONS, workers, make_tagger=make)


@needs_ray
def test_actors_give_what_one_process_gives_though_one_dies(tmp_path: Path) -> None:
    given = write_jsonl(tmp_path / "a.jsonl", [*TEXTS[:20], "", POISON, *TEXTS[20:30]])
    bundle = fake_bundle(tmp_path / "bundle")
    run([given], tmp_path / "one", bundle=bundle, part_rows=4)
    before = signal.getsignal(signal.SIGTERM)

    class Watched(RayEngine):
        def run(self, parts: Any, beat: Any) -> Any:
            for tagged in super().run(parts, beat):
                assert signal.getsignal(signal.SIGTERM) is before  # and not Ray's
                yield tagged

    heard = Heard()
    run([given], tmp_path / "two", Watched(bundle.folder, OPTIONS, 2, None, make_dying), bundle,
        progress=heard, part_rows=4)  # fmt: skip
    assert heard.read[1] == told(tmp_path / "two")[1] > 100
    assert (bundle.folder / "died").exists()
    assert tree(tmp_path / "two") == tree(tmp_path / "one")


@needs_ray
def test_a_part_over_which_actors_die_is_named_and_the_rest_is_kept(tmp_path: Path) -> None:
    given = write_jsonl(tmp_path / "a.jsonl", [*TEXTS[:9], DEADLY, *TEXTS[9:11]])
    bundle = fake_bundle(tmp_path / "bundle")
    with pytest.raises(BatchError, match="part 2: 2 workers died over it"):
        run([given], tmp_path / "out", engine(bundle.folder, workers=1), bundle, part_rows=4)
    assert receipts(tmp_path / "out") == 2


class BusyCluster:
    """A cluster of four cores, as the engine sees Ray, of which one is free after some waiting."""

    exceptions = SimpleNamespace(RayActorError=KeyError, RayError=LookupError)

    def __init__(self, waits: int) -> None:
        self.waits = waits  # that end before the core is free
        self.actors: list[Any] = []

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 4.0}

    def remote(self, **_: object) -> Any:
        return lambda kind: SimpleNamespace(remote=partial(self._actor, kind))

    def _actor(self, kind: Any, *told: Any) -> Any:
        number = len(self.actors)
        self.actors.append(None)

        def promise(method: str, *arguments: Any) -> Any:
            def answer() -> Any:
                self.actors[number] = self.actors[number] or kind(*told)
                return getattr(self.actors[number], method)(*arguments)

            return number, answer

        methods = ("begin", "tag")
        return SimpleNamespace(
            **{name: SimpleNamespace(remote=partial(promise, name)) for name in methods}
        )

    def wait(self, promises: Any, num_returns: int, timeout: float | None) -> Any:
        self.waits -= 1
        if self.waits >= 0:
            assert timeout is not None, "it would wait for ever without a word"
            return [], promises
        kept = [promise for promise in promises if promise[0] == 2]
        assert kept, "it would wait for ever"
        return kept[:1], promises

    def get(self, promise: Any) -> Any:
        return promise[1]()


@pytest.mark.parametrize("waits", [0, 1])
def test_parts_go_to_actors_that_have_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, waits: int
) -> None:
    given = write_jsonl(tmp_path / "a.jsonl", TEXTS)
    bundle = fake_bundle(tmp_path / "bundle")
    busy = BusyCluster(waits)
    monkeypatch.setattr("serving.batch.cluster._cluster", lambda *_: nullcontext(busy))
    found = RayEngine(bundle.folder, OPTIONS, address="a:1", make_tagger=make_names)
    assert run([given], tmp_path / "out", found, bundle, part_rows=4).articles == len(TEXTS)
    assert [actor is not None for actor in busy.actors] == [False, False, True, False]
    assert ("no worker could begin within 60 s" in caplog.text) == (waits > 0)


@needs_ray
@pytest.mark.soak
def test_a_driver_that_is_killed_again_and_again_ends_as_if_it_never_was(tmp_path: Path) -> None:
    given = write_jsonl(tmp_path / "a.jsonl", TEXTS * 10)
    output, whole = tmp_path / "out", tmp_path / "whole"
    bundle = fake_bundle(output.with_suffix(".bundle"))
    for parts in (5, 30, 70):
        process = start_job(given, output, 0.02, "ray")
        while receipts(output) < parts:
            assert process.poll() is None
            time.sleep(0.002)
        process.kill()
        process.wait()
    assert start_job(given, output, 0, "ray").wait() == 0
    run([given], whole, bundle=bundle, part_rows=4)
    assert tree(output) == tree(whole)


@needs_ray
def test_the_engine_is_chosen_by_its_name() -> None:
    for wanted, workers in (
        (Wanted("ray", ray_address="a:1"), None),  # as many as the cluster has cores
        (Wanted("ray", workers=3, ray_address="a:1"), 3),
        (Wanted("ray", workers=3), 3),
        (Wanted("ray"), usable_cores()),
    ):
        found = chosen_engine(wanted, OPTIONS)
        assert found.model == ModelId.of_bundle(Bundle.load(DEFAULT_FOLDER))
        assert found.engine == RayEngine(DEFAULT_FOLDER, OPTIONS, workers, wanted.ray_address)
        assert found.at_once == workers


@needs_ray
def test_actors_are_told_where_the_bundle_is_and_not_from_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bundle").symlink_to(DEFAULT_FOLDER)  # which may lead elsewhere on each node
    monkeypatch.chdir(tmp_path)
    found = chosen_engine(Wanted("ray", bundle=Path("bundle"), ray_address="a:1"), OPTIONS)
    assert isinstance(found.engine, RayEngine) and found.engine.bundle == tmp_path / "bundle"


@needs_ray
def test_a_cluster_that_is_not_there_is_a_usage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def init(*_: object, **__: object) -> None:
        raise ConnectionError("nobody listens")

    monkeypatch.setattr("ray.init", init)
    bundle = fake_bundle(tmp_path / "bundle")
    lost = RayEngine(bundle.folder, OPTIONS, address="10.0.0.1:6379", make_tagger=make_names)
    with pytest.raises(UsageError, match=r"--ray-address 10\.0\.0\.1:6379: nobody listens"):
        run([write_jsonl(tmp_path / "a.jsonl", TEXTS[:1])], tmp_path / "out", lost, bundle)


@pytest.mark.skipif(ray is not None, reason="Ray is installed")
def test_without_ray_its_extra_is_named(tmp_path: Path) -> None:
    bundle = fake_bundle(tmp_path / "bundle")
    given = write_jsonl(tmp_path / "a.jsonl", TEXTS[:1])
    with pytest.raises(MissingExtraError, match=r"ray is not installed; run .*\.\[batch,ray\]"):
        run([given], tmp_path / "out", engine(bundle.folder), bundle)


@pytest.mark.parametrize(
    ("make", "digest", "words"),
    [
        (make_names, "0" * 64, "another bundle on this node .* copy it to every node"),
        (lambda bundle: 1 / 0, None, r"a worker failed \(ZeroDivisionError at test_batch_ray"),
    ],
)
def test_an_actor_that_cannot_begin_says_why_when_it_is_asked(
    tmp_path: Path, make: Any, digest: str | None, words: str
) -> None:
    folder = fake_bundle(tmp_path / "bundle").folder
    answer = Reader(folder, digest or bundle_digest(folder), OPTIONS, make).tag(Part(0, (), ""))
    assert isinstance(answer, BatchError)
    with pytest.raises(BatchError, match=words):
        raise answer
