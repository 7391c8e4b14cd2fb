"""`khabar train` and its kin as a person types them."""

import json
import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from typer.testing import CliRunner

import configs
import khabar
from training.command import TRAIN_EXTRA
from training.runs import Run
from training.settings import Recipe

SMOKE = configs.folder() / "train" / "smoke.yaml"
ROOT = Path(configs.__file__).parent.parent


def invoke(*words: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(khabar.app, [str(word) for word in words])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


def test_a_dry_run_prints_the_resolved_recipe() -> None:
    status, out, _ = invoke("train", SMOKE, "--dry-run", "--set", "seed=7")
    assert status == 0
    assert Recipe.model_validate_json(out).seed == 7
    assert json.loads(out)["optimiser"]["layer_decay"] == 1.0  # defaults stand there too


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            (SMOKE, "--set", "optimiser.epoch=3"),
            "unknown key optimiser.epoch; did you mean epochs?",
        ),
        ((SMOKE, "--set", "optimiser"), "--set optimiser: give key=value"),
        (("none.yaml",), "none.yaml: no such file; the shipped ones are in configs/"),
    ],
)
def test_a_mistake_is_one_line_on_standard_error(words: tuple[object, ...], said: str) -> None:
    status, out, err = invoke("train", *words, "--dry-run")
    assert (status, out) == (1, "")
    assert said in err and err.count("\n") == 1


def test_ctrl_c_ends_with_130_and_the_same_command_goes_on(tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [
        sys.executable, "-m", "khabar", "train", str(SMOKE), "--run", str(run),
        "--set", "tracking.log_steps=1", "--set", "optimiser.epochs=40",
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "step 3 of" in line:
            process.send_signal(signal.SIGINT)
            break
    said = process.stderr.read()
    assert process.wait(60) == 130, said
    assert "stopping after this step" in said
    assert f"is saved in {run}; the same command goes on" in said
    assert "Traceback" not in said
    checkpoint = Run(run).checkpoint
    assert checkpoint is not None and not (run / "bundle").exists()
    assert int(checkpoint.name.rsplit("-", 1)[1]) < 40 * 5


def test_weights_alone_are_trained_and_the_same_command_makes_their_bundle(tmp_path: Path) -> None:
    words = ("train", SMOKE, "--run", tmp_path / "run", "--set", "optimiser.max_steps=2")
    status, out, _ = invoke(*words, "--weights-only")
    checkpoint = tmp_path / "run" / "checkpoint-2"
    assert (status, out) == (0, f"{checkpoint}\n")
    assert not (tmp_path / "run" / "bundle").exists()
    status, out, _ = invoke(*words, "--set", "export.gate=false")
    assert (status, out) == (0, f"{tmp_path / 'run' / 'bundle'}\n")
    assert Run(tmp_path / "run").checkpoint == checkpoint


def test_a_loss_of_an_export_that_is_left_out_cannot_be_allowed(tmp_path: Path) -> None:
    words = ("train", SMOKE, "--run", tmp_path / "run", "--weights-only", "--allow-loss")
    status, out, err = invoke(*words)
    assert (status, out) == (2, "")
    assert "--allow-loss" in err and "give one of them" in " ".join(err.split())
    assert not (tmp_path / "run").exists()


def test_libraries_are_silent_and_lines_tell_the_time_left(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "khabar", "train", str(SMOKE), "--run", str(tmp_path / "run")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "2"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'run' / 'bundle'}\n"
    lines = done.stderr.splitlines()
    assert all(line[2] == ":" and line[5] == ":" for line in lines), done.stderr  # HH:MM:SS
    assert any(" min left, loss {" in line for line in lines)


def test_a_run_is_reported_exported_and_taken_back(smoke_run: Path, tmp_path: Path) -> None:
    page, numbers = tmp_path / "report.html", tmp_path / "report.json"
    status, out, err = invoke("report", smoke_run, "--html", page, "--json", numbers)
    assert status == 0, err
    assert out.split() == [str(page), str(numbers)]
    assert json.loads(numbers.read_text(encoding="utf-8"))["name"] == "khabar-smoke"
    folders, bundle = tmp_path / "hub", tmp_path / "bundle"
    status, out, err = invoke("export", smoke_run, "--huggingface", folders, "--head", "anercorp")
    assert status == 0, err
    assert out == f"{folders / 'anercorp'}: exact\n"
    status, out, err = invoke("models", "import", folders / "anercorp", bundle)
    assert (status, out) == (0, f"{bundle}\n"), err
    status, out, err = invoke("tag", "--bundle", bundle, ROOT / "annotations/seed/article.txt")
    assert status == 0, err
    assert json.loads(out)["error"] is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("report", "nowhere"), "nowhere: no recipe.json; give the folder of a run"),
        (("export", "nowhere", "--huggingface", "out"), "nowhere: no recipe.json"),
        (("bench", "quantisation", "nowhere"), "nowhere: no recipe.json"),
        (("encoder", "from-bundle", "out", "--bundle", "nowhere"), "nowhere: no bundle.json"),
        (("encoder", "adapt", "nowhere.yaml"), "nowhere.yaml: no such file"),
    ],
)
def test_what_is_not_there_is_named(words: tuple[str, ...], said: str) -> None:
    status, out, err = invoke(*words)
    assert (status, out) == (1, "")
    assert said in err and "Traceback" not in err


def test_scores_are_printed_and_written_where_no_folder_is_yet(
    smoke_bundle: Path, tmp_path: Path
) -> None:
    data = tmp_path / "gold.jsonl"
    data.write_text('{"id": "a", "text": "في بغداد", "entities": []}\n', encoding="utf-8")
    words = ("evaluate", "--task", "ner", "--data", data, "--bundle", smoke_bundle, "--json")
    status, out, _ = invoke(*words, tmp_path / "none" / "yet" / "out.json")
    assert status == 0
    assert (tmp_path / "none" / "yet" / "out.json").read_text(encoding="utf-8") == out
    status, out, err = invoke(*words, tmp_path)  # a folder
    assert status == 1 and json.loads(out)["items"] == 1
    assert f"{tmp_path}: Is a directory" in err


def test_whatever_is_missing_of_the_extra_is_told_by_its_name() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extra = {Requirement(line).name for line in project["optional-dependencies"]["train"]}
    assert {name.replace("-", "_") for name in extra} == set(TRAIN_EXTRA)
