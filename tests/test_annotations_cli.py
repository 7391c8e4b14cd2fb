"""`khabar annotations …` as a person types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import khabar
from annotations.jsonl import read_documents, write_documents
from annotations.schema import Document, Span
from annotations.seed import FOLDER, seed_document

GOLD = FOLDER / "gold.jsonl"


def run(*words: object, status: int = 0) -> Result:
    done = CliRunner().invoke(khabar.app, ["annotations", *(str(word) for word in words)])
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    assert done.exit_code == status, done.stderr
    return done


def test_convert_goes_there_and_back_and_says_what_is_lost(tmp_path: Path) -> None:
    for name in ("a.json", "a.markup", "a"):
        run("convert", GOLD, tmp_path / name)
        run("convert", tmp_path / name, tmp_path / "again.jsonl")
        assert list(read_documents(tmp_path / "again.jsonl")) == [seed_document()]
    done = run("convert", GOLD, tmp_path / "a.bio")
    assert "8 x entity inside another left out: flat CoNLL holds one tag" in done.stderr
    assert "20 x stance left out: CoNLL has none" in done.stderr


def test_formats_can_be_named(tmp_path: Path) -> None:
    run("convert", "--to", "conll", GOLD, tmp_path / "a.txt")
    run("convert", "--from", "conll", tmp_path / "a.txt", tmp_path / "b.jsonl")
    assert sum(len(d.entities or ()) for d in read_documents(tmp_path / "b.jsonl")) == 129
    assert "unknown format 'xml'" in run("convert", "--to", "xml", GOLD, "b", status=1).stderr


def test_a_label_studio_project_comes_with_tasks_to_correct(tmp_path: Path) -> None:
    run("labelstudio", GOLD, tmp_path / "project")
    assert "كيان جغرافي سياسي" in (tmp_path / "project" / "project.xml").read_text("utf-8")
    (task,) = json.loads((tmp_path / "project" / "tasks.json").read_text("utf-8"))
    assert "annotations" not in task
    labels = [r for r in task["predictions"][0]["result"] if r.get("from_name") == "entities"]
    assert len(labels) == 129
    run("labelstudio", "--completed", GOLD, tmp_path / "project")
    (task,) = json.loads((tmp_path / "project" / "tasks.json").read_text("utf-8"))
    assert "predictions" not in task and len(task["annotations"]) == 1


def test_two_files_of_conll_are_compared_sentence_by_sentence(tmp_path: Path) -> None:
    first, second = tmp_path / "huda.conll", tmp_path / "omar.conll"
    first.write_text("زار O\nباريس B-LOC\n\nقال O\nعلي B-PERS\n", encoding="utf-8")
    second.write_text("زار O\nباريس B-ORG\n\nقال O\nعلي B-PERS\n", encoding="utf-8")
    report = json.loads(run("agree", first, second).stdout)
    assert report["spans"]["f1"] == 0.5
    assert {found["id"] for found in report["disagreements"]} == {"huda-1"}
    page = tmp_path / "page.html"
    run("show", first, "--diff", second, "--html", page)
    assert "باريس" in page.read_text(encoding="utf-8")
    second.write_text("زار O\nباريس B-ORG\n", encoding="utf-8")
    assert "huda-2" in run("agree", first, second, status=1).stderr


def test_stats_agree_and_validate_print_what_they_found(tmp_path: Path) -> None:
    assert json.loads(run("stats", GOLD).stdout)["entities"]["GPE"] == 49
    report = json.loads(run("agree", GOLD, GOLD).stdout)
    assert report["spans"]["f1"] == 1.0 and report["disagreements"] == []
    assert run("validate", GOLD).stdout == "no problem found\n"
    bad = tmp_path / "bad.jsonl"
    write_documents(bad, [Document("d", "نص", entities=(Span(0, 9, "GPE"),))])
    assert "d: GPE [0, 9): ends past the text" in run("validate", GOLD, bad, status=1).stdout


def test_views_are_written(tmp_path: Path) -> None:
    run("show", GOLD, "--html", tmp_path / "a.html")
    run("show", GOLD, "--diff", FOLDER / "annotator-1.jsonl", "--html", tmp_path / "b.html")
    assert (tmp_path / "a.html").read_text("utf-8").count('class="text"') == 1
    assert (tmp_path / "b.html").read_text("utf-8").count('class="text"') == 2


@pytest.mark.parametrize("verb", ["stats", "validate"])
def test_a_file_that_cannot_be_read_is_one_line_and_status_1(tmp_path: Path, verb: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("{}\n")
    done = run(verb, path, status=1)
    assert done.stderr.startswith("khabar: ") and done.stderr.count("\n") == 1
    assert "no such file" in run(verb, tmp_path / "none.jsonl", status=1).stderr


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    out = tmp_path / "none" / "a.html"
    told = run("show", GOLD, "--html", out, status=1).stderr
    assert told == f"khabar: {out}: No such file or directory; give another path\n"


def test_a_file_may_be_written_over_itself_and_survives_what_goes_wrong(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(GOLD.read_bytes())
    run("convert", path, path)
    assert list(read_documents(path)) == [seed_document()]
    bad = tmp_path / "bad.json"
    bad.write_text("[{")
    before = path.read_bytes()
    run("convert", bad, path, status=1)
    assert path.read_bytes() == before
    run("convert", bad, tmp_path / "brat", status=1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.jsonl", "bad.json"]


def test_a_page_takes_the_place_of_nothing_it_is_made_of(tmp_path: Path) -> None:
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    for path in (first, second):
        path.write_bytes(GOLD.read_bytes())
    for page in (first, second):
        done = run("show", first, "--diff", second, "--html", page, status=1)
        assert "is what the page is made of" in done.stderr
        assert page.read_bytes() == GOLD.read_bytes()


def test_a_project_is_written_whole_or_not_and_knows_every_label(tmp_path: Path) -> None:
    project = tmp_path / "project.xml"
    project.write_text("<View>own</View>")
    run("labelstudio", tmp_path / "none.jsonl", tmp_path, status=1)
    assert project.read_text() == "<View>own</View>"
    (tmp_path / "a.conll").write_text("سالم B-PER\n")
    run("labelstudio", tmp_path / "a.conll", tmp_path)
    assert project.read_text("utf-8").count('<Label value="PER"') == 1


def test_what_was_left_out_is_said_by_every_verb(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "a.txt").write_text("ا ب ت")
    (tmp_path / "b" / "a.ann").write_text("T1\tORG 0 1;4 5\tا ت\n")
    for words in (("stats",), ("validate",), ("show", "--html", tmp_path / "a.html")):
        assert "1 x discontinuous span left out" in run(*words, tmp_path / "b").stderr


def test_a_lone_surrogate_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": "a", "text": "\\ud800b", "entities": []}\n')
    done = run("convert", path, tmp_path / "b.jsonl", status=1)
    assert done.stderr.count("\n") == 1 and "lone surrogate" in done.stderr
