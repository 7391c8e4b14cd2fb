"""The lexicon of name beginnings, the priors of clitics, and how well they find where a name
begins.

WikiFANE splits clitics off (و, ب and ل are words of their own), so writing them back on to the name
gives words whose boundary is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import get_args

from annotations.clitics import (
    CONJUNCTIONS,
    PREPOSITIONS,
    NameLexicon,
    Priors,
    lexicon_key,
    readings,
)
from annotations.conll import Sentence, word_spans
from annotations.text import normalize
from training.corpora import load, sentences_of, wikifane_sentences
from training.gold import Gold
from training.splits import SENTENCES_PER_GROUP, part_of

GRID = [step / 2 for step in range(-10, 11)]


@dataclass(frozen=True, slots=True)
class Boundary:
    """The first word of a name with its clitics written on, and how many letters they are."""

    word: str
    clitics: int


def boundaries(sentence: Sentence) -> Iterator[Boundary]:
    """The first words of a WikiFANE sentence's names, clitics written back on."""
    for span in word_spans(sentence):
        word, before = normalize(sentence.words[span.start]).text, ""
        i = span.start - 1
        if i >= 0 and sentence.words[i] in PREPOSITIONS:
            before, i = sentence.words[i], i - 1
        if i >= 0 and sentence.words[i] in CONJUNCTIONS:
            before = sentence.words[i] + before
        if word.startswith("لل") and len(word) > 4 and not before.endswith(tuple(PREPOSITIONS)):
            yield Boundary(before + word, len(before) + 1)
        else:
            yield Boundary(before + word, len(before))


def accuracy(lexicon: NameLexicon, cases: Sequence[Boundary], leave_out: bool = False) -> float:
    """The share of words whose boundary is found; `leave_out` takes a case's own word out of the
    lexicon first.
    """

    def found(case: Boundary) -> bool:
        own = lexicon_key(case.word[case.clitics :])
        return (
            lexicon.clitics(case.word, lambda key: -int(leave_out and key == own)) == case.clitics
        )

    return sum(found(case) for case in cases) / len(cases)


def ambiguous(cases: Iterable[Boundary]) -> list[Boundary]:
    """The cases that could be read in more than one way."""
    return [case for case in cases if len(readings(case.word)) > 1]


def fit_priors(lexicon: NameLexicon, cases: Sequence[Boundary], rounds: int = 2) -> Priors:
    """The best priors of a grid, one after the other, each case's own word left out of the
    lexicon.
    """

    def score(priors: Priors) -> float:
        return accuracy(replace(lexicon, priors=priors), cases, leave_out=True)

    best = lexicon.priors
    for _ in range(rounds):
        for letter in best.letters:
            options = [replace(best, letters={**best.letters, letter: value}) for value in GRID]
            best = max(options, key=score)
        best = max((replace(best, article=value) for value in GRID), key=score)
    return best


def split_boundaries() -> tuple[list[Boundary], list[Boundary]]:
    """The boundaries of WikiFANE in train and dev, as its documents are split."""
    parts: dict[str, list[Boundary]] = {"train": [], "dev": [], "calibration": []}
    for i, sentence in enumerate(wikifane_sentences()):
        parts[part_of(f"wikifane-{i // SENTENCES_PER_GROUP}")].extend(boundaries(sentence))
    return parts["train"] + parts["calibration"], parts["dev"]


def name_lexicon(corpora: Sequence[str]) -> NameLexicon:
    """The lexicon of a bundle: the first words of the names in some of wikifane, anercorp,
    wojood and the project's own gold.

    Corpora that leave clitics attached are read with the lexicon of the others.
    """
    stems: list[str] = []
    if "wikifane" in corpora:
        train, dev = split_boundaries()
        stems.extend(case.word[case.clitics :] for case in train + dev)
    for gold in get_args(Gold):
        if gold in corpora:
            for document in load(gold, "train"):
                stems.extend(document.surface(s).split()[0] for s in document.entities or ())
    base = NameLexicon.count(stems)
    for corpus in ("anercorp", "wojood"):
        if corpus in corpora:
            for _, sentence in sentences_of(corpus, "train"):
                words = (normalize(sentence.words[s.start]).text for s in word_spans(sentence))
                stems.extend(word[base.clitics(word) :] for word in words)
    counts = NameLexicon.count(stems).counts
    return NameLexicon({word: count for word, count in counts.items() if len(word) > 2})
