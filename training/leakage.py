"""Near-duplicates of development texts among training texts: found, left out, counted.

Two texts are near-duplicates when one gives half of its runs of 30 letters to the other; of texts
with fewer letters, when the letters are the same. Only letters count: vowel signs, tatweel, digits,
punctuation, spaces, presentation forms, Persian letters and the spelling of alef, ya and ta marbuta
do not hide a copy.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from annotations.schema import Document
from annotations.text import TATWEEL, normalize

RUN = 30  # letters, as the corpora's own leakage checks count
SHARE = 0.5
_ONE_SPELLING = str.maketrans("أإآٱىیةک", "ااااييهك", TATWEEL)
_FACTOR = 1_000_003
Hashes = npt.NDArray[np.uint64]


def run_hashes(text: str) -> Hashes:
    """A hash of each run of 30 letters, (runs,); of all letters where there are fewer."""
    spelt = unicodedata.normalize("NFKC", text).translate(_ONE_SPELLING)  # letters as models read
    letters = "".join(filter(str.isalpha, spelt))
    codes = np.frombuffer(letters.encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    length = min(RUN, len(codes))
    if not length:
        return np.zeros(0, dtype=np.uint64)
    total = np.zeros(len(codes) - length + 1, dtype=np.uint64)
    for i in range(length):
        total = total * np.uint64(_FACTOR) + codes[i : len(codes) - length + 1 + i]
    return total + np.uint64(length)


class HeldOut:
    """Development texts, to compare training texts with."""

    def __init__(self, documents: Iterable[Document]) -> None:
        per_text = [run_hashes(text) for document in documents for text in texts_of(document)]
        self.runs = np.concatenate([*per_text, np.zeros(0, dtype=np.uint64)])
        self.owners = np.repeat(np.arange(len(per_text)), [len(runs) for runs in per_text])
        self.sizes = np.array([max(len(np.unique(runs)), 1) for runs in per_text])
        order = np.argsort(self.runs, kind="stable")
        self.runs, self.owners = self.runs[order], self.owners[order]

    def has_like(self, text: str) -> bool:
        """Whether a development text is a near-duplicate of this one."""
        runs = np.unique(run_hashes(text))
        low = np.searchsorted(self.runs, runs, side="left")
        high = np.searchsorted(self.runs, runs, side="right")
        shared = np.zeros(len(self.sizes), dtype=np.int64)
        for a, b in zip(low[high > low], high[high > low], strict=True):
            shared[np.unique(self.owners[a:b])] += 1
        smaller = np.minimum(self.sizes, max(len(runs), 1))
        return bool(((shared > 0) & (shared >= SHARE * smaller)).any())


def texts_of(document: Document) -> list[str]:
    """The texts of a document that a model learns by heart: its own and those of its claims."""
    return [document.text, *(claim.text for claim in document.claims or ())]


def without_texts_of(others: Iterable[Document], documents: Iterable[Document]) -> list[Document]:
    """The documents of which neither the text nor a claim is one of the others', in any spelling:
    what a model has been taught it is surer of than of what it reads.
    """
    seen = {normalize(text).text for other in others for text in texts_of(other)}
    return [d for d in documents if seen.isdisjoint(normalize(t).text for t in texts_of(d))]


def without_copies(
    documents: Sequence[Document], held_out: HeldOut
) -> tuple[list[Document], list[Document]]:
    """Training documents, apart: those to keep, and those of which a text is a near-duplicate of a
    development text.
    """
    kept: list[Document] = []
    copies: list[Document] = []
    for document in documents:
        found = any(held_out.has_like(text) for text in texts_of(document))
        (copies if found else kept).append(document)
    return kept, copies
