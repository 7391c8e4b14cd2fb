"""Words that stand in a text, with clitics before them or none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotations.matching import shared_words

NAMES = ["واشنطن", "فلسطين", "لبنان", "بغداد", "بوتين", "وليد", "كريم", "فريد", "القائم", "مي"]
NAMES += ["اللاجئين", "اللجنة", "لجنة", "ليبيا"]
CLITICS = ["و", "ف", "ب", "ل", "ك", "وب", "ول", "فل"]


@pytest.mark.parametrize(
    ("about", "text", "share"),
    [
        ("مدينة القائم", "وصلوا للقائم", 1 / 2),
        ("مدينة القائم", "في مدينه القائم", 1),
        ("القوات العراقية دخلت القائم", "دخلت القوّات إلى الرقة", 2 / 4),
        ("العراق وسوريا", "بالعراق، فسوريا", 1),
        ("العراق ومصر", "مصر والعراق", 1),
        ("أسعار النفط", "لأسعار اليوم", 1 / 2),
        ("أسعار النفط", "", 0),
        ("في القائم", "في بغداد", 0),
        ("UN", "the UN said", 1),
        ("", "القائم", 0),
        ("...", "القائم.", 0),
        ("فريد", "وصل بريد", 0),
        ("للمنتخب", "فاز المنتخب", 1),
    ],
)
def test_shared_words_look_past_clitics_article_and_spelling(
    about: str, text: str, share: float
) -> None:
    assert shared_words(about, text) == pytest.approx(share)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("clitic", CLITICS)
def test_a_name_is_found_behind_a_clitic_whatever_letter_it_begins_with(
    name: str, clitic: str
) -> None:
    attached = clitic + name
    if name.startswith("ال") and clitic.endswith("ل"):
        attached = clitic[:-1] + "لل" + name.removeprefix("ال")
    assert shared_words(name, f"زار الوفد {attached} أمس") == 1


@given(st.text(alphabet="ابوفلكمن ً\u200fab1.", max_size=30))
def test_every_text_holds_its_own_words(text: str) -> None:
    assert shared_words(text, text) == (1 if any(c.isalnum() for c in text) else 0)
