"""What is seen of values in a graph: over all rows, whatever batches they come in."""

from __future__ import annotations

import numpy as np

from training.export.observation import observe_rows


def test_what_is_observed_is_that_of_all_rows() -> None:
    random = np.random.default_rng(5)
    first = [random.normal(size=(n, 3)).astype(np.float32) for n in (4, 1, 7)]
    second = [random.normal(size=(n, 2)).astype(np.float32) for n in (4, 1, 0)]
    found = observe_rows(zip(first, second, strict=True))
    for parts, value in zip((first, second), found, strict=True):
        rows = np.concatenate(parts)
        np.testing.assert_allclose(value.products, rows.T @ rows / len(rows), rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(value.low, rows.min(axis=0))
        np.testing.assert_array_equal(value.high, rows.max(axis=0))
        np.testing.assert_array_equal(value.reach, np.abs(rows).max(axis=0))


def test_of_no_rows_nothing_is_observed() -> None:
    assert observe_rows([]) == []
