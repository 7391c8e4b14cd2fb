"""Arabic text: whatever the letters, each one keeps its origin, its word and its sentence."""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.errors import DocumentError
from annotations.text import (
    MAX_WORD,
    Normalization,
    Normalized,
    is_diacritic,
    normalize,
    reject_surrogates,
    sentences,
    words,
)

LETTERS = list("ابتثجحدرسشصعفقكلمنهوي") + list("أإآٱىةءؤئپگی")
MARKS = [*list("ًٌٍَُِّْٰ"), "\u0653", "\u0654", "\u0655", "\u0615", "\u06d6"]
FORMS = [*list("ﻻﻷﻹﻵﺍﻟﻌﺮﺍﻕ"), "ﷺ", "ﷲ", "﷽"]
INVISIBLE = ["\u200b", "\u200c", "\u200d", "\u200e", "\u200f", "\u061c", "\ufeff", "\u00ad"]
BIDI = ["\u202a", "\u202b", "\u202c", "\u202e", "\u2066", "\u2067", "\u2069", "\u2060"]
SPACES = [" ", "\n", "\t", "\r\n", "\u00a0", "\u2009", "\u2028", "\u3000", "\x00", "\x07", "\x85"]
SIGNS = [*list(".,،؛؟!…()«»\"'%-_/@#٪"), "1", "٣", "2017", "٫", "٬"]
SYMBOLS = ["😀", "👨‍👩‍👧", "🇮🇶", "❤️", "1️⃣", "۞", "€", "﷼", "½", "ﬁ", "e\u0301", "한", "ß"]
SURROGATES = ["\ud83d", "\udc00"]
SPACED_MARKS = list("ﹰﹲﹴﹶﹸﹺﹼﹾﱞﱟﱠﱡﱢﱣ")  # vowel signs that stand alone: NFKC gives them a space
WITHOUT_SURROGATES = (
    LETTERS + MARKS + ["ـ"] + FORMS + INVISIBLE + BIDI + SPACES + SIGNS + SYMBOLS + SPACED_MARKS
)

texts = st.lists(
    st.one_of(st.sampled_from(WITHOUT_SURROGATES + SURROGATES), st.characters()), max_size=40
).map("".join)
rules = st.builds(Normalization, st.booleans(), st.booleans(), st.booleans(), st.booleans())
quick = settings(max_examples=250, deadline=None, database=None)
plain_rules = Normalization()


def is_visible(char: str) -> bool:
    return not char.isspace() and unicodedata.category(char) not in ("Cc", "Cf", "Zs", "Zl", "Zp")


def origins(normalized: Normalized) -> list[tuple[int, int]]:
    return list(zip(normalized.starts, normalized.ends, strict=True))


@quick
@given(texts, rules)
def test_each_normalised_character_has_an_origin_and_origins_never_go_back(
    text: str, how: Normalization
) -> None:
    normalized = normalize(text, how)
    found = origins(normalized)
    assert len(found) == len(normalized.text)
    assert all(0 <= start < end <= len(text) for start, end in found)
    for before, after in pairwise(found):
        assert after == before or before[1] <= after[0]


@quick
@given(texts, rules)
def test_an_origin_alone_gives_what_stands_for_it(text: str, how: Normalization) -> None:
    normalized = normalize(text, how)
    found = origins(normalized)
    for origin in set(found):
        stands = "".join(
            char for char, other in zip(normalized.text, found, strict=True) if other == origin
        )
        assert normalize(text[origin[0] : origin[1]], how).text == stands


@quick
@given(texts)
def test_nothing_that_a_reader_may_leave_out_is_left(text: str) -> None:
    clean = normalize(text).text
    assert not [char for char in clean if is_diacritic(char) or char == "ـ"]
    assert not [char for char in clean if unicodedata.category(char) in ("Cc", "Cf")]
    assert all(char == " " for char in clean if char.isspace())


