"""The http engine: jobs that a running service reads, over real connections."""

from __future__ import annotations

import hashlib
import itertools
import re
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from batch_tagger import (
    POISON,
    Heard,
    InlineEngine,
    NameTagger,
    fake_bundle,
    rejects,
    results,
    run,
    told,
    tree,
    write_jsonl,
)

from serving.batch.engines import Wanted, chosen_engine
from serving.batch.errors import BatchError, UsageError
from serving.batch.model import ModelId
from serving.batch.options import BatchOptions
from serving.batch.parts import Part
from serving.batch.rows import Row
from serving.batch.served import HttpEngine, Service, ServiceTagger
from serving.client import ClientError, KhabarClient
from serving.prediction import Article, Prediction
from tests.gated import gated

KEY = "k" * 20
OPTIONS = BatchOptions(part_rows=4)
TEXTS = [f"وصل محمد إلى بغداد {'يوما ' * (i % 5)}ثم محمد" for i in range(30)]
ODD = ["", "a\ud800", "القوات 😀 في بغداد"]
DIGEST = hashlib.sha256(b"{}").hexdigest()  # of `fake_bundle`


class ServedNames(NameTagger):
    """The tagger of names as a service has it: with a bundle, and a gate that can be shut."""

    def __init__(self) -> None:
        super().__init__()
        self.summary = {"name": "اسماء", "version": "1", "sha256": DIGEST}
        self.bundle = SimpleNamespace(
            name="اسماء",
            version="1",
            digest=DIGEST,
            summary=lambda: self.summary,
        )
        self.problem = None
        self.open = threading.Event()
        self.open.set()

    def tag(
        self, articles: Sequence[Article], max_code_points: int | None = None, gone: Any = None
    ) -> list[Prediction]:
        assert self.open.wait(60)
        return super().tag(articles)


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[str, ServedNames]]:
    """The address of our own app, which wants the key KEY, and its tagger."""
    tagger: Any = ServedNames()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KHABAR_API_KEYS", KEY)
        with gated(tagger) as address:
            yield address, tagger


@pytest.fixture
def names(running: tuple[str, ServedNames], monkeypatch: pytest.MonkeyPatch) -> ServedNames:
    """The tagger of the service, as it was at the beginning."""
    tagger = running[1]
    monkeypatch.setattr(tagger, "summary", dict(tagger.summary))
    return tagger


@pytest.fixture
def service(running: tuple[str, ServedNames]) -> Service:
    return Service(running[0], KEY)


def engine(service: Service, workers: int = 3) -> HttpEngine:
    return HttpEngine(service, service.model(), OPTIONS, workers)


def test_a_service_gives_what_this_process_gives(tmp_path: Path, service: Service) -> None:
    given = write_jsonl(tmp_path / "a.jsonl", [*TEXTS, *ODD], targets=["محمد"], claims=["وصل"])
    bundle = fake_bundle(tmp_path / "bundle")
    run([given], tmp_path / "here", bundle=bundle, part_rows=4)
    heard = Heard()
    run([given], tmp_path / "there", engine(service), bundle, progress=heard, part_rows=4)
    assert tree(tmp_path / "there") == tree(tmp_path / "here")
    assert heard.read[1] == told(tmp_path / "there")[1] > 100
    assert len(results(tmp_path / "there")) == 31 and len(rejects(tmp_path / "there")) == 2


def test_the_model_that_is_served_is_that_of_its_bundle(tmp_path: Path, service: Service) -> None:
    assert service.model() == ModelId.of_bundle(fake_bundle(tmp_path / "bundle"))


def test_a_model_without_a_digest_is_known_by_all_that_it_tells() -> None:
    told: dict[str, Any] = {"name": "khabar", "version": "1", "scores": [0.5]}
    one, same, other = (
        ModelId.of_summary(found, "here") for found in (told, dict(told), told | {"scores": [0.6]})
    )
    assert one == same != other
    with pytest.raises(UsageError, match="here: tells no name and version of its model"):
        ModelId.of_summary({"name": "khabar"}, "here")


def test_another_served_model_does_not_go_on_with_a_job(
    tmp_path: Path, service: Service, names: ServedNames
) -> None:
    given = write_jsonl(tmp_path / "a.jsonl", TEXTS)
    bundle = fake_bundle(tmp_path / "bundle")
    begun = InlineEngine(OPTIONS, stop_before=2)
    with pytest.raises(KeyboardInterrupt):
        run([given], tmp_path / "out", begun, bundle, part_rows=4)
    names.summary["sha256"] = "0" * 64
    other = service.model()
    changed = fake_bundle(tmp_path / "other")
    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(UsageError, match=r"bundle\.sha256 was .* now is \"0000"),
    ):
        patch.setattr(ModelId, "of_bundle", lambda bundle: other)
        run([given], tmp_path / "out", engine(service), changed, part_rows=4)


def test_a_model_that_is_replaced_on_the_way_stops_the_job(
    tmp_path: Path, service: Service, names: ServedNames
) -> None:
    given = write_jsonl(tmp_path / "a.jsonl", TEXTS)
    bundle = fake_bundle(tmp_path / "bundle")

    class Replacing(HttpEngine):
        def run(self, parts: Any, beat: Any) -> Any:
            for tagged in super().run(parts, beat):
                yield tagged
                names.summary["sha256"] = "f" * 64

    replaced = Replacing(service, service.model(), OPTIONS, 1)
    with pytest.raises(BatchError, match=r"serves another model now \(اسماء 1, ffffffffffff…\)"):
        run([given], tmp_path / "out", replaced, bundle, part_rows=4)
    done = len(list((tmp_path / "out" / "done").iterdir()))
    assert 1 <= done <= 2  # the second was on its way when the model changed
    names.summary["sha256"] = DIGEST
    outcome = run([given], tmp_path / "out", engine(service), bundle, part_rows=4)
    assert outcome.parts_read == 8 - done and outcome.articles == 30


