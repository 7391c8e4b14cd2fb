"""Passages in which one name has got a word of praise or blame: stances that differ from neutral
ones by that word alone, after the rules of the guidelines (section 7) for words that value.

What the same word teaches of others is made beside it: whoever stands in the same sentence stays
neutral, a word that only tells who somebody is changes nothing, and what a speaker is quoted with
is the speaker's. Annotations of a target alone are written; offsets are into the new text.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from annotations.schema import Document, Range, Span, Stance, overlap
from annotations.text import normalize, sentences

Label = Literal["favor", "against", "neutral"]
Speaker = Literal["author", "speaker"]
Words = Mapping[Label, Sequence[str]]  # by the stance that they make


def _listed(words: str) -> list[str]:
    return words.split("، ")


# before a person's name, as a noun
NOUNS: Words = {
    "favor": _listed(
        "النجم، الأسطورة، البطل، الشهيد، الفقيد، النجم المتألق، المبدع، العملاق، البطل المتألق، "
        "النجم اللامع، الموهوب، الشهيد البطل، المتألق، الظاهرة"
    ),
    "against": _listed(
        "الإرهابي، الإرهابي الخطير، المجرم، المجرم الخطير، التكفيري، المتطرف، القاتل، اللص، "
        "المهرب، المحتال، السفاح، الطاغية، الدكتاتور، العميل، المنحرف"
    ),
    "neutral": _listed(
        "المدعو، المواطن، السيد، الراحل، المتهم، المشتبه به، الموقوف، المظنون فيه، المسمى، الشاب، "
        "الضحية، الشاهد، المرشح، المفتش عنه"
    ),
}
# after a title before a person's name, as an adjective
AFTER_TITLES: Words = {
    "favor": _listed(
        "القدير، المتألق، اللامع، المخضرم، المتميز، الموهوب، الواعد، البطل، المبدع، الشجاع، الفذ"
    ),
    "against": _listed(
        "المخلوع، الفاسد، المتطرف، الفاشل، المستبد، المجرم، الإرهابي، المتقاعس، المحتال، الخائن"
    ),
    "neutral": _listed("السابق، الحالي، الراحل، الشهير، المذكور، الجديد، المعروف، المتهم"),
}
# after the name of a group or an event
AFTER_NAMES: Words = {
    "favor": _listed("العريق، المتميز، المتألق، الرائد، الناجح، الرائع، الباهر"),
    "against": _listed("الإرهابي، المتطرف، التكفيري، الإجرامي، الفاشل، الفاسد، المتقاعس"),
    "neutral": _listed("المذكور، الحالي، المعروف، الجديد، المحلي، الشهير، المعني"),
}
# in the place of a noun that only says that somebody is a man or a youth, with and without article
INSTEAD: Words = {
    "favor": _listed("بطل، نجم، شهيد"),
    "against": _listed("لص، إرهابي، مجرم، محتال، قاتل، سفاح، مهرب، منحرف، نشال، تكفيري"),
    "neutral": _listed("متهم، مواطن، عامل، سائق، مسافر، مشبوه فيه، موظف، تاجر"),
}
PEOPLE = frozenset(_listed("شاب، رجل، شخص، مواطن، كهل، متهم، تاجر"))
TITLES = frozenset(
    _listed(
        "اللاعب، اللاعبة، المدرب، المهاجم، المدافع، الحارس، الفنان، الفنانة، الممثل، الممثلة، "
        "المطرب، المطربة، المخرج، الكاتب، الكاتبة، الشاعر، الصحفي، الصحفية، الباحث، الرئيس، "
        "الوزير، الوزيرة، النائب، النائبة، الأمير، الأميرة، الملك، الدكتور، الأستاذ، الأستاذة"
    )
)
_ARTICLE, _FEMININE = "ال", "ة"
_VALUING = {
    word + ending
    for table in (NOUNS, AFTER_TITLES, AFTER_NAMES)
    for label in ("favor", "against")
    for words in table[label]
    for word in words.split()
    for ending in ("", _FEMININE)
}
_NO_ONE = re.compile(  # before a noun that is counted or stands for anybody
    r"(?:\d|\b(?:كل|أي|ألف|آلاف|الاف|مليون|ملايين|مائة|مئة|مئات|عشرات|مليار)|(?:ون|ين))$"
)
_COMPOUND = re.compile(r" (?:ال)?(?:أمن|امن|أعمال|اعمال|دين|دولة|مطافئ|قانون)\b")
_SAID = re.compile(
    r"\b[وف]?(?:(?:قال|أكد|أفاد|كشف|أوضح|أشار|أضاف|صرح|ذكر|أعلن|اعتبر|شدد|زعم|نفى|رأى|لفت)(?:ت|وا)?"
    r"|[يت](?:قول|ؤكد|رى|عتبر|ضيف|وضح)|م(?:شير|ؤكد|وضح|ضيف|عتبر|برز|شدد|بين)[اةً]*)\b"
)
_THAT = re.compile(r"\b[بلو]?[أإ]ن(?:ه|ها|هم|هما)?\b")
_SOURCE = re.compile(r"\b[وب]?(?:حسب|وفق|وفقا|نقلا)\b|[«»\"“”:؛]")
_ARABIC = re.compile(r"[^\W\d_]+")
_VERSIONS = 3  # of a passage at most
_SHARES: Sequence[Label] = ("favor", "favor", "against", "against", "neutral")


@dataclass(frozen=True, slots=True)
class _Place:
    """A range of a text that becomes a new word between `before` and `after`; `name` is the target
    that stays there, None where the new word is the target.
    """

    start: int
    end: int
    before: str
    after: str
    name: str | None
    words: Words
    feminine: bool = False

    def made(self, label: Label, rng: random.Random) -> tuple[str, str]:
        """New words for the range that make this label, and the target among them."""
        word = rng.choice(self.words[label])
        if self.feminine and " " not in word:
            word += _FEMININE
        words = f"{self.before}{word}{self.after}"
        return words, self.name or words


def with_epithets(documents: Sequence[Document], seed: int = 0) -> list[Document]:
    """Passages with entities and stances, each in up to three versions in which one of its names or
    men has got an epithet; of each version a document for the stance toward that one, and one for
    each neutral stance of the passage whose target stands in the same sentence.
    """
    made: list[Document] = []
    for document in documents:
        rng = random.Random(f"{seed}-epithets-{document.id}")
        places = list(_places(document))
        versions: list[list[Document]] = []
        for place in rng.sample(places, len(places)):
            if len(versions) < _VERSIONS and (version := _version(document, place, rng)):
                versions.append(version)
        made.extend(
            replace(one, id=f"{document.id}-epithet-{number}-{i}")
            for number, version in enumerate(versions)
            for i, one in enumerate(version)
        )
    return made


def _places(document: Document) -> Iterator[_Place]:
    """Where a text has a name that an epithet may stand beside, or a man without a name."""
    text, entities = document.text, document.entities or ()
    for span in entities:
        alone = not any(s != span and s.start <= span.start and span.end <= s.end for s in entities)
        if alone and _is_whole(text, span.start, span.end):
            if span.label == "PERS":
                yield from _before_name(text, span, entities)
            elif span.label in ("ORG", "EVENT"):
                name = text[span.start : span.end]
                feminine = name.split()[0].endswith((_FEMININE, "ات"))
                yield _Place(span.start, span.end, f"{name} ", "", name, AFTER_NAMES, feminine)
    for word in _ARABIC.finditer(text):
        bare = word[0].removeprefix(_ARTICLE)
        if bare not in PEOPLE:
            continue
        named = any(overlap(word.span(), (s.start, s.end)) for s in entities)
        counted = _NO_ONE.search(text[: word.start()].rstrip())
        if not (named or counted or _COMPOUND.match(text, word.end())):
            article = _ARTICLE if bare != word[0] else ""
            yield _Place(*word.span(), article, "", None, INSTEAD)


def _before_name(text: str, span: Span, entities: Sequence[Span]) -> Iterator[_Place]:
    """The place before a person's name: after a title an adjective to it, else a noun; none where a
    word that values stands there already.
    """
    name = text[span.start : span.end]
    occupation = next((s for s in entities if s.label == "OCC" and s.end == span.start - 1), None)
    last = text[: span.start - 1].split()[-1:] if text[: span.start].endswith(" ") else []
    head = text[occupation.start : occupation.end].split()[:1] if occupation else last
    if _VALUING.intersection(last):
        return
    titled = bool(last) and (occupation is not None or TITLES.issuperset(last))
    feminine = titled and head[0].endswith(_FEMININE)
    words = AFTER_TITLES if titled else NOUNS
    yield _Place(span.start, span.end, "", f" {name}", name, words, feminine)


def _is_whole(text: str, start: int, end: int) -> bool:
    """Whether a range begins and ends with a word: no clitic stands before it."""
    return not text[start - 1 : start].strip() and not text[end : end + 1].isalpha()


def _who_speaks(before: str) -> Speaker | None:
    """Whose words stand after the beginning of a sentence; None where that is not clear.

    Who speaks is told by the author, and so is what is said without أن or quotation marks.
    """
    plain = normalize(before).text
    if _SOURCE.search(plain):
        return None
    said = _SAID.search(plain)
    return "speaker" if said and _THAT.search(plain, said.end()) else "author"


def _version(document: Document, place: _Place, rng: random.Random) -> list[Document]:
    """The documents of one change; none where somebody is valued in its sentence already, where it
    is not clear who speaks, or where the target stands or is valued elsewhere in the text too.
    """
    stances = [stance for stance in document.stances or () if stance.holder is None]
    inside = (r for r in sentences(document.text) if r[0] <= place.start and place.end <= r[1])
    sentence: Range | None = next(inside, None)
    if sentence is None or any(overlap(sentence, r) for s in stances for r in s.evidence or ()):
        return []
    who = _who_speaks(document.text[sentence[0] : place.start])
    label = rng.choice(_SHARES)
    words, target = place.made(label, rng)
    text = document.text[: place.start] + words + document.text[place.end :]
    valued = any(s.target in target or target in s.target for s in stances if s.label != "neutral")
    if who is None or valued or text.count(target) > 1:
        return []
    own = Stance(target, "neutral")
    if who == "author" and label != "neutral":
        own = Stance(target, label, evidence=((place.start, place.start + len(words)),))
    return [
        Document(document.id, text, stances=(stance,))
        for stance in (own, *_beside(stances, place, sentence))
    ]


def _beside(stances: Sequence[Stance], place: _Place, sentence: Range) -> Iterator[Stance]:
    """The neutral stances toward others in a sentence: an epithet beside them is none of theirs."""
    for stance in stances:
        if stance.start is None or stance.end is None or stance.label != "neutral":
            continue
        is_inside = sentence[0] <= stance.start and stance.end <= sentence[1]
        if is_inside and not overlap((stance.start, stance.end), (place.start, place.end)):
            yield Stance(stance.target, "neutral")
