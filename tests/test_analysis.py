"""The numbers of a report: they are those of the bundle, and each breakdown adds up to them."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from annotations.clitics import NameLexicon
from annotations.schema import Span
from serving.bundle import DEFAULT_FOLDER, Bundle, Head
from serving.tagger import Tagger
from training.corpora import load
from training.evaluation import development
from training.evaluation.development import DEV_SPLITS, evaluate_heads
from training.evaluation.novelty import surface_key
from training.report import analysis, answers
from training.report.analysis import (
    by_length,
    by_novelty,
    by_source,
    reliability_of,
    score,
)
from training.report.answers import Answers, EntityItem, LabelItem, ScoredSpan, dev_answers
from training.report.confusion import (
    BOUNDARY,
    INVENTED,
    MISSED,
    entity_matrix,
    label_matrix,
    pair_spans,
)
from training.report.worst import worst_errors
from training.settings import HeadSettings, Recipe, Source

LEXICON = NameLexicon({"بغداد": 5, "ولاية": 3, "العراق": 4, "لبنان": 6})
HEAD = Head(name="khabar", kind="nested", labels=("GPE", "ORG", "PERS"))
TOPIC = Head(name="topic", kind="text", labels=("politics", "sports"))


def recipe_of(*pairs: tuple[str, str]) -> Recipe:
    """A recipe whose sources are (corpus, head); only these matter to a report."""
    heads = {head: HeadSettings(kind="nested", labels="fine") for _, head in pairs}
    sources = tuple(Source(corpus=corpus, head=head) for corpus, head in pairs)
    return Recipe(name="r", version="1", encoder={"source": "tiny"}, heads=heads, sources=sources)  # type: ignore[arg-type]


def entity_item(text: str, gold: list[Span], predicted: list[Span], name: str = "i") -> EntityItem:
    scored = tuple(ScoredSpan(span, 0.9 - 0.1 * i, 0.5) for i, span in enumerate(predicted))
    return EntityItem(name, text, None, tuple(gold), scored)


def label_item(text: str, gold: str, predicted: str, confidence: float = 0.8) -> LabelItem:
    return LabelItem("l", text, None, None, gold, predicted, confidence, (predicted, 0.6))


def random_spans(rng: random.Random, length: int, most: int) -> list[Span]:
    found = {
        Span(start := rng.randrange(length - 1), rng.randint(start + 1, length), label)
        for label in rng.choices(["GPE", "ORG", "PERS"], k=rng.randint(0, most))
    }
    return sorted(found, key=lambda span: (span.start, span.end, span.label))


@pytest.fixture
def small_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Development splits of some items, the same for scores and report, to be read in seconds."""
    for module in (answers, development):
        for name, most in (("load", 20), ("sentences_of", 60)):
            real = getattr(module, name)
            monkeypatch.setattr(
                module, name, lambda corpus, part, real=real, most=most: real(corpus, part)[:most]
            )


@pytest.mark.usefixtures("small_splits")
def test_entities_are_counted_as_the_bundle_counts_them() -> None:
    bundle, asked = Bundle.load(DEFAULT_FOLDER), recipe_of(("authored", "khabar"))
    row = evaluate_heads(Tagger(bundle), asked)[0]
    (found,) = dev_answers(bundle, asked)
    assert row["f1"] > 0.5  # an empty answer would prove nothing
    assert analysis.headline(found) == row["f1"] == score("", found.items).value
    assert score("", found.items).interval == row["interval"]
    before, after = analysis.reliability(found.items)
    assert after.ece == row["ece"] != before.ece


@pytest.mark.usefixtures("data_folder", "small_splits")
@pytest.mark.parametrize(("corpus", "head"), [("wojood", "khabar"), ("anercorp", "anercorp")])
def test_words_of_conll_are_counted_as_the_bundle_counts_them(corpus: str, head: str) -> None:
    bundle, asked = Bundle.load(DEFAULT_FOLDER), recipe_of((corpus, head))
    row = evaluate_heads(Tagger(bundle), asked)[0]
    (found,) = dev_answers(bundle, asked)
    assert row["f1"] > 0.5
    assert analysis.headline(found) == row["f1"]
    assert analysis.reliability(found.items)[1].ece == row["ece"]
    assert {
        label: row["support"] for label, row in row["per_label"].items() if row["support"]
    } == Counter(span.label for item in found.entities for span in item.gold)


@pytest.mark.parametrize(
    ("corpus", "head"),
    [("authored-topics", "topic"), ("authored-claims", "claim"), ("authored-stances", "stance")],
)
@pytest.mark.usefixtures("small_splits")
def test_labels_are_counted_as_the_bundle_counts_them(
    smoke_bundle: Path, corpus: str, head: str
) -> None:
    bundle, asked = Bundle.load(smoke_bundle), recipe_of((corpus, head))
    row = evaluate_heads(Tagger(bundle), asked)[0]
    (found,) = dev_answers(bundle, asked)
    assert len(found.items) == found.total == row["items"]
    assert analysis.headline(found) == row["macro_f1"]
    assert score("", found.items).value == row["accuracy"]
    assert analysis.reliability(found.items)[1].ece == row["ece"]


