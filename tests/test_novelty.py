"""Entities that were met and never met, scored apart: together they are all, in every format."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from annotations.errors import FormatError
from annotations.jsonl import write_documents
from annotations.schema import Document, Span
from khabar import app
from tests.files import write
from tests.table_backend import Knowing
from training.evaluation.files import evaluate

TRAIN = "زار O\nبغداد B-LOC\nأحمد B-PERS\n"
DEV = "زار O\nوبغداد B-LOC\nدمشق B-LOC\n\nقال O\nاحمد B-PERS\nسعد B-PERS\nفي O\nحلب B-LOC\n"
TABLE = {"وبغداد": ("B-LOC",), "احمد": ("B-PERS",), "سعد": ("B-PERS",), "قال": ("B-PERS",)}


def test_names_that_a_file_holds_are_scored_apart_from_the_others(
    knowing: Knowing, tmp_path: Path
) -> None:
    train, dev = write(tmp_path / "train.txt", TRAIN), write(tmp_path / "dev.txt", DEV)
    report = evaluate("ner", dev, knowing(tags={"anercorp": TABLE}), seen_in=train)
    seen, unseen = report["seen"], report["unseen"]
    # وبغداد and احمد are met: with a clitic, without a hamza
    assert (seen["entities"], seen["precision"], seen["recall"]) == (2, 1.0, 1.0)
    # of دمشق, سعد and حلب one is found, and قال is none
    assert (unseen["entities"], unseen["precision"], unseen["recall"]) == (3, 0.5, 0.3333)
    assert unseen["per_label"]["LOC"]["support"] == 2
    assert "seen" not in evaluate("ner", dev, knowing(tags={"anercorp": TABLE}))


def test_documents_and_their_names_are_scored_apart_as_well(
    knowing: Knowing, tmp_path: Path
) -> None:
    text = "زار أحمد دمشق وبغداد"
    spans = (Span(4, 8, "PERS"), Span(9, 13, "GPE"), Span(15, 20, "GPE"))
    write_documents(tmp_path / "dev.jsonl", [Document("d", text, entities=spans)])
    write_documents(
        tmp_path / "train.jsonl", [Document("t", "في بغداد", entities=(Span(3, 8, "GPE"),))]
    )
    table = {"أحمد": ("B-PERS",), "وبغداد": ("B-GPE",)}
    report = evaluate(
        "ner", tmp_path / "dev.jsonl", knowing(tags={"khabar": table}), None,
        tmp_path / "train.jsonl",
    )  # fmt: skip
    assert report["seen"]["entities"] == 1 and report["unseen"]["entities"] == 2
    whole = sum(report[kind]["entities"] for kind in ("seen", "unseen"))
    assert whole == sum(own["support"] for own in report["per_label"].values())
    assert report["unseen"]["recall"] == 0.5


def test_what_cannot_say_which_names_are_met_is_a_clear_error(
    knowing: Knowing, tmp_path: Path
) -> None:
    dev = write(tmp_path / "dev.txt", DEV)
    topics = write(tmp_path / "t.jsonl", json.dumps({"id": "a", "text": "ا", "label": "sport"}))
    outside = write(tmp_path / "o.txt", "زار O\nثم O\n")
    for path in (topics, outside):
        with pytest.raises(FormatError, match=rf"{path.name}: no entities; .*--seen-in"):
            evaluate("ner", dev, knowing(), seen_in=path)
    with pytest.raises(FormatError, match=r"only entities are met or not.*topic"):
        evaluate("topic", topics, knowing(), seen_in=dev)


def test_the_command_takes_the_file(smoke_bundle: Path, tmp_path: Path) -> None:
    train, dev = write(tmp_path / "train.txt", TRAIN), write(tmp_path / "dev.txt", DEV)
    found = CliRunner().invoke(
        app,
        ["evaluate", "--task", "ner", "--data", str(dev), "--bundle", str(smoke_bundle),
         "--seen-in", str(train)],
    )  # fmt: skip
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["unseen"]["entities"] == 3
