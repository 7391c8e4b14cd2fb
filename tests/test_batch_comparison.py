"""Two outputs of one input side by side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from batch_tagger import POISON, InlineEngine, NameTagger, fake_bundle, run, write_jsonl
from typer.testing import CliRunner

from serving.batch.cli import batch_app
from serving.batch.comparison import compare
from serving.batch.errors import UsageError
from serving.batch.manifest import Manifest
from serving.batch.options import BatchOptions
from serving.batch.store import open_store
from serving.prediction import Article, Labelled, Prediction

TEXTS = [f"وصل محمد إلى بغداد {i}" for i in range(6)]


class OtherTagger(NameTagger):
    """Answers some articles another way, by their last word."""

    def tag(
        self, articles: Sequence[Article], max_code_points: int | None = None
    ) -> list[Prediction]:
        return [
            self._changed(article.text[-1], answer)
            for article, answer in zip(articles, super().tag(articles), strict=True)
        ]

    def _changed(self, last: str, answer: Prediction) -> Prediction:
        entities = answer.entities
        if last == "1":  # one span less
            return replace(answer, entities=entities[:1])
        if last == "2":  # one label and one confidence
            other = replace(entities[0], label="ORG"), replace(entities[1], confidence=0.75)
            return replace(answer, entities=other)
        if last == "3":
            return replace(answer, topics=(Labelled("sports", 0.5),))
        return Prediction(answer.id, error="no") if last == "4" else answer


def finished(output: Path) -> Manifest:
    return Manifest.finished(open_store(str(output)))


@pytest.fixture
def outputs(tmp_path: Path) -> tuple[Path, Path]:
    """The outputs of two taggers."""
    given = write_jsonl(tmp_path / "a.jsonl", TEXTS)
    run([given], tmp_path / "one")
    run([given], tmp_path / "two", InlineEngine(BatchOptions(part_rows=2), tagger=OtherTagger()))
    return tmp_path / "one", tmp_path / "two"


def test_what_differs_is_counted(outputs: tuple[Path, Path]) -> None:
    found = compare(*map(finished, outputs))
    assert not found.identical
    assert found.to_dict() == {
        "identical": False,
        "articles": {"both": 5, "only_in_first": 1, "only_in_second": 0, "differing": 3},
        "spans": {
            "first": 10, "only_in_first": 2, "only_in_second": 1,
            "other_confidence": 1, "largest_difference": 0.125,
        },
        "articles_with_other_labels": {"topics": 1, "stances": 0, "claims": 0},
        "first": [{"source": "a.jsonl", "line": line} for line in (2, 3, 4)],
    }  # fmt: skip
    mirrored = compare(*map(finished, outputs[::-1]))
    assert (mirrored.only_in_first, mirrored.only_in_second) == (0, 1)
    assert (mirrored.spans_only_in_first, mirrored.spans_only_in_second) == (1, 2)


def test_how_an_output_is_cut_and_written_makes_no_difference(tmp_path: Path) -> None:
    given = write_jsonl(tmp_path / "a.jsonl", [*TEXTS, " ", POISON, *TEXTS], targets=["محمد"])
    run([given], tmp_path / "one", keep_text=True)
    run([given], tmp_path / "two", part_rows=5, output_format="parquet")
    found = compare(finished(tmp_path / "one"), finished(tmp_path / "two"))
    assert found.identical and (found.articles, found.spans) == (12, 24)


def test_outputs_that_cannot_be_compared_are_refused(tmp_path: Path) -> None:
    given = write_jsonl(tmp_path / "a.jsonl", TEXTS)
    run([given], tmp_path / "one")
    run([write_jsonl(tmp_path / "b.jsonl", TEXTS[:2])], tmp_path / "other")
    with pytest.raises(UsageError, match="of different inputs"):
        compare(finished(tmp_path / "one"), finished(tmp_path / "other"))
    with pytest.raises(UsageError, match=r"no manifest\.json; give the output of `khabar batch`"):
        finished(tmp_path)
    bundle = fake_bundle(tmp_path / "bundle")
    with pytest.raises(KeyboardInterrupt):
        stopping = InlineEngine(BatchOptions(part_rows=2), stop_before=1)
        run([given], tmp_path / "half", stopping, bundle)
    with pytest.raises(UsageError, match="its job is not done"):
        finished(tmp_path / "half")
    (tmp_path / "half" / "manifest.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UsageError, match=r"manifest\.json: damaged"):
        finished(tmp_path / "half")


def done(*words: object) -> Any:
    return CliRunner().invoke(batch_app, ["batch-compare", *map(str, words)])


def test_the_command_says_what_differs_by_its_status_too(outputs: tuple[Path, Path]) -> None:
    one, two = outputs
    same, other, unknown = done(one, one), done(one, two), done(one, one / "parts")
    assert (same.exit_code, other.exit_code, unknown.exit_code) == (0, 1, 2)
    assert "6 articles in both, 0 only in the first, 0 only in the second; 0 differ" in same.stdout
    assert "10 spans, 2 of them only in the first; 1 only in the second" in other.stdout
    assert "1 articles with other topics" in other.stdout
    assert "the first that differ: a.jsonl:2, a.jsonl:3, a.jsonl:4" in other.stdout
    assert json.loads(done(one, two, "--json").stdout)["articles"]["differing"] == 3
