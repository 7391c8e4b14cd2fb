"""The summary of a batch job and what is told of its progress."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from batch_tagger import run, tree, write_jsonl

from serving.batch.progress import BarProgress, JsonProgress, Pace, PlainProgress, progress_to
from serving.batch.summary import Summary, Tally


def summary(output: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((output / "summary.json").read_bytes())
    return found


def test_names_labels_and_attitudes_are_added_up(tmp_path: Path) -> None:
    texts = ["محمد في بغداد", "بغداد بغداد", "القوات في بغداد", ""]
    given = write_jsonl(tmp_path / "a.jsonl", texts, targets=["القوات"], claims=["دخلت"])
    run([given], tmp_path / "out")
    found = summary(tmp_path / "out")
    assert (found["articles"], found["parts"]) == (3, 2)
    assert found["entities"] == {"GPE": 4, "ORG": 1, "PERS": 1}
    assert found["top_entities"] == [
        {"name": "بغداد", "label": "GPE", "articles": 3, "mentions": 4},
        {"name": "القوات", "label": "ORG", "articles": 1, "mentions": 1},
        {"name": "محمد", "label": "PERS", "articles": 1, "mentions": 1},
    ]
    assert found["topics"] == {"politics": 3}
    assert found["stances"] == {"القوات": {"favor": 3, "against": 0, "neutral": 0}}
    assert found["confidence"]["entities"] == [0, 0, 0, 0, 0, 0, 0, 0, 6, 0]
    assert found["rejects"]["count"] == 1 and found["rejects"]["by_code"] == {"not_read": 1}
    assert found["rejects"]["first"] == [
        {
            "source": "a.jsonl", "line": 4, "code": "not_read",
            "reason": "text is empty; send the words of the article",
        }
    ]  # fmt: skip


def test_repeated_ids_are_reported_with_their_places(tmp_path: Path) -> None:
    lines = [{"id": i, "text": "بغداد"} for i in ("x", "y", "x", "x", None, None)]
    given = tmp_path / "a.jsonl"
    given.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    outcome = run([given], tmp_path / "out")
    assert outcome.duplicate_ids == 2
    assert summary(tmp_path / "out")["duplicate_ids"] == {
        "count": 2,
        "first": [
            {"id": "x", "source": "a.jsonl", "line": 3},
            {"id": "x", "source": "a.jsonl", "line": 4},
        ],
    }


def test_the_summary_depends_on_the_output_alone(tmp_path: Path) -> None:
    given = write_jsonl(tmp_path / "a.jsonl", ["محمد", "بغداد"] * 5)
    run([given], tmp_path / "first", part_rows=3)
    run([given], tmp_path / "second", part_rows=3, output_format="parquet")
    names = ("entities", "top_entities", "topics", "confidence", "duplicate_ids", "articles")
    first, second = (json.loads(tree(tmp_path / n)["summary.json"]) for n in ("first", "second"))
    assert {name: first[name] for name in names} == {name: second[name] for name in names}


def test_an_article_counts_once_for_a_name_that_two_of_its_groups_have() -> None:
    found = Summary()
    group = {"name": "علي", "label": "PERS", "mentions": ["e1", "e2"]}
    sure = {"label": "PERS", "confidence": 1.0}
    rest: dict[str, Any] = {"topics": [], "stances": [], "entities": [sure]}
    found.add({"id": "a", "source": "a", "line": 1, "groups": [group, group]} | rest)
    counted = found.to_dict()
    expected = {"name": "علي", "label": "PERS", "articles": 1, "mentions": 4}
    assert counted["top_entities"] == [expected]
    assert counted["confidence"]["entities"][-1] == 1  # a confidence of 1 is in the last tenth


def test_a_tally_keeps_the_frequent_in_bounded_memory() -> None:
    tally = Tally(capacity=10)
    for i in range(1000):
        tally.add("بغداد")
        tally.add(f"نادر {i}")
    assert tally.top(1) == [("بغداد", 1000)] and len(tally.counts) <= 10 and not tally.exact
    small = Tally(capacity=10)
    small.add("a", 2)
    assert small.exact and small.top(5) == [("a", 2)]


def test_stances_are_let_go_with_their_targets_and_no_oftener() -> None:
    found = Summary()
    found.targets = Tally(capacity=4)
    before = found.stances

    def add(target: str, label: str) -> None:
        stance = {"target": target, "label": label, "confidence": 0.5}
        rest: dict[str, Any] = {"topics": [], "entities": [], "groups": []}
        found.add({"id": target, "source": "a", "line": 1, "stances": [stance]} | rest)

    for target in ("أ", "ب", "ج", "د"):
        for label in ("favor", "against", "favor"):
            add(target, label)
    assert found.stances is before and len(before) == 8 and found.to_dict()["top_targets_exact"]
    add("ه", "neutral")
    assert {target for target, _ in found.stances} == {"أ", "ب"}
    told = found.to_dict()
    assert told["stances"]["أ"] == {"favor": 2, "against": 1, "neutral": 0}
    assert told["top_targets_exact"] is False


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def pace() -> Pace:
    clock = Clock()
    pace = Pace(1000, clock)
    pace.bytes_read = pace.began_bytes = 400  # done in an earlier run
    pace.articles, pace.tokens, pace.rejects = 50, 4000, 2
    pace.bytes_read = 600
    clock.now += 10
    return pace


def test_speed_and_time_left_are_those_of_this_run(pace: Pace) -> None:
    assert pace.to_dict() == {
        "parts": 0, "articles": 50, "rejects": 2, "articles_per_s": 5.0, "tokens_per_s": 400.0,
        "seconds": 10.0, "seconds_left": 20,
    }  # fmt: skip
    assert pace.to_text() == "50 articles, 5.0/s, 400 tokens/s, 2 rejects, 0:20 left"
    assert Pace().seconds_left is None


def test_logs_are_json_a_line(pace: Pace) -> None:
    out = io.StringIO()
    progress = JsonProgress(out)
    for event, details in (("beat", {}), ("part", {"part": 3}), ("note", {"message": "خبر\n"})):
        progress.show(event, pace, **details)
    found = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["event"] for line in found] == ["part", "note"]
    assert found[0]["part"] == 3 and found[0]["articles_per_s"] == 5.0
    assert found[1]["message"] == "خبر\n"


def test_plain_progress_speaks_now_and_then(pace: Pace) -> None:
    out = io.StringIO()
    progress = PlainProgress(out, every_s=30)
    clock = pace.clock
    assert isinstance(clock, Clock)
    for seconds in (1, 10, 20, 1, 31):
        clock.now += seconds
        progress.show("beat", pace)
    assert len(out.getvalue().splitlines()) == 2
    progress.show("note", pace, message="part 1: files were missing")
    assert out.getvalue().endswith("khabar: part 1: files were missing\n")


def test_a_terminal_gets_a_bar(pace: Pace) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    progress = progress_to(out, json_logs=False)
    assert isinstance(progress, BarProgress)
    progress.show("part", pace, part=0)
    progress.show("note", pace, message="part 1")
    progress.show("done", pace)
    assert "60%" in out.getvalue() and "400 tokens/s, 2 rejects, 0:20 left" in out.getvalue()
    assert isinstance(progress_to(Terminal(), json_logs=True), JsonProgress)
    assert isinstance(progress_to(io.StringIO(), json_logs=False), PlainProgress)