def test_before_calibration_is_the_head_with_neutral_numbers() -> None:
    bundle, asked = Bundle.load(DEFAULT_FOLDER), recipe_of(("authored", "khabar"))
    (found,) = dev_answers(bundle, asked, max_words=150)
    assert len(found.items) == 1
    neutral = bundle.head("khabar").model_copy(update={"slope": 1.0, "intercept": 0.0})
    heads = tuple(neutral if head.name == "khabar" else head for head in bundle.manifest.heads)
    alone = Tagger(replace(bundle, manifest=bundle.manifest.model_copy(update={"heads": heads})))
    spans = alone.spans([found.items[0].text], "khabar")[0]
    expected = {span: confidence for span, confidence in spans}
    read = {scored.span: scored.before for scored in found.entities[0].predicted}
    assert read == pytest.approx(expected)
    assert any(abs(s.before - s.confidence) > 0.01 for s in found.entities[0].predicted)


def test_a_large_split_is_drawn_from_the_same_way_each_time(smoke_bundle: Path) -> None:
    bundle, asked = Bundle.load(smoke_bundle), recipe_of(("authored-topics", "topic"))
    first, second = (next(dev_answers(bundle, asked, max_words=1000)) for _ in range(2))
    assert first.items == second.items
    assert 0 < len(first.items) < first.total == len(load("authored-topics", "dev"))
    words = sum(len(item.text.split()) for item in first.items)
    assert 800 < words <= 1000
    names = [item.id for item in first.items]
    whole = [document.id for document in load("authored-topics", "dev")]
    assert names == [name for name in whole if name in names]
    assert names != whole[: len(names)]


def test_a_split_whose_head_has_no_source_here_is_not_read(smoke_bundle: Path) -> None:
    assert list(dev_answers(Bundle.load(smoke_bundle), recipe_of(("seed", "khabar")))) == []


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
    surfaces = analysis.train_surfaces(asked, "khabar", LEXICON)
    slow = sum(len(d.entities or ()) for c in ("seed", "authored") for d in load(c, "train"))
    assert sum(surfaces.values()) == slow
    assert analysis.train_surfaces(asked, "anercorp", LEXICON) == Counter()


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


@pytest.mark.parametrize(
    ("gold", "predicted", "outcomes"),
    [
        ([(0, 4, "GPE")], [(0, 4, "GPE")], ["right"]),
        ([(0, 4, "GPE")], [(0, 4, "ORG")], ["type"]),
        ([(0, 4, "GPE")], [(0, 9, "GPE")], ["boundary"]),
        ([(0, 4, "GPE")], [(0, 9, "ORG")], ["boundary"]),
        ([(0, 4, "GPE")], [], ["missed"]),
        ([], [(0, 4, "GPE")], ["invented"]),
        ([(0, 4, "GPE")], [(4, 9, "GPE")], ["missed", "invented"]),
        # nested: the inner one is missed, the outer one right
        ([(0, 9, "ORG"), (5, 9, "GPE")], [(0, 9, "ORG")], ["right", "missed"]),
        # the right one is not spent on its neighbour
        ([(0, 4, "ORG"), (0, 4, "GPE")], [(0, 4, "GPE")], ["right", "missed"]),
        # the longer overlap decides, then the type
        ([(0, 6, "GPE")], [(0, 2, "GPE"), (2, 7, "ORG")], ["boundary", "invented"]),
        ([(0, 6, "GPE")], [(0, 5, "ORG"), (1, 7, "GPE")], ["boundary", "invented"]),
    ],
)
def test_pairs_of_gold_and_prediction(
    gold: list[tuple[int, int, str]], predicted: list[tuple[int, int, str]], outcomes: list[str]
) -> None:
    pairs = pair_spans([Span(*g) for g in gold], [Span(*p) for p in predicted])
    assert sorted(pair.outcome for pair in pairs) == sorted(outcomes)
    if "invented" in outcomes and "boundary" in outcomes:
        near = next(pair for pair in pairs if pair.outcome == "boundary")
        assert near.predicted == Span(*predicted[1])


