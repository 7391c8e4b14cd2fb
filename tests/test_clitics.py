"""Where a name begins inside its first word: وليد keeps its و, والعراق does not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.clitics import NameLexicon, lexicon_key, plain_form, readings
from annotations.errors import FormatError
from annotations.seed import seed_document
from annotations.text import normalize, words

quick = settings(max_examples=100, deadline=None, database=None)
# How often each name begins a name in a small corpus.
COUNTS = {
    "العراق": 9, "سوريا": 9, "القائم": 3, "البوكمال": 2, "الولايات": 6, "الأكراد": 2, "أنقرة": 2,
    "إيران": 5, "لبنان": 5, "بغداد": 8, "باريس": 5, "بيروت": 3, "وليد": 4, "واشنطن": 6, "فيصل": 3,
    "فلسطين": 4, "فرنسا": 4, "كركوك": 2, "كوريا": 2,
}  # fmt: skip
LEXICON = NameLexicon.count(name for name, count in COUNTS.items() for _ in range(count))
NO_LEXICON = NameLexicon({})


@pytest.mark.parametrize(
    ("word", "clitics"),
    [
        ("والعراق", 1), ("بالعراق", 1), ("كالعراق", 1), ("فالعراق", 1), ("وبالعراق", 2),
        ("بسوريا", 1), ("لسوريا", 1), ("وسوريا", 1), ("ولسوريا", 2), ("سوريا", 0),
        ("للقائم", 1), ("وللقائم", 2), ("بالقائم", 1), ("القائم", 0),
        ("وبالبوكمال", 2), ("والبوكمال", 1), ("والولايات", 1), ("للأكراد", 1),
        ("وليد", 0), ("لوليد", 1), ("ووليد", 1), ("وبوليد", 2),
        ("باريس", 0), ("وباريس", 1), ("بباريس", 1),
        ("بيروت", 0), ("وبيروت", 1), ("بغداد", 0), ("فبغداد", 1), ("لبغداد", 1),
        ("واشنطن", 0), ("بواشنطن", 1), ("وواشنطن", 1),
        ("فيصل", 0), ("وفيصل", 1), ("فلسطين", 0), ("لفلسطين", 1), ("فرنسا", 0), ("وبفرنسا", 2),
        ("كركوك", 0), ("وكركوك", 1), ("كوريا", 0), ("وكوريا", 1),
        ("لبنان", 0), ("ولبنان", 1), ("بلبنان", 1), ("للبنان", 1),
        ("وأنقرة", 1), ("وانقرة", 1), ("بإيران", 1), ("بايران", 1),
        ("و2017", 1), ("ب2017", 1), ("و3", 1), ("وب14", 2), ("و٢٠١٧", 1), ("2017", 0),
        ("ولي", 0), ("بري", 0), ("و", 0), ("وب", 0), ("", 0), ("المتحدة", 0),
    ],
)  # fmt: skip
def test_clitics_are_told_from_the_first_letters_of_a_name(word: str, clitics: int) -> None:
    assert LEXICON.clitics(word) == clitics


def counts_of(article: str) -> Callable[[str], int]:
    """How often each word stands in an article."""
    counts = Counter(map(lexicon_key, article.split()))
    return lambda key: counts[key]


@pytest.mark.parametrize(
    ("article", "word", "clitics"),
    [
        # names that no lexicon knows, standing free elsewhere
        ("اقتحام تلعفر بدأ ليلا وقتل بتلعفر عشرة", "بتلعفر", 1),
        ("سقطت راوة أمس ورفع العلم براوة", "براوة", 1),
        ("قال وائل إن أخا وائل وصل", "وائل", 0),
        ("زار وهران ثم غادر وهران", "وهران", 0),
        # the word itself is no evidence against its clitic
        ("استعادت القوات تكريت وتلعفر", "وتلعفر", 1),
        ("مدن العراق وكرمانشاه", "وكرمانشاه", 1),
        # a reading that neither lexicon nor article knows is weighed by its first letter
        ("قال بدران أمس", "بدران", 0),
    ],
)
def test_a_name_that_stands_free_elsewhere_in_the_article_decides(
    article: str, word: str, clitics: int
) -> None:
    assert NO_LEXICON.clitics(word, counts_of(article)) == clitics


def test_article_counts_outweigh_a_lexicon_that_knows_less() -> None:
    lexicon = NameLexicon.count(["وهران"])
    assert lexicon.clitics("وهران") == 0
    assert lexicon.clitics("وهران", counts_of("وهران هران هران هران هران")) == 1


def test_the_names_of_the_seed_begin_where_its_gold_says() -> None:
    seed = seed_document()
    spans = seed.entities or ()
    lexicon = NameLexicon.count(seed.surface(span).split()[0] for span in spans)
    found = words(seed.text)
    counts = Counter(lexicon_key(normalize(seed.text[a:b]).text) for a, b in found)
    wrong = []
    for span in spans:
        start, end = next((a, b) for a, b in found if a <= span.start < b)
        word = normalize(seed.text[start:end]).text
        if lexicon.clitics(word, lambda key: counts[key]) != span.start - start:
            wrong.append(word)
    assert wrong == []
    assert sum(lexicon.clitics(normalize(seed.text[a:b]).text) > 0 for a, b in found) > 20


@quick
@given(st.text(alphabet="وفبلكاسنم23", max_size=8))
def test_a_reading_takes_off_clitics_only_and_leaves_a_name_or_a_number(word: str) -> None:
    found = readings(word)
    assert found == sorted(set(found))
    assert found[0] == 0
    for length in found[1:]:
        assert word[:length] in {*"وفبلك", "وب", "ول", "وك", "فب", "فل", "فك"}
        assert len(word[length:]) >= 3 or word[length:].isdigit()


def test_a_lexicon_counts_names_by_their_plain_letters() -> None:
    lexicon = NameLexicon.count(["أنقرة", "انقرة", "أَنْقَرة", "العـراق", "ﺍﻟﻌﺮﺍﻕ", "ـ"])
    assert lexicon.counts == {"انقرة": 3, "العراق": 2}


@quick
@given(names=st.lists(st.text(max_size=6) | st.sampled_from(list(COUNTS)), max_size=20))
def test_a_lexicon_is_read_as_it_was_written(
    names: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "lexicon.tsv"
    lexicon = NameLexicon.count(names)
    lexicon.write(path)
    assert NameLexicon.read(path).counts == lexicon.counts
    written = [int(line.split("\t")[1]) for line in path.read_text(encoding="utf-8").splitlines()]
    assert written == sorted(written, reverse=True)


@pytest.mark.parametrize(
    "line", ["بغداد", "بغداد\t", "بغداد\t-3", "\t4", "بغداد\tكثير", "بغداد\t²"]
)
def test_a_broken_line_of_a_lexicon_is_named(line: str, tmp_path: Path) -> None:
    path = tmp_path / "lexicon.tsv"
    path.write_text(f"العراق\t3\n{line}\n", encoding="utf-8")
    with pytest.raises(FormatError, match=r"lexicon\.tsv:2: need word<TAB>count; export"):
        NameLexicon.read(path)


@pytest.mark.parametrize(
    ("before", "surface", "plain"),
    [
        ("وب", "البوكمال", "البوكمال"),
        ("المتاخمة ل", "لقائم", "القائم"),
        ("خاضعة لـ", "لأكراد", "الأكراد"),
        ("خاضعة لِ", "لأَكراد", "الأكراد"),
        ("خاضعة لَِّ", "لأَكراد", "الأكراد"),  # three signs on the letter
        ("في ", "لبنان", "لبنان"),
        ("و", "لبنان", "لبنان"),
        ("إلى ", "العـــراق", "العراق"),
        ("الرئيس ", "مُحَمَّد  السادس", "محمد السادس"),
        ("", "لندن", "لندن"),
        ("قال", "تنظيم\nالدولة", "تنظيم الدولة"),
        ("من ", "ﺍﻟﻌﺮﺍﻕ", "العراق"),
    ],
)
def test_the_plain_form_is_what_a_dictionary_would_write(
    before: str, surface: str, plain: str
) -> None:
    assert plain_form(surface, before) == plain


@pytest.mark.parametrize(
    ("before", "surface", "plain"),
    [
        ("دعم ل", "لبنان", "لبنان"),
        ("المتاخمة ل", "لقائم", "القائم"),
        ("خاضعة ل", "لأكراد", "الأكراد"),
        ("تابع ل", "لولايات المتحدة", "الولايات المتحدة"),
        ("سافر ل", "لبصرة", "البصرة"),  # unknown: the article is what للـ mostly stands for
    ],
)
def test_a_lexicon_tells_a_name_that_begins_with_lam_from_the_article(
    before: str, surface: str, plain: str
) -> None:
    assert plain_form(surface, before, lambda key: LEXICON.counts.get(key, 0)) == plain
