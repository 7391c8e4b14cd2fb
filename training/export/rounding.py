"""Rounding of weights to whole numbers: each to the nearest, or so that what one weight loses the
others of its column make good (Frantar et al. 2023, GPTQ).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Whole = npt.NDArray[np.int8]
# of the mean of the squares of inputs, added to each, so that few texts do not tell everything
DAMPING = 0.01
BLOCK = 128  # inputs after which what was lost is passed on to all that follow


def int8(weights: Floats, axis: int, levels: int) -> tuple[Whole, Floats]:
    """A matrix in whole numbers from -levels to levels, each the nearest, and the scales with which
    it is multiplied back, one for each place that is left when `axis` goes.
    """
    largest = np.abs(weights).max(axis=axis, keepdims=True)
    scales = np.where(largest == 0, 1, largest / levels).astype(np.float32)
    return np.rint(weights / scales).astype(np.int8), scales


def int8_compensated(weights: Floats, products: Floats, levels: int) -> tuple[Whole, Floats]:
    """A matrix (inputs, outputs) in whole numbers from -levels to levels, and the scale of each
    column, (1, outputs), as `int8` gives them, but rounded one input after the other: what a row
    loses is taken off those that follow, as far as their inputs go together.

    `products` (inputs, inputs) are the mean products of what the matrix is multiplied by, each
    input with each; here what float32 multiplies it by, where GPTQ takes what layers give that are
    rounded already. Inputs that are largest are rounded first, as GPTQ's published code may do.
    """
    nearest, scales = int8(weights, axis=0, levels=levels)
    diagonal = np.diag(products).astype(np.float64)
    if not diagonal.any():  # never seen at work: nothing tells which weights matter
        return nearest, scales
    order = np.argsort(-diagonal, kind="stable")
    influence = _influence(products[np.ix_(order, order)].astype(np.float64))
    left = weights[order].astype(np.float64)
    whole = np.empty_like(left)
    for start in range(0, len(left), BLOCK):
        end = min(start + BLOCK, len(left))
        lost = np.zeros((end - start, left.shape[1]))
        for i in range(start, end):
            whole[i] = np.clip(np.rint(left[i] / scales[0]), -levels, levels)
            lost[i - start] = (left[i] - whole[i] * scales[0]) / influence[i, i]
            left[i + 1 : end] -= np.outer(influence[i, i + 1 : end], lost[i - start])
        left[end:] -= influence[start:end, end:].T @ lost
    rounded = np.empty_like(nearest)
    rounded[order] = whole
    return rounded, scales


def _influence(products: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The upper triangle U with U'U the inverse of the products: row i says how inputs after i take
    over what i loses.
    """
    damped = products.copy()
    damped[np.diag_indices_from(damped)] += DAMPING * np.trace(products) / len(products)
    lower = np.linalg.cholesky(np.linalg.inv(damped))
    return np.ascontiguousarray(lower.T)
