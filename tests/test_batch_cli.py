"""`khabar batch` as a person types it: what it writes, says and exits with."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import typer
from batch_tagger import InlineEngine, NameTagger, results, write_jsonl
from typer.testing import CliRunner

from serving.batch.cli import batch_app
from serving.batch.estimate import estimate
from serving.batch.options import BatchOptions
from serving.batch.progress import Pace, progress_to
from serving.batch.sources import find_sources
from serving.bundle import DEFAULT_FOLDER
from serving.tagger import Tagger

TEXTS = ["وصل محمد إلى بغداد", "بغداد", "القوات في بغداد"]


@pytest.fixture
def given(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "a.jsonl", TEXTS)


@pytest.fixture(autouse=True)
def no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tagger of names in this process stands in for workers."""
    monkeypatch.setattr(
        "serving.batch.engines.LocalEngine", lambda bundle, options, workers: InlineEngine(options)
    )
    monkeypatch.setattr("serving.batch.engines.bundle_tagger", lambda bundle: NameTagger())


class Done:
    """A command that has run: its status, what it printed and what it said of errors."""

    def __init__(self, *words: object) -> None:
        command = [str(word) for word in words]
        if command[0] != "batch-compare":
            command.insert(0, "batch")
        result = CliRunner().invoke(batch_app, command)
        assert result.exception is None or isinstance(result.exception, SystemExit), (
            f"a traceback would be shown: {result.exception!r}"
        )
        self.status, self.out, self.err = result.exit_code, result.stdout, result.stderr


def test_a_job_ends_with_what_it_wrote(tmp_path: Path, given: Path) -> None:
    output = tmp_path / "out"
    done = Done(given, output)
    assert (done.status, done.out) == (0, f"{output}: 3 articles, 0 rejects in 1 parts\n")
    assert [r["id"] for r in results(output)] == ["a0", "a1", "a2"]
    again = Done(given, output)
    assert again.out == f"{output}: 3 articles, 0 rejects in 1 parts (1 were done already)\n"


def test_options_reach_the_job(tmp_path: Path) -> None:
    rows = [{"u": "x", "body": text} for text in TEXTS]
    given = tmp_path / "a.data"
    given.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    words = (
        "--column", "text=body", "--column", "id=u", "--target", "محمد", "--claim", "وصل",
        "--limit", 2, "--part-rows", 1, "--format", "jsonl", "--keep-text", "--no-entity-table",
    )  # fmt: skip
    more = shutil.copy(given, tmp_path / "b.data")
    done = Done(*words, given, more, tmp_path / "out")
    assert "2 articles, 0 rejects in 2 parts; 1 repeated ids, see summary.json" in done.out
    found = results(tmp_path / "out")
    assert [(r["id"], r["text"]) for r in found] == [("x", text) for text in TEXTS[:2]]
    assert [a["target"] for a in found[0]["stances"]] == ["محمد"]
    assert [a["claim"] for a in found[0]["claims"]] == ["وصل"]
    assert not (tmp_path / "out" / "entities").exists()


def test_rejects_are_told_and_fail_under_strict_alone(tmp_path: Path, given: Path) -> None:
    with given.open("a", encoding="utf-8") as out:
        out.write("{\n")
    done = Done(given, tmp_path / "out")
    assert done.status == 0 and done.out.endswith(
        "1 rejects in 1 parts; the first reject: a.jsonl:4 not JSON (Expecting property name "
        "enclosed in double quotes at column 2)\n"
    )
    assert Done("--strict", given, tmp_path / "out").status == 3
    clean = write_jsonl(tmp_path / "b.jsonl", TEXTS)
    assert Done("--strict", clean, tmp_path / "other").status == 0


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["missing.jsonl", "out"], "missing.jsonl: cannot be read"),
        (["--column", "text", "a", "out"], "--column text: write FIELD=NAME"),
        (["--column", "text=a", "--column", "text=b", "a", "out"], "text is in a already"),
        (["", "out"], "an input is an empty name"),
        (["--format", "parquet", "-", "out"], "standard input: Parquet needs a file"),
        (["--sample", "2", "a", "out"], "--sample 2.0: give a share"),
        (["--target", "auto", "--target", "x", "a", "out"], "--target auto asks about the main"),
        (["out"], "Missing argument"),
    ],
)
def test_what_cannot_begin_exits_with_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], complaint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = Done(*words)
    assert done.status == 2 and complaint in done.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("missing", "words", "extra"),
    [
        ("trafilatura", ["a.html"], "batch"),
        ("pyarrow", ["a.jsonl", "--output-format", "parquet"], "batch"),
        ("zstandard", ["b.jsonl.zst"], "batch"),
        ("ray", ["a.jsonl", "--engine", "ray"], "batch,ray"),
    ],
)
def test_a_missing_extra_exits_with_two_and_leaves_nothing(
    tmp_path: Path,
    given: Path,
    monkeypatch: pytest.MonkeyPatch,
    missing: str,
    words: list[str],
    extra: str,
) -> None:
    monkeypatch.chdir(given.parent)
    for name in ("a.html", "b.jsonl.zst"):
        Path(name).write_bytes(given.read_bytes())
    monkeypatch.setitem(sys.modules, missing, None)
    done = Done(*words, "out")
    command = f'pip install -c constraints.txt -e ".[{extra}]"'
    assert done.status == 2
    assert done.err == f"khabar: {missing} is not installed; run `{command}`\n"
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_a_file_exits_with_two(tmp_path: Path, given: Path) -> None:
    file = shutil.copy(given, tmp_path / "file")
    for output, why in ((file, "File exists"), (file / "out", "Not a directory")):
        done = Done(given, output)
        assert (done.status, done.err) == (2, f"khabar: {output}: {why}; give a folder\n")
        assert Done("batch-compare", output, output).status == 2
    assert file.read_bytes() == given.read_bytes()


