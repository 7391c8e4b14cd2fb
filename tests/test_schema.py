"""Spans and what they may not be; the order, crossing and nesting of many."""

from __future__ import annotations

import dataclasses
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.errors import DocumentError
from annotations.schema import (
    Document,
    Span,
    Stance,
    crossing_pairs,
    duplicates,
    nested_order,
    outermost,
)

quick = settings(max_examples=200, deadline=None, database=None)
spans = st.builds(
    lambda start, length, label: Span(start, start + length, label),
    st.integers(0, 12),
    st.integers(1, 6),
    st.sampled_from(["GPE", "ORG", "PERS"]),
)
span_lists = st.lists(spans, max_size=12).map(tuple)


def letters(span: Span) -> set[int]:
    return set(range(span.start, span.end))


def cross(a: Span, b: Span) -> bool:
    """Whether each of two spans has letters that the other has and letters that it has not."""
    return bool(letters(a) & letters(b) and letters(a) - letters(b) and letters(b) - letters(a))


@pytest.mark.parametrize(("start", "end"), [(-1, 3), (3, 3), (5, 2), (0, 0), (-3, -1)])
def test_a_span_needs_a_range_that_holds_something(start: int, end: int) -> None:
    with pytest.raises(DocumentError, match=rf"'GPE': need 0 <= start < end, got {start}, {end}"):
        Span(start, end, "GPE")


@pytest.mark.parametrize(
    ("target", "start", "end", "expected"),
    [
        ("", None, None, "the target is empty; name whom"),
        (" \n\u00a0", None, None, "the target is empty; name whom"),
        ("داعش", 3, None, "stance toward 'داعش': start and end are set together"),
        ("داعش", None, 7, "stance toward 'داعش': start and end are set together"),
        ("داعش", 7, 3, "stance toward 'داعش': need 0 <= start < end, got 7, 3"),
        ("داعش", -4, 0, "stance toward 'داعش': need 0 <= start < end, got -4, 0"),
    ],
)
def test_a_stance_needs_a_target_and_a_whole_place(
    target: str, start: int | None, end: int | None, expected: str
) -> None:
    with pytest.raises(DocumentError, match=expected):
        Stance(target, "against", start, end)


def test_a_document_error_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="need 0 <= start < end"):
        Span(2, 1, "ORG")


@pytest.mark.parametrize(
    ("text", "start", "end", "surface"),
    [
        ("وبالبوكمال", 2, 10, "البوكمال"),
        ("في العـــراق", 3, 12, "العـــراق"),
        ("🇮🇶 بغداد", 3, 8, "بغداد"),
        ("\u202bبَغداد", 1, 7, "بَغداد"),
    ],
)
def test_offsets_count_code_points_of_the_text_as_received(
    text: str, start: int, end: int, surface: str
) -> None:
    assert Document("a", text).surface(Span(start, end, "GPE")) == surface


def test_other_entities_leave_the_rest_of_a_document_alone() -> None:
    before = Document("a", "بغداد", date="2017-11-03", topic="politics")
    after = before.with_entities((Span(0, 5, "GPE"),))
    assert before.entities is None
    assert after.entities == (Span(0, 5, "GPE"),)
    assert dataclasses.replace(after, entities=None) == before


def test_a_span_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Span(0, 5, "GPE").start = 1  # type: ignore[misc]


@quick
@given(span_lists)
def test_nested_order_puts_what_holds_another_first(found: tuple[Span, ...]) -> None:
    ordered = nested_order(found)
    assert sorted(ordered, key=repr) == sorted(found, key=repr)
    for before, after in combinations(ordered, 2):
        assert before.start <= after.start
        assert not letters(before) < letters(after)


@quick
@given(span_lists)
def test_crossing_pairs_are_those_of_a_comparison_of_all(found: tuple[Span, ...]) -> None:
    expected = [(a, b) for a, b in combinations(nested_order(found), 2) if cross(a, b)]
    assert sorted(crossing_pairs(found), key=repr) == sorted(expected, key=repr)


@quick
@given(span_lists)
def test_outermost_spans_of_nested_ones_are_those_inside_no_other(found: tuple[Span, ...]) -> None:
    nested: list[Span] = []
    for span in found:
        if not any(cross(span, other) for other in nested):
            nested.append(span)
    kept = outermost(tuple(nested))
    largest = {
        frozenset(letters(a)) for a in nested if not any(letters(a) < letters(b) for b in nested)
    }
    assert {frozenset(letters(span)) for span in kept} == largest
    assert len(kept) == len(largest)
    assert set(kept) <= set(nested)


@quick
@given(span_lists)
def test_outermost_spans_never_overlap_even_where_spans_cross(found: tuple[Span, ...]) -> None:
    kept = outermost(found)
    assert not [pair for pair in combinations(kept, 2) if letters(pair[0]) & letters(pair[1])]
    for span in found:  # what is left out begins inside one that stays
        assert any(letters(span) & letters(other) and other.start <= span.start for other in kept)


@quick
@given(span_lists)
def test_duplicates_are_found_wherever_they_stand(found: tuple[Span, ...]) -> None:
    twice = duplicates(found)
    assert set(twice) == {span for span in found if found.count(span) > 1}
    assert len(set(twice)) == len(twice)


def test_a_holder_has_a_name() -> None:
    with pytest.raises(DocumentError, match="the holder is empty; name it or use null"):
        Stance("سالم", "favor", holder=" ")
