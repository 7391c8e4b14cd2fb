"""The breakdowns of a report, by length, source, novelty and confidence, add up to the whole."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from annotations.schema import Span
from tests.report_items import LEXICON, entity_item, label_item, recipe_of
from training.corpora import load
from training.evaluation.novelty import surface_key
from training.preparation import recipe_heads
from training.report import analysis
from training.report.analysis import by_length, by_novelty, by_source, reliability_of, score
from training.settings import Source, Variants
from training.source_documents import development_texts, training_documents


def test_f1_is_that_of_a_count_by_hand() -> None:
    a, b, c = Span(0, 4, "GPE"), Span(5, 9, "ORG"), Span(5, 9, "GPE")
    items = [entity_item("x" * 9, [a, b], [a, c]), entity_item("x" * 9, [a], [])]
    found = score("s", items)
    assert (found.items, found.support) == (2, 3)
    assert found.value == pytest.approx(2 * 1 / (2 + 3))


def test_thirds_by_length_hold_every_item_once() -> None:
    rng = random.Random(1)
    items = [
        label_item("كلمة " * rng.randint(1, 40), "politics", rng.choice(["politics", "sports"]))
        for _ in range(100)
    ]
    parts = by_length(items)
    assert len(parts) == 3
    assert sum(part.items for part in parts) == 100
    assert all(20 < part.items < 50 for part in parts)
    right = sum(part.value * part.items for part in parts)
    assert right == pytest.approx(sum(i.gold == i.predicted for i in items), abs=0.01)
    lengths = [int(n) for part in parts for n in part.name.split(" to ")]
    assert lengths == sorted(lengths)


def test_items_of_one_length_are_one_part() -> None:
    (part,) = by_length([label_item("كلمة واحدة", "politics", "politics")] * 5)
    assert (part.name, part.items, part.value) == ("2", 5, 1.0)


def test_sources_are_those_that_documents_name() -> None:
    items = [
        replace(label_item("نص", "politics", predicted), source=source)
        for source, predicted in [("ب", "politics"), ("ب", "sports"), (None, "politics")]
    ]
    assert [(s.name, s.items, s.value) for s in by_source(items)] == [("", 1, 1.0), ("ب", 2, 0.5)]


@pytest.mark.parametrize(
    ("text", "surface", "key"),
    [
        ("في بغداد", "بغداد", "بغداد"),
        ("وبغداد", "وبغداد", "بغداد"),  # CoNLL leaves clitics inside
        ("وبغداد", "بغداد", "بغداد"),  # khabar's gold cuts them off
        ("بَغْدَاد", "بَغْدَاد", "بغداد"),
        ("بغـــداد", "بغـــداد", "بغداد"),
        ("ولاية", "ولاية", "ولاية"),  # a name that begins with the letter of a clitic
        ("للعراق", "للعراق", "العراق"),
        ("للعراق", "لعراق", "العراق"),  # so cut, it has lost the alef of its article
        ("للبنان", "لبنان", "لبنان"),
        ("أحمد علي", "أحمد  علي".replace("  ", " "), "احمد علي"),
    ],
)
def test_surfaces_meet_without_clitics_marks_and_hamza(text: str, surface: str, key: str) -> None:
    start = text.index(surface)
    assert surface_key(text, Span(start, start + len(surface), "GPE"), LEXICON) == key


def test_seen_and_unseen_add_up_to_all() -> None:
    rng = random.Random(2)
    words = ["بغداد", "القاهرة", "دمشق", "وبغداد", "بيروت", "تونس"]
    items = []
    for i in range(60):
        chosen = rng.choices(words, k=6)
        text, places = " ".join(chosen), []
        for word in chosen:
            start = places[-1].end + 1 if places else 0
            places.append(Span(start, start + len(word), "GPE"))
        items.append(
            entity_item(text, [p for p in places if rng.random() < 0.7],
                        [p for p in places if rng.random() < 0.7], str(i))
        )  # fmt: skip
    seen, unseen = by_novelty(items, ["بغداد", "دمشق"], LEXICON)
    gold = [item.text[s.start : s.end] for item in items for s in item.gold]
    assert seen.support == sum(word in ("بغداد", "وبغداد", "دمشق") for word in gold)
    assert unseen.support == len(gold) - seen.support
    whole = score("", items)
    assert min(seen.value, unseen.value) <= whole.value <= max(seen.value, unseen.value)


def test_training_surfaces_are_those_of_the_train_part_alone() -> None:
    asked = recipe_of(("seed", "khabar"), ("authored", "khabar"))
    held_out = development_texts(asked)
    surfaces = analysis.train_surfaces(asked, "khabar", LEXICON, held_out)
    slow = sum(len(d.entities or ()) for c in ("seed", "authored") for d in load(c, "train"))
    assert sum(surfaces.values()) == slow
    assert analysis.train_surfaces(asked, "anercorp", LEXICON, held_out) == Counter()


def test_surfaces_are_counted_in_the_documents_that_were_taught_as_they_were_written() -> None:
    asked = recipe_of(("seed", "khabar"), ("authored", "khabar"))
    head, held_out = recipe_heads(asked)[0], development_texts(asked)
    drawn = Source(corpus="authored", head="khabar", documents=5, variants=Variants(count=2))
    silent = Source(corpus="seed", head="khabar", passes=0)
    less = asked.model_copy(update={"sources": (silent, drawn)})
    plain = Source(corpus="authored", head="khabar", documents=5)
    five, _ = training_documents(asked, plain, head, held_out)
    surfaces = analysis.train_surfaces(less, "khabar", LEXICON, held_out)
    assert len(five) == 5
    assert sum(surfaces.values()) == sum(len(document.entities or ()) for document in five)


def test_bins_and_their_error_are_those_of_a_slow_count() -> None:
    rng = random.Random(3)
    judged = [(c := rng.random(), rng.random() < c**2) for _ in range(400)] + [(1.0, True)]
    found = reliability_of(judged)
    gap = 0.0
    for i, b in enumerate(found.bins):
        inside = [(c, r) for c, r in judged if b.low <= c < b.high or (i == 9 and c == 1.0)]
        assert b.count == len(inside)
        assert b.accuracy == pytest.approx(np.mean([r for _, r in inside]), abs=1e-4)
        gap += abs(sum(c for c, _ in inside) - sum(r for _, r in inside))
    assert sum(b.count for b in found.bins) == found.count == 401
    assert found.ece == pytest.approx(gap / 401, abs=1e-3)


def test_nothing_predicted_has_no_reliability() -> None:
    found = reliability_of([])
    assert (found.count, found.ece, found.bins) == (0, None, ())
