"""How well a vocabulary covers texts: pieces per word, words in one piece, what is unknown."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from training.encoders.vocabulary import Vocabulary

_WORD = re.compile(r"\S+")


@dataclass(frozen=True, slots=True)
class Coverage:
    """What a tokenizer makes of sample texts; words are what whitespace separates."""

    words: int
    pieces: int
    whole_words: int  # of one piece that is known
    unknown: int  # pieces

    @property
    def pieces_per_word(self) -> float:
        """Fertility: 1 would be every word whole."""
        return self.pieces / self.words

    @property
    def unknown_share(self) -> float:
        """Of all pieces."""
        return self.unknown / max(self.pieces, 1)

    @property
    def whole_share(self) -> float:
        """Of all words."""
        return self.whole_words / self.words


@dataclass(frozen=True, slots=True)
class WordChange:
    """A word that another vocabulary cuts in another way, and how often it stands in the texts."""

    word: str
    count: int
    before: tuple[str, ...]
    after: tuple[str, ...]

    @property
    def added(self) -> int:
        """How many more pieces it takes."""
        return len(self.after) - len(self.before)


@dataclass(frozen=True, slots=True)
class Cut:
    """Texts as a vocabulary cuts them.

    `words` maps a word to its pieces as text where it stands first; `counts` says how often a word
    stands in the texts; `used` counts the ids of pieces.
    """

    coverage: Coverage
    words: dict[str, tuple[str, ...]]
    counts: Counter[str]
    used: Counter[int]


def cut(vocabulary: Vocabulary, samples: Sequence[str]) -> Cut | None:
    """What a vocabulary makes of the samples; None when they hold no word."""
    counts = Counter(word for text in samples for word in text.split())
    if not counts:
        return None
    tokenizer = vocabulary.tokenizer()
    words: dict[str, tuple[str, ...]] = {}
    used: Counter[int] = Counter()
    whole = 0
    for text in samples:
        encoding = tokenizer.encode(text, add_special_tokens=False)
        used.update(encoding.ids)
        places = [match.span() for match in _WORD.finditer(text)]
        for (start, end), ids in zip(places, _per_word(places, encoding), strict=True):
            whole += len(ids) == 1 and ids[0] != vocabulary.unknown
            words.setdefault(text[start:end], tuple(_shown(vocabulary, i) for i in ids))
    unknown = 0 if vocabulary.unknown is None else used[vocabulary.unknown]
    coverage = Coverage(counts.total(), used.total(), whole, unknown)
    return Cut(coverage, words, counts, used)


def _per_word(places: Sequence[tuple[int, int]], encoding: object) -> list[list[int]]:
    """The ids of the pieces of each word: a piece belongs to the word in which it ends."""
    found: list[list[int]] = [[] for _ in places]
    word = 0
    for i, (_, end) in zip(encoding.ids, encoding.offsets, strict=True):  # type: ignore[attr-defined]
        while word + 1 < len(places) and end > places[word][1]:
            word += 1
        found[word].append(i)
    return found


def _shown(vocabulary: Vocabulary, i: int) -> str:
    piece = vocabulary.pieces[i]
    return vocabulary.readable(piece) or piece


def changes(before: Cut, after: Cut, most: int = 20) -> list[WordChange]:
    """The words whose pieces changed most, weighed by how often they stand in the texts."""
    found = [
        WordChange(word, before.counts[word], pieces, after.words[word])
        for word, pieces in before.words.items()
        if pieces != after.words[word]
    ]
    return sorted(found, key=lambda c: (-max(c.added, 0.5) * c.count, c.word))[:most]
