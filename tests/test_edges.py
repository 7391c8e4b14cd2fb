"""The ends of names among marks: a table of what the model says and what is meant, and properties
that hold for any words.
"""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotations.schema import Range
from annotations.text import words
from serving.decoding import TaggedSpan, drop_crossing
from serving.edges import CLOSED_BY, OPENED_BY, STOPS, mend, mended
from serving.tagger import Tagger


def whole(text: str) -> tuple[str, list[Range], int, int]:
    """A text without its bars, its words, and the range of those between the bars."""
    before, name, _ = text.split("|")
    plain = text.replace("|", "")
    ranges = words(plain)
    begin, end = len(before), len(before) + len(name)
    inside = [i for i, (start, stop) in enumerate(ranges) if begin <= start and stop <= end]
    return plain, ranges, inside[0], inside[-1] + 1


def mended_words(text: str, start: int, end: int) -> tuple[int, int]:
    ranges = words(text)
    return mended(text, ranges, [text[a:b] for a, b in ranges], start, end)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ('قال |مراسل "الجوهرة أف أم".| أمس', 'قال |مراسل "الجوهرة أف أم"|. أمس'),
        ('ثمنت |منظمة "الشباب يقرر|" ذلك', 'ثمنت |منظمة "الشباب يقرر"| ذلك'),
        ("شركة |«سكاي لاند|» أمس", "شركة «|سكاي لاند|» أمس"),
        ("|شبكة (إيه بي سي|) أعلنت", "|شبكة (إيه بي سي)| أعلنت"),
        ('|الأستاذ "|حاتم سليمان"', '|الأستاذ| "حاتم سليمان"'),
        ('قال "|يونامي"| إن', 'قال "|يونامي|" إن'),
        ('|"كأس العالم| تبدأ', '"|كأس العالم| تبدأ'),
        ("|، في بغداد،| أمس", "، |في بغداد|، أمس"),
        ('|"بيت" و"دار|" هنا', '|"بيت" و"دار"| هنا'),
        ("قال |س. ب.| أمس", "قال |س. ب.| أمس"),
        ("قال |رامز ه.| أمس", "قال |رامز ه.| أمس"),
        ("كتاب |كيف نسامحنا؟| صدر", "كتاب |كيف نسامحنا؟| صدر"),
        ("في |3/11/2017| أمس", "في |3/11/2017| أمس"),
        ("قال |رامز هـ.| أمس", "قال |رامز هـ.| أمس"),
        ("قال |سَ.| أمس", "قال |سَ.| أمس"),
        ('|كأس " دليس - دانون| " أمس', '|كأس " دليس - دانون "| أمس'),
        ('|صحيفة "الفجر|\n"قال', '|صحيفة "الفجر|\n"قال'),
        ('أ |ب " ج| "د"', 'أ |ب " ج| "د"'),
        ('|"كأس العالم"| تبدأ', '"|كأس العالم|" تبدأ'),
        ("|«سكاي لاند»،| أمس", "«|سكاي لاند|»، أمس"),
        ('|"بيت" و"دار"| هنا', '|"بيت" و"دار"| هنا'),
        ('قال |"| أمس', 'قال |"| أمس'),
        ('قال |"."| أمس', 'قال "|.|" أمس'),
        ("زار |القائم| أمس", "زار |القائم| أمس"),
    ],
)
def test_pairs_are_whole_and_stops_are_outside(said: str, meant: str) -> None:
    text, _, start, end = whole(said)
    assert mended_words(text, start, end) == whole(meant)[2:]


SIGNS = ['"', "«", "»", "(", ")", "[", ".", "،", "ه", "بغداد", "\n"]
TEXTS = st.lists(st.sampled_from(SIGNS), min_size=1).map(
    lambda signs: "".join(f" {sign}" if sign.isalpha() else sign for sign in signs)
)
TEXTS = TEXTS.filter(lambda text: bool(words(text)))


@given(TEXTS, st.data())
def test_what_is_mended_stays_so_and_grows_by_partners_alone(
    text: str, data: st.DataObject
) -> None:
    ranges = words(text)
    tokens = [text[a:b] for a, b in ranges]
    start = data.draw(st.integers(0, len(tokens) - 1))
    end = data.draw(st.integers(start + 1, len(tokens)))
    first, last = mended_words(text, start, end)
    assert start <= first < last <= len(tokens)
    assert all(token in OPENED_BY for token in tokens[end:last])
    assert "\n" not in text[ranges[end - 1][1] : ranges[max(last, end) - 1][1]]
    assert mended_words(text, first, last) == (first, last)
    name = tokens[first:last]
    if len(name) > 1:
        assert name[0] not in STOPS
        assert name[-1] not in STOPS or name[-2] == "ه"
        for opening, closing in CLOSED_BY.items():
            if opening == closing and opening in (name[0], name[-1]):
                assert name.count(opening) % 2 == 0
            elif closing in (name[0], name[-1]):
                assert name.count(opening) >= name.count(closing)
            elif opening in (name[0], name[-1]):
                assert name.count(opening) <= name.count(closing)
    if not set(tokens) & (STOPS | OPENED_BY.keys() | CLOSED_BY.keys()):
        assert (first, last) == (start, end)


@given(TEXTS, st.data())
def test_names_that_did_not_cross_do_not_cross_when_mended(text: str, data: st.DataObject) -> None:
    ranges = words(text)
    place = st.integers(0, len(ranges) - 1).flatmap(
        lambda start: st.tuples(st.just(start), st.integers(start + 1, len(ranges)))
    )
    drawn = data.draw(st.lists(place, max_size=8))
    scored = [TaggedSpan(a, b, f"T{i}", 0.9 - i / 100) for i, (a, b) in enumerate(drawn)]
    spans = drop_crossing(scored)
    found = mend(text, ranges, spans)
    assert drop_crossing(found) == found
    assert Counter(span.label for span in found) == Counter(span.label for span in spans)
    before = {span.label: span for span in spans}
    for i, one in enumerate(found):
        for other in found[i + 1 :]:
            if one.start < other.end and other.start < one.end:
                a, b = before[one.label], before[other.label]
                assert a.start < b.end and b.start < a.end


def test_answers_of_any_model_cross_nowhere(random_tagger: Tagger) -> None:
    text = 'أكد مراسل "الجوهرة أف أم". وقالت منظمة "الشباب يقرر"، في بيان (أمس) لها: «نعم»؛ ' * 6
    (prediction,) = random_tagger.tag([text])
    ranges = [(entity.start, entity.end) for entity in prediction.entities]
    assert ranges == sorted(ranges, key=lambda found: (found[0], -found[1]))
    assert not [(a, b) for a in ranges for b in ranges if a[0] < b[0] < a[1] < b[1]]
    longer = [entity.text for entity in prediction.entities if len(words(entity.text)) > 1]
    assert len(longer) > 20
