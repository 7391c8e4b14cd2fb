"""What a trained model must pass on its way into a bundle: calibration first, then the gate."""

from __future__ import annotations

from pathlib import Path

import pytest

import training.recipe
from serving.bundle import Bundle, Head, Manifest
from tests.small_runs import small_recipe
from training.export.gate import HeadLoss
from training.export.quantisation import ExportError
from training.recipe import run_recipe
from training.settings import Export, Recipe

LOSS = HeadLoss("khabar", "made up", "f1", 9, 9, 0.8, 0.7, (0.05, 0.15))


def one_step(**export: object) -> Recipe:
    settings = {"gate": False} | export
    return small_recipe(epochs=1, max_steps=1).model_copy(
        update={"export": Export.model_validate(settings), "lexicon": ("seed",)}
    )


def test_a_bundle_that_loses_too_much_is_not_made_unless_it_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training.recipe, "int8_losses", lambda *_: ([LOSS], []))
    with pytest.raises(ExportError, match="khabar"):
        run_recipe(one_step(gate=True), tmp_path)
    assert not (tmp_path / "bundle").exists()
    found = Bundle.load(run_recipe(one_step(gate=True, allow_loss=True), tmp_path))
    assert found.manifest.training["allow_loss"]
    assert found.manifest.training["int8_loss"] == [LOSS.to_dict() | {"interval": [0.05, 0.15]}]


def test_the_heads_of_a_bundle_are_the_calibrated_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def calibrated(folder: Path, manifest: Manifest, recipe: Recipe) -> tuple[Head, ...]:
        assert Bundle.load(folder).manifest == manifest
        return tuple(head.model_copy(update={"experimental": True}) for head in manifest.heads)

    monkeypatch.setattr(training.recipe, "calibrate", calibrated)
    heads = Bundle.load(run_recipe(one_step(), tmp_path)).manifest.heads
    assert heads and all(head.experimental for head in heads)


@pytest.mark.parametrize(("quantisation", "invariant"), [("dynamic", False), ("static", True)])
def test_only_fixed_scales_keep_the_texts_of_a_batch_apart(
    tmp_path: Path, quantisation: str, invariant: bool
) -> None:
    bundle = Bundle.load(run_recipe(one_step(quantisation=quantisation), tmp_path))
    assert bundle.manifest.batch_invariant == invariant


def test_a_head_that_no_development_split_judges_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(training.recipe, "int8_losses", lambda *_: ([LOSS], []))
    with caplog.at_level("WARNING"):
        run_recipe(one_step(gate=True, allow_loss=True), tmp_path)
    unjudged = [r.args[0] for r in caplog.records if "none of its sources" in r.msg and r.args]
    assert unjudged == [name for name in one_step().heads if name != "khabar"]
