"""The whole way of a recipe: encoder, fine-tuning, export, calibration, evaluation of what was
exported, bundle.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from annotations.schema import Document
from serving.bundle import (
    CARD,
    FORMAT,
    LEXICON,
    MODEL,
    TOKENIZER,
    Bundle,
    Head,
    Manifest,
    sha256,
    write_manifest,
)
from serving.tagger import Tagger
from training.calibration import calibrate_head
from training.card import model_card
from training.corpora import data_entry, load, sentences_of
from training.encoders import encoder_folder
from training.evaluation import (
    Task,
    score_claims,
    score_conll,
    score_entities,
    score_stances,
    score_topics,
)
from training.export import export
from training.lexicon import name_lexicon
from training.preparation import TrainingError, prepare
from training.runs import BUNDLE, RECIPE, Run
from training.settings import Recipe
from training.trainer import fit, side_by_side

log = logging.getLogger(__name__)


def run_recipe(recipe: Recipe, run: Path) -> Path:
    """Train, export, calibrate and evaluate a recipe in the folder `run`; returns the folder of the
    bundle.

    Started again, it goes on from the last checkpoint; what is done already is not done twice. Of
    several processes the first alone writes the bundle.
    """
    processes = side_by_side()
    run.mkdir(parents=True, exist_ok=True)
    _refuse_another_recipe(recipe, run)
    with processes.main_process_first():
        folder = encoder_folder(recipe.encoder, run / "encoder")
    prepared = prepare(recipe, folder)
    if processes.is_main_process:
        (run / RECIPE).write_text(recipe.model_dump_json(indent=1), encoding="utf-8")
    model, minutes = fit(recipe, folder, prepared, run)
    if not processes.is_main_process:
        return run / BUNDLE
    partial = run / "bundle.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    differences = export(model, partial, prepared.encoder.special.pad)
    shutil.copy(folder / "tokenizer.json", partial / TOKENIZER)
    name_lexicon(recipe.lexicon).write(partial / LEXICON)
    manifest = _manifest(recipe, prepared.heads, asdict(prepared.encoder.special), partial)
    write_manifest(partial, manifest)
    heads = calibrate(partial, manifest, recipe)
    manifest = manifest.model_copy(update={"heads": heads})
    write_manifest(partial, manifest)
    scores = evaluate_heads(Tagger.from_bundle(partial), recipe)
    training = {
        "recipe": recipe.model_dump(mode="json"),
        "encoder_config": model.encoder.config.to_dict(),
        "minutes": minutes,
        "logit_difference": differences,
    }
    return finish(
        partial,
        run / BUNDLE,
        manifest.model_copy(update={"scores": scores, "training": training}),
    )


FREE_TO_CHANGE = {"name", "version", "lexicon", "tracking", "evaluation", "export"}


def _refuse_another_recipe(recipe: Recipe, run: Path) -> None:
    """Checkpoints go on under the recipe that they were begun with; what does not touch the weights
    may change.
    """
    if not (run / RECIPE).is_file() or Run(run).checkpoint is None:
        return
    begun = Run(run).recipe.model_dump(mode="json")
    asked = recipe.model_dump(mode="json")
    changed = [name for name in asked if asked[name] != begun.get(name)]
    if set(changed) - FREE_TO_CHANGE:
        raise TrainingError(
            f"{run}: holds checkpoints of another recipe ({', '.join(changed)} differ); give "
            "another folder with --run or delete this one"
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


def rescore(folder: Path) -> Path:
    """Score a bundle again on the development splits of its recipe; its scores and card are
    written anew, the model stays as it is.
    """
    bundle = Bundle.load(folder)
    recipe = Recipe.model_validate(bundle.manifest.training["recipe"])
    scores = evaluate_heads(Tagger(bundle), recipe)
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(folder, partial)
    return finish(partial, folder, bundle.manifest.model_copy(update={"scores": scores}))


def _manifest(
    recipe: Recipe, heads: tuple[Head, ...], special: dict[str, int], folder: Path
) -> Manifest:
    used = [data_entry(name) for name in (*(s.corpus for s in recipe.sources), *recipe.lexicon)]
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
        data=list({entry["name"]: entry for entry in used}.values()),
        scores=[],
    )


def calibrate(folder: Path, manifest: Manifest, recipe: Recipe) -> tuple[Head, ...]:
    """The heads of an exported model, calibrated on the calibration parts of their own sources.

    A head whose sources have none stays as it is.
    """
    tagger = Tagger.from_bundle(folder)
    heads = []
    for head in manifest.heads:
        sources = [source.corpus for source in recipe.sources if source.head == head.name]
        documents = [document for corpus in sources for document in load(corpus, "calibration")]
        heads.append(calibrate_head(tagger, head, documents) if documents else head)
    return tuple(heads)


@dataclass(frozen=True, slots=True)
class DevSplit:
    """A development split and how `khabar evaluate` scores it."""

    name: str
    task: Task
    file: str

    @property
    def command(self) -> str:
        """The command that repeats the score."""
        return f"khabar evaluate --task {self.task} --data {self.file}"


DEV_SPLITS = {
    "anercorp": DevSplit("ANERcorp dev", "ner", "runs/splits/anercorp-dev.conll"),
    "wojood": DevSplit("Wojood sample val", "ner", "$KHABAR_DATA/wojood_sample/val.txt"),
    "authored": DevSplit("authored news dev", "ner", "annotations/authored/dev.jsonl"),
    "antnews": DevSplit("ANT passages dev", "ner", "runs/splits/antnews-dev.jsonl"),
    "authored-stances": DevSplit("authored news dev", "stance", "annotations/authored/dev.jsonl"),
    "antnews-stances": DevSplit("ANT passages dev", "stance", "runs/splits/antnews-dev.jsonl"),
    "ans": DevSplit("ANS dev", "claim", "$KHABAR_DATA/ans/stance/dev.csv"),
    "authored-claims": DevSplit("authored news dev", "claim", "annotations/authored/dev.jsonl"),
    "khaleej": DevSplit("Khaleej dev", "topic", "$KHABAR_DATA/topic_khaleej/dev.jsonl.gz"),
    "ant": DevSplit("ANT dev", "topic", "$KHABAR_DATA/topic_ant/dev.jsonl.gz"),
    "authored-topics": DevSplit("authored news dev", "topic", "annotations/authored/dev.jsonl"),
}
SCORERS: dict[Task, Callable[[Sequence[Document], Tagger], dict[str, Any]]] = {
    "ner": score_entities,
    "stance": score_stances,
    "claim": score_claims,
    "topic": score_topics,
}


def evaluate_heads(tagger: Tagger, recipe: Recipe) -> list[dict[str, Any]]:
    """The scores of an exported bundle on the development splits of its sources, with commands."""
    scores = []
    for source in recipe.sources:
        split = DEV_SPLITS.get(source.corpus)
        if split is None:
            continue
        if source.corpus in ("anercorp", "wojood"):
            sentences = [sentence for _, sentence in sentences_of(source.corpus, "dev")]
            found = score_conll(sentences, tagger)
        else:
            documents = load(source.corpus.partition("-")[0], "dev")
            found = SCORERS[split.task](documents, tagger)
        row = {"head": source.head, "split": split.name, "command": split.command, **found}
        scores.append(row)
        shown = {name: value for name, value in row.items() if name != "per_label"}
        log.info("%s", json.dumps(shown, ensure_ascii=False))
    return scores
