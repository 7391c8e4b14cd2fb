"""Rewritten documents: names of the same type in the same places, exact offsets."""

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.authored import authored_documents
from annotations.schema import Document, Span
from annotations.validate import problems
from training.augmentation import harvest, innermost, stretches, variants, with_other_names

BANK = {"PERS": ["ليلى", "عبد الرحمن بن سالم"], "GPE": ["صور", "الدار البيضاء"], "ORG": ["نادي"]}


def rewritten(text: str, *spans: Span, share: float = 1.0, seed: int = 0) -> Document:
    document = Document("d", text, entities=spans)
    return with_other_names(document, BANK, share, random.Random(seed))


def spans_of(text: str, *names: tuple[str, str]) -> tuple[Span, ...]:
    return tuple(Span(text.index(n), text.index(n) + len(n), label) for n, label in names)


def test_a_name_is_replaced_and_what_follows_moves_along() -> None:
    text = "زار علي بغداد أمس الجمعة"
    spans = spans_of(text, ("علي", "PERS"), ("بغداد", "GPE"), ("أمس الجمعة", "DATE"))
    made = rewritten(text, *spans)
    surfaces = [(made.surface(s), s.label) for s in made.entities or ()]
    assert surfaces[0][0] in BANK["PERS"] and surfaces[1][0] in BANK["GPE"]
    assert surfaces[2] == ("أمس الجمعة", "DATE")
    assert made.text == f"زار {surfaces[0][0]} {surfaces[1][0]} أمس الجمعة"


def test_the_name_around_a_name_grows_with_it() -> None:
    text = "قال محافظ حمص للصحفيين"
    made = rewritten(text, *spans_of(text, ("محافظ حمص", "OCC"), ("حمص", "GPE")))
    outer, inner = (made.surface(span) for span in made.entities or ())
    assert inner in BANK["GPE"] and outer == f"محافظ {inner}"


def test_a_name_that_stands_twice_gets_one_name() -> None:
    text = "علي قال. ثم عاد علي"
    made = rewritten(text, Span(0, 3, "PERS"), Span(16, 19, "PERS"))
    first, second = (made.surface(span) for span in made.entities or ())
    assert first == second in BANK["PERS"]


@pytest.mark.parametrize("seed", range(8))
def test_no_article_is_written_on_to_a_lam(seed: int) -> None:
    text = "سافر لبغداد وللقائم"
    made = rewritten(text, Span(6, 11, "GPE"), Span(14, 19, "GPE"), seed=seed)
    assert "لال" not in made.text
    assert made.text.endswith("وللقائم")  # the rest of a لل is no name by itself


def test_types_without_names_and_a_share_of_nothing_change_nothing() -> None:
    text = "زار علي بغداد يوم الجمعة"
    day = spans_of(text, ("يوم الجمعة", "DATE"))
    assert rewritten(text, *day).text == text
    assert rewritten(text, *spans_of(text, ("علي", "PERS")), share=0.0).text == text


def test_harvest_takes_the_innermost_once_and_no_half_word() -> None:
    text = "محافظ حمص في حمص وللقائم"
    found = harvest(
        [
            Document(
                "d",
                text,
                entities=(
                    Span(0, 9, "OCC"),
                    Span(6, 9, "GPE"),
                    Span(13, 16, "GPE"),
                    Span(19, 24, "GPE"),
                ),
            )
        ]
    )
    assert found == {"GPE": ["حمص"]}


def test_of_two_spans_of_one_range_neither_is_innermost() -> None:
    assert innermost([Span(0, 4, "OCC"), Span(0, 4, "ORG"), Span(1, 3, "GPE")]) == [
        Span(1, 3, "GPE")
    ]


def test_variants_of_the_project_s_gold_are_valid_documents_with_the_same_types() -> None:
    documents = [d for d in authored_documents("train")[:60]]
    made = variants(documents, harvest(documents), 2, 0.7, 0.5, seed=3)
    assert len(made) == 120 and list(problems(made)) == []
    for i, version in enumerate(made):
        old = documents[i // 2].entities or ()
        assert [s.label for s in version.entities or ()] == [s.label for s in old]
    assert sum(a.text != b.text for a, b in zip(made[::2], documents, strict=True)) > 50
    careless = sum(not set("أإآ") & set(version.text) for version in made)
    assert 30 < careless < 90
    assert made == variants(documents, harvest(documents), 2, 0.7, 0.5, seed=3)


@settings(deadline=None)
@given(st.data())
def test_spans_hold_the_same_words_or_a_name_of_the_bank(data: st.DataObject) -> None:
    words = data.draw(st.lists(st.sampled_from(["علي", "في", "ولبغداد", "🌍", "ال"]), min_size=1))
    text = " ".join(words)
    places = [
        (sum(map(len, words[:i])) + i, sum(map(len, words[: i + 1])) + i) for i in range(len(words))
    ]
    chosen = data.draw(st.lists(st.sampled_from(range(len(words))), unique=True))
    spans = tuple(Span(*places[i], data.draw(st.sampled_from(["PERS", "X"]))) for i in chosen)
    made = rewritten(text, *spans, share=data.draw(st.floats(0, 1)))
    for before, after in zip(spans, made.entities or (), strict=True):
        surface = made.surface(after)
        assert surface == text[before.start : before.end] or surface in BANK[before.label]
    assert between(made.text, made.entities or ()) == between(text, spans)


def between(text: str, spans: Sequence[Span]) -> list[str]:
    """What stands before, between and after spans that do not overlap."""
    ordered = sorted(spans, key=lambda span: span.start)
    begins, ends = [s.start for s in ordered], [s.end for s in ordered]
    return [text[a:b] for a, b in zip([0, *ends], [*begins, len(text)], strict=True)]


def test_stretches_are_words_of_the_text_in_their_order() -> None:
    words = [f"كلمة{i}" for i in range(200)]
    documents = [Document(str(i), " ".join(words), topic="sports") for i in range(60)]
    made = stretches(documents, share=1.0, bare=0.0, seed=0)
    starts = set()
    for document in made:
        kept = document.text.split()
        start = words.index(kept[0])
        starts.add(start)
        assert kept == words[start : start + len(kept)] and 12 <= len(kept) <= 80
        assert document.topic == "sports"
    assert len(starts) > 20


def test_a_bare_text_has_letters_alone_and_never_nothing() -> None:
    (bare,) = stretches([Document("a", "بلغ 35 في المئة، قالَ: نعم!", topic="economy")], 0, 1, 0)
    assert bare.text == "بلغ في المئة قالَ نعم"
    (kept,) = stretches([Document("b", "2017 !", topic="economy")], 0, 1, 0)
    assert kept.text == "2017 !"
