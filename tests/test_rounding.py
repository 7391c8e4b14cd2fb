"""Rounding: to the nearest exactly, and compensated so that products lose less."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from training.export.observation import observe_rows
from training.export.rounding import int8, int8_compensated

Floats = NDArray[np.float32]


@pytest.mark.parametrize("axis", [0, 1])
def test_int8_is_the_nearest_whole_number_of_steps(axis: int) -> None:
    weights = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    weights[:, 3] = weights[2] = 0
    whole, scales = int8(weights, axis, levels=64)
    assert whole.dtype == np.int8
    assert np.abs(whole).max() == 64
    for i in range(5):
        for j in range(7):
            line = weights[:, j] if axis == 0 else weights[i]
            step = max(abs(value) for value in line) / 64
            scale = scales[0, j] if axis == 0 else scales[i, 0]
            if step:
                assert scale == pytest.approx(step)
                assert whole[i, j] == round(float(weights[i, j] / step))
            else:
                assert whole[i, j] == 0
                assert scale > 0


def correlated(rows: int, channels: int, seed: int) -> Floats:
    """Inputs whose channels go together, as those of a trained layer do; some reach far."""
    random = np.random.default_rng(seed)
    mixing = random.normal(size=(channels // 4, channels)) * random.lognormal(size=channels)
    noise = random.normal(size=(rows, channels)) / 5
    return (random.normal(size=(rows, channels // 4)) @ mixing + noise).astype(np.float32)


def loss(inputs: Floats, weights: Floats, rounded: tuple[NDArray[np.int8], Floats]) -> float:
    """The mean square by which the product of rounded weights is off."""
    whole, scales = rounded
    return float(np.square(inputs @ (whole * scales - weights)).mean())


@pytest.mark.parametrize("channels", [24, 200])  # within a block of inputs, and over several
def test_compensated_products_lose_less_also_on_inputs_not_seen(channels: int) -> None:
    inputs = correlated(3000, channels, seed=1)
    weights = np.random.default_rng(2).normal(size=(channels, 30)).astype(np.float32)
    products = observe_rows([[inputs[:2000]]])[0].products
    nearest, compensated = int8(weights, 0, 64), int8_compensated(weights, products, 64)
    assert compensated[0].dtype == np.int8
    assert np.abs(compensated[0]).max() <= 64
    np.testing.assert_array_equal(compensated[1], nearest[1])
    for part in (inputs[:2000], inputs[2000:]):
        assert loss(part, weights, compensated) < 0.5 * loss(part, weights, nearest)


def test_inputs_that_do_not_go_together_leave_every_weight_to_itself() -> None:
    weights = np.random.default_rng(3).normal(size=(40, 6)).astype(np.float32)
    products = np.diag(np.linspace(1, 9, 40)).astype(np.float32)
    whole, _ = int8_compensated(weights, products, 64)
    np.testing.assert_array_equal(whole, int8(weights, 0, 64)[0])


def test_inputs_that_are_always_or_never_there_are_no_trouble() -> None:
    weights = np.random.default_rng(4).normal(size=(8, 5)).astype(np.float32)
    weights[:, 2] = 0
    never = np.zeros((8, 8), np.float32)
    np.testing.assert_array_equal(int8_compensated(weights, never, 64)[0], int8(weights, 0, 64)[0])
    same = np.ones((8, 8), np.float32)  # all channels one: nothing but their sum matters
    whole, scales = int8_compensated(weights, same, 64)
    assert not whole[:, 2].any()
    off = np.abs((whole * scales - weights).sum(axis=0))
    assert (off <= 0.6 * scales[0]).all()


def test_channels_may_be_levelled_before_they_are_rounded() -> None:
    inputs = correlated(2000, 40, seed=6)
    weights = np.random.default_rng(7).normal(size=(40, 30)).astype(np.float32)
    factors = np.random.default_rng(8).lognormal(size=40).astype(np.float32)
    products = observe_rows([[inputs]])[0].products
    levelled, grown = inputs / factors, weights * factors[:, None]
    compensated = int8_compensated(grown, products / np.outer(factors, factors), 64)
    assert loss(levelled, grown, compensated) < 0.5 * loss(levelled, grown, int8(grown, 0, 64))
