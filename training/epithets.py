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
from annotations.text import sentences

Label = Literal["favor", "against", "neutral"]
Words = Mapping[Label, Sequence[str]]  # by the stance that they make

# before a person's name, as a noun
NOUNS: Words = {
    "favor": (
        *("النجم", "الأسطورة", "البطل", "الشهيد", "الفقيد", "النجم المتألق", "المبدع", "العملاق"),
        *("البطل المتألق", "النجم اللامع", "الموهوب", "الشهيد البطل", "المتألق", "الظاهرة"),
    ),
    "against": (
        *(
            "الإرهابي",
            "الإرهابي الخطير",
            "المجرم",
            "المجرم الخطير",
            "التكفيري",
            "المتطرف",
            "القاتل",
        ),
        *("اللص", "المهرب", "المحتال", "السفاح", "الطاغية", "الدكتاتور", "العميل", "المنحرف"),
    ),
    "neutral": (
        *("المدعو", "المواطن", "السيد", "الراحل", "المتهم", "المشتبه به", "الموقوف", "المظنون فيه"),
        *("المسمى", "الشاب", "الضحية", "الشاهد", "المرشح", "المفتش عنه"),
    ),
}
# after a title before a person's name, as an adjective; a feminine one takes ة
AFTER_TITLES: Words = {
    "favor": (
        *(
            "القدير",
            "المتألق",
            "اللامع",
            "المخضرم",
            "المتميز",
            "الكفء",
            "الموهوب",
            "الواعد",
            "البطل",
        ),
        *("المبدع", "الشجاع", "الفذ"),
    ),
    "against": (
        *("المخلوع", "الفاسد", "المتطرف", "الفاشل", "المستبد", "المجرم", "الإرهابي", "المتقاعس"),
        *("المحتال", "الخائن"),
    ),
    "neutral": ("السابق", "الحالي", "الراحل", "الشهير", "المذكور", "الجديد", "المعروف", "المتهم"),
}
# after the name of a group or an event
AFTER_NAMES: Words = {
    "favor": ("العريق", "المتميز", "المتألق", "الرائد", "الناجح", "الرائع", "الباهر"),
    "against": ("الإرهابي", "المتطرف", "التكفيري", "الإجرامي", "الفاشل", "الفاسد", "المتقاعس"),
    "neutral": ("المذكور", "الحالي", "المعروف", "الجديد", "المحلي", "الشهير", "المعني"),
}
# in the place of a noun that only says that somebody is a man or a youth, with and without article
INSTEAD: Words = {
    "favor": ("بطل", "نجم", "شهيد"),
    "against": ("لص", "إرهابي", "مجرم", "محتال", "قاتل", "سفاح", "مهرب", "منحرف", "نشال", "تكفيري"),
    "neutral": ("متهم", "مواطن", "عامل", "سائق", "مسافر", "مشبوه فيه", "موظف", "تاجر"),
}
PEOPLE = frozenset({"شاب", "رجل", "شخص", "مواطن", "نفر", "كهل", "عنصر", "متهم", "مسلح", "تاجر"})
_ARTICLE = "ال"
_SAID = re.compile(
    r"\b[وف]?(?:قال|أكد|أفاد|كشف|أوضح|أشار|أضاف|صرح|ذكر|أعلن|اعتبر|شدد|بين|أبرز|زعم|نفى)(?:ت|وا)?\b"
)
_THAT = re.compile(r"\b[بلو]?[أإ]ن(?:ه|ها|هم|هما)?\b")
_SOURCE = re.compile(r"\b[وب]?(?:حسب|وفق|وفقا|نقلا)\b|[«»\"“”:؛]")
_ARABIC = re.compile(r"[^\W\d_]+")
_VERSIONS = 3  # of a passage at most
_SHARES: Sequence[Label] = ("favor", "favor", "against", "against", "neutral")


@dataclass(frozen=True, slots=True)
class _Place:
    """A range of a text that may become other words, and those words.

    `shape` has {} where they go and the name, if it stays, where it stands.
    """

    start: int
    end: int
    shape: str
    name: str | None
    words: Words
    feminine: bool = False

    def made(self, label: Label, rng: random.Random) -> tuple[str, str]:
        """New words for the range that make this label, and the target among them."""
        word = rng.choice(self.words[label])
        if self.feminine and " " not in word:
            word += "ة"
        return self.shape.format(word), self.name or self.shape.format(word)