def test_automatic_targets_that_are_given_twice_are_the_same_job(
    tmp_path: Path, given: Path
) -> None:
    assert Done("--target", "auto", given, tmp_path / "out").status == 0
    again = Done("--target", "auto", "--target", "auto", given, tmp_path / "out")
    assert "(1 were done already)" in again.out


def test_another_job_in_the_output_exits_with_two(tmp_path: Path, given: Path) -> None:
    Done(given, tmp_path / "out")
    done = Done("--target", "محمد", given, tmp_path / "out")
    assert done.status == 2 and "--restart to begin anew" in done.err
    assert Done("--restart", "--target", "محمد", given, tmp_path / "out").status == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_exits_with_130_and_the_job_goes_on(
    tmp_path: Path, given: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    class Signalled(InlineEngine):
        def run(self, parts: Any, beat: Any) -> Any:
            yield from super().run(self._until_second(parts), beat)

        def _until_second(self, parts: Any) -> Any:
            for part in parts:
                if part.number == 1:
                    signal.raise_signal(number)
                yield part

    words = ("--part-rows", 1, given, tmp_path / "out")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # nohup has it ignored
    with monkeypatch.context() as patch:
        patch.setattr("serving.batch.engines.LocalEngine", lambda b, options, w: Signalled(options))
        done = Done(*words)
    signal.signal(signal.SIGINT, before)
    assert done.status == 130
    assert done.err.endswith("out: interrupted; start the same command to go on\n")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with monkeypatch.context() as patch:
        patch.setattr("serving.batch.engines.LocalEngine", lambda b, options, w: Signalled(options))
        anew = Done("--restart", *words)
    signal.signal(signal.SIGINT, before)
    assert anew.err.endswith("start the same command without --restart to go on\n")
    assert "in 3 parts (1 were done already)" in Done(*words).out


def test_an_error_on_the_way_exits_with_one(
    tmp_path: Path, given: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Done(given, tmp_path / "out")
    (tmp_path / "out" / "parts" / "part-00000.jsonl").write_bytes(
        (tmp_path / "out" / "parts" / "part-00000.jsonl").read_bytes().replace(b"GPE", b"ORG")
    )
    done = Done(given, tmp_path / "out")
    assert done.status == 1 and "lost or changed after it was written" in done.err


def test_logs_are_json_and_hold_no_text(tmp_path: Path, given: Path) -> None:
    done = Done("--json-logs", "--part-rows", 2, given, tmp_path / "out")
    events = [json.loads(line) for line in done.err.splitlines()]
    assert [event["event"] for event in events] == ["part", "part", "done"]
    assert events[-1]["articles"] == 3 and "محمد" not in done.err + json.dumps(events)


def test_a_dry_run_counts_and_writes_nothing(tmp_path: Path, given: Path) -> None:
    with given.open("a", encoding="utf-8") as out:
        out.write("{\n")
    done = Done("--dry-run", "--part-rows", 3, given, tmp_path / "out")
    assert done.status == 0
    assert done.out.splitlines()[:2] == [
        "1 files, 4 rows, 0.0 MB in 2 parts",
        "3 articles, 1 rejects (1 not_json)",
    ]
    assert not (tmp_path / "out").exists()


def test_what_is_left_out_of_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_jsonl(tmp_path / "in" / "a.jsonl", TEXTS)
    for name in ("b.png", "c.png", "d.docx"):
        (tmp_path / "in" / name).touch()
    words = "3 files of other kinds were left out: .png, .docx"
    assert Done("--dry-run", tmp_path / "in", tmp_path / "out").out.endswith(f"\n{words}\n")
    assert f"khabar: {words}\n" in Done(tmp_path / "in", tmp_path / "out").err
    summary = json.loads((tmp_path / "out" / "summary.json").read_bytes())
    assert summary["left_out"] == {".docx": 1, ".png": 2}
    logged = Done("--json-logs", "--restart", tmp_path / "in", tmp_path / "out").err
    first = json.loads(logged.splitlines()[0])
    assert (first["event"], first["message"]) == ("note", words)


def test_a_dry_run_counts_what_a_run_would_read(given: Path) -> None:
    output = given.parent / "tagged"
    assert Done(given.parent, output).status == 0
    done = Done("--dry-run", given.parent, output)
    assert done.status == 0 and done.out.startswith("1 files, 3 rows")
    assert "lies in the output" in Done("--dry-run", output / "parts", output).err


def test_the_time_is_estimated_from_a_sample_of_all(tmp_path: Path) -> None:
    ticks = iter(range(0, 1000, 64))  # the sample takes 64 seconds
    given = write_jsonl(tmp_path / "a.jsonl", ["بغداد"] * 10 + ["محمد في بغداد"] * 310)
    options = BatchOptions(part_rows=100)
    open_tagger = partial(nullcontext, NameTagger())
    sources = find_sources([str(given)], None)
    found = estimate(sources, options, 2, open_tagger, clock=lambda: float(next(ticks)))
    assert (found.articles, found.parts, found.sampled) == (320, 4, 32)
    assert found.seconds == pytest.approx(320, rel=0.02)  # 64 / 32 * 320 / 2
    assert "about 5 min with 2 workers, by the time that 32 of the articles took" in found.to_text()
    ticks = iter(range(0, 1000, 64))
    found = estimate(sources, options, None, open_tagger, clock=lambda: float(next(ticks)))
    assert found.seconds == pytest.approx(640, rel=0.02)
    assert "about 11 min on one core (--workers tells how many the cluster" in found.to_text()


def test_the_command_has_a_place_beside_others() -> None:
    app = typer.Typer()
    app.add_typer(batch_app)
    app.command("tag")(lambda: None)
    result = CliRunner().invoke(app, ["batch", "--help"])
    assert result.exit_code == 0 and "OUTPUT" in result.stdout


def test_the_shipped_bundle_gives_what_the_tagger_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class RealEngine(InlineEngine):
        def run(self, parts: Any, beat: Any) -> Any:
            from serving.batch.tagging import tag_part

            return (tag_part(part, Tagger.default(), self.options, beat) for part in parts)

    monkeypatch.setattr(
        "serving.batch.engines.LocalEngine", lambda b, options, w: RealEngine(options)
    )
    text = "أوصلت القوات العراقية إلى مدينة القائم 😀 وبالبوكمال."
    given = write_jsonl(tmp_path / "a.jsonl", [text])
    for output_format in ("jsonl", "parquet"):
        output = tmp_path / output_format
        words = ("--target", "auto", "--output-format", output_format, "--bundle", DEFAULT_FOLDER)
        assert Done(*words, given, output).status == 0
    (found,) = results(tmp_path / "jsonl")
    (expected,) = Tagger.default().tag([text])
    answer = expected.to_dict() | {"id": "a0", "stances": found["stances"]}
    assert {name: found[name] for name in answer} == answer
    from serving.batch.sinks import decode_results

    (row,) = decode_results(
        (tmp_path / "parquet" / "parts" / "part-00000.parquet").read_bytes(), "parquet"
    )
    assert {name: row[name] for name in found} == found
    assert all(row[name] is None for name in row.keys() - found.keys())


def test_an_output_that_was_changed_cannot_be_compared(tmp_path: Path, given: Path) -> None:
    for name in ("one", "two"):
        Done(given, tmp_path / name)
    assert Done("batch-compare", tmp_path / "one", tmp_path / "two").status == 0
    (part,) = (tmp_path / "two" / "parts").iterdir()
    part.write_bytes(part.read_bytes().replace(b"a", b"b", 1))
    done = Done("batch-compare", tmp_path / "one", tmp_path / "two")
    assert done.status == 2 and "lost or changed after it was written" in done.err


def test_a_closed_standard_error_shows_no_progress() -> None:
    for json_logs in (False, True):
        progress_to(None, json_logs).show("note", Pace(), message="نص")
