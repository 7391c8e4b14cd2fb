"""Where a name begins: boundaries from WikiFANE's split clitics, and how well they are found."""

from dataclasses import replace
from pathlib import Path

import pytest

from annotations.clitics import FITTED, NameLexicon, Priors
from annotations.conll import Sentence
from training.lexicon import (
    Boundary,
    accuracy,
    ambiguous,
    boundaries,
    fit_priors,
    name_lexicon,
    split_boundaries,
)


def sentence(line: str) -> Sentence:
    """A sentence of `word` (O) and `word/TAG`."""
    fields = [word.partition("/")[::2] for word in line.split()]
    return Sentence(tuple(w for w, _ in fields), tuple((tag or "O",) for _, tag in fields))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("سافر الى بغداد/B-GPE", [("بغداد", 0)]),
        ("و بغداد/B-GPE", [("وبغداد", 1)]),
        ("ب البوكمال/B-GPE و راوة/B-GPE", [("بالبوكمال", 1), ("وراوة", 1)]),
        ("و ب بغداد/B-GPE", [("وببغداد", 2)]),
        ("ف ل دمشق/B-GPE", [("فلدمشق", 2)]),
        ("ك الولايات/B-GPE المتحدة/I-GPE", [("كالولايات", 1)]),
        ("قال و هو في بغداد/B-GPE", [("بغداد", 0)]),  # the و is of another word
        ("وليد/B-PERS و باريس/B-GPE", [("وليد", 0), ("وباريس", 1)]),
        ("للقائم/B-GPE", [("للقائم", 1)]),  # ل + ال are one word: the first ل is the clitic
        ("و للقائم/B-GPE", [("وللقائم", 2)]),
        ("ب بِغدـاد/B-GPE", [("ببغداد", 1)]),  # normalised
        ("و ل قال", []),
    ],
)
def test_boundaries_write_the_clitics_back_on(line: str, expected: list[tuple[str, int]]) -> None:
    assert list(boundaries(sentence(line))) == [Boundary(word, n) for word, n in expected]


def test_only_words_with_two_readings_are_ambiguous() -> None:
    cases = [Boundary("بغداد", 0), Boundary("وليد", 0), Boundary("دمشق", 0), Boundary("فن", 0)]
    assert ambiguous(cases) == cases[:2]


LEXICON = NameLexicon({"بغداد": 9, "وليد": 5, "باريس": 4, "سوريا": 7})


@pytest.mark.parametrize(
    ("word", "clitics"), [("وبغداد", 1), ("وليد", 0), ("باريس", 0), ("وباريس", 1), ("بسوريا", 1)]
)
def test_accuracy_counts_found_boundaries(word: str, clitics: int) -> None:
    assert accuracy(LEXICON, [Boundary(word, clitics)]) == 1.0
    assert accuracy(LEXICON, [Boundary(word, 1 - clitics), Boundary(word, clitics)]) == 0.5


def test_leaving_a_case_out_takes_its_own_word_from_the_lexicon() -> None:
    once = replace(LEXICON, counts={**LEXICON.counts, "كركوك": 1}, priors=Priors(FITTED.letters, 0))
    case = Boundary("وكركوك", 1)
    assert accuracy(once, [case]) == 1.0
    # without the one occurrence, which is the case itself, its stem was never seen
    unseen = replace(once, counts=LEXICON.counts)
    assert accuracy(once, [case], leave_out=True) == accuracy(unseen, [case])
    assert accuracy(LEXICON, [Boundary("وبغداد", 1)], leave_out=True) == 1.0  # seen nine times


def test_fitting_finds_priors_under_which_a_letter_is_a_clitic_or_is_not() -> None:
    strip = [Boundary("و" + stem, 1) for stem in ("كركوك", "حلب", "راوة", "عانة")]
    keep = [Boundary("ب" + stem, 0) for stem in ("يروت", "نغازي", "رلين", "اريس")]
    counts = NameLexicon.count(case.word[case.clitics :] for case in strip + keep).counts
    start = NameLexicon(counts, Priors(dict.fromkeys("وفبلك", 0.0), 0.0))
    fitted = fit_priors(start, strip + keep)
    assert fitted.letters["و"] > 0 >= fitted.letters["ب"]
    assert accuracy(replace(start, priors=fitted), strip + keep, leave_out=True) == 1.0
    assert accuracy(start, strip + keep, leave_out=True) < 1.0


@pytest.fixture(scope="module")
def wikifane(data_folder: Path) -> tuple[NameLexicon, list[Boundary], list[Boundary]]:
    """The lexicon of train, and the ambiguous words of train and dev."""
    train, dev = split_boundaries()
    lexicon = NameLexicon.count(case.word[case.clitics :] for case in train)
    return lexicon, ambiguous(train), ambiguous(dev)


def never_strip(cases: list[Boundary]) -> float:
    return sum(case.clitics == 0 for case in cases) / len(cases)


def always_strip(cases: list[Boundary]) -> float:
    return sum(case.clitics == 1 for case in cases) / len(cases)


def test_the_fitted_priors_find_the_boundaries_of_unseen_text(
    wikifane: tuple[NameLexicon, list[Boundary], list[Boundary]],
) -> None:
    lexicon, _, dev = wikifane
    assert len(dev) > 800
    found = accuracy(lexicon, dev)
    assert found > 0.93
    assert found > max(never_strip(dev), always_strip(dev)) + 0.2
    flat = replace(lexicon, priors=Priors(dict.fromkeys("وفبلك", 0.0), 0.0))
    assert found > accuracy(flat, dev) + 0.05  # the priors earn their place
    assert found > accuracy(NameLexicon({}), dev) + 0.05  # and so does the lexicon


def test_fitting_again_on_train_finds_no_better_priors_for_dev(
    wikifane: tuple[NameLexicon, list[Boundary], list[Boundary]],
) -> None:
    lexicon, train, dev = wikifane
    again = fit_priors(lexicon, train[::8], rounds=1)
    assert accuracy(replace(lexicon, priors=again), dev) < accuracy(lexicon, dev) + 0.01


def test_a_lexicon_of_the_seed_knows_the_seeds_names() -> None:
    counts = name_lexicon(["seed"]).counts
    assert counts["القائم"] > 5
    assert {"القوات", "سوريا", "العراق"} <= set(counts)
    assert all(len(word) > 2 for word in counts)


def test_a_corpus_with_attached_clitics_is_read_with_the_lexicon_of_the_others(
    data_folder: Path,
) -> None:
    seed, both = (name_lexicon(names).counts for names in (["seed"], ["seed", "wojood"]))
    assert sum(both.values()) > sum(seed.values()) + 2000
    assert "وسوريا" not in both and both["سوريا"] > seed["سوريا"]
