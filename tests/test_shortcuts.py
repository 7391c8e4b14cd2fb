"""Shortcuts: a corpus whose labels show in its words or targets is found out."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from annotations.errors import FormatError
from annotations.schema import Document, Stance
from training.evaluation.shortcuts import stance_shortcuts, topic_shortcuts

LABELS = ("favor", "against", "neutral")
WORDS = {"favor": "أشاد", "against": "أدان", "neutral": "ذكر"}


def corpus(count: int, seed: int, leak: str) -> list[Document]:
    rng = random.Random(seed)
    found = []
    for i in range(count):
        label = rng.choice(LABELS)
        text = " ".join(rng.choices(["بيت", "نهر", "جبل", "سوق", "طريق", "مدرسة"], k=12))
        target = rng.choice(["الشركة", "الوزارة", "النادي"])
        if leak == "words":
            text += " " + WORDS[label]
        if leak == "target":
            target = {"favor": "النادي", "against": "الشركة", "neutral": "الوزارة"}[label]
        quoted = Stance(target, "against", holder="سالم")
        found.append(Document(str(i), text, stances=(Stance(target, label), quoted)))
    return found


@pytest.mark.parametrize(
    ("leak", "good", "poor"),
    [("words", "bag_of_words", "target_only"), ("target", "target_only", "bag_of_words")],
)
def test_what_gives_the_label_away_is_found(leak: str, good: str, poor: str) -> None:
    found = stance_shortcuts(corpus(200, 1, leak), corpus(90, 2, leak))
    assert found[good]["macro_f1"] > 0.95
    assert found[poor]["macro_f1"] < 0.5
    assert found[good]["items"] == 90  # the author's stances alone


def test_a_corpus_without_stances_is_refused() -> None:
    with pytest.raises(FormatError, match="need stances of two labels"):
        stance_shortcuts([Document("a", "نص")], corpus(3, 1, "none"))
    letters = [replace(document, text="و ل") for document in corpus(3, 1, "none")]
    with pytest.raises(FormatError, match="the passages to train on hold none of two letters"):
        stance_shortcuts(letters, corpus(3, 2, "none"))


def topics(count: int, seed: int, *names: str | None) -> list[Document]:
    rng = random.Random(seed)
    words = {"sports": "مباراة هدف فوز", "economy": "سوق سهم دولار", "health": "طبيب لقاح"}
    found = []
    for i in range(count):
        topic = rng.choice(names)
        words_of = words.get(topic or "", "شيء").split()
        found.append(Document(str(i), " ".join(rng.choices([*words_of, "بيت"], k=9)), topic=topic))
    return found


def test_naive_bayes_reads_the_topics_that_both_have() -> None:
    train = topics(120, 1, "sports", "economy", "health", None)
    found = topic_shortcuts(train, topics(80, 2, "sports", "economy", None))["naive_bayes"]
    assert found["accuracy"] > 0.95 and set(found["per_label"]) == {"sports", "economy"}
    assert 40 < found["items"] < 80 and found["items"] + found["skipped"] == 80


def test_two_topics_must_stand_in_both() -> None:
    with pytest.raises(FormatError, match="in both files, got health, sports and economy, sports"):
        topic_shortcuts(topics(9, 1, "sports", "health"), topics(9, 2, "sports", "economy"))
    latin = [Document(topic, "a text", topic=topic) for topic in ("sports", "economy")]
    with pytest.raises(FormatError, match="need Arabic words"):
        topic_shortcuts(latin, latin)


def test_vowel_signs_and_tatweel_make_no_other_word() -> None:
    train = [Document("a", "مباراة", topic="sports"), Document("b", "سهم", topic="economy")]
    dev = [Document("c", "مُبَـــارَاةٌ", topic="sports"), Document("d", "سَهْم", topic="economy")]
    assert topic_shortcuts(train, dev)["naive_bayes"]["accuracy"] == 1.0
