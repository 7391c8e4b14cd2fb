"""Batch jobs: order, resume and refusal, with an engine that needs no processes."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.parquet as pq
import pytest
from batch_tagger import (
    POISON,
    Heard,
    InlineEngine,
    fake_bundle,
    rejects,
    results,
    run,
    tree,
    write_jsonl,
)

import serving.batch
from annotations.errors import MissingExtraError
from serving.batch.errors import BatchError, UsageError, extra
from serving.batch.options import BatchOptions
from serving.batch.store import LocalStore

TEXTS = [f"وصل محمد إلى بغداد {'يوما ' * i}" for i in range(7)]


@pytest.fixture
def given(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "a.jsonl", TEXTS)


def engine(**settings: Any) -> InlineEngine:
    return InlineEngine(BatchOptions(part_rows=2), **settings)


def test_every_row_is_an_answer_or_a_reject_in_the_order_of_the_input(tmp_path: Path) -> None:
    texts = [*TEXTS[:2], " ", POISON, "\ud800", TEXTS[2], "ا" * 60, TEXTS[3]]
    lines = [json.dumps({"id": f"a{i}", "text": text}) for i, text in enumerate(texts)]
    lines.insert(3, "{")
    given = tmp_path / "a.jsonl"
    given.write_text("\n".join(lines), encoding="utf-8")
    outcome = run([given], tmp_path / "out", part_rows=4, max_code_points=50)
    assert [(r["id"], r["line"]) for r in results(tmp_path / "out")] == [
        ("a0", 1), ("a1", 2), ("a5", 7), ("a7", 9)
    ]  # fmt: skip
    found = rejects(tmp_path / "out")
    assert [(r["code"], r["line"]) for r in found] == [
        ("not_read", 3), ("not_json", 4), ("not_read", 5), ("not_read", 6), ("too_long", 8)
    ]  # fmt: skip
    assert [r["raw"] for r in found] == [lines[i] for i in (2, 3, 4, 5, 7)]
    assert found[2]["reason"] == "the tagger failed on it (IndexError)"  # its words held the text
    assert (outcome.articles, outcome.rejects, outcome.parts) == (4, 5, 3)


def test_answers_are_those_of_the_api_with_their_place(tmp_path: Path, given: Path) -> None:
    run([given], tmp_path / "out", targets=("محمد",))
    first = results(tmp_path / "out")[0]
    assert list(first)[:4] == ["source", "line", "id", "entities"]
    assert [TEXTS[0][e["start"] : e["end"]] for e in first["entities"]] == ["محمد", "بغداد"]
    assert first["stances"][0]["target"] == "محمد" and "text" not in first


def test_texts_come_along_when_asked_for(tmp_path: Path, given: Path) -> None:
    run([given], tmp_path / "out", keep_text=True)
    assert [r["text"] for r in results(tmp_path / "out")] == TEXTS


def test_parquet_holds_what_jsonl_does(tmp_path: Path, given: Path) -> None:
    asked = {"targets": ("محمد",), "claims": ("وصل",)}
    run([given], tmp_path / "lines", **asked)
    run([given], tmp_path / "table", output_format="parquet", **asked)
    rows = pq.read_table(tmp_path / "table" / "parts").to_pylist()
    for row, expected in zip(rows, results(tmp_path / "lines"), strict=True):
        assert {name: row[name] for name in expected} == expected
        assert all(row[name] is None for name in row.keys() - expected.keys())
    entities = pq.read_table(tmp_path / "table" / "entities").to_pylist()
    lines = [
        json.loads(line)
        for path in sorted((tmp_path / "lines" / "entities").iterdir())
        for line in path.read_bytes().splitlines()
    ]
    assert entities == lines and len(lines) == 14
    assert lines[0] == {
        "source": "a.jsonl", "line": 1, "article_id": "a0", "entity_id": "e1", "start": 4, "end": 8,
        "text": "محمد", "label": "PERS", "coarse": None, "confidence": 0.875, "normalized": "محمد",
        "mention_of": "e1",
    }  # fmt: skip


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


def test_a_folder_with_other_files_is_refused(tmp_path: Path, given: Path) -> None:
    other = tmp_path / "other" / "parts" / "mine.jsonl"
    other.parent.mkdir(parents=True)
    other.write_text("{}", encoding="utf-8")
    for restart in (False, True):
        with pytest.raises(UsageError, match="holds files that no batch job wrote"):
            run([given], tmp_path / "other", restart=restart)
    assert other.exists()


def test_an_empty_folder_is_taken_and_one_whose_job_died_at_once(
    tmp_path: Path, given: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".manifest.json.partial").write_bytes(b"{")
    assert run([given], tmp_path / "out").articles == 7


def test_an_output_that_holds_the_input_is_refused(tmp_path: Path) -> None:
    inside = tmp_path / "out" / "in"
    inside.mkdir(parents=True)
    given = write_jsonl(inside / "a.jsonl", TEXTS)
    with pytest.raises(UsageError, match=r"the input a\.jsonl lies in the output"):
        run([given], tmp_path / "out")


def test_two_jobs_do_not_write_to_one_output(tmp_path: Path, given: Path) -> None:
    with (
        LocalStore(tmp_path / "out").lock(),
        pytest.raises(UsageError, match="another job writes here"),
    ):
        run([given], tmp_path / "out")
    assert run([given], tmp_path / "out").articles == 7


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


def test_an_output_that_cannot_be_written_is_named(tmp_path: Path, given: Path) -> None:
    with pytest.raises(BatchError, match=r"a\.jsonl.*(Not a directory|File exists)"):
        run([given], given / "out", bundle=fake_bundle(tmp_path / "bundle"))


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


def test_an_empty_input_gives_an_empty_output(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"")
    outcome = run([tmp_path / "a.jsonl"], tmp_path / "out")
    assert (outcome.parts, outcome.articles, outcome.rejects) == (0, 0, 0)
    assert set(tree(tmp_path / "out")) == {"manifest.json", "rejects.jsonl", "summary.json"}


def test_the_manifest_of_a_finished_job_lists_its_parts(tmp_path: Path, given: Path) -> None:
    run([given], tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_bytes())
    assert manifest["complete"] and [part["part"] for part in manifest["parts"]] == [0, 1, 2, 3]
    assert sum(part["rows"] for part in manifest["parts"]) == 7
    files = {name for part in manifest["parts"] for name in part["files"]}
    assert files == {n for n in tree(tmp_path / "out") if n.startswith(("parts", "entities"))}


def test_optional_packages_are_loaded_where_they_are_needed() -> None:
    folder = Path(serving.batch.__file__).parent
    stems = {path.stem for path in folder.glob("[a-z]*.py")} - {"served"}  # httpx takes zstandard
    modules = ", ".join(f"serving.batch.{stem}" for stem in sorted(stems))
    wanted = {"fsspec", "pyarrow", "tqdm", "trafilatura", "zstandard", "ray", "bentoml"}
    code = f"import sys, {modules}; print(*({wanted!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder.parent.parent,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""


def test_a_missing_package_names_its_extra() -> None:
    with pytest.raises(
        MissingExtraError, match=r"no_such_package is not installed; install khabar"
    ):
        extra("no_such_package")
