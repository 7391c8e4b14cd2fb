"""Standoff: the text stays in its corpus and is joined again letter by letter, or not at all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from annotations.errors import FormatError
from annotations.schema import Span
from annotations.seed import seed_document
from annotations.standoff import Passage, read_standoff, write_standoff

SEED = seed_document()
PASSAGE = Passage("corpus-7", 5, 5 + len(SEED.text))
CORPUS = {"corpus-7": "قبل: " + SEED.text + " بعد"}


def write(path: Path) -> Path:
    assert write_standoff(path, [(SEED, PASSAGE)]) == 1
    return path


def test_a_document_is_joined_with_its_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl")
    assert SEED.text[:40] not in path.read_text("utf-8")
    row = json.loads(path.read_text("utf-8"))
    assert row["entities"][0]["surface"] == SEED.surface((SEED.entities or ())[0])
    assert list(read_standoff(path, lambda ids: {i: CORPUS[i] for i in ids})) == [SEED]


@pytest.mark.parametrize(
    ("corpus", "words"),
    [
        ({}, r"a\.jsonl:1: corpus-7 is not in this corpus"),
        ({"corpus-7": CORPUS["corpus-7"].replace("داعش", "داعس")}, "has another text in this"),
        ({"corpus-7": " " + CORPUS["corpus-7"]}, "has another text in this"),
    ],
)
def test_another_text_is_refused(tmp_path: Path, corpus: dict[str, str], words: str) -> None:
    path = write(tmp_path / "a.jsonl")
    with pytest.raises(FormatError, match=words):
        list(read_standoff(path, lambda ids: corpus))


def test_a_moved_entity_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl")
    row = json.loads(path.read_text("utf-8"))
    row["entities"][0]["start"] -= 1
    path.write_text(json.dumps(row, ensure_ascii=False), "utf-8")
    with pytest.raises(FormatError, match=r"GPE \[50, 57\) is not its surface"):
        list(read_standoff(path, lambda ids: CORPUS))


def test_no_entities_and_none_annotated_stay_apart(tmp_path: Path) -> None:
    documents = [replace(SEED, entities=()), replace(SEED, entities=None)]
    write_standoff(tmp_path / "a.jsonl", [(document, PASSAGE) for document in documents])
    assert list(read_standoff(tmp_path / "a.jsonl", lambda ids: CORPUS)) == documents
    assert Span(51, 57, "GPE") in (SEED.entities or ())