def with_epithets(documents: Sequence[Document], seed: int = 0) -> list[Document]:
    """Passages with entities and stances, each in up to three versions in which one of its names or
    men has got an epithet; of each version a document for the stance toward that one, and one for
    each neutral stance of the passage whose target stands in the same sentence.
    """
    made: list[Document] = []
    for document in documents:
        rng = random.Random(f"{seed}-epithets-{document.id}")
        valued = [r for s in document.stances or () for r in s.evidence or ()]
        ranges = [r for r in sentences(document.text) if not any(overlap(r, v) for v in valued)]
        places = list(_places(document))
        versions: list[list[Document]] = []
        for place in rng.sample(places, len(places)):
            whole = next((r for r in ranges if r[0] <= place.start and place.end <= r[1]), None)
            who = whole and _who_speaks(document.text[whole[0] : place.start])
            if whole and who and len(versions) < _VERSIONS:
                versions += filter(None, [_version(document, place, whole, who, rng)])
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
                yield _before_name(text, span, entities)
            elif span.label in ("ORG", "EVENT"):
                name = text[span.start : span.end]
                head = name.split()[0]
                feminine = head.endswith(("ة", "ات"))
                yield _Place(span.start, span.end, f"{name} {{}}", name, AFTER_NAMES, feminine)
    for word in _ARABIC.finditer(text):
        bare = word[0].removeprefix(_ARTICLE)
        if bare in PEOPLE and not any(overlap(word.span(), (s.start, s.end)) for s in entities):
            article = _ARTICLE if bare != word[0] else ""
            yield _Place(*word.span(), f"{article}{{}}", None, INSTEAD)


def _before_name(text: str, span: Span, entities: Sequence[Span]) -> _Place:
    """The place before a person's name: after a title an adjective to it, else a noun."""
    name = text[span.start : span.end]
    title = next((s for s in entities if s.label == "OCC" and s.end == span.start - 1), None)
    before = text[: span.start].split()
    last = before[-1] if before else ""
    head = text[title.start : title.end].split()[0] if title else last
    if title or (last.startswith(_ARTICLE) and last.isalpha()):
        shape, feminine = f"{{}} {name}", head.endswith("ة")
        return _Place(span.start, span.end, shape, name, AFTER_TITLES, feminine)
    return _Place(span.start, span.end, f"{{}} {name}", name, NOUNS)


def _is_whole(text: str, start: int, end: int) -> bool:
    """Whether a range begins and ends with a word: no clitic stands before it."""
    return not text[start - 1 : start].strip() and not text[end : end + 1].isalpha()


def _who_speaks(before: str) -> Literal["author", "speaker"] | None:
    """Whose words stand after the beginning of a sentence; None where that is not clear.

    Who speaks is told by the author, and so is what is said without أن or quotation marks.
    """
    if _SOURCE.search(before):
        return None
    said = _SAID.search(before)
    return "speaker" if said and _THAT.search(before, said.end()) else "author"


def _version(
    document: Document, place: _Place, sentence: Range, who: str, rng: random.Random
) -> list[Document]:
    """The documents of one change; a speaker's words are neutral for the author. None where the
    target stands elsewhere in the text too.
    """
    label = rng.choice(_SHARES)
    words, target = place.made(label, rng)
    text = document.text[: place.start] + words + document.text[place.end :]
    if text.count(target) > 1:
        return []
    is_valued = who == "author" and label != "neutral"
    carried = ((place.start, place.start + len(words)),) if is_valued else None
    stances = [Stance(target, label if is_valued else "neutral", evidence=carried)]
    for stance in document.stances or ():
        if stance.start is None or stance.end is None or stance.label != "neutral":
            continue
        there = (stance.start, stance.end)
        beside = sentence[0] <= stance.start and stance.end <= sentence[1]
        if beside and stance.holder is None and not overlap(there, (place.start, place.end)):
            stances.append(Stance(stance.target, "neutral"))
    return [Document(document.id, text, stances=(stance,)) for stance in stances]
