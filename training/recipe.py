"""The whole way of a recipe: encoder, fine-tuning, export, calibration, evaluation of what was
exported, bundle.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from serving.bundle import (
    CARD,
    FORMAT,
    LEXICON,
    MODEL,
    TOKENIZER,
    Head,
    Manifest,
    sha256,
    write_manifest,
)
from serving.tagger import Tagger
from training.calibration import calibrate_claims, calibrate_texts, calibrate_words
from training.card import model_card
from training.corpora import (
    catalogue,
    claim_documents,
    conll_documents,
    sentences_of,
    topic_documents,
)
from training.encoders import encoder_folder
from training.evaluation import score_claims, score_conll, score_topics
from training.export import export
from training.lexicon import name_lexicon
from training.settings import Recipe
from training.trainer import fit, prepare

log = logging.getLogger(__name__)


def run_recipe(recipe: Recipe, run: Path) -> Path:
    """Train, export, calibrate and evaluate a recipe in the folder `run`; returns the folder of the
    bundle.

    Started again, it goes on from the last checkpoint; what is done already is not done twice.
    """
    run.mkdir(parents=True, exist_ok=True)
    (run / "recipe.json").write_text(recipe.model_dump_json(indent=1), encoding="utf-8")
    log.info("recipe: %s", recipe.model_dump_json())
    folder = encoder_folder(recipe.encoder, run / "encoder")
    prepared = prepare(recipe, folder)
    model, minutes = fit(recipe, folder, prepared, run)
    partial = run / "bundle.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    differences = export(model, partial, prepared.encoder.special.pad)
    shutil.copy(folder / "tokenizer.json", partial / TOKENIZER)
    name_lexicon().write(partial / LEXICON)
    manifest = _manifest(recipe, prepared.heads, asdict(prepared.encoder.special), partial)
    write_manifest(partial, manifest)
    heads = calibrate(partial, manifest)
    manifest = manifest.model_copy(update={"heads": heads})
    write_manifest(partial, manifest)
    scores = evaluate_heads(Tagger.from_bundle(partial), recipe)
    training = {
        "recipe": recipe.model_dump(mode="json"),
        "minutes": minutes,
        "logit_difference": differences,
    }
    return finish(
        partial,
        run / "bundle",
        manifest.model_copy(update={"scores": scores, "training": training}),
    )


def finish(partial: Path, target: Path, manifest: Manifest) -> Path:
    """Write card and manifest of a bundle and move it to its place."""
    (partial / CARD).write_text(model_card(manifest), encoding="utf-8")
    files = {**manifest.files, CARD: sha256(partial / CARD)}
    write_manifest(partial, manifest.model_copy(update={"files": files}))
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    log.info("bundle: %s", target)
    return target


def _manifest(
    recipe: Recipe, heads: tuple[Head, ...], special: dict[str, int], folder: Path
) -> Manifest:
    corpora = dict.fromkeys(_catalogue_name(source.corpus) for source in recipe.sources)
    names = [*corpora, "wikifane"]
    return Manifest(
        format=FORMAT,
        name=recipe.name,
        version=recipe.version,
        encoder=recipe.encoder.source + (" (trimmed)" if recipe.encoder.trim else ""),
        heads=heads,
        window={"size": recipe.windows.size, "overlap_tokens": recipe.windows.overlap_tokens},
        pair_max_pieces=recipe.windows.pair_max_pieces,
        special=special,
        normalization=recipe.normalization.model_dump(),
        files={name: sha256(folder / name) for name in (MODEL, TOKENIZER, LEXICON)},
        training={},
        data=[{"name": name, **catalogue()[name]} for name in names],
        scores=[],
    )


def _catalogue_name(corpus: str) -> str:
    """The entry of a corpus in `configs/data.yaml`; ans-unrelated and seed-claims are made of
    others.
    """
    return corpus.split("-")[0]


def calibrate(folder: Path, manifest: Manifest) -> tuple[Head, ...]:
    """The heads of an exported model calibrated on the calibration splits; those without one stay
    as they are.
    """
    tagger = Tagger.from_bundle(folder)
    steps: dict[str, Callable[[Head], Head]] = {
        "khabar": lambda head: calibrate_words(
            tagger, head, conll_documents("wojood", "calibration")
        ),
        "anercorp": lambda head: calibrate_words(
            tagger, head, conll_documents("anercorp", "calibration")
        ),
        "topic": lambda head: calibrate_texts(
            tagger,
            head,
            topic_documents("khaleej", "calibration") + topic_documents("ant", "calibration"),
        ),
        "claim": lambda head: calibrate_claims(tagger, head, claim_documents("calibration")),
    }
    return tuple(steps[head.name](head) if head.name in steps else head for head in manifest.heads)


def evaluate_heads(tagger: Tagger, recipe: Recipe) -> list[dict[str, Any]]:
    """The scores of an exported bundle on the development splits, each with the command that
    repeats it.
    """
    parts: list[tuple[str, str, str, Callable[[], dict[str, Any]]]] = [
        ("anercorp", "ANERcorp dev", "--task ner --data runs/splits/anercorp-dev.conll",
         lambda: score_conll([s for _, s in sentences_of("anercorp", "dev")], tagger)),
        ("khabar", "Wojood sample val", "--task ner --data $KHABAR_DATA/wojood_sample/val.txt",
         lambda: score_conll([s for _, s in sentences_of("wojood", "dev")], tagger)),
        ("claim", "ANS dev", "--task claim --data $KHABAR_DATA/ans/stance/dev.csv",
         lambda: score_claims(iter(claim_documents("dev")), tagger)),
        ("topic", "Khaleej dev", "--task topic --data $KHABAR_DATA/topic_khaleej/dev.jsonl.gz",
         lambda: score_topics(iter(topic_documents("khaleej", "dev")), tagger)),
        ("topic", "ANT dev", "--task topic --data $KHABAR_DATA/topic_ant/dev.jsonl.gz",
         lambda: score_topics(iter(topic_documents("ant", "dev")), tagger)),
    ]  # fmt: skip
    scores = []
    for head, split, arguments, score in parts:
        if head in recipe.heads:
            entry = {
                "head": head,
                "split": split,
                "command": f"khabar evaluate {arguments}",
                **score(),
            }
            log.info("%s", json.dumps({k: v for k, v in entry.items() if k != "per_label"}))
            scores.append(entry)
    return scores
