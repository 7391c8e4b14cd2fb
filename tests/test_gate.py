"""The gate: the loss by int8 is paired, counted as by hand, and refused when it is no chance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import training.evaluation.development
from annotations.schema import Document, Span
from annotations.seed import seed_document
from serving.bundle import Bundle
from serving.tagger import Tagger
from tests.table_backend import knowing_taggers
from training.evaluation.development import DEV_SPLITS, DevSet, evaluate_heads
from training.evaluation.intervals import paired_bootstrap
from training.evaluation.questions import topic_questions
from training.evaluation.scores import EntityScores, LabelScores
from training.export.gate import HeadLoss, check, head_loss, int8_losses
from training.export.quantisation import ExportError
from training.export.torch_backend import TorchBackend
from training.runs import Run
from training.settings import Recipe, Source
from training.splits import every_nth

LOSS = HeadLoss("khabar", "ANT passages dev", "f1", 40, 160, 0.7012, 0.6890, (0.0031, 0.0207))


@pytest.mark.parametrize(
    ("fp32", "int8", "interval", "excessive"),
    [
        (0.70, 0.69, (0.001, 0.02), True),
        (0.70, 0.69, (-0.001, 0.02), False),  # may be chance
        (0.70, 0.69, (0.0, 0.02), False),  # zero is not excluded
        (0.70, 0.696, (0.001, 0.008), False),  # certain, but small
        (0.69, 0.70, (-0.02, -0.001), False),  # a gain
    ],
)
def test_a_loss_is_excessive_when_it_is_large_and_no_chance(
    fp32: float, int8: float, interval: tuple[float, float], excessive: bool
) -> None:
    loss = replace(LOSS, fp32=fp32, int8=int8, interval=interval)
    assert loss.excessive(0.5) == excessive


def test_a_refusal_names_head_split_loss_interval_and_what_to_do() -> None:
    small = replace(LOSS, head="topic", int8=0.7010)
    with pytest.raises(ExportError) as refused:
        check([small, LOSS], 0.5, allow=False)
    said = str(refused.value)
    assert "head 'khabar' loses 1.22 points of f1 by int8 on ANT passages dev" in said
    assert "0.7012 to 0.6890; 95 % interval 0.31 to 2.07; 40 of 160 items" in said
    assert "--allow-loss" in said
    assert "export.quantisation" in said
    assert "topic" not in said


def test_an_allowed_loss_is_said_and_let_through(caplog: pytest.LogCaptureFixture) -> None:
    check([replace(LOSS, int8=0.7)], 0.5, allow=False)
    assert not caplog.records
    check([LOSS], 0.5, allow=True)
    (record,) = caplog.records
    assert "allowed: head 'khabar' loses 1.22 points" in record.getMessage()


@pytest.mark.parametrize(
    ("total", "most"), [(0, 5), (3, 5), (5, 5), (6, 5), (2100, 300), (301, 300)]
)
def test_items_are_chosen_evenly_and_never_too_many(total: int, most: int) -> None:
    chosen = every_nth(total, most)
    assert len(chosen) <= most
    assert len(chosen) >= min(total, most / 2)
    assert len({b - a for a, b in pairwise(chosen)}) <= 1
    assert all(0 <= i < total for i in chosen)


def slow_f1(rows: Sequence[NDArray[np.float64]]) -> float:
    right = predicted = gold = 0.0
    for row in rows:
        right, predicted, gold = right + row[0], predicted + row[1], gold + row[2]
    return 2 * right / (predicted + gold) if predicted + gold else 0.0


def slow_macro(rows: Sequence[NDArray[np.float64]]) -> float:
    totals = []
    for label in sorted({value for row in rows for value in row if value >= 0}):
        both = sum(row[0] == row[1] == label for row in rows)
        either = sum(int(row[0] == label) + int(row[1] == label) for row in rows)
        totals.append(2 * both / either)
    return sum(totals) / len(totals)


def slow_interval(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    score: Callable[[Sequence[NDArray[np.float64]]], float],
) -> list[float]:
    """The same draws, one item at a time; percentiles by linear interpolation of sorted draws."""
    random = np.random.default_rng(0)
    found = []
    for _ in range(1000):
        drawn = random.integers(0, len(first), len(first)).tolist()
        found.append(score([first[i] for i in drawn]) - score([second[i] for i in drawn]))
    found.sort()
    ends = []
    for share in (0.025, 0.975):
        place = share * (len(found) - 1)
        low = int(place)
        ends.append(found[low] + (place - low) * (found[low + 1] - found[low]))
    return ends


def entity_scores(seed: int, right: float) -> EntityScores:
    random = np.random.default_rng(seed)
    scores = EntityScores()
    for i in range(30):
        gold = {("GPE", 10 * j, 10 * j + 4) for j in range(i % 4)}
        found = {(kind, s, e if random.random() < right else e + 1) for kind, s, e in gold}
        scores.add_spans(gold, found)
    return scores


def test_the_paired_interval_of_entities_is_that_of_a_slow_loop() -> None:
    first, second = entity_scores(1, 0.9), entity_scores(2, 0.6)
    found = paired_bootstrap(first.rows(), second.rows(), first.value)
    assert found == pytest.approx(slow_interval(first.rows(), second.rows(), slow_f1), abs=5.1e-5)
    assert found[0] > 0


def test_the_paired_interval_of_labels_is_that_of_a_slow_loop() -> None:
    random = np.random.default_rng(4)
    gold = random.choice(["favor", "against", "neutral"], 40).tolist()
    systems = []
    for share in (0.8, 0.5):
        other = random.choice(["favor", "against", "neutral"], 40).tolist()
        said = [g if random.random() < share else o for g, o in zip(gold, other, strict=True)]
        systems.append(LabelScores(gold, said, [1.0] * 40))
    first, second = (system.rows().astype(float) for system in systems)
    found = paired_bootstrap(first, second, systems[0].value)
    assert found == pytest.approx(slow_interval(first, second, slow_macro), abs=5.1e-5)


def test_the_same_answers_lose_nothing_and_pairing_makes_the_interval_narrow() -> None:
    first = entity_scores(1, 0.8)
    assert paired_bootstrap(first.rows(), first.rows(), first.value) == (0.0, 0.0)
    worse = first.rows()
    worse[3, 0] -= 1  # one entity of all less
    low, high = paired_bootstrap(first.rows(), worse, first.value)
    unpaired = paired_bootstrap(first.rows(), entity_scores(9, 0.8).rows(), first.value)
    assert high - low < 0.4 * (unpaired[1] - unpaired[0])
    with pytest.raises(ValueError, match="need the same items, got 30 and 29"):
        paired_bootstrap(first.rows(), worse[1:], first.value)


def test_scores_of_some_items_are_those_of_asking_them_alone() -> None:
    whole = entity_scores(1, 0.7)
    chosen = every_nth(30, 8)
    part = whole.take(chosen)
    np.testing.assert_array_equal(part.rows(), whole.rows()[chosen])
    assert part.items == len(chosen)
    labels = LabelScores(list("abcabc"), list("abcbca"), [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], 2)
    taken = labels.take([4, 0])
    assert (taken.gold, taken.predicted, taken.confidences) == (["b", "a"], ["c", "a"], [0.5, 0.1])
    assert taken.report()["items"] == 2


@pytest.fixture
def fp32(smoke_run: Path) -> Tagger:
    """The smoke model in torch, behind its own bundle."""
    run = Run.open(smoke_run)
    return Tagger(Bundle.load(run.bundle), backend=TorchBackend(run.model()))


@pytest.fixture
def seed_as_dev(monkeypatch: pytest.MonkeyPatch, smoke_run: Path) -> Recipe:
    """A recipe whose development data are the paragraphs of the article that it learned."""
    seed = seed_document()
    parts, start = [], 0
    for text in seed.text.split("\n"):
        end = start + len(text)
        spans = tuple(
            replace(s, start=s.start - start, end=s.end - start)
            for s in seed.entities or ()
            if start <= s.start and s.end <= end
        )
        if text.strip():
            parts.append(Document(f"p{start}", text, entities=spans, topic="politics"))
        start = end + 1
    monkeypatch.setattr(training.evaluation.development, "load", lambda corpus, part: parts)
    recipe = Run.open(smoke_run).recipe
    sources = (
        Source(corpus="authored", head="khabar"),
        Source(corpus="authored-topics", head="topic"),
    )
    return recipe.model_copy(update={"sources": sources})


def test_torch_behind_serving_says_what_the_bundle_says(fp32: Tagger, smoke_bundle: Path) -> None:
    text = seed_document().text
    int8 = Tagger.from_bundle(smoke_bundle)
    torch_words, onnx_words = (tagger.reader.read(text).words for tagger in (fp32, int8))
    for name, logits in torch_words.items():
        assert np.abs(logits - onnx_words[name]).max() < 0.5
    with torch.autocast("cpu", torch.bfloat16):
        again = fp32.reader.read(text).words
    for name, logits in torch_words.items():
        np.testing.assert_array_equal(again[name], logits)


def test_the_gate_measures_the_exported_model_and_scores_it_once(
    fp32: Tagger, smoke_bundle: Path, seed_as_dev: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    int8 = Tagger.from_bundle(smoke_bundle)
    texts: list[str] = []
    read = int8.reader.read_many
    monkeypatch.setattr(int8.reader, "read_many", lambda all: (texts.extend(all), read(all))[1])
    losses, rows = int8_losses(fp32, int8, seed_as_dev, most_items=4)
    asked = len([text for text in texts if text])
    monkeypatch.undo()
    documents = asked // 2  # once for entities, once for topics
    assert [(loss.head, loss.metric, loss.total) for loss in losses] == [
        ("khabar", "f1", documents), ("topic", "macro_f1", documents),
    ]  # fmt: skip
    assert all(0 < loss.items <= 4 for loss in losses)
    assert [row["items"] for row in rows] == [documents, documents]
    assert all(abs(loss.points) < 20 for loss in losses)
    check(losses, 20, allow=False)


@pytest.mark.parametrize("forgotten", [("دخلت",), ("دخلت", "العراق")])
def test_a_model_that_forgets_names_is_refused(
    smoke_bundle: Path, smoke_run: Path, monkeypatch: pytest.MonkeyPatch, forgotten: tuple[str, ...]
) -> None:
    table = {"العراق": ("B-GPE",), "دخلت": ("B-ORG",), "سوريا": ("B-GPE",)}
    less = {word: tags for word, tags in table.items() if word not in forgotten}
    knowing = knowing_taggers(Bundle.load(smoke_bundle))
    fp32, worse = (knowing(tags={"khabar": known}) for known in (table, less))
    spans = (Span(0, 4, "ORG"), Span(5, 11, "GPE"))
    documents = [Document(str(i), "دخلت العراق", entities=spans) for i in range(12)]
    monkeypatch.setattr(training.evaluation.development, "load", lambda corpus, part: documents)
    recipe = Run.open(smoke_run).recipe
    recipe = recipe.model_copy(update={"sources": (Source(corpus="authored", head="khabar"),)})
    losses, rows = int8_losses(fp32, worse, recipe)
    found = {1: 24 / 36, 2: 0.0}[len(forgotten)]  # of two names a document one is left, or none
    assert (losses[0].fp32, losses[0].int8) == (1.0, pytest.approx(found, abs=5e-5))
    assert rows == evaluate_heads(worse, recipe)
    with pytest.raises(ExportError, match=r"head 'khabar' loses (33\.33|100\.00) points of f1"):
        check(losses, 0.5, allow=False)


def test_a_loss_counts_the_items_it_is_measured_on(fp32: Tagger) -> None:
    documents = [Document(str(i), "قال الرئيس", topic="politics") for i in range(5)]
    questions = topic_questions(documents, fp32)
    dev = DevSet("topic", DEV_SPLITS["khaleej"], questions)
    scores = questions.scores(fp32, [0, 2])
    loss = head_loss(dev, scores, scores, len(questions))
    assert (loss.items, loss.total, loss.points, loss.interval) == (2, 5, 0.0, (0.0, 0.0))
    assert loss.to_dict()["loss"] == 0.0
