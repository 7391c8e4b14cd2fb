"""The whole way of a recipe: encoder, fine-tuning, export, calibration, evaluation of what was
exported, bundle.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from serving.bundle import (
    CARD,
    FORMAT,
    LEXICON,
    MANIFEST,
    MODEL,
    TOKENIZER,
    Bundle,
    Head,
    Manifest,
    sha256,
    write_manifest,
)
from serving.tagger import Tagger
from training.corpora import load
from training.encoders.sources import encoder_folder
from training.evaluation.development import DEV_SPLITS, evaluate_heads, taught
from training.export.calibration import calibrate_head
from training.export.card import model_card
from training.export.gate import HeadLoss, check, int8_losses
from training.export.observation import calibration_inputs
from training.export.onnx_export import export
from training.export.torch_backend import TorchBackend
from training.label_sets import corpus_name, is_own_file, judges
from training.lexicon import name_lexicon
from training.lineage import Lineage
from training.model import MultiHeadModel
from training.preparation import Prepared, TrainingError, prepare
from training.runs import BUNDLE, RECIPE, Run, write_text
from training.scratch import beside, refuse_foreign
from training.settings import Recipe
from training.source_documents import WORDS
from training.strict import validated
from training.trainer import fit, side_by_side

log = logging.getLogger(__name__)
BUNDLE_FILES = (CARD, LEXICON, MANIFEST, MODEL, TOKENIZER)


def run_recipe(recipe: Recipe, run: Path) -> Path:
    """Train, export, calibrate and evaluate a recipe in the folder `run`; returns the folder of the
    bundle.

    Started again, it goes on from the last checkpoint; what is done already is not done twice. Of
    several processes the first alone writes the bundle.
    """
    trained = _train(recipe, run)
    if not side_by_side().is_main_process:
        return run / BUNDLE
    model = trained.model
    model.specs = tuple(spec for spec in model.specs if not recipe.heads[spec.name].auxiliary)
    partial = run / "bundle.partial"
    manifest, differences = _export(recipe, trained.prepared, model, trained.encoder, partial)
    losses, scores = _judge(recipe, model, Tagger.from_bundle(partial))
    check(losses, recipe.export.max_loss, recipe.export.allow_loss)
    training = {
        "recipe": recipe.model_dump(mode="json"),
        "encoder_config": _config(model),
        "minutes": trained.minutes,
        "left_out": trained.prepared.left_out,
        "logit_difference": differences,
        "int8_loss": [loss.to_dict() for loss in losses],
        "allow_loss": any(loss.excessive(recipe.export.max_loss) for loss in losses),
    }
    return finish(
        partial,
        run / BUNDLE,
        manifest.model_copy(update={"scores": scores, "training": training}),
    )


def train_weights(recipe: Recipe, run: Path) -> Path:
    """Train a recipe in the folder `run` and export nothing: a seed that is to be averaged with
    others. Returns the last checkpoint; `run_recipe` makes the bundle from there.
    """
    _train(recipe, run)
    checkpoint = Run(run).checkpoint
    assert checkpoint is not None
    return checkpoint


@dataclass(frozen=True)
class _Trained:
    """What training left: the folder of the encoder it began with, its examples, the model, and the
    minutes each head took.
    """

    encoder: Path
    prepared: Prepared
    model: MultiHeadModel
    minutes: dict[str, float]


def _train(recipe: Recipe, run: Path) -> _Trained:
    processes = side_by_side()
    run.mkdir(parents=True, exist_ok=True)
    _refuse_another_recipe(recipe, run)
    with processes.main_process_first():
        folder = encoder_folder(recipe.encoder, run / "encoder")
    prepared = prepare(recipe, folder)
    if processes.is_main_process:
        write_text(run / RECIPE, recipe.model_dump_json(indent=1))
    return _Trained(folder, prepared, *fit(recipe, folder, prepared, run))


def _config(model: MultiHeadModel) -> dict[str, Any]:
    """The config of a model's encoder, without the folder on this machine that it was read from."""
    encoder: Any = model.encoder
    return {k: v for k, v in encoder.config.to_dict().items() if k != "_name_or_path"}


