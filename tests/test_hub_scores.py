"""Texts as a pipeline of the hub is scored on them."""

from __future__ import annotations

from training.hub.scores import spaced


def test_spaces_around_punctuation_keep_the_way_back() -> None:
    text = "قال: «نعم» (3.5%)، ثم ذهب."
    wide, places = spaced(text)
    assert wide == "قال :   « نعم »   ( 3.5% )  ،  ثم ذهب . "
    assert all(text[place] == char for char, place in zip(wide, places, strict=True) if char != " ")
