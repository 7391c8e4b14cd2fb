"""The loss against slow counts: what is ignored, what may be several tags, what weighs more."""

import math

import pytest
import torch

from serving.bundle import Head
from training.examples import IGNORED, UNKNOWN, Example
from training.losses import MAX_WORD_WEIGHT, class_weights, head_loss

CLAIM = Head(name="claim", kind="pair", labels=("agree", "disagree", "other"))


def slow_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    weights: torch.Tensor | None,
    unknown: torch.Tensor | None,
) -> float:
    """The definition, word by word and column by column."""
    total = count = 0.0
    for i, columns in enumerate(labels.tolist()):
        for j, label in enumerate(columns):
            if label == IGNORED:
                continue
            scores = [math.exp(value) for value in logits[i, j].tolist()]
            if label == UNKNOWN:
                assert unknown is not None
                may = [score for score, ok in zip(scores, unknown[i].tolist(), strict=True) if ok]
                weight, likelihood = 1.0, sum(may) / sum(scores)
            else:
                weight = 1.0 if weights is None else float(weights[j, label])
                likelihood = scores[label] / sum(scores)
            total -= weight * math.log(likelihood)
            count += weight
    return total / count


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("partial", [False, True])
def test_the_loss_is_what_its_definition_says(weighted: bool, partial: bool) -> None:
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(40, 3, 5, generator=generator)
    labels = torch.randint(0, 5, (40, 3), generator=generator)
    labels[torch.rand(40, 3, generator=generator) < 0.3] = IGNORED
    weights = torch.rand(3, 5, generator=generator) + 0.5 if weighted else None
    unknown = None
    if partial:
        labels[(labels == 0)] = UNKNOWN
        unknown = torch.rand(40, 5, generator=generator) < 0.5
        unknown[:, 0] = True
    found = head_loss(logits, labels, weights, unknown)
    assert float(found) == pytest.approx(slow_loss(logits, labels, weights, unknown), rel=1e-5)


def test_an_unknown_word_pushes_only_what_it_cannot_be() -> None:
    logits = torch.zeros(1, 1, 4, requires_grad=True)
    unknown = torch.tensor([[True, False, True, False]])
    head_loss(logits, torch.tensor([[UNKNOWN]]), None, unknown).backward()
    assert logits.grad is not None
    push = logits.grad.flatten()
    assert (push[[0, 2]] < 0).all() and (push[[1, 3]] > 0).all()
    assert push[0] == push[2]


def test_rows_that_may_be_nothing_else_leave_no_broken_gradient() -> None:
    logits = torch.randn(3, 1, 4, requires_grad=True)
    unknown = torch.tensor([[True, False, False, False]] * 3)
    loss = head_loss(logits, torch.tensor([[2], [IGNORED], [UNKNOWN]]), None, unknown)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(logits.grad).all()  # type: ignore[arg-type]
    assert (logits.grad[1] == 0).all()  # type: ignore[index]


def test_a_batch_of_ignored_labels_costs_nothing() -> None:
    loss = head_loss(torch.randn(4, 2, 3), torch.full((4, 2), IGNORED))
    assert float(loss) == 0.0


def test_class_weights_lift_rare_labels_and_keep_the_scale_of_the_loss() -> None:
    counts = [1686, 903, 63]  # of ANS train
    examples = [
        Example([0], [0], [label], "claim", "ans")
        for label, n in enumerate(counts)
        for _ in range(n)
    ]
    other_head = Example([0], [0], [0], "topic", "ant")
    (weights,) = class_weights(CLAIM, [*examples, other_head])
    assert weights[0] < weights[1] < weights[2]
    assert weights[2] / weights[0] == pytest.approx((1686 / 63) ** 0.5, rel=1e-4)
    total = sum(w * n for w, n in zip(weights.tolist(), counts, strict=True))
    assert total / sum(counts) == pytest.approx(1.0, rel=1e-4)


def test_rare_types_of_words_weigh_more_within_bounds() -> None:
    head = Head(name="khabar", kind="nested", labels=("GPE", "LAW"))
    # words by columns: GPE begins 20 of 400 words, LAW one; the rest is outside
    rows = [[1 if i < 20 else 0, 1 if i == 0 else 0] for i in range(400)]
    labels = [label for row in rows for label in row] + [IGNORED, IGNORED]
    weights = class_weights(head, [Example([0] * 401, [0] * 401, labels, "khabar", "seed")])
    assert weights.shape == (2, 3)
    assert weights[0, 0] == pytest.approx(1.0, abs=0.25)
    assert weights[0, 1] == pytest.approx(float(weights[0, 0]) * (380 / 20) ** 0.5, rel=1e-3)
    assert weights[1, 1] == MAX_WORD_WEIGHT
