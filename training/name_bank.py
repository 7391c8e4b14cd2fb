"""Names to put in the places of others: a source's own, and those of WikiFANE."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import cache

from annotations.catalogue import corpus_named
from annotations.labels import label_schema
from annotations.schema import Document
from training.augmentation import harvest
from training.corpora import load
from training.settings import NameList

Names = dict[str, list[str]]  # by label
_ARABIC = re.compile(r"[\u0621-\u064a]+(?: [\u0621-\u064a]+)*")
_CLITIC = "لل"  # what begins so is seldom a name alone
_FINE = {"PER": "PERS", "ORG": "ORG"}  # a LOC of WikiFANE may be a GPE, a LOC or a FAC


def name_bank(
    documents: Sequence[Document], lists: Collection[NameList], labels: Sequence[str]
) -> Names:
    """Names by the labels of a head: the documents' own and those of `lists`, each once.

    Types without a coarse one (dates, numbers) are left as they stand: they are no names.
    """
    plain = {name for name, entity in label_schema().entities.items() if entity.coarse is None}
    bank = {
        label: dict.fromkeys(surfaces)
        for label, surfaces in harvest(documents).items()
        if label not in plain
    }
    if "wikifane" in lists:
        for label, surfaces in _wikifane().items():
            if label in labels:
                bank.setdefault(label, {}).update(dict.fromkeys(surfaces))
    return {label: list(surfaces) for label, surfaces in bank.items()}


@cache
def _wikifane() -> Names:
    """Persons and organisations, written in letters of Arabic alone."""
    coarse = corpus_named("wikifane").labels
    found: Names = {}
    for label, surfaces in harvest(load("wikifane", "train")).items():
        kind = _FINE.get(str(coarse.get(label)))
        if kind is not None:
            found.setdefault(kind, []).extend(
                name
                for name in surfaces
                if _ARABIC.fullmatch(name) and not name.startswith(_CLITIC)
            )
    return found
