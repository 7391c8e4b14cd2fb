"""The ends of names among marks: a table of what the model says and what is meant, and properties
that hold for any words.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotations.text import words
from serving.edges import CLOSED_BY, OPENED_BY, STOPS, mended
from serving.tagger import Tagger


def whole(text: str) -> tuple[list[str], int, int]:
    """The words of a text, and the range of the name that stands between bars there."""
    before, name, _ = text.split("|")
    plain = text.replace("|", "")
    ranges = words(plain)
    begin, end = len(before), len(before) + len(name)
    inside = [i for i, (start, stop) in enumerate(ranges) if begin <= start and stop <= end]
    return [plain[start:stop] for start, stop in ranges], inside[0], inside[-1] + 1


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
        ('قال |"| أمس', 'قال |"| أمس'),
        ("زار |القائم| أمس", "زار |القائم| أمس"),
    ],
)
def test_pairs_are_whole_and_stops_are_outside(said: str, meant: str) -> None:
    tokens, start, end = whole(said)
    assert mended(tokens, start, end) == whole(meant)[1:]


TOKENS = st.lists(
    st.sampled_from(['"', "«", "»", "(", ")", "[", ".", "،", "ه", "بغداد"]), min_size=1
)


@given(TOKENS, st.data())
def test_what_is_mended_stays_so_and_grows_by_partners_alone(
    tokens: list[str], data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(tokens) - 1))
    end = data.draw(st.integers(start + 1, len(tokens)))
    first, last = mended(tokens, start, end)
    assert start <= first < last <= len(tokens)
    assert all(token in OPENED_BY for token in tokens[end:last])
    assert mended(tokens, first, last) == (first, last)
    name = tokens[first:last]
    if len(name) > 1:
        assert name[0] not in STOPS
        assert name[-1] not in STOPS or name[-2] == "ه"
        for opening, closing in CLOSED_BY.items():
            if opening in (name[0], name[-1]) or closing in (name[0], name[-1]):
                assert name.count(opening) + name.count(closing) > 1
    if not set(tokens) & (STOPS | OPENED_BY.keys() | CLOSED_BY.keys()):
        assert (first, last) == (start, end)


def test_no_answer_ends_at_a_stop_or_opens_a_pair(random_tagger: Tagger) -> None:
    text = 'أكد مراسل "الجوهرة أف أم". وقالت منظمة "الشباب يقرر"، في بيان (أمس) لها: «نعم»؛ ' * 3
    (prediction,) = random_tagger.tag([text])
    longer = [entity.text for entity in prediction.entities if len(words(entity.text)) > 1]
    assert len(longer) > 20
    for name in longer:
        assert name[-1] not in "،؛:(«" and name[0] not in "،؛:.)»"
