"""Near copies: texts that say the same but for links, names of users and a few words."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from annotations.schema import Document
from annotations.text import Normalization, normalize

SHINGLE = 4  # words
SHARE = 0.8  # of the shingles of the shorter text
_NOISE = re.compile(r"https?://\S+|[@#]\S+|[^\w\s]")
_RULES = Normalization(unify_alef=True, unify_ya=True, unify_ta_marbuta=True)


def without_copies(documents: Iterable[Document], notes: Counter[str]) -> Iterator[Document]:
    """The documents that are no near copy of an earlier one; `notes` counts those left out.

    Two texts are near copies when the shorter one shares 80 % of its runs of four words with the
    other, links, user names, tags and marks aside; texts of fewer words must be the same.
    """
    holders: dict[tuple[str, ...], list[int]] = defaultdict(list)
    sizes: list[int] = []
    for document in documents:
        found = _shingles(document.text)
        shared = Counter(i for shingle in found for i in holders.get(shingle, ()))
        if any(count >= SHARE * min(sizes[i], len(found)) for i, count in shared.items()):
            notes["near copy of an earlier text left out"] += 1
            continue
        for shingle in found:
            holders[shingle].append(len(sizes))
        sizes.append(len(found))
        yield document


def _shingles(text: str) -> set[tuple[str, ...]]:
    words = _NOISE.sub(" ", normalize(text, _RULES).text).split()
    if len(words) < SHINGLE:
        return {tuple(words)}
    return {tuple(words[i : i + SHINGLE]) for i in range(len(words) - SHINGLE + 1)}
