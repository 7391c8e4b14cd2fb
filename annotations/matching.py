"""Whether words stand in a text, however Arabic attaches and spells them there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from annotations.text import Normalization, normalize, words

_SPELLING = Normalization(unify_alef=True, unify_ya=True, unify_ta_marbuta=True)
_ARTICLE = "ال"
# What may be cut from a word: a conjunction, then a preposition with or without the article.
_CONJUNCTION = re.compile("^[وف]")
_PREPOSITION = re.compile("^(?:[بك](?=ال)|لل|[بلك])")
SHORT = 2  # letters; such words are particles, and looked for only where there is no longer one
_ATTESTED, _CERTAIN = 3, 4  # letters left of a word that is cut on the side that asks, see below


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

    def holds(self, word: str) -> bool:
        """Whether a word, spelled as `asked_words` gives it, stands in the text.

        With clitics before it there, always: لواشنطن is واشنطن. Where it may have clitics itself,
        only as what is left of it stands there uncut, or is long enough not to be another word by
        chance: فريد is not بريد.
        """
        if not self.readings.isdisjoint(_bare(word)):
            return True
        readings = _readings(word)
        return any(len(form) >= _ATTESTED and form in self.uncut for form in readings) or any(
            len(form) >= _CERTAIN and form in self.readings for form in readings
        )


def asked_words(about: str) -> frozenset[str]:
    """The different words of a target or claim in one spelling; of two letters and fewer only where
    all are.
    """
    found = frozenset(_spelled(about))
    return frozenset(word for word in found if len(word) > SHORT) or found


def share_of(asked: frozenset[str], forms: WordForms) -> float:
    """The share of the words asked for that stand in a text, 0 to 1; none asked for is 0."""
    return sum(map(forms.holds, asked)) / len(asked) if asked else 0.0


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
    starts |= {_PREPOSITION.sub("", start) for start in starts}
    kept = (start for start in starts if len(start) > 1 or start == word)
    return frozenset(form for start in kept for form in _bare(start))
