"""Batch jobs that go on where they were stopped, and what they refuse to go on with."""

from __future__ import annotations

import errno
import io
import json
import os
from pathlib import Path
from typing import Any

import fsspec
import pytest
from batch_tagger import Heard, InlineEngine, fake_bundle, results, run, tree, write_jsonl

from serving.batch.errors import BatchError, UsageError
from serving.batch.options import BatchOptions
from serving.batch.store import open_store
from tests.small_job import (
    TEXTS,
    engine,
    seven_articles,  # noqa: F401 - a fixture
)


@pytest.mark.parametrize("output_format", ["jsonl", "parquet"])
@pytest.mark.parametrize("stop", [0, 1, 3])
def test_a_job_that_was_stopped_goes_on_where_it_was(
    tmp_path: Path, given: Path, stop: int, output_format: str
) -> None:
    options = {"output_format": output_format}
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    run([given], whole, **options)
    shape = BatchOptions(part_rows=2, output_format=output_format)  # type: ignore[arg-type]
    bundle = fake_bundle(tmp_path / "whole.bundle")
    with pytest.raises(KeyboardInterrupt):
        run([given], stopped, InlineEngine(shape, stop_before=stop), bundle, **options)
    assert not (stopped / "summary.json").exists()
    again = InlineEngine(shape)
    outcome = run([given], stopped, again, bundle, **options)
    assert again.seen == list(range(stop, 4)) and outcome.parts_read == 4 - stop
    assert tree(stopped) == tree(whole)
    finished = InlineEngine(shape)
    before = (stopped / "summary.json").read_bytes()
    assert run([given], stopped, finished, bundle, **options).articles == 7
    assert finished.seen == [] and (stopped / "summary.json").read_bytes() == before


def test_nothing_done_is_asked_of_a_part_whose_receipt_is_half(tmp_path: Path, given: Path) -> None:
    output = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run([given], output, engine(stop_before=3))
    receipt = output / "done" / "part-00001.json"
    receipt.write_bytes(receipt.read_bytes()[:40])
    again = engine()
    run([given], output, again)
    assert again.seen == [1, 3]
    assert [r["id"] for r in results(output)] == [f"a{i}" for i in range(7)]


@pytest.mark.parametrize("name", ["", "*", "*.jsonl", "sub*", "linked"])
def test_an_output_in_the_folder_of_the_input_is_no_input(tmp_path: Path, name: str) -> None:
    folder, bundle = tmp_path / "arch", fake_bundle(tmp_path / "bundle")
    (folder / "sub").mkdir(parents=True)
    write_jsonl(folder / "a.jsonl", TEXTS)
    write_jsonl(folder / "sub" / "b.jsonl", TEXTS)
    (tmp_path / "linked").symlink_to(folder)
    given = tmp_path / name if name == "linked" else folder / name
    output = folder / "sub" / "tagged"
    outcome = run([given], output, bundle=bundle)
    again = engine()
    assert run([given], output, again, bundle).articles == outcome.articles
    assert again.seen == []
    with pytest.raises(UsageError, match="lies in the output"):
        run([output / "parts"], output, bundle=bundle)


def test_an_output_in_the_input_is_no_input_behind_a_url_either(tmp_path: Path) -> None:
    memory, bundle = fsspec.filesystem("memory"), fake_bundle(tmp_path / "bundle")
    memory.pipe_file("/arch/a.jsonl", write_jsonl(tmp_path / "a.jsonl", TEXTS).read_bytes())
    for _ in range(2):
        assert run(["memory://arch"], "memory://arch/tagged", bundle=bundle).articles == 7


@pytest.mark.parametrize("finished", [False, True])
def test_a_part_that_was_deleted_is_read_again(tmp_path: Path, given: Path, finished: bool) -> None:
    output, heard = tmp_path / "out", Heard()
    run([given], tmp_path / "whole")
    bundle = fake_bundle(tmp_path / "whole.bundle")
    if finished:
        run([given], output, bundle=bundle)
    else:
        with pytest.raises(KeyboardInterrupt):
            run([given], output, engine(stop_before=3), bundle)
    (output / "parts" / "part-00001.jsonl").unlink()
    again = engine()
    run([given], output, again, bundle, progress=heard)
    assert again.seen == ([1] if finished else [1, 3])
    assert tree(output) == tree(tmp_path / "whole")
    notes = [details["message"] for event, details in heard.events if event == "note"]
    assert notes == ["part 1: files were missing, it was read again"]


def test_a_part_that_was_changed_is_named(tmp_path: Path, given: Path) -> None:
    output = tmp_path / "out"
    run([given], output)
    path = output / "parts" / "part-00001.jsonl"
    path.write_bytes(path.read_bytes().replace(b"GPE", b"ORG"))
    with pytest.raises(BatchError, match=r"part-00001\.jsonl: lost or changed after it was wri"):
        run([given], output)
    path.unlink()
    run([given], output)
    assert b"ORG" not in path.read_bytes()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"targets": ("محمد",)}, r'options\.targets was \[\], now is \["محمد"\]'),
        ({"part_rows": 3}, r"options\.part_rows was 2, now is 3"),
        ({"columns": {"text": "title"}}, r"options\.columns"),
    ],
)
def test_other_options_are_refused_with_ways_to_go_on(
    tmp_path: Path, given: Path, change: dict[str, Any], words: str
) -> None:
    run([given], tmp_path / "out")
    before = tree(tmp_path / "out")
    with pytest.raises(UsageError, match=f"{words}.*another output, or --restart"):
        run([given], tmp_path / "out", **change)
    assert tree(tmp_path / "out") == before


