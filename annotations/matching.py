"""Whether words stand in a text, however Arabic attaches and spells them there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from annotations.text import Normalization, normalize, words

_SPELLING = Normalization(unify_alef=True, unify_ya=True, unify_ta_marbuta=True)
_ARTICLE = "ال"
# What may be cut from a word: a conjunction, then a preposition with or without the article.
_CONJUNCTION = re.compile("^[وف]")
_PREPOSITION = re.compile("^(?:[بك](?=ال)|لل|[بلك])")
_DOUBLE_LAM = "لل"  # ل and the article, or ل and a word that begins with it: للاجئين
SHORT = 2  # letters; such words are particles, and looked for only where there is no longer one
ATTESTED, CERTAIN = 3, 4  # letters left of a word that is cut on the side that asks


@dataclass(frozen=True, slots=True)
class WordForms:
    """The words of a text: as they are written and without the article (`uncut`), and without
    clitics too, in every way in which they may be read (`readings`).

    وفريق is فريق and ريق; which, nobody can tell from its letters.
    """

    uncut: frozenset[str]
    readings: frozenset[str]

    @classmethod
    def of(cls, text: str) -> WordForms:
        """The forms of all words of a text, short ones too."""
        found = frozenset(_spelled(text))
        uncut = frozenset(form for word in found for form in _bare(word))
        return cls(uncut, frozenset(form for word in found for form in _readings(word)))


@dataclass(frozen=True, slots=True)
class AskedWord:
    """A word of a target or claim in the forms that stand for it in a text: `anywhere`, behind
    clitics too, or only `uncut`.
    """

    anywhere: frozenset[str]
    uncut: frozenset[str]

    @classmethod
    def of(cls, word: str) -> AskedWord:
        """The forms of a word in the one spelling.

        It stands wherever it is read, with and without the article: لواشنطن is واشنطن. Where it may
        have clitics itself, what is left of it is seldom another word if it is long, or if it
        stands in the text without any: ومصر is مصر, but فريد is not بريد.
        """
        cut = _readings(word)
        long = frozenset(form for form in cut if len(form) >= CERTAIN)
        return cls(_bare(word) | long, frozenset(form for form in cut if len(form) >= ATTESTED))

    def stands_in(self, forms: WordForms) -> bool:
        """Whether the word stands in a text."""
        return not (self.anywhere.isdisjoint(forms.readings) and self.uncut.isdisjoint(forms.uncut))


def asked_words(about: str) -> tuple[AskedWord, ...]:
    """The different words of a target or claim; of two letters and fewer only where all are."""
    found = frozenset(_spelled(about))
    kept = frozenset(word for word in found if len(word) > SHORT) or found
    return tuple(map(AskedWord.of, sorted(kept)))


def share_of(asked: Sequence[AskedWord], forms: WordForms) -> float:
    """The share of the words asked for that stand in a text, 0 to 1; none asked for is 0."""
    return sum(word.stands_in(forms) for word in asked) / len(asked) if asked else 0.0


def shared_words(about: str, text: str) -> float:
    """The share of the words of `about` that stand in a text, clitics, the article and spelling
    aside; 0 to 1.
    """
    return share_of(asked_words(about), WordForms.of(text))


def _spelled(text: str) -> Iterator[str]:
    clean = normalize(text, _SPELLING).text
    found = (clean[start:end] for start, end in words(clean))
    return (word for word in found if word[0].isalnum())


def _bare(word: str) -> frozenset[str]:
    rest = word.removeprefix(_ARTICLE)
    return frozenset({word, rest} if len(rest) > 1 else {word})


@lru_cache(maxsize=1 << 12)
def _readings(word: str) -> frozenset[str]:
    starts = {word, _CONJUNCTION.sub("", word)}
    starts |= {_PREPOSITION.sub("", start) for start in starts} | {
        start[1:] for start in starts if start.startswith(_DOUBLE_LAM)
    }
    kept = (start for start in starts if len(start) > 1 or start == word)
    return frozenset(form for start in kept for form in _bare(start))
