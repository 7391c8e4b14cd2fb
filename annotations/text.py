"""Arabic text: normalisation with a map back to the text as received, and its words.

The model reads normalised text, everybody else reads offsets into the text as received; the map
between them is made here, once, character by character.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from annotations.errors import DocumentError

TATWEEL = "\u0640"
# Letters that Arabic spelling uses for one another; a table per choice of an encoder.
ALEF_VARIANTS = str.maketrans({"أ": "ا", "إ": "ا", "آ": "ا", "ٱ": "ا"})
YA_VARIANTS = str.maketrans({"ى": "ي"})
TA_MARBUTA = str.maketrans({"ة": "ه"})

# Combining marks of the scripts that news mixes; the signs of other scripts stand as words of their
# own.
_MARKS = (
    "\u0300-\u036f\u0483-\u0489\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e8\u06ea-\u06ed"
    "\u08ca-\u08e1\u08e3-\u08ff\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20f0\ufe20-\ufe2f"
)
_JOINERS = "\u200b-\u200f\u202a-\u202e\u2060\u2066-\u2069\u061c\ufeff\u00ad"
_LETTERS = rf"[\w{_MARKS}]"
# A number with its separators, or a run of letters that invisible marks may interrupt, or one other
# visible sign.
_WORD = re.compile(
    rf"\d+(?:[.,٫٬]\d+)+|{_LETTERS}+(?:[{_JOINERS}]+{_LETTERS}+)*|[^\s{_JOINERS}\x00-\x1f\x7f-\x9f]"
)
MAX_WORD = 64  # code points; a longer run of letters is read as several words
_MAX_CLUSTER = 32  # code points; no spelling needs more, and NFKC sorts marks in quadratic time
# A vowel sign that stands alone (\ufe70): NFKC gives it a space that is not in the text.
_SPACED_MARK = re.compile(" (?=[\u064b-\u0652])")


@dataclass(frozen=True, slots=True)
class Normalization:
    """How an encoder wants its Arabic; kept in the bundle so that training and serving agree."""

    diacritics: bool = False  # keep them
    unify_alef: bool = False
    unify_ya: bool = False
    unify_ta_marbuta: bool = False


@dataclass(frozen=True, slots=True)
class Normalized:
    """A normalised text and its origin: character i stands for `received[starts[i]:ends[i]]`."""

    text: str
    starts: list[int]
    ends: list[int]


def is_diacritic(char: str) -> bool:
    """Whether a character is an Arabic vowel sign or another mark that a reader may leave out."""
    return (
        "\u064b" <= char <= "\u0652"
        or char == "\u0670"
        or "\u06d6" <= char <= "\u06ed"
        or "\u0610" <= char <= "\u061a"
    )


def _clusters(text: str) -> list[tuple[int, int]]:
    """Ranges of a base character with the marks that follow it, which normalise together."""
    bounds: list[int] = []
    for i, char in enumerate(text):
        if not bounds or not unicodedata.combining(char) or i - bounds[-1] == _MAX_CLUSTER:
            bounds.append(i)
    return list(pairwise([*bounds, len(text)]))


@lru_cache(maxsize=1 << 14)  # an article holds some hundred different ones
def _clean(cluster: str, rules: Normalization) -> str:
    """One cluster as the encoder wants it; may be empty, may be longer than it was."""
    if len(cluster) == 1 and cluster.isascii():
        return " " if cluster.isspace() or not cluster.isprintable() else cluster
    out = unicodedata.normalize("NFKC", cluster)
    if not cluster[0].isspace():
        out = _SPACED_MARK.sub("", out)
    if not rules.diacritics:
        out = "".join(char for char in out if not is_diacritic(char))
    out = "".join(
        " " if char.isspace() or unicodedata.category(char) == "Cc" else char
        for char in out
        if char != TATWEEL and unicodedata.category(char) != "Cf"
    )
    if rules.unify_alef:
        out = out.translate(ALEF_VARIANTS)
    if rules.unify_ya:
        out = out.translate(YA_VARIANTS)
    return out.translate(TA_MARBUTA) if rules.unify_ta_marbuta else out


def normalize(text: str, rules: Normalization = Normalization()) -> Normalized:
    """The text as an encoder wants it, with the map back.

    NFKC (presentation forms become letters), no tatweel, no invisible marks, no diacritics unless
    the rules keep them; control characters and all kinds of space become a space.
    """
    pieces: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    cache: dict[str, str] = {}
    for start, end in _clusters(text):
        cluster = text[start:end]
        clean = cache.get(cluster)
        if clean is None:
            clean = cache[cluster] = _clean(cluster, rules)
        pieces.append(clean)
        starts.extend([start] * len(clean))
        ends.extend([end] * len(clean))
    return Normalized("".join(pieces), starts, ends)


def words(text: str) -> list[tuple[int, int]]:
    """The words of a text as ranges of code points: runs of letters and digits, and every other
    visible sign alone.

    No visible character is left out, so every tag has its place; runs over 64 code points are cut
    into several.
    """
    ranges: list[tuple[int, int]] = []
    for match in _WORD.finditer(text):
        for start in range(match.start(), match.end(), MAX_WORD):
            ranges.append((start, min(start + MAX_WORD, match.end())))
    return ranges


# Possessive and from the first stop only: a long run of stops is looked at once.
_SENTENCE_END = re.compile(
    rf"(?<![.!?؟…])[.!?؟…]++[\"'”»)\]{_JOINERS}]*+(?=\s)|[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]+"
)


def sentences(text: str) -> list[tuple[int, int]]:
    """The sentences of a text as ranges without the space around them; line breaks end a
    sentence.
    """
    cuts = [match.end() for match in _SENTENCE_END.finditer(text)]
    ranges = []
    for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        part = text[start:end]
        left = len(part) - len(part.lstrip())
        if part.strip():
            ranges.append((start + left, start + len(part.rstrip())))
    return ranges


SURROGATE = re.compile("[\ud800-\udfff]")


def reject_surrogates(text: str, what: str) -> None:
    """Refuse text with lone surrogates, which is no Unicode text and cannot be sent back."""
    found = SURROGATE.search(text)
    if found:
        raise DocumentError(
            f"{what}: lone surrogate U+{ord(found.group()):04X} at code point "
            f"{found.start()}; send valid Unicode"
        )
