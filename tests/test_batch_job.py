"""Batch jobs: order, outputs and those that are refused, with an engine that needs no processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from batch_tagger import POISON, fake_bundle, rejects, results, run, tree, write_jsonl

import serving.batch
from annotations.errors import MissingExtraError
from serving.batch.errors import BatchError, UsageError, extra, require
from serving.batch.store import LocalStore
from tests.small_job import (
    TEXTS,
    seven_articles,  # noqa: F401 - a fixture
)


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


@pytest.mark.parametrize("code_points", [100_000, 50])
def test_a_part_that_is_tagged_in_several_calls_loses_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code_points: int
) -> None:
    monkeypatch.setattr("serving.batch.tagging._CHUNK_CODE_POINTS", code_points)
    given = write_jsonl(tmp_path / "a.jsonl", ["وصل محمد إلى بغداد"] * 130)
    assert run([given], tmp_path / "out", part_rows=200).parts == 1
    assert [r["id"] for r in results(tmp_path / "out")] == [f"a{i}" for i in range(130)]


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


def test_a_folder_with_other_files_is_refused(tmp_path: Path, given: Path) -> None:
    other = tmp_path / "other" / "parts" / "mine.jsonl"
    other.parent.mkdir(parents=True)
    other.write_text("{}", encoding="utf-8")
    for restart in (False, True):
        with pytest.raises(UsageError, match="holds files that no batch job wrote"):
            run([given], tmp_path / "other", restart=restart)
    assert other.exists()


@pytest.mark.parametrize(
    "manifest",
    [{"name": "My web app"}, [], {"format": 2, "job": {}, "complete": True, "parts": []}],
)
def test_the_manifest_of_another_program_is_not_ours_to_restart(
    tmp_path: Path, given: Path, manifest: object
) -> None:
    out = tmp_path / "web"
    (out / "parts").mkdir(parents=True)
    (out / "parts" / "engine.stl").write_text("precious")
    (out / "manifest.json").write_text(json.dumps(manifest))
    for restart in (False, True):
        with pytest.raises(UsageError, match="holds files that no batch job wrote"):
            run([given], out, restart=restart)
    assert (out / "parts" / "engine.stl").read_text() == "precious"


def test_a_restart_leaves_what_it_did_not_write(tmp_path: Path, given: Path) -> None:
    out = tmp_path / "out"
    run([given], out)
    (out / "parts" / "notes.txt").write_text("mine")
    (out / "manifest.json").write_text("{")  # damaged
    with pytest.raises(UsageError, match="damaged; begin anew with --restart"):
        run([given], out)
    assert run([given], out, restart=True).articles == 7
    assert (out / "parts" / "notes.txt").read_text() == "mine"


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


def test_an_output_that_cannot_be_written_is_named(tmp_path: Path, given: Path) -> None:
    with pytest.raises(BatchError, match=r"a\.jsonl.*(Not a directory|File exists)"):
        run([given], given / "out", bundle=fake_bundle(tmp_path / "bundle"))


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
    for needed in (extra, require):
        words = (
            r'no_such_package is not installed; run `pip install -c constraints.txt -e "\.\[batch'
        )
        with pytest.raises(MissingExtraError, match=words):
            needed("no_such_package")
