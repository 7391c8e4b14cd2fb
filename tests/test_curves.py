"""Learning curves: the scores of an epoch against seqeval on tags read one by one, and their
history.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from seqeval.metrics import f1_score
from sklearn.metrics import f1_score as label_f1

import configs
import training.evaluation.curves
from annotations.schema import Document
from training.encoders.sources import encoder_folder, load_encoder
from training.evaluation.curves import DevCurve
from training.examples import IGNORED
from training.model import MultiHeadModel
from training.preparation import Prepared, prepare
from training.recipe import run_recipe
from training.runs import Run
from training.settings import Evaluation, Recipe, Source, load_recipe

SMOKE = configs.folder() / "train" / "smoke.yaml"


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """The smoke recipe, its own training documents standing in for the development part that the
    seed lacks.
    """
    load = training.evaluation.curves.load

    def seed_as_dev(corpus: str, part: str) -> list[Document]:
        assert part == "dev"
        found = load(corpus, "train")
        return [
            replace(d, id=f"{d.id}-{i}") for i, d in enumerate(found * (1 if len(found) > 1 else 3))
        ]

    monkeypatch.setattr(training.evaluation.curves, "load", seed_as_dev)
    return load_recipe(SMOKE)


def untrained(recipe: Recipe, folder: Path) -> tuple[Prepared, MultiHeadModel]:
    encoder = encoder_folder(recipe.encoder, folder)
    prepared = prepare(recipe, encoder)
    torch.manual_seed(3)
    model = MultiHeadModel(load_encoder(encoder), prepared.heads, 0.1, {})
    with torch.no_grad():
        for weight in model.heads.parameters():
            weight.add_(torch.randn_like(weight))
    return prepared, model


def test_the_scores_of_an_epoch_are_those_of_a_reading_one_by_one(
    recipe: Recipe, tmp_path: Path
) -> None:
    prepared, model = untrained(recipe, tmp_path)
    curve = DevCurve.of(recipe, prepared)
    found = curve.scores(model, torch.device("cpu"), bf16=False)
    assert model.training
    model.eval()
    assert found["khabar/seed"] == pytest.approx(slow_entity_f1(curve, model), abs=1e-4)
    assert found["khabar/seed"] > 0
    for name in ("claim/seed-claims", "stance/seed-stances"):
        assert found[name] == pytest.approx(slow_label_f1(curve, model, name), abs=1e-4)


def one(curve: DevCurve, model: MultiHeadModel, row: dict[str, object]) -> torch.Tensor:
    head = [spec.name for spec in model.specs].index(str(row["head"]))
    batch = curve.collator([row])
    inputs = [batch[name] for name in ("input_ids", "attention_mask", "segments")]
    with torch.no_grad():
        return model.logits(*inputs)[head][0]


def slow_entity_f1(curve: DevCurve, model: MultiHeadModel) -> float:
    gold, found = [], []
    for row in curve.examples["khabar/seed"]:
        logits = one(curve, model, row)
        types = curve.heads["khabar"].labels
        for column, name in enumerate(types):
            tags = [name_of(label, name) for label in row["labels"][column :: len(types)]]
            best = logits[:, 3 * column : 3 * column + 3].argmax(1).tolist()
            kept = [i for i, tag in enumerate(tags) if tag is not None]
            gold.append([str(tags[i]) for i in kept])
            found.append([str(name_of(best[i], name)) for i in kept])
    return float(f1_score(gold, found))


def name_of(label: int, name: str) -> str | None:
    return None if label == IGNORED else ("O", f"B-{name}", f"I-{name}")[label]


def slow_label_f1(curve: DevCurve, model: MultiHeadModel, name: str) -> float:
    rows = curve.examples[name]
    best = [int(one(curve, model, row).argmax()) for row in rows]
    return float(label_f1([row["labels"][0] for row in rows], best, average="macro"))


def test_a_source_that_leaves_types_out_or_has_no_dev_part_draws_no_curve(tmp_path: Path) -> None:
    plain = load_recipe(SMOKE)
    silent = Source(corpus="authored", head="khabar", annotates=("PERS",))
    whole = Source(corpus="authored-topics", head="topic")
    recipe = plain.model_copy(update={"sources": (*plain.sources, silent, whole)})
    curve = DevCurve.of(recipe, prepare(recipe, encoder_folder(recipe.encoder, tmp_path)))
    assert list(curve.examples) == ["topic/authored-topics"]


def test_heads_that_judge_one_corpus_have_a_curve_each(tmp_path: Path) -> None:
    plain = load_recipe(SMOKE)
    heads = plain.heads | {"helper": plain.heads["khabar"]}
    sources = tuple(Source(corpus="authored", head=head) for head in ("khabar", "helper"))
    recipe = plain.model_copy(update={"heads": heads, "sources": sources})
    curve = DevCurve.of(recipe, prepare(recipe, encoder_folder(recipe.encoder, tmp_path)))
    assert list(curve.examples) == ["khabar/authored", "helper/authored"]


def test_a_curve_takes_only_so_many_items(tmp_path: Path) -> None:
    plain = load_recipe(SMOKE)
    sources = (*plain.sources, Source(corpus="authored-topics", head="topic"))
    for most, least in ((5, 3), (100, 50), (1000, 60)):
        recipe = plain.model_copy(
            update={"sources": sources, "evaluation": Evaluation(curve_items=most)}
        )
        curve = DevCurve.of(recipe, prepare(recipe, encoder_folder(recipe.encoder, tmp_path)))
        assert least <= len(curve.examples["topic/authored-topics"]) <= most


def test_a_run_tells_its_losses_and_the_scores_of_every_epoch(
    recipe: Recipe, tmp_path: Path
) -> None:
    run_recipe(recipe, tmp_path)
    rows = Run(tmp_path).history()
    assert [row["step"] for row in rows] == sorted(row["step"] for row in rows)
    losses = [row for row in rows if "loss" in row]
    for head in ("khabar", "claim", "stance"):
        told = [row[f"loss_{head}"] for row in losses if f"loss_{head}" in row]
        assert len(told) > 2 and told[-1] < told[0]
    dev = [row for row in rows if "dev" in row]
    assert [row["epoch"] for row in dev] == [1, 2, 3, 4]
    named = {"khabar/seed", "claim/seed-claims", "stance/seed-stances"}
    assert all(set(row["dev"]) == named for row in dev)