def _export(
    recipe: Recipe, prepared: Prepared, model: MultiHeadModel, encoder: Path, folder: Path
) -> tuple[Manifest, dict[str, float]]:
    """A calibrated bundle without scores in `folder`, and the differences of its logits to
    torch's.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    differences = export(
        model,
        folder,
        prepared.encoder.special.pad,
        recipe.export.quantisation,
        calibration_inputs(prepared.dataset),
    )
    shutil.copy(encoder / "tokenizer.json", folder / TOKENIZER)
    name_lexicon(recipe.lexicon).write(folder / LEXICON)
    manifest = _manifest(recipe, model.specs, asdict(prepared.encoder.special), encoder, folder)
    write_manifest(folder, manifest)
    heads = calibrate(folder, manifest, recipe)
    manifest = manifest.model_copy(update={"heads": heads})
    write_manifest(folder, manifest)
    return manifest, differences


def _judge(
    recipe: Recipe, model: MultiHeadModel, int8: Tagger
) -> tuple[list[HeadLoss], list[dict[str, Any]]]:
    """What int8 loses, where the recipe asks, and the scores of the exported bundle."""
    if not recipe.export.gate:
        return [], evaluate_heads(int8, recipe)
    fp32 = TorchBackend(model, "cuda" if torch.cuda.is_available() else "cpu")
    losses, scores = int8_losses(Tagger(int8.bundle, fp32), int8, recipe)
    judged = {loss.head for loss in losses}
    for head in int8.bundle.manifest.heads:
        if head.name not in judged:
            log.warning(
                "%s: none of its sources has a development split, so nothing says what it loses "
                "in int8; score a file of your own with `khabar evaluate`",
                head.name,
            )
    return losses, scores


def _refuse_another_recipe(recipe: Recipe, run: Path) -> None:
    """Checkpoints go on under the recipe that they were begun with; what does not touch the weights
    may change.
    """
    if not (run / RECIPE).is_file() or Run(run).checkpoint is None:
        return
    if changed := recipe.changed_from(Run(run).recipe):
        raise TrainingError(
            f"{run}: holds checkpoints of another recipe ({', '.join(changed)} differ); give "
            "another folder with --run or delete this one"
        )


def finish(partial: Path, target: Path, manifest: Manifest) -> Path:
    """Write card and manifest of a bundle and move it to its place, over an older bundle."""
    place = target.resolve()
    refuse_foreign(place, BUNDLE_FILES)
    (partial / CARD).write_text(model_card(manifest), encoding="utf-8")
    files = {**manifest.files, CARD: sha256(partial / CARD)}
    write_manifest(partial, manifest.model_copy(update={"files": files}))
    shutil.rmtree(place, ignore_errors=True)
    partial.rename(place)
    log.info("bundle: %s", target)
    return target


def rescore(folder: Path) -> Path:
    """Score a bundle again on the development splits of its recipe; its scores and card are
    written anew, the model stays as it is.
    """
    bundle = Bundle.load(folder)
    scores = evaluate_heads(Tagger(bundle), _recipe_of(bundle))
    with beside(folder) as partial:
        shutil.copytree(folder, partial, dirs_exist_ok=True)
        return finish(partial, folder, bundle.manifest.model_copy(update={"scores": scores}))


def recalibrate(folder: Path, version: str) -> Path:
    """Calibrate the heads of a bundle again on the calibration parts of its recipe's sources, and
    score it; the model stays as it is. As it answers otherwise then, it gets a version of its own.
    """
    bundle = Bundle.load(folder)
    recipe = _recipe_of(bundle).model_copy(update={"version": version})
    manifest = bundle.manifest.model_copy(
        update={
            "version": version,
            "heads": tuple(head.uncalibrated() for head in bundle.manifest.heads),
            "training": bundle.manifest.training | {"recipe": recipe.model_dump(mode="json")},
        }
    )
    with beside(folder) as partial:
        shutil.copytree(folder, partial, dirs_exist_ok=True)
        write_manifest(partial, manifest)
        manifest = manifest.model_copy(update={"heads": calibrate(partial, manifest, recipe)})
        write_manifest(partial, manifest)
        scores = evaluate_heads(Tagger.from_bundle(partial), recipe)
        return finish(partial, folder, manifest.model_copy(update={"scores": scores}))


def _recipe_of(bundle: Bundle) -> Recipe:
    if "recipe" not in bundle.manifest.training:
        raise TrainingError(
            f"{bundle.folder}: was imported, not trained; score it with `khabar evaluate`"
        )
    return validated(bundle.manifest.training["recipe"], Recipe, f"{bundle.folder}/{MANIFEST}")


def _manifest(
    recipe: Recipe, heads: tuple[Head, ...], special: dict[str, int], encoder: Path, folder: Path
) -> Manifest:
    lineage = Lineage.of_recipe(recipe, encoder).with_data(recipe.lexicon)
    return Manifest(
        format=FORMAT,
        name=recipe.name,
        version=recipe.version,
        encoder=lineage.encoder,
        heads=heads,
        window={"size": recipe.windows.size, "overlap_tokens": recipe.windows.overlap_tokens},
        pair_max_pieces=recipe.windows.pair_max_pieces,
        batch_invariant=recipe.export.quantisation != "dynamic",
        special=special,
        normalization=recipe.normalization.model_dump(),
        files={name: sha256(folder / name) for name in (MODEL, TOKENIZER, LEXICON)},
        training={},
        data=list(lineage.data),
        scores=[],
    )


def calibrate(folder: Path, manifest: Manifest, recipe: Recipe) -> tuple[Head, ...]:
    """The heads of an exported model, calibrated on the calibration parts of their own sources: of
    those with a development split and of the user's own files where there are any, as others are
    made from these.

    A head whose sources have none stays as it is.
    """
    tagger = Tagger.from_bundle(folder)
    heads = []
    for head in manifest.heads:
        asked = [s for s in recipe.sources if s.head == head.name and judges(s, head)]
        asked = [s for s in asked if s.corpus in DEV_SPLITS or is_own_file(s.corpus)] or asked
        if head.kind in WORDS:
            parts = {s.corpus: taught(load(s.corpus, "calibration"), s, head) for s in asked}
        else:  # of pairs whole articles, as the development splits ask of them
            whole = corpus_name if head.kind == "pair" else str
            names = dict.fromkeys(whole(s.corpus) for s in asked)
            parts = {name: load(name, "calibration") for name in names}
        parts = {name: documents for name, documents in parts.items() if documents}
        if parts:
            log.info("%s: calibrated on %s", head.name, ", ".join(parts))
            head = calibrate_head(tagger, head, list(parts.values()))
        heads.append(head)
    return tuple(heads)
