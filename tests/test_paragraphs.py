"""Where paragraphs begin, and that no name goes over into one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.text import words
from serving.decoding import Floats, TaggedSpan, decode_flat, decode_nested
from serving.paragraphs import decode_apart, paragraph_starts
from serving.tagger import Tagger

BODY = "قال رئيس الوزراء العراقي إن القوات دخلت مدينة القائم يوم الجمعة وطردت منها من بقي فيها."
WRAPPED = "قال رئيس الوزراء العراقي حيدر\nالعبادي إن القوات دخلت مدينة\nالقائم يوم الجمعة."
TAGS = ("O", "B-ORG", "I-ORG")


def begun(text: str) -> list[str]:
    ranges = words(text)
    return [text[slice(*ranges[i])] for i in paragraph_starts(text, ranges)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("\n\n", []),
        (BODY, []),
        (f"سقوط داعش\n{BODY}", ["قال"]),  # a headline has room for the next word
        (f"سقوط داعش\r\n{BODY}\r\n", ["قال"]),
        (f"\n\nسقوط داعش\n\n \n{BODY}\n", ["قال"]),
        (WRAPPED, []),
        (f"{WRAPPED}\n\n{WRAPPED}", ["قال"]),
        ("تنظيم\nالدولة", []),
        (f"{BODY}\n2017/11/03\n{BODY}", ["قال"]),  # the longest line has room for nothing
        (f"سقوط داعش\n…\n{BODY}", ["…", "قال"]),
        ("سقوط\u2028\u2028داعش", ["داعش"]),
    ],
)
def test_a_line_with_room_for_the_next_word_ends_a_paragraph(
    text: str, expected: list[str]
) -> None:
    assert begun(text) == expected


@settings(max_examples=200, deadline=None)
@given(
    scores=st.lists(st.tuples(*[st.floats(-5, 5)] * 6), max_size=12),
    starts=st.sets(st.integers(1, 11)),
    nested=st.booleans(),
)
def test_no_name_goes_over_the_beginning_of_a_paragraph(
    scores: list[tuple[float, ...]], starts: set[int], nested: bool
) -> None:
    logits: Floats = np.array(scores, np.float32).reshape(-1, 6)
    begin = sorted(start for start in starts if start < len(logits))

    def decode(rows: Floats) -> list[TaggedSpan]:
        if nested:
            return decode_nested(rows.reshape(-1, 2, 3), ("ORG", "GPE"))
        return decode_flat(rows[:, :3], TAGS)

    found = decode_apart(logits, begin, decode)
    assert not any(span.start < start < span.end for span in found for start in begin)
    whole = decode(logits)
    if not any(span.start < start < span.end for span in whole for start in begin):
        assert found == whole


def test_what_is_parted_is_read_as_two_texts() -> None:
    logits: Floats = np.array([[0, 9, 0], [0, 0, 9], [0, 8, 9], [9, 0, 0]], np.float32)
    found = decode_apart(logits, [2], lambda rows: decode_flat(rows, TAGS))
    assert [(span.start, span.end) for span in found] == [(0, 2), (2, 3)]


def test_a_headline_and_the_agency_under_it_are_two_names(default_tagger: Tagger) -> None:
    text = f"خبر اليوم\n\nAFP - {BODY}"
    (prediction,) = default_tagger.tag([text])
    assert "AFP" in [entity.text for entity in prediction.entities]
    assert not any("\n" in entity.text for entity in prediction.entities)
