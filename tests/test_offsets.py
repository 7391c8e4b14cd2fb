"""Offsets: the surface tells the units, and what fits no units is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotations.errors import FormatError
from annotations.offsets import Quoted, Reconciled, reconcile, utf16_units
from annotations.schema import Range

TEXTS = st.text(alphabet="اب😀👨\u200dé\n ", min_size=1, max_size=20)


def slow_units(text: str) -> list[int]:
    return [len(text[:i].encode("utf-16-le")) // 2 for i in range(len(text) + 1)]


def places_of(found: Reconciled) -> tuple[list[Range], int]:
    return found.ranges, found.repaired


@given(TEXTS)
def test_utf16_units_are_those_of_the_encoding(text: str) -> None:
    assert utf16_units(text) == slow_units(text)


@given(TEXTS, st.data())
def test_spans_in_either_units_are_found(text: str, data: st.DataObject) -> None:
    units = slow_units(text)
    places = []
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text) - 1))
        places.append((start, data.draw(st.integers(start + 1, len(text)))))
    plain = [Quoted(a, b, text[a:b], "d") for a, b in places]
    assert places_of(reconcile(text, plain)) == (places, 0)
    shifted = [Quoted(units[a], units[b], text[a:b], "d") for a, b in places]
    found = reconcile(text, shifted).ranges
    assert [text[a:b] for a, b in found] == [text[a:b] for a, b in places]


def test_the_units_of_all_spans_decide_where_one_could_be_either() -> None:
    text = "😀اا ب"
    quoted = [Quoted(2, 3, "ا", "d: a"), Quoted(5, 6, "ب", "d: b")]  # UTF-16: the second is certain
    assert places_of(reconcile(text, quoted)) == ([(1, 2), (4, 5)], 2)


def test_a_surface_that_stands_there_exactly_decides_over_one_with_other_line_ends() -> None:
    text = "👨 \nب"
    assert places_of(reconcile(text, [Quoted(2, 3, " ", "d")])) == (
        [(1, 2)],
        1,
    )  # UTF-16: the space
    assert places_of(reconcile(text, [Quoted(2, 3, "\n", "d")])) == ([(2, 3)], 0)


def test_spans_of_two_tools_are_read_each_in_its_own() -> None:
    text = "😀 سالم عمان"
    quoted = [Quoted(2, 6, "سالم", "d"), Quoted(8, 12, "عمان", "d")]
    assert places_of(reconcile(text, quoted)) == ([(2, 6), (7, 11)], 1)


@pytest.mark.parametrize(
    ("span", "words"),
    [
        (Quoted(0, 3, "سال", "d: a"), r"d: a: \[0, 3\) does not hold its own text"),
        (Quoted(3, 3, "", "d: a"), "need 0 <= start < end"),
        (Quoted(2, 99, "سالم", "d: a"), "does not hold its own text"),
        (Quoted(2, 6, None, "d: a"), "has no text of its own to tell its units by"),
    ],
)
def test_what_fits_no_units_is_refused(span: Quoted, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        reconcile("😀 سالم", [span])


def test_without_a_surface_the_place_is_taken_where_both_units_are_one() -> None:
    assert places_of(reconcile("سالم 😀", [Quoted(0, 4, None, "d")])) == ([(0, 4)], 0)


@pytest.mark.parametrize(
    ("quoted", "ambiguous"),
    [
        ([Quoted(7, 9, "لا", "d")], True),  # [4, 6) in UTF-16 units
        ([Quoted(7, 9, "لا", "d"), Quoted(0, 1, "😀", "d")], False),
        ([Quoted(10, 12, "لا", "d")], False),
        ([], False),
    ],
)
def test_a_surface_that_stands_there_in_either_units_is_told(
    quoted: list[Quoted], ambiguous: bool
) -> None:
    assert reconcile("😀😀😀 لا لا", quoted).ambiguous == ambiguous
