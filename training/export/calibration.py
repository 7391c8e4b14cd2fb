"""Calibration of the exported model on a split of its own: temperatures, and Platt scaling of span
scores.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from annotations.schema import Document
from serving.attitudes import TargetError, combine, judged
from serving.bundle import Head
from serving.decoding import log_softmax
from serving.prediction import Article
from serving.tagger import Tagger, text_logits
from training.evaluation.questions import pair_questions
from training.export.transitions import fit_transitions

log = logging.getLogger(__name__)
Floats = npt.NDArray[np.float32]
SMALLEST = 1e-9  # probability: no answer may weigh more than its logarithm
TEMPERATURES = np.geomspace(0.3, 6.0, 60)
MIN_ITEMS = 50  # fewer say nothing of a probability


def fit_temperature(
    answers: Callable[[float], Floats], gold: Sequence[int], weights: Sequence[float] | None = None
) -> float:
    """The temperature under which the gold is likeliest (Guo et al. 2017).

    `answers` gives the probabilities of all items under a temperature, (items, labels); `weights`
    say how much each item counts.
    """
    if len(gold) < MIN_ITEMS:
        log.warning("%d items, too few to calibrate; scores stay as they are", len(gold))
        return 1.0
    index = np.arange(len(gold))
    losses = [
        -np.average(np.log(np.maximum(answers(t)[index, gold], SMALLEST)), weights=weights)
        for t in TEMPERATURES
    ]
    return round(float(TEMPERATURES[int(np.argmin(losses))]), 4)


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
    as in serving.
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
    return _with_temperature(head, lambda t: np.exp(log_softmax(stacked / t)), gold, weights)


def calibrate_pairs(tagger: Tagger, head: Head, sources: Sequence[Sequence[Document]]) -> Head:
    """A stance or claim head with the temperature fitted on its answers: on what the parts of a
    text say together, as in serving.
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

    def answers(temperature: float) -> Floats:
        parts = (np.exp(log_softmax(one / temperature)) for one in logits)
        return np.stack([combine(probabilities, head) for probabilities in parts])

    return _with_temperature(head, answers, gold, weights)


def _part_logits(tagger: Tagger, head: Head, article: Article) -> Floats:
    """What a head says of the parts of an article with one target or claim, (parts, labels); none
    where it has no word or its target or claim leaves no room for it.
    """
    (about,) = (*article.claims, *article.targets)
    encoded = tagger.reader.encoder.encode(article.text)
    try:
        return judged(tagger.reader, head, article.text, encoded, article.title, about)[1]
    except TargetError:
        return np.zeros((0, len(head.labels)), np.float32)


def _with_temperature(
    head: Head,
    answers: Callable[[float], Floats],
    gold: Sequence[int],
    weights: Sequence[float],
) -> Head:
    temperature = fit_temperature(answers, gold, weights)
    log.info("%s: calibrated on %d items: temperature %s", head.name, len(gold), temperature)
    return head.model_copy(update={"temperature": temperature})
