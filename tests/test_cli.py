"""`khabar tag` as a person types it: what it prints, and how it says what is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import khabar
from annotations.jsonl import read_documents
from annotations.seed import FOLDER, seed_text

ARABIC = "أوصلت القوات العراقية إلى مدينة القائم 😀 وبالبوكمال."
SEED = str(FOLDER / "article.txt")


class Done:
    """A command that has run: its status, what it printed and what it said of errors."""

    def __init__(self, bundle: Path | None, *arguments: object, stdin: bytes = b"") -> None:
        options = [] if bundle is None else ["--bundle", str(bundle)]
        words = ["tag", *options, *(str(argument) for argument in arguments)]
        result = CliRunner().invoke(khabar.app, words, input=stdin)
        assert result.exception is None or isinstance(result.exception, SystemExit), (
            f"a traceback would be shown: {result.exception!r}"
        )
        self.status, self.out, self.err = result.exit_code, result.stdout, result.stderr

    def answers(self) -> list[dict[str, Any]]:
        assert self.status == 0, self.err
        return [json.loads(line) for line in self.out.split("\n") if line]

    def complaint(self, status: int = 1) -> str:
        assert self.status == status and "Traceback" not in self.out + self.err
        return self.err


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def document(identifier: str, **fields: object) -> str:
    return json.dumps({"id": identifier, "text": ARABIC} | fields, ensure_ascii=False)


def test_the_seed_is_tagged_as_one_line_of_json(smoke_bundle: Path) -> None:
    (answer,) = Done(smoke_bundle, SEED).answers()
    assert list(answer) == [
        "id", "entities", "groups", "topics", "stances", "claims", "tokens", "error",
    ]  # fmt: skip
    assert (answer["id"], answer["error"]) == (SEED, None)
    assert all(seed_text()[e["start"] : e["end"]] == e["text"] for e in answer["entities"])
    assert len(answer["topics"]) == 1 and answer["stances"] == answer["claims"] == []


def test_jsonl_and_folders_give_a_line_an_article_in_order(
    smoke_bundle: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "أخبار"
    folder.mkdir()
    write(folder / "b.jsonl", f"{document('b1')}\n{document('b2')}\n")
    write(folder / "a.txt", ARABIC)
    alone = write(tmp_path / "c.jsonl", document("c1"))
    answers = Done(smoke_bundle, folder, alone).answers()
    assert [answer["id"] for answer in answers] == [str(folder / "a.txt"), "b1", "b2", "c1"]


@pytest.mark.parametrize(
    ("stdin", "ids"),
    [(ARABIC, ["standard input"]), (f"{document('x')}\n{document('y')}\n", ["x", "y"])],
)
def test_standard_input_is_read(smoke_bundle: Path, stdin: str, ids: list[str]) -> None:
    answers = Done(smoke_bundle, "-", stdin=stdin.encode()).answers()
    assert [answer["id"] for answer in answers] == ids


def test_targets_and_claims_are_asked_of_every_article(smoke_bundle: Path) -> None:
    stdin = f"{document('x')}\n{document('y')}\n".encode()
    asked = ("--target", "القوات", "--target", "العراق", "--claim", "دخلت القوات المدينة")
    for answer in Done(smoke_bundle, *asked, "-", stdin=stdin).answers():
        assert [stance["target"] for stance in answer["stances"]] == ["القوات", "العراق"]
        assert [claim["claim"] for claim in answer["claims"]] == ["دخلت القوات المدينة"]
        for found in (*answer["stances"], *answer["claims"]):
            assert all(0 <= start < end <= len(ARABIC) for start, end in found["evidence"])


def test_automatic_targets_are_no_target_of_that_name(smoke_bundle: Path) -> None:
    (answer,) = Done(smoke_bundle, "--target", "auto", SEED).answers()
    assert "auto" not in [stance["target"] for stance in answer["stances"]]


def test_a_bad_article_is_its_own_error_and_the_rest_is_tagged(smoke_bundle: Path) -> None:
    lines = [document("good"), document("empty", text=" "), '{"id": "lone", "text": "\\ud800"}']
    stdin = "\n".join([*lines, document("last")]).encode()
    answers = Done(smoke_bundle, "-", stdin=stdin).answers()
    assert [(answer["id"], answer["error"] is None) for answer in answers] == [
        ("good", True),
        ("empty", False),
        ("lone", False),
        ("last", True),
    ]
    readable = Done(smoke_bundle, "--readable", "-", stdin=stdin)
    assert "empty: error: text is empty" in readable.out


def test_an_id_that_is_no_unicode_is_printed_all_the_same(smoke_bundle: Path) -> None:
    stdin = f'{{"id": "\\ud800", "text": "{ARABIC}"}}\n{document("b")}'.encode()
    answers = Done(smoke_bundle, "-", stdin=stdin).answers()
    assert [answer["id"] for answer in answers] == ["\ud800", "b"]
    lines = Done(smoke_bundle, "--readable", "-", stdin=stdin).out.splitlines()
    assert lines[0] == r"\ud800" and "b" in lines


def test_people_read_topic_stances_and_names(smoke_bundle: Path) -> None:
    asked = ("--readable", "--target", "القوات", "--claim", "دخلت القوات")
    done = Done(smoke_bundle, *asked, SEED)
    assert done.status == 0 and done.out.startswith(f"{SEED}\n")
    assert "{" not in done.out
    heads = [line.split()[0] for line in done.out.splitlines()[1:]]
    assert heads[:3] == ["topic", "stance", "claim"]
    assert done.out.splitlines()[2].endswith("القوات")


def test_names_are_counted_for_people() -> None:
    from serving.cli import _readable
    from serving.prediction import Entity, Labelled, Prediction

    def entity(start: int, label: str, name: str) -> Entity:
        return Entity("e1", start, start + 1, "x", label, None, 0.9, name, "e1")

    found = [entity(0, "ORG", "الجيش"), entity(1, "GPE", "حمص"), entity(2, "GPE", "القائم")]
    prediction = Prediction(
        "a1", (*found, entity(3, "GPE", "القائم")), (Labelled("politics", 0.974),)
    )
    assert _readable(prediction).splitlines() == [
        "a1",
        "  topic   politics 0.97",
        "  GPE      القائم (2)، حمص",
        "  ORG      الجيش",
    ]


def test_a_view_is_written_beside_the_answers(smoke_bundle: Path, tmp_path: Path) -> None:
    page = tmp_path / "view.html"
    stdin = f"{document('x')}\n{document('y', title='عنوان </script>')}\n".encode()
    done = Done(smoke_bundle, "--html", page, "-", stdin=stdin)
    assert [answer["id"] for answer in done.answers()] == ["x", "y"]
    html = page.read_text(encoding="utf-8")
    start = html.index('id="khabar-data">') + len('id="khabar-data">')
    data = json.loads(html[start : html.index("</script>", start)])
    assert [item["article"]["text"] for item in data["items"]] == [ARABIC, ARABIC]
    assert [item["prediction"] for item in data["items"]] == done.answers()
    assert data["model"]["name"] == "khabar-smoke"


def test_a_view_that_cannot_be_written_is_said(smoke_bundle: Path, tmp_path: Path) -> None:
    page = tmp_path / "missing" / "view.html"
    assert f"khabar: {page}" in Done(smoke_bundle, "--html", page, SEED).complaint()


def test_a_view_takes_the_place_of_no_article(smoke_bundle: Path, tmp_path: Path) -> None:
    article = write(tmp_path / "a.txt", ARABIC)
    for given in (article, tmp_path):
        done = Done(smoke_bundle, "--html", article, given)
        assert "is among the articles" in done.complaint() and done.out == ""
    assert article.read_text("utf-8") == ARABIC
    for _ in range(2):  # a view among them is no article, and may be made anew
        assert len(Done(smoke_bundle, "--html", tmp_path / "view.html", tmp_path).answers()) == 1


def test_files_of_other_kinds_are_told(smoke_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "deeper").mkdir()
    write(tmp_path / "deeper" / "a.json", document("a"))
    for name in ("b.docx", "c.png", "d.png"):
        write(tmp_path / name, "")
    done = Done(smoke_bundle, tmp_path)
    assert [answer["id"] for answer in done.answers()] == ["a"]
    assert done.err == "khabar: 3 files of other kinds were left out: .png, .docx\n"


def test_automatic_targets_stand_alone(smoke_bundle: Path) -> None:
    done = Done(smoke_bundle, "--target", "auto", "--target", "بغداد", SEED)
    assert "--target auto" in done.complaint()
    twice = Done(smoke_bundle, "--target", "auto", "--target", "auto", SEED).answers()
    assert twice == Done(smoke_bundle, "--target", "auto", SEED).answers()


def test_documents_are_not_for_people(smoke_bundle: Path) -> None:
    done = Done(smoke_bundle, "--documents", "--readable", SEED)
    assert "--documents prints JSONL" in done.complaint() and done.out == ""


def test_documents_keep_where_an_article_is_from(smoke_bundle: Path, tmp_path: Path) -> None:
    about = {"source": "bbc", "date": "2020-01-01", "license": "CC0-1.0"}
    done = Done(smoke_bundle, "--documents", "-", stdin=document("a", **about).encode())
    (found,) = read_documents(write(tmp_path / "drafts.jsonl", done.out))
    assert (found.source, found.date, found.license) == tuple(about.values())
    assert found.entities is not None


def test_answers_can_be_documents_to_correct(smoke_bundle: Path, tmp_path: Path) -> None:
    lines = [document("a"), document("b", text=" ")]
    asked = ("--documents", "--target", "القوات", "--claim", "دخلت القوات", "-")
    done = Done(smoke_bundle, *asked, stdin="\n".join(lines).encode())
    drafts = write(tmp_path / "drafts.jsonl", done.out)
    first, second = read_documents(drafts)
    (answer,) = Done(smoke_bundle, "-", stdin=lines[0].encode()).answers()
    assert [(s.start, s.end) for s in first.entities or ()] == [
        (e["start"], e["end"]) for e in answer["entities"]
    ]
    assert [stance.target for stance in first.stances or ()] == ["القوات"]
    assert len(first.claims or ()) == 1 and first.topic is not None
    assert (second.id, second.entities, second.topic) == ("b", None, None)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: folder / "missing.txt", "missing.txt: cannot be read"),
        (lambda folder: folder, "no .txt, .jsonl, .ndjson, .json file in this"),
        (lambda folder: write(folder / "a.jsonl", "{"), "a.jsonl:1: not JSON"),
        (lambda folder: write(folder / "a.jsonl", '{"id": "a"}'), "a.jsonl:1: field 'text'"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line_and_status_1(
    smoke_bundle: Path, tmp_path: Path, make: Any, words: str
) -> None:
    complaint = Done(smoke_bundle, make(tmp_path)).complaint()
    assert complaint.startswith("khabar: ") and words in complaint
    assert complaint.count("\n") == 1


def test_what_is_not_utf8_is_one_line_and_status_1(smoke_bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(ARABIC.encode("cp1256", errors="ignore"))
    assert "not UTF-8" in Done(smoke_bundle, path).complaint()
    assert "not UTF-8" in Done(smoke_bundle, "-", stdin=path.read_bytes()).complaint()


def test_what_was_read_before_an_error_is_printed(smoke_bundle: Path, tmp_path: Path) -> None:
    done = Done(smoke_bundle, write(tmp_path / "a.jsonl", f"{document('a')}\n[]"))
    assert "a.jsonl:2" in done.complaint()
    assert json.loads(done.out)["id"] == "a"


def test_a_folder_that_is_no_bundle_is_one_line_and_status_1(tmp_path: Path) -> None:
    complaint = Done(tmp_path, SEED).complaint()
    assert complaint == (
        f"khabar: {tmp_path}: no bundle.json; give the folder of a bundle that `khabar train` "
        "finished\n"
    )


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "Missing argument"),
        (["--colour", "red", SEED], "--colour"),
        (["--target"], "--target"),
        ([SEED, "--html"], "--html"),
    ],
)
def test_what_is_not_a_command_is_status_2(
    smoke_bundle: Path, arguments: list[str], named: str
) -> None:
    assert named in Done(smoke_bundle, *arguments).complaint(2)


def test_an_unknown_verb_is_status_2_and_help_is_no_error() -> None:
    runner = CliRunner()
    assert runner.invoke(khabar.app, ["sing"]).exit_code == 2
    shown = runner.invoke(khabar.app, ["--help"])
    assert shown.exit_code == 0
    for verb in (
        "tag",
        "evaluate",
        "train",
        "report",
        "export",
        "serve",
        "encoder",
        "models",
        "bench",
    ):
        assert verb in shown.stdout


def test_a_real_process_writes_utf8_and_takes_any_file_name(
    smoke_bundle: Path, tmp_path: Path
) -> None:
    named = os.fsencode(tmp_path) + b"/\xc8\xc7.txt"  # a name in windows-1256
    with open(named, "wb") as file:
        file.write(ARABIC.encode())
    done = subprocess.run(
        [sys.executable, khabar.__file__, "tag", "--bundle", smoke_bundle, named, "-"],
        input=ARABIC.encode(),
        capture_output=True,
        timeout=120,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )
    assert done.returncode == 0, done.stderr.decode()
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    # json keeps the byte that is no character as Python does, so the file can be found again
    assert os.fsencode(first["id"]) == named and second["id"] == "standard input"
    assert first["entities"] == second["entities"]


@pytest.mark.parametrize("port", ["0", "65536", "-1"])
def test_a_port_that_there_is_not_is_refused(port: str) -> None:
    result = CliRunner().invoke(khabar.app, ["serve", "--port", port])
    assert result.exit_code == 2 and "Invalid value for '--port'" in result.output
