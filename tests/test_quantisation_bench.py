"""The comparison of schemes: every system has its row, and the rows say what they measure."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import training.export.comparison as bench
from training.export.comparison import compare, machine, tables
from training.export.quantisation import SCHEMES
from training.runs import RunError


@pytest.fixture(scope="module")
def run(smoke_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smoke run, with a source that has a development split."""
    folder = tmp_path_factory.mktemp("runs") / "smoke"
    shutil.copytree(smoke_run, folder)
    recipe = json.loads((folder / "recipe.json").read_text("utf-8"))
    recipe["sources"].append({"corpus": "authored", "head": "khabar"})
    (folder / "recipe.json").write_text(json.dumps(recipe), "utf-8")
    return folder


@pytest.fixture(scope="module")
def report(run: Path) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench, "ARTICLES", 6)
        patch.setattr(bench, "ROUNDS", 1)
        found = compare(run, items_per_split=3)
    return found


def test_every_system_has_a_row_that_says_what_it_is_like(report: dict[str, Any]) -> None:
    rows = {row["system"]: row for row in report["systems"]}
    assert list(rows) == ["torch fp32", "onnx fp32", *SCHEMES]
    assert rows["torch fp32"]["to_torch"] == 0.0
    assert 0 < rows["onnx fp32"]["to_torch"] < 1e-4
    for scheme in SCHEMES:
        assert 1e-4 < rows[scheme]["to_torch"] < 1
        assert rows[scheme]["megabytes"] < rows["onnx fp32"]["megabytes"]
    assert rows["static"]["alone_to_batch"] == rows["rowwise"]["alone_to_batch"] == 0.0
    assert rows["static"]["changed_articles"] == rows["rowwise"]["changed_articles"] == 0
    assert rows["dynamic"]["alone_to_batch"] > 1e-4
    for row in rows.values():
        for way in ("alone", "batched"):
            assert 0 < row[f"words_{way}"] < row[f"pieces_{way}"]
    assert report["articles"] == 6
    assert set(report["machine"]["instructions"]) <= set(machine()["instructions"])


def test_losses_are_against_torch_on_the_same_items(report: dict[str, Any]) -> None:
    losses = report["losses"]
    assert [row["system"] for row in losses] == ["onnx fp32", *SCHEMES]
    assert {row["fp32"] for row in losses} == {losses[0]["fp32"]}
    assert losses[0]["loss"] == 0.0
    assert losses[0]["interval"] == (0.0, 0.0)
    assert all((row["items"], row["total"]) == (3, 74) for row in losses)


def test_the_tables_show_all_rows_in_columns(report: dict[str, Any]) -> None:
    systems, losses = tables(report).split("\n\n")
    assert len(systems.splitlines()) == 1 + len(report["systems"])
    assert len(losses.splitlines()) == 1 + len(report["losses"])
    place = systems.splitlines()[0].index("to torch")
    assert [line[place : place + 7] for line in systems.splitlines()[1:2]] == ["0.00000"]
    json.dumps(report)


def test_a_run_without_development_data_is_a_clear_error(smoke_run: Path) -> None:
    with pytest.raises(RunError, match="no source of its recipe has a development split"):
        compare(smoke_run)
