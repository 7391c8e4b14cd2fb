"""`khabar annotations …` as a person types it."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import khabar
from annotations.convert import Conversion
from annotations.jsonl import read_documents, write_documents
from annotations.schema import Document, Span, Stance
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
    for words in ((GOLD, "-"), ("-", tmp_path / "c.jsonl")):
        assert "give /dev/std" in run("convert", *words, status=1).stderr
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


def test_what_is_no_file_is_written_to_and_a_link_stays_one(tmp_path: Path) -> None:
    pipe, link, kept = tmp_path / "pipe", tmp_path / "link.jsonl", tmp_path / "kept.jsonl"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    run("convert", "--to", "khabar", GOLD, pipe)
    assert os.read(reader, 20) == GOLD.read_bytes()[:20] and pipe.is_fifo()
    os.close(reader)
    kept.write_text("old")
    kept.chmod(0o600)
    link.symlink_to(kept)
    run("convert", GOLD, link)
    assert link.is_symlink() and list(read_documents(kept)) == [seed_document()]
    assert kept.stat().st_mode & 0o777 == 0o600
    (tmp_path / "folder").mkdir()
    for verb in (("convert", "--to", "khabar", GOLD), ("show", GOLD, "--html")):
        done = run(*verb, tmp_path / "folder", status=1)
        assert "folder: is a folder; give the name of a file" in done.stderr
    assert "is no folder" in run("convert", "--to", "brat", GOLD, kept, status=1).stderr


def test_a_link_to_itself_is_replaced_and_a_full_device_is_one_line(tmp_path: Path) -> None:
    loop = tmp_path / "loop.html"
    loop.symlink_to(loop)
    run("show", GOLD, "--html", loop)
    assert "</html>" in loop.read_text(encoding="utf-8")
    if Path("/dev/full").exists():
        told = run("convert", "--to", "khabar", GOLD, "/dev/full", status=1).stderr
        assert told == "khabar: the output: No space left on device; give another path\n"


def test_packed_files_are_read_by_every_verb_and_not_written(tmp_path: Path) -> None:
    packed = tmp_path / "gold.jsonl.gz"
    packed.write_bytes(gzip.compress(GOLD.read_bytes()))
    assert run("validate", packed).stdout == "no problem found\n"
    for name in ("a.json", "a.markup", "a.conll"):
        run("convert", packed, tmp_path / name)
        again = tmp_path / f"{name}.gz"
        again.write_bytes(gzip.compress((tmp_path / name).read_bytes()))
        counted = [run("stats", path).stdout for path in (tmp_path / name, again)]
        assert counted[0] == counted[1]
    ids = [d.id for d in Conversion().read(tmp_path / "a.conll.gz")]
    assert ids[0] == "a-1"
    assert "is not packed" in run("convert", GOLD, tmp_path / "b.jsonl.gz", status=1).stderr
    (tmp_path / "empty.jsonl.gz").write_bytes(b"")
    assert "no whole gzip file" in run("stats", tmp_path / "empty.jsonl.gz", status=1).stderr


def test_one_more_label_of_one_annotator_renames_no_other(tmp_path: Path) -> None:
    first, second = tmp_path / "a.conll", tmp_path / "b.conll"
    first.write_text("سالم B-PER\nفي O\nعمان B-LOC\n", encoding="utf-8")
    second.write_text("سالم B-PER\nفي B-DATE\nعمان B-LOC\n", encoding="utf-8")
    spans = json.loads(run("agree", first, second).stdout)["spans"]
    assert spans == {"first": 2, "second": 3, "both": 2, "f1": 0.8}


def test_a_project_is_not_made_over_its_own_tasks(tmp_path: Path) -> None:
    run("labelstudio", GOLD, tmp_path)
    before = (tmp_path / "tasks.json").read_bytes()
    done = run("labelstudio", tmp_path / "tasks.json", tmp_path, status=1)
    assert "is what the project is made of" in done.stderr
    assert (tmp_path / "tasks.json").read_bytes() == before
    run("labelstudio", tmp_path / "none.jsonl", tmp_path / "new", status=1)
    assert not (tmp_path / "new").exists()


def test_a_view_of_what_lies_outside_its_text_is_refused(tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    stance = Stance("س", "favor", evidence=((-3, -1),))
    write_documents(bad, [Document("d", "0123456789", stances=(stance,))])
    page = tmp_path / "a.html"
    for words in (("show", bad), ("show", bad, "--diff", bad)):
        assert "lies outside the text" in run(*words, "--html", page, status=1).stderr