@quick
@given(
    st.lists(
        st.sampled_from(LETTERS + MARKS + ["ـ"] + FORMS + INVISIBLE + BIDI + SIGNS + SYMBOLS)
    ).map("".join)
)
def test_the_letters_are_those_of_nfkc_over_the_whole_text(text: str) -> None:
    kept = (
        char
        for char in unicodedata.normalize("NFKC", text)
        if not is_diacritic(char) and char != "ـ" and unicodedata.category(char) != "Cf"
    )
    assert normalize(text).text == "".join(" " if char.isspace() else char for char in kept)


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        ("مُحَمَّدٌ", "محمد"),
        ("الرحمٰن", "الرحمن"),
        ("العـــراق", "العراق"),
        ("ـــ", ""),
        ("ﺍﻟﻌﺮﺍﻕ", "العراق"),
        ("ﻟﻸﻛﺮﺍﺩ", "للأكراد"),
        ("ﷺ", "صلى الله عليه وسلم"),
        ("أَحمد إِلى آمن ٱلله", "أحمد إلى آمن ٱلله"),
        ("ا\u0654حمد", "أحمد"),
        ("ا\u0653من", "آمن"),
        ("مستشفى مدينة", "مستشفى مدينة"),
        ("\u202bالقائم\u202c\u200f", "القائم"),
        ("می\u200cخواهم", "میخواهم"),
        ("قبل\x00بعد", "قبل بعد"),
        ("سطر\r\nسطر\u2028سطر\u00a0سطر", "سطر  سطر سطر سطر"),
        ("٣٥ في المئة، ½", "٣٥ في المئة، 1⁄2"),
        ("فيروس 🦠", "فيروس 🦠"),
        ("café", "café"),
        ("cafe\u0301", "café"),
        ("", ""),
    ],
)
def test_normalised_text_is_what_a_dictionary_would_write(received: str, expected: str) -> None:
    assert normalize(received).text == expected


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (Normalization(), "آل إلى مدرسة على ٱلله"),
        (Normalization(diacritics=True), "آلُ إِلى مدرسةٍ على ٱلله"),
        (Normalization(unify_alef=True), "ال الى مدرسة على الله"),
        (Normalization(unify_ya=True), "آل إلي مدرسة علي ٱلله"),
        (Normalization(unify_ta_marbuta=True), "آل إلى مدرسه على ٱلله"),
    ],
)
def test_an_encoder_may_want_its_letters_unified(how: Normalization, expected: str) -> None:
    assert normalize("آلُ إِلى مدرسةٍ على ٱلله", how).text == expected


@pytest.mark.parametrize("mark", SPACED_MARKS)
def test_a_vowel_sign_of_its_own_does_not_tear_its_word(mark: str) -> None:
    assert normalize(f"كتاب{mark}ا").text == "كتابا"
    kept = normalize(f"كتاب{mark}ا", Normalization(diacritics=True)).text
    assert " " not in kept
    assert "".join(char for char in kept if not is_diacritic(char)) == "كتابا"


def test_a_space_before_a_vowel_sign_stays() -> None:
    assert normalize("كتاب \u064bقلم").text == "كتاب قلم"


def test_each_letter_of_a_ligature_comes_from_all_of_it() -> None:
    normalized = normalize("ـوَﻻ")
    assert normalized.text == "ولا"
    assert origins(normalized) == [(1, 3), (3, 4), (3, 4)]


@quick
@given(texts)
def test_words_cover_each_visible_character_once_and_never_overlap(text: str) -> None:
    found = words(text)
    assert all(0 <= start < end <= len(text) for start, end in found)
    assert all(end - start <= MAX_WORD for start, end in found)
    covered = [i for start, end in found for i in range(start, end)]
    assert covered == sorted(set(covered))
    assert not {i for i, char in enumerate(text) if is_visible(char)} - set(covered)
    assert not [i for i in covered if text[i].isspace()]


@quick
@given(st.lists(st.sampled_from([*LETTERS, *MARKS, "ـ", " ", "\n"]), max_size=60).map("".join))
def test_words_of_letters_alone_are_parted_by_space(text: str) -> None:
    assert [text[start:end] for start, end in words(text)] == text.split()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("قالت القوات، الجمعة.", ["قالت", "القوات", "،", "الجمعة", "."]),
        ("أربيل (العراق)- قالت", ["أربيل", "(", "العراق", ")", "-", "قالت"]),
        ("«القائم»؟!", ["«", "القائم", "»", "؟", "!"]),
        ("كِتَابٌ العـــراق", ["كِتَابٌ", "العـــراق"]),
        ("3.5 و1,500 و٣٫٥٪", ["3.5", "و1", ",", "500", "و٣", "٫", "٥", "٪"]),
        ("1,500.75 مليون", ["1,500.75", "مليون"]),
        ("2017/11/03", ["2017", "/", "11", "/", "03"]),
        ("نهاية 2017.", ["نهاية", "2017", "."]),
        ("می\u200cخواهم\u200f", ["می\u200cخواهم"]),
        ("\u202bالقائم\u202c", ["القائم"]),
        ("فيروس🦠جديد", ["فيروس", "🦠", "جديد"]),
        ("قبل\x00بعد", ["قبل", "بعد"]),
        ("@khabar_ar #العراق", ["@", "khabar_ar", "#", "العراق"]),
        ("\ud83d", ["\ud83d"]),
        ("ا" * 150, ["ا" * 64, "ا" * 64, "ا" * 22]),
        (" \n\u200f", []),
        ("", []),
    ],
)
def test_words_of_news(text: str, expected: list[str]) -> None:
    assert [text[start:end] for start, end in words(text)] == expected


