"""What a source of a recipe gives to train on: its documents drawn, without copies of development
texts, rewritten as the recipe asks.
"""

from __future__ import annotations

import logging
import random
from collections import Counter

from annotations.catalogue import catalogue
from annotations.errors import ConfigError
from annotations.schema import Document
from serving.bundle import Head
from training.augmentation import stretches, variants
from training.corpora import load, with_entities
from training.evaluation.development import scored_corpora
from training.leakage import HeldOut, without_copies
from training.name_bank import name_bank
from training.settings import Recipe, Source

log = logging.getLogger(__name__)

# kinds of heads, by what they read
WORDS = ("nested", "flat")
POOLED = ("text", "pair")


def development_texts(recipe: Recipe) -> HeldOut:
    """The texts of all development splits on which a recipe is scored."""
    corpora = scored_corpora(recipe.sources)
    return HeldOut(document for corpus in corpora for document in load(corpus, "dev"))


def training_documents(
    recipe: Recipe, source: Source, head: Head, held_out: HeldOut
) -> tuple[list[Document], int]:
    """The documents of a source to train a head on, and how many were left out as near-duplicates
    of development texts.
    """
    if source.per_class is not None:
        _require_kind(POOLED, head, f"source {source.corpus}: per_class")
    if source.max_pieces is not None:
        _require_kind(("text",), head, f"source {source.corpus}: max_pieces")
    _require_sentences(source)
    if source.annotates is not None:
        _require_kind(WORDS, head, f"source {source.corpus}: annotates")
    found = load(source.corpus, "train", source.group, source.detokenise, recipe.seed)
    if head.kind in WORDS and not source.taught_by:
        found = _annotated(found, source)
    drawn = found
    if source.per_class is not None and head.kind == "text":  # pairs are drawn later, by label
        drawn = _drawn(found, source.per_class * max(recipe.optimiser.epochs, 1), recipe.seed)
    if source.documents is not None and source.documents < len(drawn):
        drawn = random.Random(recipe.seed).sample(drawn, source.documents)
    documents, copies = without_copies(drawn, held_out)
    if copies:
        log.info(
            "%s: %d of %d documents are near-duplicates of development texts and are left out",
            source.corpus,
            len(copies),
            len(documents) + len(copies),
        )
    if source.stretches or source.bare:
        _require_kind(("text",), head, f"source {source.corpus}: stretches and bare")
        documents = stretches(documents, source.stretches, source.bare, recipe.seed)
    if source.taught_by:
        _require_kind(WORDS, head, f"source {source.corpus}: taught_by")
    if source.variants is not None:
        _require_kind(WORDS, head, f"source {source.corpus}: variants")
        asked = source.variants
        bank = name_bank(documents, asked.names, head.labels)
        documents += variants(
            documents, bank, asked.count, asked.share, asked.careless, recipe.seed
        )
    return documents, len(copies)


def _annotated(found: list[Document], source: Source) -> list[Document]:
    """Without the documents of which nobody said where names are: they are not without names."""
    kept = with_entities(found)
    if len(kept) < len(found):
        log.info(
            "%s: %d of %d documents have no entities annotated and teach %s nothing",
            source.corpus,
            len(found) - len(kept),
            len(found),
            source.head,
        )
    return kept


def _require_sentences(source: Source) -> None:
    """Refuse what would be done to sentences of another corpus, and is not done to this one."""
    entry = catalogue().get(source.corpus)
    if source.detokenise and (entry is None or entry.reader not in ("conll", "fane")):
        raise ConfigError(
            f"source {source.corpus}: detokenise is {source.detokenise}, and its documents are no "
            "sentences of CoNLL; leave that out"
        )
    if source.group > 1 and source.corpus != "anercorp":
        raise ConfigError(
            f"source {source.corpus}: group is {source.group}, and only of anercorp is it "
            "known which sentences follow one another; leave that out"
        )


def _require_kind(kinds: tuple[str, ...], head: Head, what: str) -> None:
    if head.kind not in kinds:
        raise ConfigError(
            f"{what}: only for heads of kind {' or '.join(kinds)}, {head.name!r} is {head.kind}; "
            "leave that out"
        )


def _drawn(documents: list[Document], per_topic: int, seed: int) -> list[Document]:
    """At most `per_topic` documents of each topic, drawn by the seed."""
    order = random.Random(seed).sample(documents, len(documents))
    seen: Counter[str | None] = Counter()
    kept = []
    for document in order:
        seen[document.topic] += 1
        if seen[document.topic] <= per_topic:
            kept.append(document)
    return kept
