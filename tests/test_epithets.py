"""Words of praise and blame set beside names: what stance they make, toward whom, and where."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.schema import Document, Span, Stance
from training.epithets import AFTER_NAMES, AFTER_TITLES, INSTEAD, NOUNS, with_epithets

NAME, TOWN = "سامي الكافي", "بلدية المرسى"


def passage(text: str, *marked: tuple[str, str], stances: tuple[Stance, ...] = ()) -> Document:
    spans = (Span(text.index(name), text.index(name) + len(name), label) for name, label in marked)
    return Document("p", text, entities=tuple(spans), stances=stances)


def neutral(text: str, target: str) -> Stance:
    start = text.index(target)
    return Stance(target, "neutral", start, start + len(target))


def versions(document: Document) -> list[Document]:
    """What many seeds make of a document."""
    return [made for seed in range(40) for made in with_epithets([document], seed)]


def own(made: list[Document], target: str) -> Iterator[tuple[str, str, str]]:
    """Of the documents about a target: the label, the text and the evidence."""
    for document in made:
        (found,) = document.stances or ()
        if found.target == target:
            ranges = found.evidence or ()
            evidence = "|".join(document.text[start:end] for start, end in ranges)
            yield found.label, document.text, evidence


def test_a_noun_stands_before_a_bare_name_and_is_the_evidence() -> None:
    text = f"فاز {NAME} بالسباق."
    seen = set()
    for label, changed, evidence in own(versions(passage(text, (NAME, "PERS"))), NAME):
        words = changed.removeprefix("فاز ").removesuffix(f" {NAME} بالسباق.")
        assert words in NOUNS[label]  # type: ignore[index]
        assert evidence == ("" if label == "neutral" else f"{words} {NAME}")
        seen.add(label)
    assert seen == {"favor", "against", "neutral"}


@pytest.mark.parametrize(("title", "ending"), [("اللاعب", ""), ("اللاعبة", "ة")])
def test_an_adjective_follows_a_title_and_agrees_with_it(title: str, ending: str) -> None:
    made = versions(passage(f"فاز {title} {NAME} بالسباق.", (NAME, "PERS")))
    for label, changed, _ in own(made, NAME):
        words = changed.removeprefix(f"فاز {title} ").removesuffix(f" {NAME} بالسباق.")
        assert words in {f"{word}{ending}" for word in AFTER_TITLES[label]}  # type: ignore[index]


def test_an_adjective_follows_the_name_of_a_group() -> None:
    for label, changed, evidence in own(
        versions(passage(f"أعلنت {TOWN} موعدا.", (TOWN, "ORG"))), TOWN
    ):
        words = changed.removeprefix(f"أعلنت {TOWN} ").removesuffix(" موعدا.")
        assert words in {f"{word}ة" for word in AFTER_NAMES[label]}  # type: ignore[index]
        assert evidence == ("" if label == "neutral" else f"{TOWN} {words}")


def test_a_man_without_a_name_becomes_another_and_is_the_target() -> None:
    made = versions(passage("أوقفت الشرطة شابا في المدينة ورأى الشاب الباب."))
    assert made
    for document in made:
        (found,) = document.stances or ()
        assert found.target.removeprefix("ال") in INSTEAD[found.label]  # type: ignore[index]
        assert f"ورأى {found.target} الباب" in document.text


@pytest.mark.parametrize(
    ("before", "labels"),
    [
        ("وصل أمس", {"favor", "against", "neutral"}),
        ("قال مساء أمس", {"favor", "against", "neutral"}),  # who speaks is told by the author
        ("قال الوزير إن", {"neutral"}),
        ("وأكدت الصحيفة أن", {"neutral"}),
        ("أكّد الوزير أنّ", {"neutral"}),
        ("يقول الوزير إن", {"neutral"}),
        ("تحدث الوزير مشيرا إلى أن", {"neutral"}),
        ("وصل بين حشود بعد أن غادر", {"favor", "against", "neutral"}),
        ("بحسب الوزارة غادر", set()),
        ("الوزير : غادر", set()),
    ],
)
def test_what_a_speaker_says_is_neutral_for_the_author(before: str, labels: set[str]) -> None:
    text = f"وقع حادث. {before} {NAME} البلاد."
    made = versions(passage(text, (NAME, "PERS")))
    assert {label for label, _, _ in own(made, NAME)} == labels
    if labels == {"neutral"}:
        words = {
            changed.split(before)[1].split(f" {NAME}")[0].strip()
            for _, changed, _ in own(made, NAME)
        }
        assert words & set(NOUNS["favor"]) and words & set(NOUNS["against"])


def test_others_of_the_sentence_stay_neutral_and_those_of_other_sentences_are_left() -> None:
    text = f"كرمت {TOWN} {NAME} أمس. وتنتظر العائلة النتيجة."
    stances = (neutral(text, TOWN), neutral(text, "العائلة"))
    made = versions(passage(text, (NAME, "PERS"), stances=stances))
    assert {label for label, _, _ in own(made, TOWN)} == {"neutral"}
    assert not list(own(made, "العائلة"))


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        (f"فاز {NAME} وفرح {NAME}.", ((NAME, "PERS"),)),  # which of the two?
        (f"مبروك ل{NAME} اليوم.", ((NAME, "PERS"),)),  # a clitic would stand before the noun
        (f"سكن شارع {NAME} قديما.", ((NAME, "PERS"), (f"شارع {NAME}", "FAC"))),
        ("فاز في باريس اليوم.", (("باريس", "GPE"),)),
        (f"فاز الشهيد {NAME} بالجائزة.", ((NAME, "PERS"),)),
        ("تظاهر ملايين شخص في 20 شخص أمام كل مواطن.", ()),
        ("اجتمع رجل أعمال مع رجل الأمن.", ()),
    ],
)
def test_where_an_epithet_would_be_wrong_there_is_none(
    text: str, marked: tuple[tuple[str, str], ...]
) -> None:
    assert versions(passage(text, *marked)) == []


@pytest.mark.parametrize("before", ["السودان", "الى", "نهاية المباراة\n"])
def test_not_every_word_with_an_article_is_a_title(before: str) -> None:
    for label, changed, _ in own(versions(passage(f"{before} {NAME} غادر.", (NAME, "PERS"))), NAME):
        words = changed.removeprefix(f"{before} ").removesuffix(f" {NAME} غادر.")
        assert words in NOUNS[label]  # type: ignore[index]


def test_a_name_with_braces_is_a_name() -> None:
    name = "حركة {س}"
    made = versions(passage(f"أعلنت {name} موعدا.", (name, "ORG")))
    assert {label for label, _, _ in own(made, name)} == {"favor", "against", "neutral"}


def test_a_target_that_is_valued_elsewhere_in_the_text_is_left() -> None:
    text = f"وصل {NAME} أمس. خيب اللاعب الآمال."
    valued = Stance(NAME, "against", 4, 4 + len(NAME), evidence=((text.index("خيب"), len(text)),))
    assert versions(passage(text, (NAME, "PERS"), stances=(valued,))) == []


def test_a_sentence_that_values_somebody_already_is_left() -> None:
    text = f"خيب {NAME} الآمال."
    valued = Stance(NAME, "against", 4, 4 + len(NAME), evidence=((0, len(text)),))
    assert versions(passage(text, (NAME, "PERS"), stances=(valued,))) == []


@settings(deadline=None, max_examples=60)
@given(
    before=st.lists(
        st.sampled_from(["وصل", "قال", "إن", "الوزير", "شاب", ".", "\n", "،"]), max_size=8
    ),
    after=st.lists(st.sampled_from(["رجل", TOWN, "أمس", ".", "\n"]), max_size=8),
    seed=st.integers(0, 9),
)
def test_targets_stand_in_the_text_and_evidence_holds_them(
    before: list[str], after: list[str], seed: int
) -> None:
    text = " ".join([*before, NAME, *after])
    marked = ((NAME, "PERS"), *(((TOWN, "ORG"),) if TOWN in after else ()))
    document = passage(text, *marked)
    made = with_epithets([document], seed)
    assert made == with_epithets([document], seed)
    assert len({one.id for one in made}) == len(made)
    for one in made:
        (found,) = one.stances or ()
        assert found.target in one.text
        assert bool(found.evidence) == (found.label != "neutral")
        for start, end in found.evidence or ():
            assert found.target in one.text[start:end]
