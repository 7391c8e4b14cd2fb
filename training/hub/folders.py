"""A run for the Hugging Face hub: a folder for each head that plain transformers loads.

Heads of words are linear maps of the encoder's last states, so they go over exactly: a flat head as
it is, a nested one as one flat choice. Heads of texts and pairs are distilled.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from annotations.errors import FormatError, KhabarError
from serving.bundle import Bundle, Head
from training.hub.card import View, hub_card
from training.hub.distillation import Distillation, distil
from training.hub.imports import TAGGED_AT_LETTER, max_positions
from training.hub.scores import pooled_scores, word_scores
from training.hub.tokenizer import hub_tokenizer
from training.model import MultiHeadModel
from training.preparation import prepare
from training.runs import Run
from training.scratch import refuse_foreign
from training.settings import Recipe

log = logging.getLogger(__name__)
_MARK = "khabar_head"  # in a config: which head of a run it was made of
FILES = ("README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
_SHOWN = ("head", "split", "items", "f1", "accuracy", "macro_f1", "agreement", "ours")


class HubError(KhabarError):
    """A head that cannot be written as a class of transformers."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A head's folder, how true to the head it is, and its scores as `training.hub.scores` gives
    them.
    """

    head: str
    folder: Path
    view: View
    scores: list[dict[str, Any]]


def export_huggingface(
    run: Path,
    out: Path,
    heads: Sequence[str] | None = None,
    distil_steps: int = 300,
    max_minutes: float = 10.0,
) -> list[Exported]:
    """Write `out/HEAD` for each head of a run, or for those named; returns what was written.

    Each head of texts or pairs is distilled for at most so many steps and minutes, which needs the
    run's corpora; without their development data heads of words are written without scores.
    """
    trained = Run.open(run)
    recipe, bundle = trained.recipe, Bundle.load(trained.bundle)
    known = {head.name: head for head in bundle.manifest.heads}
    if unknown := [name for name in heads or () if name not in known]:
        raise HubError(f"{run}: no head {', '.join(unknown)}; it has {', '.join(known)}")
    for name in heads or known:
        _refuse_others_folder(out / name)
    model = trained.model()
    tokens = recipe.optimiser.max_batch_tokens
    written = []
    for name in heads or known:
        settings = Distillation(distil_steps, max_minutes, max_batch_tokens=tokens)
        head, part, folder = known[name], of_head(recipe, name), out / name
        if head.kind in ("nested", "flat"):
            made = _export_words(model, head, trained.encoder(), part, folder, bundle)
        elif part.sources:
            if head.kind == "pair":  # begins far from the head: it has no layer for two segments
                settings = replace(settings, learning_rate=recipe.optimiser.learning_rate)
            made = _export_pooled(model, head, trained.encoder(), part, folder, settings)
        else:
            log.warning("%s: left out, no source of the recipe teaches it", name)
            continue
        length = read_length(part, head)
        card = hub_card(bundle.manifest, head, made.view, made.scores, recipe.windows, length)
        (folder / "README.md").write_text(card, encoding="utf-8")
        _log(made)
        written.append(made)
    return written


def _refuse_others_folder(folder: Path) -> None:
    """Only a folder of an earlier export, be it a stopped one, may be written over, and nothing
    else in it be lost.
    """
    refuse_foreign(folder, FILES)
    if folder.is_dir() and any(folder.iterdir()) and not _is_own(folder / "config.json"):
        raise HubError(
            f"{folder}: holds a model that no khabar of today exported; move it, or give another"
        )


def _is_own(config: Path) -> bool:
    try:
        return _MARK in json.loads(config.read_bytes())
    except (OSError, TypeError, ValueError):
        return False


def _log(made: Exported) -> None:
    log.info("%s: %s, %s", made.head, made.view, made.folder)
    for row in made.scores:
        shown = {key: value for key, value in row.items() if key in _SHOWN}
        log.info("%s", json.dumps(shown, ensure_ascii=False))


def of_head(recipe: Recipe, name: str) -> Recipe:
    """The part of a recipe that teaches one head."""
    sources = tuple(source for source in recipe.sources if source.head == name)
    return recipe.model_copy(update={"heads": {name: recipe.heads[name]}, "sources": sources})


def read_length(recipe: Recipe, head: Head) -> int:
    """How many pieces a pooled head was trained to read at once."""
    if head.kind == "pair":
        return recipe.windows.pair_max_pieces
    return max((source.max_pieces or recipe.windows.size for source in recipe.sources), default=0)


def _export_words(
    model: MultiHeadModel, head: Head, encoder: Path, recipe: Recipe, folder: Path, bundle: Bundle
) -> Exported:
    flat = head.model_copy(update={"kind": "flat"})
    made = _classifier(AutoModelForTokenClassification, model, encoder, flat.tags)
    weight, bias = flat_weights(model.heads[head.name].out, head)
    (linear,) = _new_layers(made, model, (flat.width, weight.shape[1]))
    linear.load_state_dict({"weight": weight, "bias": bias})
    setattr(made.config, *TAGGED_AT_LETTER)
    _save(made, encoder, recipe, folder, max_positions(made))
    try:
        scores = word_scores(folder, bundle, flat, recipe)
    except FormatError as error:
        log.warning("%s: not scored, its development data is not here (%s)", head.name, error)
        scores = []
    view: View = "exact" if head.kind == "flat" else "flat view"
    return Exported(head.name, folder, view, scores)


def flat_weights(out: Any, head: Head) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight (tags, width) and bias (tags,) that give the flat tags of a head of words.

    A nested head scores O, B and I for each type t. Flat, the logit of O is 0, of B-t it is
    B_t - O_t and of I-t it is I_t - O_t: a word gets the tag with the largest margin over the O of
    its own type, and O where every type prefers O.
    """
    weight, bias = out.weight.detach(), out.bias.detach()
    if head.kind == "flat":
        return weight.clone(), bias.clone()
    types = len(head.labels)
    by_type = weight.view(types, 3, -1)
    biases = bias.view(types, 3)
    rows = (by_type[:, 1:] - by_type[:, :1]).reshape(2 * types, -1)
    return (
        torch.cat([torch.zeros_like(rows[:1]), rows]),
        torch.cat([torch.zeros(1), (biases[:, 1:] - biases[:, :1]).reshape(-1)]),
    )


