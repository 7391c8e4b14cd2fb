"""Published checkpoints as bundles: token and sequence classifiers, served as they are, without
training.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from annotations.errors import KhabarError
from annotations.hashes import sha256
from annotations.text import Normalization
from serving.bundle import (
    DEFAULT_FOLDER,
    FORMAT,
    LEXICON,
    MANIFEST,
    MODEL,
    TOKENIZER,
    Head,
    Manifest,
)
from serving.decoding import Scheme
from serving.encoding import SpecialPieces, WindowRule, space_piece
from training.encoders.sources import (
    encoder_folder,
    load_weights,
    special_pieces,
    usable_positions,
)
from training.export.onnx_export import export
from training.hub.tagsets import Mapping, text_mapping, word_mapping
from training.recipe import BUNDLE_FILES, finish
from training.scratch import beside, refuse_foreign
from training.settings import Encoder

log = logging.getLogger(__name__)
WINDOW = 256  # pieces
MAX_WINDOW = 512
ABSENT = -1e3  # the logit of a tag that a checkpoint does not have; more would cost float32 digits
# What config.json says of khabar's own heads: a word's tag is at the piece with its first letter.
TAGGED_AT_LETTER = ("khabar_word_tag", "first_letter")
_TASKS = {
    "ForTokenClassification": AutoModelForTokenClassification,
    "ForSequenceClassification": AutoModelForSequenceClassification,
}
_UNKNOWN_DATA = "unknown: see the source's card"


class ImportedModelError(KhabarError):
    """A checkpoint that cannot become a bundle."""


class ImportedModel(nn.Module):
    """A classifier of transformers as a model of one head, in the form that export takes.

    Outputs that count for one tag or label of the head add their probabilities. A word whose first
    piece is a lone "▁" or "Ġ" (`lone` is its id) has its tag there, as transformers trains it;
    serving reads a word at the piece with its first letter, which is the next one, so the tag is
    moved.
    """

    def __init__(self, encoder: Any, mapping: Mapping, lone: int | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.specs: tuple[Head, ...] = (mapping.head,)
        self.lone = lone if mapping.head.kind == "flat" else None
        closed = torch.full((mapping.head.width, len(mapping.targets)), ABSENT)
        closed[torch.tensor(mapping.targets), torch.arange(len(mapping.targets))] = 0.0
        self.register_buffer("closed", closed)

    def logits(
        self, input_ids: Tensor, attention_mask: Tensor, segments: Tensor
    ) -> tuple[Tensor, ...]:
        """The logits of the head, (batch, pieces, width) or (batch, width); inputs are (batch,
        pieces).
        """
        found = self.encoder(input_ids=input_ids, attention_mask=attention_mask).logits
        if self.lone is not None:
            moved = torch.cat([found[:, :1], found[:, :-1]], dim=1)
            after = torch.cat([input_ids[:, :1], input_ids[:, :-1]], dim=1) == self.lone
            found = torch.where(after.unsqueeze(-1), moved, found)
        return (torch.logsumexp(found.unsqueeze(-2) + self.closed, dim=-1),)


def import_model(
    source: str,
    out: Path,
    head: str | None = None,
    revision: str | None = None,
    name: str | None = None,
    labels: Sequence[str] | None = None,
    scheme: Scheme | None = None,
) -> Path:
    """The bundle in `out` of a token or sequence classifier from the hub or a local folder.

    `head` is by default `ner` or `topic`. `labels` names the outputs in their order, where
    config.json does not; `scheme` overrules what the prefixes tell of a tag set.
    """
    refuse_foreign(out, BUNDLE_FILES)
    with tempfile.TemporaryDirectory() as cache, beside(out) as partial:
        folder = encoder_folder(Encoder(source=source, revision=revision), Path(cache))
        model, mapping, architecture = load_classifier(folder, source, head, labels, scheme)
        special = SpecialPieces(**special_pieces(folder / "tokenizer.json"))
        difference = export(model, partial, special.pad)
        shutil.copy(folder / "tokenizer.json", partial / TOKENIZER)
        weights = weight_files(folder)
        origin = Path(source).resolve().name if Path(source).is_dir() else source
        imported = {
            "source": origin,
            "revision": revision,
            "architecture": architecture,
            "files": weights,
            "labels": mapping.named,
        }
        positions = max_positions(model.encoder)
        manifest = _manifest(
            name or _plain_name(origin), mapping.head, special, positions, partial
        ).model_copy(
            update={
                "version": next(iter(weights.values()))[:12],
                "encoder": origin,
                "training": {"imported": imported, "logit_difference": difference},
            }
        )
        return finish(partial, out, manifest)


def load_classifier(
    folder: Path,
    source: str,
    head: str | None = None,
    labels: Sequence[str] | None = None,
    scheme: Scheme | None = None,
) -> tuple[ImportedModel, Mapping, str]:
    """The classifier of a Hugging Face folder in float32, how its outputs map, and its
    architecture.
    """
    config, architecture, loader = _classifier_config(folder, source)
    names = _output_names(config, labels, source)
    if loader is AutoModelForTokenClassification:
        mapping = word_mapping(names, head or "ner", source, scheme)
    else:
        _refuse_other_answers(config, names, head, source)
        mapping = text_mapping(names, head or "topic", source)
    encoder, missing = load_weights(loader, folder, config)
    if missing:
        raise ImportedModelError(
            f"{source}: its weights lack {', '.join(missing[:4])}; it is no finished "
            f"{architecture}, give a checkpoint that was trained as one"
        )
    log.info("%s: %s, scheme %s, labels %s", source, architecture, mapping.head.scheme, names)
    if mapping.unknown:
        log.warning(
            "%s: labels without a counterpart in khabar's schema keep their names: %s",
            source,
            ", ".join(mapping.unknown),
        )
    name, value = TAGGED_AT_LETTER
    lone = None
    if getattr(config, name, None) != value:
        lone = space_piece(Tokenizer.from_file(str(folder / "tokenizer.json")))
    return ImportedModel(encoder, mapping, lone).eval(), mapping, architecture


def _classifier_config(folder: Path, source: str) -> tuple[Any, str, Any]:
    """The configuration of a checkpoint, its architecture, and the class that loads it."""
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (ValueError, OSError, KeyError) as error:
        cause = str(error).strip().splitlines()[0][:200]
        raise ImportedModelError(
            f"{source}: transformers cannot read its config.json ({cause}); khabar imports models "
            "of transformers' own classes, without remote code"
        ) from error
    found = list(config.architectures or ())
    for architecture in found:
        for suffix, loader in _TASKS.items():
            if architecture.endswith(suffix):
                return config, architecture, loader
    raise ImportedModelError(
        f"{source}: architectures are {', '.join(found) or 'not stated'}; khabar imports "
        f"...{' and ...'.join(_TASKS)}. Train heads on a bare encoder with `khabar train`"
    )


def _output_names(config: Any, labels: Sequence[str] | None, source: str) -> list[str]:
    named = {int(i): str(name) for i, name in config.id2label.items()}
    if labels is not None:
        if len(labels) != len(named):
            raise ImportedModelError(
                f"{source}: has {len(named)} outputs, --labels names {len(labels)}; name each, in "
                "order"
            )
        return list(labels)
    if sorted(named) != list(range(len(named))):
        raise ImportedModelError(
            f"{source}: id2label of its config.json numbers the {len(named)} outputs "
            f"{', '.join(map(str, sorted(named)))}, not from 0 up; mend it, or give the names in "
            "their order with --labels"
        )
    return [named[i] for i in sorted(named)]


def _refuse_other_answers(config: Any, names: Sequence[str], head: str | None, source: str) -> None:
    """Refuse sequence classifiers that do not choose one label of one text."""
    if head in ("stance", "claim"):
        raise ImportedModelError(
            f"{source}: head {head!r} judges a text for a target or claim; a published classifier "
            "is imported as a head of texts, such as topic"
        )
    if len(names) < 2 or config.problem_type in ("regression", "multi_label_classification"):
        raise ImportedModelError(
            f"{source}: {len(names)} outputs, problem_type {config.problem_type}; khabar imports "
            "classifiers that choose one label of several"
        )


def max_positions(model: Any) -> int:
    """How many pieces a model of transformers can read at once, of which a bundle uses 512."""
    return min(usable_positions(model) or MAX_WINDOW, MAX_WINDOW)


def weight_files(folder: Path) -> dict[str, str]:
    """The sha256 of each file of weights in a Hugging Face folder."""
    found = sorted([*folder.glob("*.safetensors"), *folder.glob("pytorch_model*.bin")])
    return {path.name: sha256(path) for path in found}


def _plain_name(source: str) -> str:
    """A name for a bundle, as the model store takes it."""
    return re.sub(r"[^a-z0-9._-]+", "-", source.rsplit("/", 1)[-1].lower()).strip("-._") or "model"


def _manifest(
    name: str, head: Head, special: SpecialPieces, positions: int, folder: Path
) -> Manifest:
    """The manifest of an imported bundle; also writes the lexicon, which it says the data of."""
    size = min(WINDOW, positions)
    data = [
        {"name": "training data", "title": _UNKNOWN_DATA, "license": _UNKNOWN_DATA, "files": {}}
    ]
    data += _write_lexicon(folder / LEXICON)
    return Manifest(
        format=FORMAT,
        name=name,
        version="imported",
        encoder=name,
        heads=(head,),
        window=WindowRule(size, min(32, size // 4)),
        pair_max_pieces=size,
        special=special,
        normalization=Normalization(),
        files={file: sha256(folder / file) for file in (MODEL, TOKENIZER, LEXICON)},
        training={},
        data=data,
        scores=[],
    )


def _write_lexicon(path: Path) -> list[dict[str, Any]]:
    """Write the lexicon of name beginnings, by which the answer tells clitics from names; returns
    the data it was counted from.

    It is that of the bundle installed with khabar: with an empty one every first و would be read as
    a clitic.
    """
    shutil.copy(DEFAULT_FOLDER / LEXICON, path)
    manifest = json.loads((DEFAULT_FOLDER / MANIFEST).read_text(encoding="utf-8"))
    used = manifest["training"]["recipe"]["lexicon"]
    return [
        {**entry, "title": f"{entry['title']} (lexicon of name beginnings only)"}
        for entry in manifest["data"]
        if entry["name"] in used
    ]
