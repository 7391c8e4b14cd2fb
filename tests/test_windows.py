"""Windows over a long text: every piece is read, owned once, and cut where a reader would cut."""

from __future__ import annotations

from itertools import accumulate, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.windows import Window, make_windows, token_batches

Text = tuple[int, list[int], list[int]]  # pieces, and where words and sentences begin


@st.composite
def texts(draw: st.DrawFn, longest_word: int = 70) -> Text:
    """Words of some pieces each; some of them begin a sentence."""
    lengths = draw(st.lists(st.integers(1, longest_word), max_size=120))
    starts = [0, *accumulate(lengths)]
    word_starts = starts[:-1]
    sentence_starts = [start for start in word_starts if draw(st.integers(0, 9)) == 0]
    return starts[-1], word_starts, sentence_starts


@st.composite
def rules(draw: st.DrawFn) -> tuple[int, int]:
    size = draw(st.integers(2, 64))
    return size, draw(st.integers(0, size // 2 - 1))


@settings(max_examples=200, deadline=None)
@given(text=texts(), rule=rules())
def test_every_piece_is_owned_by_one_window_in_order(text: Text, rule: tuple[int, int]) -> None:
    windows = make_windows(text[0], *rule, *text[1:])
    owned = [i for window in windows for i in range(window.own_start, window.own_end)]
    assert owned == list(range(text[0]))


@settings(max_examples=200, deadline=None)
@given(text=texts(), rule=rules())
def test_a_window_reads_what_it_owns_and_keeps_to_the_size(
    text: Text, rule: tuple[int, int]
) -> None:
    for window in make_windows(text[0], *rule, *text[1:]):
        assert 0 <= window.start <= window.own_start <= window.own_end <= window.end <= text[0]
        assert 0 < len(window) <= rule[0]


@settings(max_examples=100, deadline=None)
@given(n_pieces=st.integers(0, 500), rule=rules(), data=st.data())
def test_pieces_are_owned_once_even_where_no_word_or_sentence_helps(
    n_pieces: int, rule: tuple[int, int], data: st.DataObject
) -> None:
    places = st.lists(st.integers(0, max(n_pieces - 1, 0)), unique=True, max_size=40).map(sorted)
    windows = make_windows(n_pieces, *rule, data.draw(places), data.draw(places))
    owned = [i for window in windows for i in range(window.own_start, window.own_end)]
    assert owned == list(range(n_pieces))
    assert all(len(window) <= rule[0] for window in windows)


@settings(max_examples=200, deadline=None)
@given(text=texts(longest_word=4), size=st.integers(16, 64), data=st.data())
def test_words_are_not_torn_and_every_seam_has_context_on_both_sides(
    text: Text, size: int, data: st.DataObject
) -> None:
    n_pieces, word_starts, sentence_starts = text
    overlap = data.draw(st.integers(0, size // 2 - 5))
    windows = make_windows(n_pieces, size, overlap, word_starts, sentence_starts)
    for left, right in pairwise(windows):
        assert right.start in word_starts and right.own_start in word_starts
        if right.start == left.end and right.start in sentence_starts:
            continue  # a new sentence owes nothing to the last one
        assert overlap <= left.end - right.start < overlap + 4
        assert left.end - left.own_end >= overlap // 2
        assert right.own_start - right.start > overlap - overlap // 2 - 4


@settings(max_examples=200, deadline=None)
@given(text=texts(longest_word=6), rule=rules())
def test_a_window_ends_with_the_last_sentence_of_its_second_half(
    text: Text, rule: tuple[int, int]
) -> None:
    size, overlap = rule
    for window in make_windows(text[0], size, overlap, *text[1:])[:-1]:
        ends = [p for p in text[2] if window.start + size // 2 <= p <= window.start + size]
        assert window.end == (max(ends) if ends else window.start + size)


@pytest.mark.parametrize(
    ("n_pieces", "sentence_starts", "expected"),
    [
        (0, [], []),
        (10, [0], [(0, 10)]),
        (20, [0, 7, 14], [(0, 7), (7, 14), (14, 20)]),  # each begins where the last one ended
        (20, [0, 3, 14], [(0, 10), (8, 14), (14, 20)]),  # 3 would waste most of a window
        (20, [0, 5, 10], [(0, 10), (10, 20)]),  # the later of two sentence ends
        (11, [], [(0, 10), (8, 11)]),
    ],
)
def test_windows_of_ten_pieces_with_an_overlap_of_two(
    n_pieces: int, sentence_starts: list[int], expected: list[tuple[int, int]]
) -> None:
    windows = make_windows(n_pieces, 10, 2, list(range(n_pieces)), sentence_starts)
    assert [(window.start, window.end) for window in windows] == expected


def test_the_overlap_is_shared_in_halves_at_word_starts() -> None:
    words_of_four = range(0, 20, 4)
    windows = make_windows(20, 16, 6, words_of_four, [])
    assert windows == [Window(0, 16, 0, 12), Window(8, 20, 12, 20)]


@pytest.mark.parametrize(("size", "overlap"), [(10, 5), (10, 9), (10, -1), (1, 0)])
def test_an_overlap_of_half_a_window_is_refused_in_words(size: int, overlap: int) -> None:
    with pytest.raises(ValueError, match=f"overlap_tokens.*got overlap {overlap}, size {size}"):
        make_windows(30, size, overlap, [], [])


@given(
    lengths=st.lists(st.integers(1, 60), max_size=60),
    max_tokens=st.integers(1, 200),
)
def test_batches_hold_everything_once_within_the_budget(
    lengths: list[int], max_tokens: int
) -> None:
    batches = list(token_batches(lengths, max_tokens))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        padded = len(batch) * max(lengths[i] for i in batch)
        assert padded <= max_tokens or len(batch) == 1
    for shorter, longer in pairwise(batches):
        assert max(lengths[i] for i in shorter) <= min(lengths[i] for i in longer)


def test_a_batch_is_not_cut_before_it_is_full() -> None:
    assert list(token_batches([5, 5, 5, 5, 20], 15)) == [[0, 1, 2], [3], [4]]
