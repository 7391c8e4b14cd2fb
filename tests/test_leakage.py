"""Near-duplicates of development texts: found whatever hides them, and nothing else."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.authored import authored_documents
from annotations.schema import Claim, Document
from annotations.seed import seed_text
from training.leakage import RUN, HeldOut, run_hashes, without_copies

SEED = seed_text()
LONG = SEED[:600]


def held_out(*texts: str) -> HeldOut:
    return HeldOut([Document(str(i), text) for i, text in enumerate(texts)])


@pytest.mark.parametrize(
    "copy",
    [
        LONG,
        LONG.replace("أ", "ا").replace("ة", "ه").replace("ى", "ي"),
        LONG.replace(" ", "  ").replace("،", " - "),
        "".join(sign + ("\u064e" if sign == "ر" else "") for sign in LONG),
        LONG.replace("ا", "ا\u0640"),
        LONG.replace("لا", "\ufefb").replace("ه", "\ufeea").replace("ر", "\ufeae"),
        LONG.replace("ا", "ٱ"),
        LONG.replace("ي", "ی").replace("ك", "ک"),
        "خبر آخر قبله. " + LONG[:450],
        LONG[:320],
    ],
    ids=[
        "as it is",
        "spelling",
        "spaces",
        "vowel signs",
        "tatweel",
        "forms",
        "wasla",
        "Persian",
        "in part",
        "its beginning",
    ],
)
def test_a_copy_is_found_however_it_is_written(copy: str) -> None:
    assert held_out("نص غريب لا شأن له بهذا كله ولا بغيره من الأخبار", LONG).has_like(copy)


def test_another_text_that_shares_a_name_is_none() -> None:
    shared = "الجامعة الملكية المغربية لألعاب القوى"
    one = f"أعلنت {shared} أمس أسماء العدائين الذين يشاركون في البطولة العربية المقبلة في تونس"
    other = (
        f"وقع رئيس {shared} اتفاقية مع شركة للنقل، ويبدأ العمل بها مطلع الموسم القادم إن شاء الله"
    )
    assert not held_out(one).has_like(other)


def test_short_texts_are_copies_when_their_letters_are_the_same() -> None:
    short = held_out("فوز تونس 2-1", "")
    assert short.has_like("فوز: تونس 3-0!") and not short.has_like("فوز تونسي")
    assert not short.has_like("") and not short.has_like("!!")
    assert not held_out().has_like(LONG)


def test_a_claim_counts_as_the_text_does() -> None:
    claim = "أعلنت الحكومة المصرية رفع أسعار الوقود ابتداء من يوم الأحد المقبل"
    dev = HeldOut([Document("d", LONG, claims=(Claim(claim, "agree"),))])
    pair = Document("a", "نص لا شأن له بما سبق من النصوص", claims=(Claim(claim, "disagree"),))
    other = Document("b", "نص لا شأن له بما سبق من النصوص")
    assert without_copies([pair, other], dev) == ([other], [pair])


def test_the_authored_news_of_train_and_dev_share_nothing() -> None:
    dev = HeldOut(authored_documents("dev"))
    train = list(authored_documents("train"))
    assert without_copies(train, dev) == (train, [])
    assert without_copies(authored_documents("dev")[:5], dev)[0] == []


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=80))
def test_a_text_is_always_like_itself_when_it_has_letters(text: str) -> None:
    read = unicodedata.normalize("NFKC", text).replace("\u0640", "")
    assert held_out(text).has_like(text) == any(map(str.isalpha, read))


def test_hashes_are_of_runs() -> None:
    assert len(run_hashes("ا" * (RUN + 4))) == 5
    assert set(run_hashes("ب" + LONG)) >= set(run_hashes(LONG))