@quick
@given(texts)
def test_each_character_that_is_no_space_is_in_one_sentence(text: str) -> None:
    found = sentences(text)
    covered = [i for start, end in found for i in range(start, end)]
    assert covered == sorted(set(covered))
    assert not {i for i, char in enumerate(text) if not char.isspace()} - set(covered)
    for start, end in found:
        assert text[start:end] == text[start:end].strip() != ""
        assert "\n" not in text[start:end]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("دخلت القوات القائم. ثم توقفت.", ["دخلت القوات القائم.", "ثم توقفت."]),
        ("متى تنتهي؟ قريبا! ربما…", ["متى تنتهي؟", "قريبا!", "ربما…"]),
        ('قال "انتهت المعركة." ثم خرج', ['قال "انتهت المعركة."', "ثم خرج"]),
        ("«انتهت المعركة؟!» ثم خرج", ["«انتهت المعركة؟!»", "ثم خرج"]),
        ("بنسبة 3.5 في المئة", ["بنسبة 3.5 في المئة"]),
        ("سقوط داعش\n\nأربيل (العراق)", ["سقوط داعش", "أربيل (العراق)"]),
        ("انظر www.khabar.example اليوم", ["انظر www.khabar.example اليوم"]),
        ("قال... ثم سكت", ["قال...", "ثم سكت"]),
        ("وقال:\u00a0نعم.\u00a0ثم", ["وقال:\u00a0نعم.", "ثم"]),
        ("سقطت.\u200f ثم عادت", ["سقطت.\u200f", "ثم عادت"]),
        ("«سقطت.»\u200f ثم عادت", ["«سقطت.»\u200f", "ثم عادت"]),
        ("سقوط داعش\rأربيل\r\nبغداد", ["سقوط داعش", "أربيل", "بغداد"]),
        ("سقوط داعش\u2028أربيل\u2029بغداد\x85دمشق", ["سقوط داعش", "أربيل", "بغداد", "دمشق"]),
        (" \n ", []),
        ("", []),
    ],
)
def test_sentences_of_news(text: str, expected: list[str]) -> None:
    assert [text[start:end] for start, end in sentences(text)] == expected


@pytest.mark.parametrize("read", [sentences, words, normalize])
@pytest.mark.parametrize(
    "text",
    [
        "." * 60_000 + "ا",
        ".»" * 30_000 + "ا",
        ".\u200f" * 30_000,
        "?" + ")" * 60_000 + "ا",
        "ب" + "\u064e\u0651" * 30_000,
        "ب" + "\u0301" * 30_000 + "\u0323" * 30_000,
        "1" * 60_000 + "." + "1.1" * 20_000,
        "ا" + "\u200d" * 60_000 + ".",
        "ا\u200d" * 30_000,
        "\n \n" * 20_000,
    ],
    ids=[
        "stops",
        "quotes",
        "marks",
        "brackets",
        "vowels",
        "accents",
        "digits",
        "joiners",
        "joined",
        "lines",
    ],
)
def test_a_hostile_text_is_read_in_time_that_grows_with_its_length(
    read: Callable[[str], object], text: str
) -> None:
    began = time.process_time()
    read(text)
    assert time.process_time() - began < 2  # steps in the square of the length take 7 s and more


@pytest.mark.parametrize("unit", ["\ud83d", "\udc00", "\udfff"])
def test_a_lone_surrogate_is_refused_with_its_place_but_not_its_text(unit: str) -> None:
    expected = rf"seed-1: lone surrogate U\+{ord(unit):04X} at code point 7; send valid Unicode"
    with pytest.raises(DocumentError, match=expected) as caught:
        reject_surrogates(f"القائم {unit} العراق", "seed-1")
    assert "القائم" not in str(caught.value)


def test_emoji_beyond_the_basic_plane_are_no_surrogates() -> None:
    reject_surrogates("فيروس 🦠 وعائلة 👨‍👩‍👧 \x00\ufffe", "seed-1")
