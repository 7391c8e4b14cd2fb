"""Calibration: fitted on synthetic scores whose true temperature, biases, slope and intercept are
known.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from annotations.schema import Claim, Document, Span
from serving.bundle import Bundle, Head
from serving.decoding import label_probabilities, log_softmax
from serving.runtime import Floats, Ints
from serving.tagger import Tagger, confidence
from tests.conftest import RandomBackend
from tests.table_backend import knowing_taggers
from training.evaluation.scores import calibration_error
from training.export.calibration import calibrate_head, fit_labels, fit_platt


def drawn(
    temperature: float, items: int, seed: int = 0, biases: Sequence[float] = ()
) -> tuple[np.ndarray, list[int]]:
    """Logits, and labels drawn from what they say at a temperature and with biases."""
    random = np.random.default_rng(seed)
    logits = random.normal(scale=3, size=(items, 3)).astype(np.float32)
    chances = label_probabilities(logits, temperature, biases).astype(float)
    labels = [int(random.choice(3, p=row / row.sum())) for row in chances]
    return logits, labels


def fitted(
    logits: np.ndarray, gold: Sequence[int], weights: Sequence[float] | None = None
) -> float:
    return fit_labels(lambda t, b: label_probabilities(logits, t, b), 3, gold, weights)[0]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 4.0])
def test_the_temperature_that_made_the_labels_is_found(temperature: float) -> None:
    assert fitted(*drawn(temperature, 3000)) == pytest.approx(temperature, rel=0.12)


@pytest.mark.parametrize("temperature", [0.7, 2.5])
def test_the_biases_that_made_the_labels_are_found(temperature: float) -> None:
    biases = (0.8, -1.1, 0.3)
    logits, gold = drawn(temperature, 6000, biases=biases)
    found = fit_labels(lambda t, b: label_probabilities(logits, t, b), 3, gold)
    assert found[0] == pytest.approx(temperature, rel=0.12)
    assert found[1] == pytest.approx(biases, abs=0.15)
    assert sum(found[1]) == pytest.approx(0, abs=1e-3)


def test_without_biases_the_temperature_alone_is_fitted() -> None:
    logits, gold = drawn(2.0, 3000)
    found = fit_labels(lambda t, b: label_probabilities(logits, t, b), 3, gold, biased=False)
    assert found == (pytest.approx(2.0, rel=0.12), ())


def test_few_items_of_a_label_move_its_bias_little() -> None:
    """Of 60 items none has the last label: without the cost its bias would fall without end."""
    logits, _ = drawn(1.0, 60)
    gold = logits[:, :2].argmax(axis=1).tolist()
    _, biases = fit_labels(lambda t, b: label_probabilities(logits, t, b), 3, gold)
    assert -5 < biases[2] < -1


def test_a_bias_turns_the_label_that_a_head_gives() -> None:
    plain = Head(name="claim", kind="pair", labels=("agree", "disagree", "other"))
    logits = np.array([[1.0, 0.9, -1.0]], dtype=np.float32)
    turned = plain.model_copy(update={"biases": (0.0, 0.5, 0.0)})
    assert (plain.probabilities(logits).argmax(), turned.probabilities(logits).argmax()) == (0, 1)
    assert turned.probabilities(logits).sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("kind", "biases"), [("pair", (0.1,)), ("text", (0.1, 0.2, 0.3)), ("nested", (0.1, 0.2))]
)
def test_biases_are_one_a_label_of_a_text_or_pair_head(
    kind: str, biases: tuple[float, ...]
) -> None:
    with pytest.raises(ValidationError, match=f"{len(biases)} biases for 2 labels"):
        Head.model_validate({"name": "x", "kind": kind, "labels": ("a", "b"), "biases": biases})


def test_an_answer_that_cannot_be_is_not_taken_as_infinitely_wrong() -> None:
    sure = np.array([[1.0, 0.0]] * 60, dtype=np.float32)
    assert math.isfinite(fit_labels(lambda _, __: sure, 2, [1] + [0] * 59)[0])


def test_a_weight_counts_as_that_many_items() -> None:
    logits, gold = drawn(3.0, 200)
    other_logits, other_gold = drawn(0.5, 200, seed=2)
    both = np.concatenate([logits, other_logits])
    repeated = np.concatenate([np.repeat(logits, 9, axis=0), other_logits])
    weighed = fitted(both, [*gold, *other_gold], [9.0] * 200 + [1.0] * 200)
    expected = fitted(repeated, [*np.repeat(gold, 9), *other_gold])
    assert weighed == pytest.approx(expected, rel=0.01)
    assert weighed > fitted(both, [*gold, *other_gold])


@pytest.mark.parametrize(("weight", "low", "high"), [(1.0, 2.5, 5.0), (1e-6, 0.1, 1.0)])
def test_items_of_no_weight_say_nothing_of_a_bias(weight: float, low: float, high: float) -> None:
    """Of a thousand items the first label has all; where two alone weigh, two alone are heard."""
    logits = np.zeros((1000, 3), dtype=np.float32)
    weights = [1.0, 1.0, *[weight] * 998]
    found = fit_labels(lambda t, b: label_probabilities(logits, t, b), 3, [0] * 1000, weights)
    assert low < found[1][0] < high


@pytest.mark.parametrize("items", [1, 10, 29])
def test_too_few_labels_leave_the_temperature_at_one(
    items: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert fitted(*drawn(4.0, items)) == 1.0
    assert f"{items} items, too few" in caplog.text


def platt_sample(slope: float, intercept: float) -> tuple[list[float], list[bool]]:
    """Scores of 4000 spans, and whether each is right, drawn by a slope and an intercept."""
    random = np.random.default_rng(2)
    logits = random.normal(loc=1, scale=2, size=4000)
    chances = 1 / (1 + np.exp(-(slope * logits + intercept)))
    right = random.random(4000) < chances
    return (1 / (1 + np.exp(-logits))).tolist(), right.tolist()


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.4, -1.0), (1.5, 0.7)])
def test_the_slope_and_intercept_that_made_the_spans_right_are_found(
    slope: float, intercept: float
) -> None:
    scores, right = platt_sample(slope, intercept)
    assert fit_platt(scores, right) == pytest.approx((slope, intercept), abs=0.12)


def test_fitted_confidences_err_less() -> None:
    scores, right = platt_sample(0.4, -1.0)
    slope, intercept = fit_platt(scores, right)
    mended = [1 / (1 + math.exp(-(slope * math.log(s / (1 - s)) + intercept))) for s in scores]
    before, after = calibration_error(scores, right), calibration_error(mended, right)
    assert before is not None and after is not None
    assert before > 0.2 > 0.03 > after


@pytest.mark.parametrize("right", [[True] * 29, [True, False] * 14, [True] * 80, [False] * 80, []])
def test_too_few_spans_or_spans_of_one_kind_leave_scores_as_they_are(
    right: list[bool], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert fit_platt([0.9] * len(right), right) == (1.0, 0.0)
    assert f"{len(right)} spans, too few" in caplog.text


def test_certain_scores_can_be_fitted() -> None:
    slope, intercept = fit_platt([1.0, 0.0] * 40, [True, False] * 40)
    assert slope > 0 and math.isfinite(intercept)


@pytest.fixture(scope="module")
def tagger(smoke_bundle: Path) -> Tagger:
    """Random scores: what it finds and what is right have nothing to do with each other."""
    bundle = Bundle.load(smoke_bundle)
    return Tagger(bundle, backend=RandomBackend(bundle.manifest.heads))


def mean_confidence(tagger: Tagger, head: Head, texts: list[str]) -> float:
    bundle = tagger.bundle
    heads = tuple(head if other.name == head.name else other for other in bundle.manifest.heads)
    manifest = bundle.manifest.model_copy(update={"heads": heads})
    other = Tagger(Bundle(bundle.folder, manifest), backend=RandomBackend(heads, seed=9))
    found = [score for spans in other.spans(texts, head.name) for _, score in spans]
    return sum(found) / len(found)


def test_a_head_that_guesses_learns_to_say_so(tagger: Tagger) -> None:
    text = "قالت القوات العراقية إنها دخلت القائم وراوة على الحدود مع سوريا " * 4
    words = text.split()
    places = [len(" ".join(words[:i])) + (i > 0) for i in range(len(words))]
    gold = tuple(
        Span(start, start + len(word), "ORG")
        for start, word in zip(places, words, strict=True)
        if word in ("القوات", "القائم")
    )
    documents = [Document(f"d{i}", text, entities=gold, label_set="anercorp") for i in range(12)]
    head = calibrate_head(tagger, tagger.bundle.head("anercorp"), [documents])
    assert (head.slope, head.intercept) != (1.0, 0.0)
    before = mean_confidence(tagger, tagger.bundle.head("anercorp"), [text] * 12)
    after = mean_confidence(tagger, head, [text] * 12)
    assert after < before / 2  # few of its guesses are right
    assert head.model_copy(update={"slope": 1.0, "intercept": 0.0}) == tagger.bundle.head(
        "anercorp"
    )


@pytest.mark.parametrize("name", ["topic", "claim"])
def test_labels_drawn_at_random_ask_for_a_high_temperature(tagger: Tagger, name: str) -> None:
    head = tagger.bundle.head(name)
    random = np.random.default_rng(4)
    labels = [head.labels[i] for i in random.integers(len(head.labels), size=400)]
    documents = [
        Document(f"d{i}", "دخلت القوات القائم", topic=label, claims=(Claim("دخلت القائم", label),))
        for i, label in enumerate(labels)
    ]
    assert calibrate_head(tagger, head, [documents]).temperature > 2
    assert calibrate_head(tagger, head, [documents[:20]]).temperature == 1.0


def test_confidence_grows_with_the_score_and_stays_between_zero_and_one() -> None:
    from serving.decoding import TaggedSpan

    head = Head(name="khabar", kind="nested", labels=("GPE",), slope=1.7, intercept=-0.4)
    values = [confidence(TaggedSpan(0, 1, "GPE", score), head) for score in (0.0, 0.2, 0.9, 1.0)]
    assert values == sorted(values)
    assert 0 < values[0] < values[-1] < 1


class RecordingBackend(RandomBackend):
    """Random scores that can be looked at later."""

    def run(self, ids: Ints, mask: Ints, segments: Ints) -> dict[str, Floats]:
        outputs = super().run(ids, mask, segments)
        self.told = [*getattr(self, "told", []), outputs]
        return outputs


def chances(logits: Floats, temperature: float) -> np.ndarray:
    found: np.ndarray = np.exp(log_softmax(logits / np.float32(temperature)))
    return found.astype(float)


@pytest.mark.parametrize("mirrored", [False, True])
def test_pairs_are_calibrated_on_what_is_answered_of_a_text(
    smoke_bundle: Path, mirrored: bool
) -> None:
    """Of three sentences the mean of what each says, of one that is read both ways the mean of
    what either way says.
    """
    bundle = Bundle.load(smoke_bundle)
    changes = {"unit": "sentence", "combine": "mean", "mirrored": mirrored}
    head = bundle.head("claim").model_copy(update=changes)
    one = "دخلت القوات القائم."
    text = one if mirrored else f"{one} دخلت القوات راوة. دخلت القوات الموصل."

    def calibrated(gold: Sequence[int]) -> tuple[float, Floats]:
        """The temperature, and the logits (items, pairs, labels), the same every time."""
        backend = RecordingBackend(bundle.manifest.heads)
        documents = [
            Document(f"d{i}", text, claims=(Claim("دخلت القوات", head.labels[label]),))
            for i, label in enumerate(gold)
        ]
        found = calibrate_head(Tagger(bundle, backend=backend), head, [documents])
        return found.temperature, np.stack([outputs["claim"] for outputs in backend.told])

    def answered(logits: Floats, temperature: float) -> np.ndarray:
        if mirrored:
            return chances(logits.mean(axis=1), temperature)
        found: np.ndarray = chances(logits, temperature).mean(axis=1)
        return found

    _, logits = calibrated([0] * 3000)
    assert logits.shape == (3000, 2 if mirrored else 3, len(head.labels))
    random = np.random.default_rng(5)
    gold = [int(random.choice(len(row), p=row / row.sum())) for row in answered(logits, 0.5)]
    assert calibrated(gold)[0] == pytest.approx(0.5, rel=0.2)


def test_what_cannot_be_judged_is_left_out_of_the_calibration(
    smoke_bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = Bundle.load(smoke_bundle)
    tagger = Tagger(bundle, backend=RandomBackend(bundle.manifest.heads))
    head = bundle.head("claim")

    def documents(text: str, claim: str, label: str, number: int) -> list[Document]:
        claims = (Claim(claim, label),)
        return [Document(f"{i}", text, claims=claims) for i in range(number)]

    sound = documents("دخلت القوات القائم", "دخلت القوات", "discuss", 60)
    unsound = documents("دخلت القوات", "دخلت القوات القائم " * 100, "agree", 3)
    with caplog.at_level(logging.WARNING):
        found = calibrate_head(tagger, head, [[*sound, *unsound], unsound])
    assert found.temperature > 0
    assert "claim: 3 of 63 items cannot be judged" in caplog.text
    assert "claim: 3 of 3 items cannot be judged" in caplog.text


@pytest.mark.parametrize("name", ["claim", "topic"])
def test_the_sources_of_a_head_of_texts_or_pairs_count_alike(smoke_bundle: Path, name: str) -> None:
    """Four right answers for each wrong one, until both sources weigh the same; a topic has no
    biases, and its temperature tells that half of the answers are wrong.
    """
    bundle = Bundle.load(smoke_bundle)
    head = bundle.head(name)

    class Sure(RandomBackend):
        def run(self, ids: Ints, mask: Ints, segments: Ints) -> dict[str, Floats]:
            outputs = super().run(ids, mask, segments)
            outputs[name] = np.tile(np.eye(len(head.labels))[0] * 4, (len(ids), 1))
            return outputs

    def documents(label: str, number: int) -> list[Document]:
        claims = (Claim("دخلت القوات", label),)
        text = "دخلت القوات القائم"
        return [Document(f"{label}{i}", text, claims=claims, topic=label) for i in range(number)]

    tagger = Tagger(bundle, backend=Sure(bundle.manifest.heads))
    right, wrong = documents(head.labels[0], 200), documents(head.labels[1], 50)
    text = np.eye(len(head.labels), dtype=np.float32)[0] * 4
    together, apart = (calibrate_head(tagger, head, s) for s in ([right + wrong], [right, wrong]))
    assert together.probabilities(text)[0] == pytest.approx(0.8, abs=0.03)
    if name == "claim":
        assert apart.probabilities(text)[:2] == pytest.approx([0.5, 0.5], abs=0.05)
    else:
        assert together.biases == apart.biases == ()
        assert apart.probabilities(text)[0] == pytest.approx(0.5, abs=0.03)


def test_a_topic_is_calibrated_on_texts_with_their_titles(smoke_bundle: Path) -> None:
    """What the text leaves open the title tells: with it the gold is as good as certain."""
    bundle = Bundle.load(smoke_bundle)
    head = bundle.head("topic")
    words = {head.labels[0]: "فوز", head.labels[1]: "سوق"}
    make = knowing_taggers(bundle)
    tagger = make(labels={"topic": {word: label for label, word in words.items()}})
    documents = [
        Document(f"{label}{i}", "قال", title=f"{word} {word}", topic=label)
        for label, word in words.items()
        for i in range(40)
    ]
    bare = [replace(document, title=None) for document in documents]
    temperatures = [calibrate_head(tagger, head, [s]).temperature for s in (documents, bare)]
    assert temperatures[0] < 0.5 < 2 < temperatures[1]
