"""The answers that a report is made of: their numbers are those that the bundle tells."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from annotations.conll import canonical_label, word_spans
from serving.bundle import DEFAULT_FOLDER, Bundle
from serving.tagger import Tagger
from tests.report_items import recipe_of
from training.corpora import load
from training.evaluation import development
from training.evaluation.development import dev_questions, evaluate_heads
from training.evaluation.entity_questions import DocumentQuestions, SentenceQuestions
from training.evaluation.questions import LabelQuestions, Questions
from training.report import analysis, answers
from training.report.analysis import score
from training.report.answers import dev_answers
from training.settings import Source


@pytest.fixture
def small_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Development splits of some items, the same for scores and report, to be read in seconds."""
    for module, name, most in (
        (answers, "load", 20), (development, "load", 20), (development, "sentences_of", 60)
    ):  # fmt: skip
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


@pytest.mark.usefixtures("data_folder")
@pytest.mark.parametrize(
    ("corpus", "head"),
    [("authored", "khabar"), ("wojood", "khabar"), ("anercorp", "anercorp")],
)
def test_a_head_is_asked_for_the_types_that_it_has(
    smoke_bundle: Path, corpus: str, head: str
) -> None:
    whole, source = Tagger.from_bundle(smoke_bundle), Source(corpus=corpus, head=head)
    few = {"labels": ("PERS", "ORG")}
    narrow = whole.with_head(whole.heads[head].model_copy(update=few))
    all_types, types = (types_of(dev_questions(source, "ner", t)) for t in (whole, narrow))
    assert types == {label: n for label, n in all_types.items() if label in few["labels"]}
    assert len(types) == 2 < len(all_types)


def types_of(questions: Questions) -> Counter[str]:
    if isinstance(questions, SentenceQuestions):
        found = (span.label for sentence in questions.sentences for span in word_spans(sentence))
        return Counter(map(canonical_label, found))
    assert isinstance(questions, DocumentQuestions)
    return Counter(span.label for d in questions.documents for span in d.entities or ())


def test_a_head_of_claims_is_asked_for_the_labels_that_it_has(smoke_bundle: Path) -> None:
    whole = Tagger.from_bundle(smoke_bundle)
    source = Source(corpus="authored-claims", head="claim")
    labels = {d.claims[0].label for d in load("authored-claims", "dev") if d.claims}
    assert not labels <= set(whole.heads["claim"].labels)
    wide = whole.with_head(whole.heads["claim"].model_copy(update={"labels": tuple(labels)}))
    questions = dev_questions(source, "claim", wide)
    assert isinstance(questions, LabelQuestions)
    assert set(questions.gold) == labels


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


def test_a_head_that_the_bundle_has_not_answers_nothing(smoke_bundle: Path) -> None:
    recipe = recipe_of(("authored", "helper"))
    assert list(dev_answers(Bundle.load(smoke_bundle), recipe)) == []