def test_what_the_service_refuses_of_an_article_is_a_reject_and_harms_no_other(
    tmp_path: Path, service: Service
) -> None:
    given = write_jsonl(tmp_path / "a.jsonl", [*TEXTS[:2], POISON, *TEXTS[2:4]])
    many = write_jsonl(tmp_path / "b.jsonl", TEXTS[:1], targets=[f"م{i}" for i in range(17)])
    outcome = run([given, many], tmp_path / "out", engine(service), part_rows=8)
    assert outcome.articles == 4
    poison, asked = rejects(tmp_path / "out")
    assert (poison["source"], poison["line"]) == ("a.jsonl", 3)
    told = r"not read: an internal fault; please report request [0-9a-f]{32}\.1"
    assert re.fullmatch(told, poison["reason"])
    assert (asked["source"], asked["line"], asked["reason"]) == (
        "b.jsonl",
        1,
        "17 targets; the service takes 16, ask in several articles",
    )
    run([given], tmp_path / "alone", engine(service), part_rows=1)
    assert [(r["source"], r["line"], r["reason"]) for r in rejects(tmp_path / "alone")] == [
        ("a.jsonl", 3, "the service failed on it (internal)")
    ]


def test_a_service_that_fails_at_everything_stops_the_job(
    tmp_path: Path, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.batch.served.MAX_FAULTS", 3)
    given = write_jsonl(tmp_path / "a.jsonl", [POISON] * 4)
    with pytest.raises(BatchError, match="fails at one article after the other, last with"):
        run([given], tmp_path / "out", engine(service, 1), part_rows=4)


def test_no_thread_goes_on_with_a_service_that_fails_at_everything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Failing:
        def tag(self, articles: Sequence[Article]) -> list[Prediction]:
            raise ClientError("internal", "a fault of ours", 500)

    monkeypatch.setattr("serving.batch.served.MAX_FAULTS", 3)
    tagger = ServiceTagger(cast(KhabarClient, Failing()))
    for _ in range(2):
        assert tagger.tag([Article("محمد")])[0].error == "the service failed on it (internal)"
    for _ in range(2):
        with pytest.raises(BatchError, match="fails at one article after the other"):
            tagger.tag([Article("محمد")])


def test_parts_are_taken_only_as_threads_are_free(service: Service, names: ServedNames) -> None:
    taken: list[int] = []

    def parts() -> Iterator[Part]:
        for number in itertools.count():
            taken.append(number)
            row = Row("a.txt", number, TEXTS[0].encode(), "text")
            yield Part(number, (row,), str(number))

    names.open.clear()
    found = engine(service, workers=3).run(parts(), lambda articles, words: None)
    opener = threading.Timer(0.3, names.open.set)
    opener.start()
    first = next(found)
    assert len(taken) == 4  # three, and one in the place of the first that is done
    seen = {first.number} | {tagged.number for tagged in itertools.islice(found, 20)}
    found.close()
    assert len(seen) == 21 and len(taken) <= 21 + 3


def test_a_service_that_is_gone_stops_the_job(
    tmp_path: Path, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = write_jsonl(tmp_path / "a.jsonl", TEXTS)
    monkeypatch.setattr("serving.batch.served.RETRIES", 0)
    monkeypatch.setattr("serving.batch.served.READY_S", 0.0)
    gone = Service("http://127.0.0.1:9", KEY)  # the port of discard, where nobody is
    with pytest.raises(UsageError, match=r"the service was not ready within .* cannot be reached"):
        gone.model()
    lost = HttpEngine(gone, service.model(), OPTIONS)
    with pytest.raises(BatchError, match=r"cannot be reached .* start the same command again"):
        run([given], tmp_path / "out", lost)


def test_a_wrong_key_is_told_and_no_key_is_shown(service: Service) -> None:
    with pytest.raises(UsageError, match="unauthorized") as failed:
        Service(service.url, "wrong-key").model()
    assert "wrong-key" not in str(failed.value) + repr(service) and KEY not in repr(service)
    with pytest.raises(UsageError, match="--url ftp://a: base_url must be like http"):
        Service("ftp://a").model()


def test_the_engine_is_chosen_by_its_name(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEWS_KEY", KEY)
    chosen = chosen_engine(Wanted("http", url=service.url, api_key_env="NEWS_KEY"), OPTIONS)
    assert isinstance(chosen.engine, HttpEngine) and chosen.model == service.model()
    with chosen.tagger() as tagger:
        (answer,) = tagger.tag([Article("بغداد")])
    assert [entity.text for entity in answer.entities] == ["بغداد"]


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"name": "spark"}, "--engine spark: no such engine; use local, http, ray"),
        ({"name": "http"}, "name the service with --url"),
        ({"name": "http", "url": "http://a", "bundle": Path("b")}, "--bundle: the service of"),
        ({"url": "http://a"}, "--url: only for --engine http, got --engine local"),
        ({"name": "ray", "api_key_env": "A"}, "--api-key-env: only for --engine http"),
        ({"ray_address": "auto"}, "--ray-address: only for --engine ray"),
    ],
)
def test_what_does_not_fit_an_engine_is_refused(wanted: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Wanted(**wanted)


def test_a_key_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NEWS_KEY", raising=False)
    wanted = Wanted("http", url="http://127.0.0.1:9", api_key_env="NEWS_KEY")
    with pytest.raises(UsageError, match="--api-key-env NEWS_KEY: this variable is not set"):
        chosen_engine(wanted, OPTIONS)
