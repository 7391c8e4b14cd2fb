"""The project's own gold as documents to train on: the seed, the authored news, ANT's passages.

What a head learns from them is a view of the same documents: their stances, claims or topics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from annotations.ant import ant_passages
from annotations.authored import authored_documents
from annotations.matching import shared_words
from annotations.schema import Claim, Document, overlap
from annotations.seed import seed_document
from annotations.text import sentences
from training.splits import Part, held_out_part

Gold = Literal["seed", "authored", "antnews"]
CALIBRATION_SHARE = 0.12  # of few documents; the others' share would be too few to calibrate on


def gold_documents(name: Gold, part: Part, ant_corpus: Path | None = None) -> list[Document]:
    """The documents of a part, with everything that is annotated on them; the seed is train only.

    `ant_corpus` is ANT's train.jsonl.gz, in which the texts of `antnews` stand.
    """
    if name == "seed":
        return [seed_document()] if part == "train" else []
    source: Literal["train", "dev"] = "dev" if part == "dev" else "train"
    if name == "authored":
        documents = list(authored_documents(source))
    else:
        assert ant_corpus is not None
        documents = ant_passages(source, ant_corpus)
    if part == "dev":
        return documents
    return [d for d in documents if held_out_part(d.id, CALIBRATION_SHARE) == part]


def stance_views(documents: Sequence[Document]) -> list[Document]:
    """The author's stances, each with the text of its scope alone and its evidence there; those of
    quoted holders are another question.
    """
    views = []
    for document in documents:
        for i, stance in enumerate(document.stances or ()):
            if stance.holder is None:
                start, end = stance.scope or (0, len(document.text))
                inside = tuple(
                    (max(low - start, 0), min(high, end) - start)
                    for low, high in stance.evidence or ()
                    if overlap((low, high), (start, end))
                )
                flat = replace(stance, start=None, end=None, scope=None, evidence=inside or None)
                text = document.text[start:end]
                views.append(Document(f"{document.id}-stance-{i}", text, stances=(flat,)))
    return views


def short_text_stances(texts: Literal["snippets", "reports"]) -> list[Document]:
    """The stances of the project's short texts."""
    return stance_views(authored_documents(texts))


def claim_views(documents: Sequence[Document]) -> list[Document]:
    """Claims, each with the three sentences of its text that speak most of it.

    What a text says of a claim is said by the first of the three; the others say nothing (other)
    unless they share half of its words, and then they are left out.
    """
    views = []
    for document in documents:
        parts = [document.text[start:end] for start, end in sentences(document.text)]
        for claim in document.claims or ():
            ranked = sorted(parts, key=lambda part: -shared_words(claim.text, part))[:3]
            for i, part in enumerate(ranked):
                if i == 0 or shared_words(claim.text, part) < 0.5:
                    label = claim.label if i == 0 else "unrelated"
                    views.append(
                        Document(f"{document.id}-claim", part, claims=(Claim(claim.text, label),))
                    )
    return views


def topic_views(documents: Sequence[Document]) -> list[Document]:
    """The documents that have a topic."""
    return [document for document in documents if document.topic is not None]
