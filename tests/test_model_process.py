"""The model in its process: what the Tagger reads, whatever happens to the child."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from serving import model_child, model_process
from serving.bundle import DEFAULT_FOLDER, MANIFEST, MODEL
from serving.model_process import ModelProcess, ModelProcessError, ReadingFault
from serving.prediction import Article
from serving.tagger import Tagger
from tests.poisonable import DEADLY, PANIC, WRONG

ROOT = Path(__file__).parents[1]
ARTICLES = [
    Article("زار الرئيس محمد مرسي بغداد، وبالبوكمال عاد الهدوء.", "a1", targets="auto"),
    Article("a\ud800", "a\ud800"),
    Article("فاز الأهلي على الزمالك في القاهرة 😀.", claims=("فاز الزمالك",)),
    Article("…", "empty"),
]


@pytest.fixture(scope="module")
def model() -> Iterator[ModelProcess]:
    opened = ModelProcess(DEFAULT_FOLDER, "cpu", 2)
    yield opened
    opened.close()


@pytest.fixture
def mortal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelProcess]:
    """A model in a folder of its own, replaced at once."""
    folder = tmp_path / "bundle"
    shutil.copytree(DEFAULT_FOLDER, folder)
    monkeypatch.setattr(model_process, "RETRY_S", 0.0)
    opened = ModelProcess(folder, "cpu", 2)
    yield opened
    opened.close()


def kill(model: ModelProcess) -> None:
    child = model._child.process
    child.kill()
    child.wait(30)


@pytest.fixture(scope="module")
def poisonable() -> Iterator[ModelProcess]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_process, "START", "from tests.poisonable import main; main()")
        patch.setattr(model_process, "ROOT", ROOT)
        opened = ModelProcess(DEFAULT_FOLDER, "cpu", 2)
        yield opened
        opened.close()


def child_of(model: ModelProcess) -> psutil.Process:
    return psutil.Process(model._child.process.pid)


def test_it_reads_as_the_tagger_here(model: ModelProcess, default_tagger: Tagger) -> None:
    read: list[tuple[int, int]] = []
    here: list[tuple[int, int]] = []
    model.on_read = lambda *counts: read.append(counts)
    default_tagger.reader.on_read = lambda *counts: here.append(counts)
    try:
        assert model.tag(ARTICLES) == default_tagger.tag(ARTICLES)
        assert model.tag(ARTICLES, 10) == default_tagger.tag(ARTICLES, 10)
    finally:
        default_tagger.reader.on_read = model.on_read = None
    assert len(read) == 2
    assert [sum(column) for column in zip(*read, strict=True)] == [
        sum(column) for column in zip(*here, strict=True)
    ]


def test_threads_share_it(model: ModelProcess, default_tagger: Tagger) -> None:
    expected = default_tagger.tag(ARTICLES)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: model.tag(ARTICLES), range(24)))
    assert all(answer == expected for answer in answers)


def test_it_steps_back_for_the_worker_and_ignores_the_signals_of_a_group(
    model: ModelProcess,
) -> None:
    child = child_of(model)
    assert child.nice() == min(psutil.Process().nice() + model_child.NICE, 19)
    child.send_signal(signal.SIGINT)
    child.send_signal(signal.SIGTERM)
    assert len(model.tag(ARTICLES)) == len(ARTICLES)
    assert child.is_running() and child_of(model) == child


def test_a_killed_child_is_replaced_and_what_it_read_is_read_again(
    model: ModelProcess, default_tagger: Tagger
) -> None:
    expected = default_tagger.tag(ARTICLES * 20)
    child = child_of(model)
    with ThreadPoolExecutor(2) as threads:
        answers = [threads.submit(model.tag, ARTICLES * 20) for _ in range(2)]
        child.kill()
        assert all(answer.result(120) == expected for answer in answers)
    assert child_of(model) != child


def test_an_article_that_kills_is_named_and_harms_no_other(
    poisonable: ModelProcess, default_tagger: Tagger
) -> None:
    expected = default_tagger.tag(ARTICLES)
    ended = threading.Event()
    answers = []

    def read_on() -> None:
        while not ended.is_set():
            answers.append(poisonable.tag(ARTICLES))

    other = threading.Thread(target=read_on)
    other.start()
    for _ in range(2):
        with pytest.raises(ModelProcessError, match="died while it read a batch, twice"):
            poisonable.tag([Article(f"{DEADLY} محمد")])
    ended.set()
    other.join(60)
    assert answers and all(answer == expected for answer in answers)


@pytest.mark.parametrize(("word", "kind"), [(WRONG, "ValueError"), (PANIC, "Panic")])
def test_a_fault_tells_where_and_not_what(
    poisonable: ModelProcess, capfd: pytest.CaptureFixture[str], word: str, kind: str
) -> None:
    child = child_of(poisonable)
    with pytest.raises(ReadingFault) as caught:
        poisonable.tag([Article(f"{word} محمد")])
    assert caught.value.places.startswith(f"{kind} at poisonable.py:")
    assert word not in str(caught.value) + "".join(capfd.readouterr())
    assert poisonable.tag(ARTICLES[:1])[0].entities
    assert child_of(poisonable) == child


def test_a_child_that_cannot_be_replaced_is_a_problem_until_it_can(
    mortal: ModelProcess, caplog: pytest.LogCaptureFixture
) -> None:
    model = mortal.bundle.folder / MODEL
    sound = model.read_bytes()
    model.write_bytes(sound[:-1])
    kill(mortal)
    for _ in range(2):
        with pytest.raises(ModelProcessError, match=f"{MODEL}: sha256 is"):
            mortal.tag(ARTICLES)
    assert mortal.problem and f"{MODEL}: sha256 is" in mortal.problem
    assert "the model's process died (exit -9)" in caplog.text
    assert "cannot be started anew" in caplog.text
    model.write_bytes(sound)
    assert len(mortal.tag(ARTICLES)) == len(ARTICLES)
    assert mortal.problem is None


def test_it_is_not_tried_again_at_once(
    mortal: ModelProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_process, "RETRY_S", 1000.0)
    manifest = mortal.bundle.folder / MANIFEST
    sound = manifest.read_bytes()
    manifest.write_bytes(b"{}")
    kill(mortal)
    with pytest.raises(ModelProcessError):
        mortal.tag(ARTICLES)
    manifest.write_bytes(sound)
    with pytest.raises(ModelProcessError):
        mortal.tag(ARTICLES)


def test_another_bundle_in_the_folder_does_not_answer_under_the_old_name(
    mortal: ModelProcess,
) -> None:
    manifest = mortal.bundle.folder / MANIFEST
    changed = json.loads(manifest.read_bytes()) | {"version": "99"}
    manifest.write_text(json.dumps(changed), encoding="utf-8")
    kill(mortal)
    with pytest.raises(ModelProcessError, match="holds another bundle now; restart"):
        mortal.tag(ARTICLES)


def test_closing_ends_what_is_being_read_and_nothing_begins_anew(mortal: ModelProcess) -> None:
    with ThreadPoolExecutor(2) as threads:
        reading = [threads.submit(mortal.tag, ARTICLES * 300) for _ in range(2)]
        time.sleep(0.5)
        child = child_of(mortal)
        mortal.close()
        for one in reading:
            with pytest.raises(ModelProcessError, match="the model is closed"):
                one.result(30)
    assert not child.is_running()
    with pytest.raises(ModelProcessError, match="the model is closed"):
        mortal.tag(ARTICLES)


def test_what_keeps_a_child_from_loading_is_told() -> None:
    with pytest.raises(ModelProcessError, match="device 'cuda' needs CUDAExecutionProvider"):
        ModelProcess(DEFAULT_FOLDER, "cuda", 1)


def test_a_child_that_ends_while_loading_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_process, "START", "raise SystemExit(7)")
    with pytest.raises(ModelProcessError, match=r"ended while loading \(exit 7\)"):
        ModelProcess(DEFAULT_FOLDER, "cpu", 1)


READING = """
import threading
threading.Thread(target=model.tag, args=([Article("زار محمد بغداد. " * 12_000)] * 20,)).start()
"""


@pytest.mark.parametrize("work", ["", READING])
def test_no_child_outlives_a_worker_that_is_killed_whatever_it_reads(work: str) -> None:
    code = (
        "from serving.model_process import ModelProcess\n"
        "from serving.bundle import DEFAULT_FOLDER\n"
        "from serving.prediction import Article\n"
        "model = ModelProcess(DEFAULT_FOLDER, 'cpu', 2)\n"
        f"{work}\n"
        "print(model._child.process.pid, flush=True)\n"
        "input()"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, text=True, stdin=-1, stdout=-1
    )
    assert worker.stdout
    child = psutil.Process(int(worker.stdout.readline()))
    time.sleep(0.5)
    worker.kill()
    worker.wait()
    child.wait(30)


def test_a_caller_that_fails_while_it_waits_leaves_no_answer_to_the_next(
    model: ModelProcess, default_tagger: Tagger
) -> None:
    looks = 0

    def fails() -> bool:  # not before the child has its articles
        nonlocal looks
        looks += 1
        if looks > 1:
            raise ValueError("of the caller")
        return False

    child = child_of(model)
    with pytest.raises(ValueError, match="of the caller"):
        model.tag(ARTICLES * 20, gone=fails)
    assert model.tag(ARTICLES) == default_tagger.tag(ARTICLES)
    assert child_of(model) != child
