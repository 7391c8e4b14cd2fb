"""A recipe's data, ready to train: heads, examples of every source, weights, and fingerprints by
which a resumed run knows its data again.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from datasets import Dataset

from annotations.errors import KhabarError
from annotations.schema import Document
from serving.bundle import Head
from serving.encoding import TextEncoder, WindowRule
from training.batches import SourceExamples, Unknown
from training.corpora import load
from training.encoders.sources import encoder_fingerprint, encoder_positions, special_pieces
from training.examples import Example, examples_of, require_known
from training.label_sets import head_labels, is_own_file, teaching
from training.losses import class_weights
from training.runs import DATA, read_json, write_text
from training.settings import Recipe, Source
from training.source_documents import POOLED, development_texts, training_documents
from training.teachers import taught_examples, teachers_of

log = logging.getLogger(__name__)


class TrainingError(KhabarError):
    """A training run that cannot go on."""


@dataclass(frozen=True)
class Prepared:
    """A recipe's data, ready to train.

    `class_weights` maps a head to (columns, classes); `unknown` a flat head and a source to the
    tags, (tags,), that a word may have on which the source is silent. `fingerprints` tells data
    apart. `left_out` is the number of documents of each source that are near-duplicates of
    development texts.
    """

    heads: tuple[Head, ...]
    encoder: TextEncoder
    dataset: Dataset
    sources: list[SourceExamples]
    lengths: list[int]
    class_weights: dict[str, torch.Tensor]
    unknown: Unknown
    fingerprints: dict[str, str]
    left_out: dict[str, int]


def recipe_heads(recipe: Recipe) -> tuple[Head, ...]:
    """The heads of a recipe as the bundle will describe them."""
    return tuple(
        Head(
            name=name,
            kind=head.kind,
            labels=head_labels(name, head),
            experimental=head.experimental,
            combine=head.combine,
            unit=head.unit,
            mirrored=head.mirrored,
        )
        for name, head in recipe.heads.items()
    )


def text_encoder(recipe: Recipe, folder: Path) -> TextEncoder:
    """The tokenizer of an encoder folder under the recipe's rules."""
    rule = WindowRule(recipe.windows.size, recipe.windows.overlap_tokens)
    path = folder / "tokenizer.json"
    return TextEncoder.from_file(
        path, recipe.normalization.normalization(), rule, **special_pieces(path)
    )


def prepare(recipe: Recipe, folder: Path) -> Prepared:
    """Read, encode and index all sources of a recipe; `folder` holds the encoder."""
    heads = {head.name: head for head in recipe_heads(recipe)}
    encoder = text_encoder(recipe, folder)
    _hold_to_positions(recipe, folder)
    examples: list[Example] = []
    sources = []
    left_out: dict[str, int] = {}
    held_out = development_texts(recipe)
    fingerprints = {"encoder": encoder_fingerprint(folder)}
    for source in recipe.sources:
        head = heads[source.head]
        if is_own_file(source.corpus) and head.kind in POOLED:
            require_known(load(source.corpus, "calibration"), head)
        if not source.passes:
            continue
        documents, copies = training_documents(recipe, source, head, held_out)
        left_out[source.corpus] = max(copies, left_out.get(source.corpus, 0))
        made = source_examples(recipe, source, head, encoder, documents)
        if not made:
            raise TrainingError(
                f"source {source.corpus} gives head {source.head!r} no example; check its file and "
                "what is annotated there, or remove it"
            )
        rows = range(len(examples), len(examples) + len(made))
        pooled = head.kind in POOLED
        classes = [example.labels[0] for example in made] if pooled else ()
        weight = source.passes / (1 + (source.variants.count if source.variants else 0))
        sources.append(SourceExamples(source.head, rows, weight, source.per_class, classes))
        fingerprints[f"{source.corpus} -> {source.head}"] = _fingerprint(made)
        examples.extend(made)
    teachers_of.cache_clear()  # they and what they read would stay in memory while others learn
    weighted = [heads[name] for name, settings in recipe.heads.items() if settings.class_weights]
    return Prepared(
        tuple(heads.values()),
        encoder,
        Dataset.from_dict(
            {f.name: [getattr(e, f.name) for e in examples] for f in fields(Example)}
        ),
        sources,
        [len(example.input_ids) for example in examples],
        {head.name: class_weights(head, examples) for head in weighted},
        _unknown_tags(recipe, heads),
        fingerprints,
        left_out,
    )


def _hold_to_positions(recipe: Recipe, folder: Path) -> None:
    """Refuse inputs that are longer than the encoder has positions for."""
    positions = encoder_positions(folder)
    if positions is None:
        return
    longest = {"windows.size": recipe.windows.size}
    if any(head.kind == "pair" for head in recipe.heads.values()):
        longest["windows.pair_max_pieces"] = recipe.windows.pair_max_pieces
    for source in recipe.sources:
        longest[f"max_pieces of {source.corpus}"] = source.max_pieces or 0
    for name, length in longest.items():
        if length > positions:
            raise TrainingError(
                f"{name} is {length}, but the encoder reads at most {positions} pieces; lower it"
            )


def source_examples(
    recipe: Recipe, source: Source, head: Head, encoder: TextEncoder, documents: list[Document]
) -> list[Example]:
    """The training examples of some documents of a source."""
    if source.taught_by:
        teachers = teachers_of(source.taught_by)
        made = list(taught_examples(documents, head, encoder, source.corpus, teachers))
        how = f", taught by {', '.join(source.taught_by)}"
    else:
        known = teaching(source, head)
        most, pair_most = source.max_pieces, recipe.windows.pair_max_pieces
        made = list(examples_of(documents, head, encoder, source.corpus, most, pair_most, known))
        silent = sorted(known.unannotated)
        how = f", silent on {', '.join(silent)}" if silent else ""
    log.info(
        "%s -> %s: %d documents, %d examples%s",
        source.corpus,
        source.head,
        len(documents),
        len(made),
        how,
    )
    return made


def _unknown_tags(recipe: Recipe, heads: dict[str, Head]) -> Unknown:
    """Of each source of a flat head that does not annotate all its types: O and their tags."""
    found: Unknown = {}
    for source in recipe.sources:
        head = heads[source.head]
        if head.kind == "flat" and (silent := teaching(source, head).unannotated):
            tags = [tag == "O" or tag[2:] in silent for tag in head.tags]
            found[head.name, source.corpus] = torch.tensor(tags)
    return found


def _fingerprint(examples: Sequence[Example]) -> str:
    """The sha256 of all that a source teaches, in order."""
    digest = hashlib.sha256()
    for example in examples:
        row = [example.input_ids, example.segments, example.labels, example.head]
        digest.update(json.dumps(row).encode())
        digest.update(example.shares)
    return digest.hexdigest()


def hold_to_data(prepared: Prepared, run: Path, begun: bool, writes: bool = True) -> None:
    """Write the fingerprints of a run's data, or, where it has begun, refuse other data; of several
    processes one `writes`.
    """
    path = run / DATA
    if begun and path.is_file():
        before = read_json(path)
        now = prepared.fingerprints
        changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        if changed:
            shown = "; ".join(
                f"{name}: {before.get(name, 'not there')[:12]} then, "
                f"{now.get(name, 'not there')[:12]} now"
                for name in changed
            )
            raise TrainingError(
                f"{run}: its checkpoints were trained on other data ({shown}); bring the data "
                "back, or give another folder with --run"
            )
    if writes:
        write_text(path, json.dumps(prepared.fingerprints, indent=1))