def _export_pooled(
    model: MultiHeadModel,
    head: Head,
    encoder: Path,
    recipe: Recipe,
    folder: Path,
    settings: Distillation,
) -> Exported:
    made = _classifier(AutoModelForSequenceClassification, model, encoder, head.labels)
    made.config.problem_type = "single_label_classification"
    _begin_from_head(made, model, head)
    prepared = prepare(recipe, encoder)
    steps = distil(model, head, made, prepared, settings)
    log.info("%s: distilled in %d steps", head.name, steps)
    _save(made, encoder, recipe, folder, read_length(recipe, head))
    scores = pooled_scores(model, head, made, prepared.encoder, recipe)
    return Exported(head.name, folder, "distilled", scores)


def _begin_from_head(made: Any, model: MultiHeadModel, head: Head) -> None:
    """Copy the layers of a pooled head into those of a classifier that have their shape."""
    own: Any = model.heads[head.name]
    for layer in (own.hidden, own.out):
        for linear in _new_layers(made, model, tuple(layer.weight.shape))[:1]:
            linear.load_state_dict(layer.state_dict())


def _classifier(loader: Any, model: MultiHeadModel, encoder: Path, labels: Sequence[str]) -> Any:
    """A classifier of transformers with the trained encoder and new layers on top."""
    config = AutoConfig.from_pretrained(encoder, trust_remote_code=False)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: i for i, label in enumerate(labels)}
    config.dtype = torch.float32
    made = loader.from_config(config)
    keys = made.base_model.load_state_dict(model.encoder.state_dict(), strict=False)
    wrong = [name for name in keys.missing_keys + keys.unexpected_keys if "pooler" not in name]
    if wrong:
        raise HubError(
            f"{encoder}: {type(made).__name__} has another encoder than the run "
            f"({', '.join(wrong[:3])} differ); report this with the versions of transformers"
        )
    return made.eval()


def _new_layers(made: Any, model: MultiHeadModel, shape: tuple[int, ...]) -> list[nn.Linear]:
    """The linear layers of a classifier that its encoder did not bring along, by their shape."""
    inside = set(model.encoder.state_dict())
    prefix = f"{made.base_model_prefix}."
    return [
        layer
        for name, layer in made.named_modules()
        if isinstance(layer, nn.Linear)
        and tuple(layer.weight.shape) == shape
        and f"{name.removeprefix(prefix)}.weight" not in inside
    ]


def _save(made: Any, encoder: Path, recipe: Recipe, folder: Path, max_length: int) -> None:
    (head,) = recipe.heads
    setattr(made.config, _MARK, head)
    shutil.rmtree(folder, ignore_errors=True)
    made.save_pretrained(folder)
    rules = recipe.normalization.normalization()
    hub_tokenizer(encoder, rules, max_length).save_pretrained(folder)
    path = folder / "tokenizer_config.json"  # under the name that older transformers know too
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
