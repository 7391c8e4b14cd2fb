"""Windows: the parts in which a long text passes through the encoder, and batches of them within a
token budget.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Window:
    """Pieces `[start, end)` that are read together; the answer is kept for the owned `[own_start,
    own_end)`.
    """

    start: int
    end: int
    own_start: int
    own_end: int

    def __len__(self) -> int:
        return self.end - self.start


def require_overlap(size: int, overlap: int) -> None:
    """A ValueError where windows of `size` pieces with an `overlap` would not go on."""
    if not 0 <= overlap < size // 2:
        raise ValueError(
            f"windows need 0 <= overlap_tokens < half of size, got overlap {overlap}, size {size}"
        )


def make_windows(
    n_pieces: int,
    size: int,
    overlap: int,
    word_starts: Sequence[int],
    sentence_starts: Sequence[int],
) -> list[Window]:
    """Windows of at most `size` pieces such that every piece is owned by exactly one.

    A window ends where a sentence does if one ends in its second half, and the next begins there.
    Inside a longer sentence the next window begins at a word and overlaps by about `overlap`
    pieces, of which each owns one half. `word_starts` and `sentence_starts` are ascending piece
    indices.
    """
    require_overlap(size, overlap)
    windows: list[Window] = []
    start = own = 0
    while start < n_pieces:
        end = min(start + size, n_pieces)
        if end == n_pieces:
            windows.append(Window(start, end, own, end))
            break
        sentence = _last_in(sentence_starts, start + size // 2, end)
        if sentence is not None:
            windows.append(Window(start, sentence, own, sentence))
            start = own = sentence
            continue
        following = _last_in(word_starts, start + 1, end - overlap) or end - overlap
        own_end = _last_in(word_starts, following, end - overlap // 2) or following
        windows.append(Window(start, end, own, own_end))
        start, own = following, own_end
    return windows


def _last_in(ascending: Sequence[int], low: int, high: int) -> int | None:
    """The greatest value in [low, high], or None."""
    i = bisect_right(ascending, high)
    return ascending[i - 1] if i and ascending[i - 1] >= low else None


def token_batches(lengths: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Indices in batches of like length whose padded size stays within `max_tokens`; a longer item
    goes alone.
    """
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        if batch and (len(batch) + 1) * lengths[i] > max_tokens:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