def test_an_output_of_another_format_is_not_gone_on_with(tmp_path: Path, given: Path) -> None:
    run([given], tmp_path / "out")
    manifest = tmp_path / "out" / "manifest.json"
    found = json.loads(manifest.read_text(encoding="utf-8"))
    del found["job"]["format"]  # as the first format had it
    manifest.write_text(json.dumps(found), encoding="utf-8")
    with pytest.raises(UsageError, match=r"format was not set, now is 2.*--restart"):
        run([given], tmp_path / "out")


def test_a_damaged_manifest_is_told_with_the_way_out(tmp_path: Path, given: Path) -> None:
    run([given], tmp_path / "out")
    manifest = tmp_path / "out" / "manifest.json"
    manifest.write_bytes(manifest.read_bytes()[:20])
    with pytest.raises(UsageError, match="damaged; begin anew with --restart"):
        run([given], tmp_path / "out")
    assert run([given], tmp_path / "out", restart=True).articles == 7


def test_another_bundle_is_refused(tmp_path: Path, given: Path) -> None:
    run([given], tmp_path / "out")
    other = fake_bundle(tmp_path / "other", content='{"retrained": true}')
    with pytest.raises(UsageError, match=r"bundle\.sha256 was .* now is "):
        run([given], tmp_path / "out", bundle=other)


def test_restart_begins_anew(tmp_path: Path, given: Path) -> None:
    output = tmp_path / "out"
    run([given], output)
    run([given], tmp_path / "whole", part_rows=3)
    kept = output / "notes.txt"
    kept.write_text("mine", encoding="utf-8")
    run([given], output, restart=True, part_rows=3, bundle=fake_bundle(tmp_path / "whole.bundle"))
    assert kept.read_text(encoding="utf-8") == "mine"
    kept.unlink()
    assert tree(output) == tree(tmp_path / "whole")


def test_changed_input_is_refused(tmp_path: Path, given: Path) -> None:
    output = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run([given], output, engine(stop_before=3))
    before = given.read_bytes()
    given.write_bytes(before.replace("محمد".encode(), "أحمد".encode()))  # as many bytes
    with pytest.raises(UsageError, match="part 0 has other rows than before"):
        run([given], output)
    given.write_bytes(before[:-1])
    with pytest.raises(UsageError, match=r"input\.digest was"):
        run([given], output)
    given.write_bytes(before)
    assert run([given], output).articles == 7


def test_standard_input_may_be_given_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def give(texts: list[str]) -> None:
        content = write_jsonl(tmp_path / "piped", texts).read_bytes()
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))

    output = tmp_path / "out"
    give(TEXTS)
    with pytest.raises(KeyboardInterrupt):
        run(["-"], output, engine(stop_before=2))
    give(TEXTS[:2])
    with pytest.raises(UsageError, match="fewer rows than before"):
        run(["-"], output)
    give(TEXTS)
    assert run(["-"], output).parts_read == 2


@pytest.mark.parametrize("when", [1, 4, 6])
def test_a_full_disk_stops_the_job_and_loses_nothing(
    tmp_path: Path, given: Path, monkeypatch: pytest.MonkeyPatch, when: int
) -> None:
    output, calls = tmp_path / "out", [0]

    def full(descriptor: int) -> None:
        calls[0] += 1
        if calls[0] >= when:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("serving.batch.store.os.fsync", full)
        with pytest.raises(BatchError, match="No space left on device; free some space and start"):
            run([given], output)
    assert not [name for name in tree(output) if name.endswith(".partial")]
    run([given], output)
    run([given], tmp_path / "whole", bundle=fake_bundle(tmp_path / "out.bundle"))
    assert tree(output) == tree(tmp_path / "whole")


def test_urls_are_written_and_gone_on_with(tmp_path: Path, given: Path) -> None:
    bundle = fake_bundle(tmp_path / "bundle")
    url = "memory://jobs/out"
    with pytest.raises(KeyboardInterrupt):
        run([given], url, engine(stop_before=2), bundle)
    again = engine()
    run([given], url, again, bundle)
    assert again.seen == [2, 3]
    run([given], tmp_path / "whole", bundle=bundle)
    files = fsspec.filesystem("memory")
    found = {path.removeprefix("/jobs/out/"): files.cat(path) for path in files.find("/jobs/out")}
    expected = tree(tmp_path / "whole")
    assert found.keys() == expected.keys() | {"summary.html"}
    assert all(found[name] == data for name, data in expected.items() if name != "summary.json")
    run([given], url, restart=True, bundle=bundle, part_rows=7)
    assert len(files.find("/jobs/out/parts")) == 1


def test_a_file_behind_a_url_that_is_not_written_to_its_end_is_not_there() -> None:
    store = open_store("memory://half")
    with pytest.raises(KeyboardInterrupt), store.writing("rejects.jsonl") as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert store.names() == []


@pytest.mark.parametrize("method", ["size", "find", "cat_file", "pipe_file", "rm_file"])
def test_an_output_that_its_url_does_not_reach_stops_the_job(
    tmp_path: Path, given: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    class LoginMissingError(Exception):
        """As the libraries behind a URL raise it, which is no OSError."""

    def fail(*arguments: object, **options: object) -> Any:
        raise LoginMissingError("no login")

    url = f"memory://unreached/{method}"
    with monkeypatch.context() as patch:
        patch.setattr(type(fsspec.filesystem("memory")), method, fail)
        with pytest.raises(BatchError, match=f"^{url}.*: LoginMissingError: no login; mend this"):
            run([given], url, bundle=fake_bundle(tmp_path / "bundle"))
