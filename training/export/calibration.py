"""Calibration of the exported model on a split of its own: temperatures and biases of labels, and
Platt scaling of span scores.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from annotations.schema import Document
from serving.attitudes import JudgedText, TargetError, combine, judge_text
from serving.bundle import Head
from serving.decoding import label_probabilities
from serving.prediction import Article
from serving.tagger import Tagger, text_logits
from training.evaluation.questions import pair_questions
from training.export.transitions import fit_transitions

log = logging.getLogger(__name__)
Floats = npt.NDArray[np.float32]
SMALLEST = 1e-9  # probability: no answer may weigh more than its logarithm
TEMPERATURES = (0.2, 8.0)  # the least and the greatest
BIAS_SCALE = 0.5  # standard deviation of the normal prior of a bias: few items say little of it
MIN_ITEMS = 30  # fewer say nothing of a probability
Answers = Callable[[float, Sequence[float]], Floats]


def fit_labels(
    answers: Answers,
    labels: int,
    gold: Sequence[int],
    weights: Sequence[float] | None = None,
    biased: bool = True,
) -> tuple[float, tuple[float, ...]]:
    """The temperature and the biases, one a label and 0 together, under which the gold is likeliest
    (bias-corrected temperature scaling, Alexandari, Kundaje and Shrikumar 2020); where they are not
    to be `biased`, the temperature alone and no biases (Guo et al. 2017).

    `answers` gives the probabilities of all items under them, (items, labels); `weights` say how
    much each item counts.
    """
    if len(gold) < MIN_ITEMS:
        log.warning("%d items, too few to calibrate; scores stay as they are", len(gold))
        return 1.0, ()
    index = np.arange(len(gold))
    shares = np.ones(len(gold)) if weights is None else np.asarray(weights, dtype=float)
    items = shares.sum() ** 2 / (shares**2).sum()  # as many of like weight say as much (Kish 1965)
    low, high = np.log(TEMPERATURES)

    def unpack(values: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        temperature = float(np.exp(np.clip(values[0], low, high)))
        return temperature, np.append(values[1:], -values[1:].sum())

    def loss(values: npt.NDArray[np.float64]) -> float:
        temperature, biases = unpack(values)
        chances = np.maximum(answers(temperature, biases.tolist())[index, gold], SMALLEST)
        likely = np.average(np.log(chances), weights=shares)
        return float((biases**2).sum() / (2 * BIAS_SCALE**2 * items) - likely)

    # no gradient: which part of a text speaks for it may turn with the temperature
    begin = np.zeros(labels if biased else 1)
    found = minimize(loss, begin, method="Powell", options={"xtol": 1e-3, "ftol": 1e-5})
    temperature, biases = unpack(np.atleast_1d(found.x))
    kept = biases.tolist() if biased else []
    return round(temperature, 4), tuple(round(bias, 4) for bias in kept)


def fit_platt(scores: Sequence[float], right: Sequence[bool]) -> tuple[float, float]:
    """Slope and intercept that map the logit of a span's score to that of being right (Platt
    1999).
    """
    if len(scores) < MIN_ITEMS or len(set(right)) < 2:
        log.warning(
            "%d spans, too few of one kind to calibrate; scores stay as they are", len(scores)
        )
        return 1.0, 0.0
    clipped = np.clip(np.asarray(scores), 1e-6, 1 - 1e-6)
    logits = np.log(clipped / (1 - clipped))[:, None]
    fitted = LogisticRegression(C=100.0).fit(logits, np.asarray(right))
    return round(float(fitted.coef_[0, 0]), 4), round(float(fitted.intercept_[0]), 4)


def calibrate_head(tagger: Tagger, head: Head, sources: Sequence[Sequence[Document]]) -> Head:
    """A head calibrated on the documents of its sources; the tagger must hold it uncalibrated.

    Of a head of texts or pairs each source counts alike: a corpus of thousands must not speak for
    an outlet of which there are tens.
    """
    if head.kind == "text":
        return calibrate_texts(tagger, head, sources)
    if head.kind == "pair":
        return calibrate_pairs(tagger, head, sources)
    documents = [document for source in sources for document in source]
    if head.kind == "nested":
        head = fit_transitions(tagger, head, documents)
    return calibrate_words(tagger, head, documents)


def calibrate_words(tagger: Tagger, head: Head, documents: Sequence[Document]) -> Head:
    """A head of words with slope and intercept fitted on documents, under its transitions; the
    tagger's head must be uncalibrated.
    """
    tagger = tagger.with_head(head)
    scores: list[float] = []
    right: list[bool] = []
    for document, found in zip(
        documents, tagger.spans([d.text for d in documents], head.name), strict=True
    ):
        gold = {
            (span.end, span.label) for span in document.entities or ()
        }  # starts may differ by a clitic
        scores.extend(score for _, score in found)
        right.extend((span.end, span.label) in gold for span, _ in found)
    slope, intercept = fit_platt(scores, right)
    log.info(
        "%s: calibrated on %d spans: slope %s, intercept %s",
        head.name,
        len(scores),
        slope,
        intercept,
    )
    return head.model_copy(update={"slope": slope, "intercept": intercept})


def calibrate_texts(tagger: Tagger, head: Head, sources: Sequence[Sequence[Document]]) -> Head:
    """A topic head with the temperature fitted on the documents of its sources, their titles read
    as in serving; no biases, for another outlet writes of other things.
    """
    logits, gold, weights = [], [], []
    for documents in sources:
        for document in documents:
            reading = tagger.reader.read(document.text)
            title = tagger.reader.read(document.title) if document.title else None
            logits.append(text_logits(head, reading, title))
            gold.append(head.labels.index(str(document.topic)))
            weights.append(1 / len(documents))
    stacked = np.stack(logits)
    return _with_labels(head, lambda t, b: label_probabilities(stacked, t, b), gold, weights)


def calibrate_pairs(tagger: Tagger, head: Head, sources: Sequence[Sequence[Document]]) -> Head:
    """A stance or claim head with temperature and biases fitted on its answers: on what the parts
    of a text say together, as in serving.
    """
    logits, gold, weights = [], [], []
    for documents in sources:
        questions = pair_questions(documents, head)
        found = [_part_logits(tagger, head, Article.of(one)) for one in questions.articles]
        judged_ones = [i for i, one in enumerate(found) if len(one)]
        if len(judged_ones) < len(found):
            unread = len(found) - len(judged_ones)
            log.warning("%s: %d of %d items cannot be judged", head.name, unread, len(found))
        logits += [found[i] for i in judged_ones]
        gold += [head.labels.index(questions.gold[i]) for i in judged_ones]
        weights += [1 / len(judged_ones) for _ in judged_ones]

    def answers(temperature: float, biases: Sequence[float]) -> Floats:
        parts = (label_probabilities(one, temperature, biases) for one in logits)
        return np.stack([combine(probabilities, head) for probabilities in parts])

    return _with_labels(head, answers, gold, weights)


def _part_logits(tagger: Tagger, head: Head, article: Article) -> Floats:
    """What a head says of the parts of an article with one target or claim, (parts, labels); none
    where it has no word or its target or claim leaves no room for it.
    """
    (about,) = (*article.claims, *article.targets)
    read = JudgedText(article.text, tagger.reader.encoder.encode(article.text))
    try:
        return judge_text(tagger.reader, head, read, article.title, about)[1]
    except TargetError:
        return np.zeros((0, len(head.labels)), np.float32)


def _with_labels(
    head: Head, answers: Answers, gold: Sequence[int], weights: Sequence[float]
) -> Head:
    biased = head.kind == "pair"
    temperature, biases = fit_labels(answers, len(head.labels), gold, weights, biased)
    log.info(
        "%s: calibrated on %d items: temperature %s, biases %s",
        head.name,
        len(gold),
        temperature,
        dict(zip(head.labels, biases, strict=False)),
    )
    return head.model_copy(update={"temperature": temperature, "biases": biases})
