"""Topics of a file are scored under the names of the head: khabar's, a corpus's or one's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from annotations.jsonl import write_documents
from annotations.schema import Document
from tests.files import write
from tests.table_backend import Knowing, knowing_taggers, with_heads
from training.evaluation.files import evaluate

RUN_KEYS = {"task", "bundle", "seconds"}
LABEL_KEYS = {"items", "accuracy", "macro_f1", "per_label", "interval", "ece"}

TOPICS = [("القوات دخلت", "politic"), ("سوريا فوز", "sport"), ("سوق القائم", "finance")]
TOPICS += [("قال الرئيس", "society")]  # without a counterpart


@pytest.mark.parametrize("name", ["dev.jsonl", "dev.jsonl.gz"])
def test_topics_are_scored_under_khabars_names(knowing: Knowing, tmp_path: Path, name: str) -> None:
    lines = [
        json.dumps({"id": f"ant-{i}", "text": text, "label": label}, ensure_ascii=False)
        for i, (text, label) in enumerate(TOPICS)
    ]
    words = {"دخلت": "politics", "فوز": "sports", "سوق": "culture"}
    path = write(tmp_path / name, "\n".join(lines) + "\n")
    report = evaluate("topic", path, knowing(labels={"topic": words}))
    assert set(report) >= LABEL_KEYS | RUN_KEYS
    assert (report["items"], report["skipped"]) == (3, 1)
    assert report["accuracy"] == report["macro_f1"] == pytest.approx(2 / 3, abs=1e-4)
    assert set(report["per_label"]) == {"politics", "sports", "economy"}


def test_topics_of_khabar_jsonl_leave_out_documents_without_one(
    knowing: Knowing, tmp_path: Path
) -> None:
    rows = [Document("a", "القوات دخلت", topic="politics"), Document("b", "قال الرئيس")]
    rows += [Document("c", "سوريا", title="فوز", topic="sports")]
    words = {"دخلت": "politics", "فوز": "sports", "سوريا": "sports"}
    for order in (rows, rows[::-1]):
        write_documents(tmp_path / "t.jsonl", order)
        report = evaluate("topic", tmp_path / "t.jsonl", knowing(labels={"topic": words}))
        assert (report["items"], report["skipped"], report["accuracy"]) == (2, 1, 1.0)


def test_own_topics_are_scored_and_others_told(
    knowing: Knowing, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = knowing().bundle
    labels = ("weather", "finance", "politics")
    own = bundle.head("topic").model_copy(update={"labels": labels})
    tagger = knowing_taggers(with_heads(bundle, bundle.head("khabar"), own))
    known = tagger(labels={"topic": {"مطر": "weather", "سوق": "finance"}})
    rows = [Document(f"d{i}", "هطل مطر", topic="weather") for i in range(3)]
    rows += [Document("e", "هبط سوق", topic="finance"), Document("f", "فوز", topic="sport")]
    write_documents(tmp_path / "t.jsonl", rows)
    report = evaluate("topic", tmp_path / "t.jsonl", known)
    assert (report["items"], report["skipped"]) == (4, 1)
    assert {label: n["support"] for label, n in report["per_label"].items()} == {
        "weather": 3,
        "finance": 1,
    }
    assert "left out: sports 1 times" in caplog.text


def test_a_topic_head_of_another_name_is_scored(knowing: Knowing, tmp_path: Path) -> None:
    bundle = knowing().bundle
    category = bundle.head("topic").model_copy(update={"name": "category"})
    renamed = knowing_taggers(with_heads(bundle, bundle.head("khabar"), category))
    write_documents(tmp_path / "t.jsonl", [Document("a", "القوات دخلت", topic="politics")])
    known = renamed(labels={"category": {"دخلت": "politics"}})
    report = evaluate("topic", tmp_path / "t.jsonl", known)
    assert (report["items"], report["accuracy"]) == (1, 1.0)