def test_every_span_is_in_one_pair_and_every_row_adds_up_to_its_gold() -> None:
    rng = random.Random(4)
    texts = [(random_spans(rng, 20, 6), random_spans(rng, 20, 6)) for _ in range(200)]
    for gold, predicted in texts:
        pairs = pair_spans(gold, predicted)
        assert Counter(p.gold for p in pairs if p.gold) == Counter(gold)
        assert Counter(p.predicted for p in pairs if p.predicted) == Counter(predicted)
    matrix = entity_matrix(texts)
    assert matrix.rows[-1] == INVENTED
    assert matrix.columns[-2:] == (BOUNDARY, MISSED)
    totals = Counter(span.label for gold, _ in texts for span in gold)
    for label, row in zip(matrix.rows[:-1], matrix.counts, strict=False):
        assert sum(row) == totals[label]
    right = sum(len(set(gold) & set(predicted)) for gold, predicted in texts)
    assert sum(matrix.counts[i][i] for i in range(len(matrix.rows) - 1)) == right


def test_label_confusion_is_that_of_scikit_learn() -> None:
    rng = random.Random(5)
    labels = ("a", "b", "c", "never")
    pairs = [(rng.choice("abc"), rng.choice("abc")) for _ in range(300)]
    matrix = label_matrix(labels, pairs)
    assert matrix.rows == matrix.columns == ("a", "b", "c")
    slow = confusion_matrix(*zip(*pairs, strict=True), labels=["a", "b", "c"])
    assert np.array_equal(matrix.counts, slow)


def answers_of(head: Head, items: list[EntityItem] | list[LabelItem]) -> Answers:
    return Answers(head, "authored", DEV_SPLITS["authored"], tuple(items), len(items))


def test_the_surest_errors_come_first_and_every_third_is_a_missed_one() -> None:
    text = "زار أحمد مدينة بغداد ثم دمشق وبيروت"
    spans = {word: Span(text.index(word), text.index(word) + len(word), "GPE")
             for word in ("أحمد", "بغداد", "دمشق", "بيروت")}  # fmt: skip
    wrong = [
        ScoredSpan(replace(spans["أحمد"], label="ORG"), 0.7, 0.7),
        ScoredSpan(replace(spans["بغداد"], label="ORG"), 0.9, 0.9),
    ]
    item = EntityItem("d", text, None, tuple(spans.values()), tuple(wrong))
    taught = {"khabar": {"بيروت": 9, "دمشق": 2}}
    errors = worst_errors([answers_of(HEAD, [item])], taught, LEXICON)
    assert [(e.outcome, e.surface) for e in errors] == [
        ("type", "بغداد"),
        ("type", "أحمد"),
        ("missed", "بيروت"),
        ("missed", "دمشق"),
    ]
    assert [e.confidence for e in errors] == [0.9, 0.7, None, None]
    assert [e.taught for e in errors] == [None, None, 9, 2]


def test_heads_share_the_places_of_the_worst() -> None:
    many = [label_item("نص", "politics", "sports", 0.5 + i / 100) for i in range(40)]
    few = [entity_item("بغداد", [Span(0, 5, "GPE")], [Span(0, 5, "ORG")]) for _ in range(3)]
    right = [label_item("نص", "politics", "politics", 0.99)]
    group = [answers_of(TOPIC, right + many), answers_of(HEAD, few)]
    errors = worst_errors(group, {}, LEXICON, most=10)
    assert [e.head for e in errors] == ["topic"] * 7 + ["khabar"] * 3
    assert [e.confidence for e in errors[:7]] == pytest.approx([0.89 - i / 100 for i in range(7)])


def test_passages_keep_their_entities_where_texts_are_cut() -> None:
    word = "بغداد"
    for before, after in [(0, 0), (5, 400), (400, 5), (400, 400), (20, 20)]:
        text = "كلماتي " * before + word + " كلماتي" * after
        span = Span(text.index(word), text.index(word) + len(word), "GPE")
        item = entity_item(text, [span], [replace(span, label="ORG")])
        (error,) = worst_errors([answers_of(HEAD, [item])], {}, LEXICON)
        for found in (*error.gold_spans, *error.predicted_spans):
            assert error.passage[found.start : found.end] == word
        assert len(error.gold_spans) == len(error.predicted_spans) == 1
        assert len(error.passage) < 350
        assert error.passage.startswith("… ") == (before > 20)
        assert error.passage.endswith(" …") == (after > 20)
        assert set(error.passage.split()) <= {"كلماتي", word, "…"}  # no word is cut


def test_a_passage_about_a_target_begins_where_it_is_spoken_of() -> None:
    text = "جملة لا تقول شيئا. " * 40 + "غضب الناس من الشركة الوطنية. ثم عادوا."
    item = replace(label_item(text, "politics", "sports"), about="الشركة الوطنية")
    (error,) = worst_errors([answers_of(TOPIC, [item])], {}, LEXICON)
    assert error.passage == "… غضب الناس من الشركة الوطنية. ثم عادوا."
    (error,) = worst_errors([answers_of(TOPIC, [replace(item, about=None)])], {}, LEXICON)
    assert error.passage.startswith("جملة لا تقول")
    assert error.passage.endswith(" …")
    assert set(error.passage.split()) <= {*text.split(), "…"}
