"""A linear chain over the tags O, B and I: how one follows another in real entities.

A head scores each word alone, so it may begin a name and not go on with it. The chain (Lafferty,
McCallum and Pereira 2001) is fitted on its scores as they are (`training.export.transitions`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Row = Sequence[float]  # of O, B and I
O, B, I = range(3)  # noqa: E741
NEVER = -math.inf


class Transitions(BaseModel):
    """What a sequence of tags scores beside its words: `emission` times the log probability of each
    tag, `begin` for the first one (O, B) and `after_o`, `after_b`, `after_i` for each that follows.
    After O, and at the beginning, stands no I. A word whose O is likelier than `quiet` is taken for
    O and parts what stands around it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    emission: float = Field(gt=0)
    begin: tuple[float, float]
    after_o: tuple[float, float]
    after_b: tuple[float, float, float]
    after_i: tuple[float, float, float]
    quiet: float = Field(0.999, gt=0, lt=1)

    @property
    def first(self) -> tuple[float, float, float]:
        """The scores of O, B and I at the beginning."""
        return (*self.begin, NEVER)

    @property
    def table(self) -> tuple[Row, Row, Row]:
        """The scores of O, B and I, after O, after B and after I."""
        return (*self.after_o, NEVER), self.after_b, self.after_i


def chain_spans(
    log_probs: Floats, transitions: Transitions
) -> Iterator[tuple[int, int, int, float]]:
    """The entities of the best sequence of tags of each type over a text, each with its probability
    under the chain: type, start, end, probability. `log_probs` is (words, types, 3: O B I).
    """
    by_type = log_probs.transpose(1, 0, 2)
    table = transitions.table
    follow = tuple([math.exp(score) for score in row] for row in table)
    closing = [row[O] for row in table]
    for column, start, end in stretches(by_type[:, :, O] < math.log(transitions.quiet)):
        rows = (transitions.emission * by_type[column, start:end]).tolist()
        before = table[O] if start else transitions.first
        after = closing if end < len(log_probs) else (0.0, 0.0, 0.0)
        for low, high, probability in _spans(rows, before, after, table, follow):
            yield column, start + low, start + high, probability


def stretches(loud: Bools) -> Iterator[tuple[int, int, int]]:
    """The runs of true values in each row, (rows, words): row, start, end."""
    rows, edges = np.nonzero(np.diff(loud, prepend=False, append=False, axis=1))
    starts, ends = edges[::2].tolist(), edges[1::2].tolist()
    yield from zip(rows[::2].tolist(), starts, ends, strict=True)


def _spans(
    rows: Sequence[Row], before: Row, after: Row, table: Sequence[Row], follow: Sequence[Row]
) -> list[tuple[int, int, float]]:
    """The entities of a few words; `before` scores the first tag, `after` the last one, and
    `follow` are the exponentials of `table`.
    """
    places = _entities(_best(rows, before, after, table))
    if not places:
        return []
    # forward and backward sums, scaled so that those of a word are 1 (Rabiner 1989)
    words = [[math.exp(score - max(row)) for score in row] for row in rows]
    forward, scale = _forward(words, [math.exp(score) for score in before], follow)
    backward = _backward(words, [math.exp(score) for score in after], follow, scale)
    whole = sum(f * b for f, b in zip(forward[-1], backward[-1], strict=True))
    found = []
    for start, end in places:
        share, tag = forward[start][B], B
        for i in range(start + 1, end):
            share, tag = share * follow[tag][I] * words[i][I] / scale[i], I
        if end == len(rows):
            share *= backward[-1][tag]
        else:
            ends = (follow[tag][t] * words[end][t] * backward[end][t] for t in (O, B))
            share *= sum(ends) / scale[end]
        found.append((start, end, min(share / whole, 1.0)))
    return found


def _best(rows: Sequence[Row], before: Row, after: Row, table: Sequence[Row]) -> list[int]:
    """The best path, by the Viterbi algorithm; written out, as most of the time goes here."""
    (o_o, o_b, _), (b_o, b_b, b_i), (i_o, i_b, i_i) = table
    o, b, i = (score + word for score, word in zip(before, rows[0], strict=True))
    back: list[tuple[int, int, int]] = []
    for to_o, to_b, to_i in rows[1:]:
        came_o, o_next = _better(o + o_o, b + b_o, i + i_o)
        came_b, b_next = _better(o + o_b, b + b_b, i + i_b)
        came_i, i_next = (B, b + b_i) if b + b_i >= i + i_i else (I, i + i_i)
        o, b, i = o_next + to_o, b_next + to_b, i_next + to_i
        back.append((came_o, came_b, came_i))
    path = [_better(o + after[O], b + after[B], i + after[I])[0]]
    for came in reversed(back):
        path.append(came[path[-1]])
    return path[::-1]


def _better(o: float, b: float, i: float) -> tuple[int, float]:
    """The best of three scores, and whose it is."""
    if o >= b:
        return (O, o) if o >= i else (I, i)
    return (B, b) if b >= i else (I, i)


def _entities(path: Sequence[int]) -> list[tuple[int, int]]:
    starts = [i for i, tag in enumerate(path) if tag == B]
    return [
        (start, next((i for i in range(start + 1, len(path)) if path[i] != I), len(path)))
        for start in starts
    ]


def _forward(
    words: Sequence[Row], before: Row, follow: Sequence[Row]
) -> tuple[list[list[float]], list[float]]:
    sums: list[list[float]] = []
    scale: list[float] = []
    for word in words:
        came = (
            [sum(sums[-1][p] * follow[p][t] for p in (O, B, I)) for t in (O, B, I)]
            if sums
            else before
        )
        row = [c * w for c, w in zip(came, word, strict=True)]
        scale.append(sum(row))
        sums.append([value / scale[-1] for value in row])
    return sums, scale


def _backward(
    words: Sequence[Row], after: Row, follow: Sequence[Row], scale: Sequence[float]
) -> list[list[float]]:
    sums = [list(after)]
    for i in range(len(words) - 1, 0, -1):
        goes = [words[i][t] * sums[-1][t] / scale[i] for t in (O, B, I)]
        sums.append([sum(follow[p][t] * goes[t] for t in (O, B, I)) for p in (O, B, I)])
    return sums[::-1]
