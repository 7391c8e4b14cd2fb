"""Attached one-letter clitics: where a name begins inside its first word.

و ف ب ل ك are written on to the next word, but وليد and باريس begin with the same letters. A word
that could be read both ways is decided by how often each reading begins a name: in a lexicon
counted from annotated corpora, and in the article itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from annotations.errors import FormatError
from annotations.text import ALEF_VARIANTS, normalize

CONJUNCTIONS = "وف"
PREPOSITIONS = "بلك"
_MIN_STEM = 3  # letters that must remain of a name
LOOK_BEHIND = 8  # code points in which the last letter before a mention stands, with its signs


@dataclass(frozen=True, slots=True)
class Priors:
    """Log odds that a first letter is a clitic, and that letters before ال are.

    The defaults were fitted by `training/lexicon.py` on WikiFANE, whose clitics are split off.
    """

    letters: dict[str, float]
    article: float


FITTED = Priors({"و": 0.5, "ف": -2.0, "ب": -1.0, "ل": -1.0, "ك": -2.5}, article=3.0)


def lexicon_key(word: str) -> str:
    """The form in which the lexicon knows a normalised word: one alef."""
    return word.translate(ALEF_VARIANTS)


def readings(word: str) -> list[int]:
    """How many letters of a normalised word may be clitics: always 0, then longer ones.

    Of لل, which stands for ل + ال, only the first ل is a clitic.
    """
    lengths = [0]
    if word and word[0] in CONJUNCTIONS:
        lengths.append(1)
        if word[1:2] and word[1] in PREPOSITIONS:
            lengths.append(2)
    elif word and word[0] in PREPOSITIONS:
        lengths.append(1)
    return [n for n in lengths if n == 0 or len(word) - n >= _MIN_STEM or word[n:].isdigit()]


@dataclass(frozen=True, slots=True)
class NameLexicon:
    """How often a word begins a name, by its key."""

    counts: dict[str, int]
    priors: Priors = FITTED

    @classmethod
    def read(cls, path: Path) -> NameLexicon:
        """The lexicon of a `word<TAB>count` file."""
        counts = {}
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            word, _, count = line.partition("\t")
            if not word or not count.isdecimal():
                raise FormatError(f"{path}:{number}: need word<TAB>count; export the bundle again")
            counts[word] = int(count)
        return cls(counts)

    @classmethod
    def count(cls, first_words: Iterable[str]) -> NameLexicon:
        """The lexicon of the first words of names."""
        counts: dict[str, int] = {}
        for word in first_words:
            key = lexicon_key(normalize(word).text)
            if key:  # a word of marks alone leaves nothing to know it by
                counts[key] = counts.get(key, 0) + 1
        return cls(counts)

    def write(self, path: Path) -> None:
        """Write `word<TAB>count`, the most frequent first."""
        rows = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        path.write_text("".join(f"{word}\t{count}\n" for word, count in rows), encoding="utf-8")

    def clitics(self, word: str, article_count: Callable[[str], int] = lambda key: 0) -> int:
        """How many letters at the start of a normalised word are clitics before a name.

        `article_count` says how often a key occurs as a word of the article: a name that stands
        free elsewhere decides a reading that the lexicon has never met. The word itself is one of
        these and says nothing.
        """
        own = lexicon_key(word)

        def elsewhere(key: str) -> int:
            count = article_count(key)
            return count - 1 if key == own and count > 0 else count

        options = readings(word)
        return (
            max(options, key=lambda length: self._score(word, length, elsewhere))
            if len(options) > 1
            else 0
        )

    def _score(self, word: str, length: int, article_count: Callable[[str], int]) -> float:
        stem = lexicon_key(word[length:])
        if length and stem.isdigit():
            return math.inf
        prior = sum(self.priors.letters[letter] for letter in word[:length])
        if length and _has_article(word[:length], stem):
            prior += self.priors.article
        return math.log(self.counts.get(stem, 0) + article_count(stem) + 0.5) + prior


def _has_article(clitics: str, stem: str) -> bool:
    """Whether a stem begins with the article: ال, or لـ where ل + ال are written لل."""
    if clitics.endswith("ل"):
        return stem.startswith("ل") and len(stem) > _MIN_STEM
    return stem.startswith("ال") and len(stem) > _MIN_STEM + 1


def plain_form(surface: str, preceding: str, known: Callable[[str], int] = lambda key: 0) -> str:
    """A mention as a dictionary would write it: no diacritics, no tatweel, and ال restored after
    للـ.

    `preceding` is the text before it, or its last LOOK_BEHIND code points: the last letter tells
    whether a ل was cut off.
    `known` says how often a key begins a name: للبنان is better known as لبنان than as البنان.
    """
    text = " ".join(normalize(surface).text.split())
    before = normalize(preceding[-LOOK_BEHIND:]).text
    if not (text.startswith("ل") and before.endswith("ل")):
        return text
    first = lexicon_key(text.partition(" ")[0])
    return text if known(first) > known("ا" + first) else "ا" + text
