"""Agreement of two annotators about spans, as counting by hand and by pairing has it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from annotations.agreement import disagreements, partial_agreement, span_agreement
from annotations.schema import Document, Span, overlap

quick = settings(max_examples=150, deadline=None, database=None)
TEXT = "دخلت القوات العراقية القائم\n\nسقوط داعش\n \nفي البوكمال"
spans = st.lists(
    st.builds(
        lambda start, length, label: Span(start, start + length, label),
        st.integers(0, 5),
        st.integers(1, 3),
        st.sampled_from(["ORG", "GPE"]),
    ),
    max_size=8,
    unique=True,
).map(tuple)
span_pairs = st.lists(st.tuples(spans, spans), max_size=3)


def documents(of_each: list[tuple[Span, ...]]) -> list[Document]:
    return [Document(str(i), TEXT, entities=entities) for i, entities in enumerate(of_each)]


@quick
@given(span_pairs)
def test_span_f1_is_the_mean_of_what_each_finds_of_the_other(
    rows: list[tuple[tuple[Span, ...], tuple[Span, ...]]],
) -> None:
    found = span_agreement(documents([a for a, _ in rows]), documents([b for _, b in rows]))
    first = second = both = 0
    for a, b in rows:
        first += len(a)
        second += len(b)
        for span in a:
            for other in b:
                same_place = span.start == other.start and span.end == other.end
                both += same_place and span.label == other.label
    assert (found.first, found.second, found.both) == (first, second, both)
    if both:
        precision, recall = both / second, both / first
        assert found.f1 == pytest.approx(2 * precision * recall / (precision + recall))
    else:
        assert found.f1 == (0.0 if first + second else 1.0)


def test_disagreements_are_told_in_the_order_of_the_text() -> None:
    forces, town, group = Span(5, 20, "ORG"), Span(21, 27, "GPE"), Span(34, 38, "ORG")
    first = Document("a", TEXT, entities=(group, forces))
    second = Document("a", TEXT, entities=(town, Span(34, 38, "NORP"), forces))
    assert disagreements(first, second) == [
        ("second", town),
        ("second", Span(34, 38, "NORP")),
        ("first", group),
    ]


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [
        ([(0, 4, "ORG")], [(2, 6, "ORG")], 1),
        ([(0, 4, "ORG")], [(4, 6, "ORG")], 0),
        ([(0, 4, "ORG")], [(0, 4, "GPE")], 0),
        ([(0, 4, "ORG"), (4, 9, "ORG")], [(0, 9, "ORG")], 1),
        ([(0, 2, "ORG"), (2, 9, "ORG")], [(2, 9, "ORG"), (0, 3, "ORG")], 2),
    ],
)
def test_overlapping_spans_of_a_type_agree_in_part(
    first: list[tuple[int, int, str]], second: list[tuple[int, int, str]], both: int
) -> None:
    a, b = (Document("a", TEXT, entities=tuple(Span(*s) for s in side)) for side in (first, second))
    found = partial_agreement([(a, b)])
    assert (found.first, found.second, found.both) == (len(first), len(second), both)


@quick
@given(spans, spans)
def test_as_many_overlapping_spans_agree_as_can_be_paired(
    first: tuple[Span, ...], second: tuple[Span, ...]
) -> None:
    edges = [
        [a.label == b.label and overlap((a.start, a.end), (b.start, b.end)) for b in second]
        for a in first
    ]
    matched = maximum_bipartite_matching(
        csr_array(np.array(edges, dtype=int).reshape(len(first), len(second)))
    )
    a, b = documents([first]), documents([second])
    for pair in (list(zip(a, b, strict=True)), list(zip(b, a, strict=True))):
        assert partial_agreement(pair).both == (matched >= 0).sum()
