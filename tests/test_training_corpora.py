"""The corpora as documents: joined and respaced without moving a name, and checked before use."""

import gzip
import random
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.catalogue import corpus_file
from annotations.conll import Sentence, sentence_document
from annotations.errors import FormatError
from annotations.hashes import sha256
from annotations.jsonl import write_documents
from annotations.matching import shared_words
from annotations.schema import Document, Span
from annotations.seed import seed_document
from annotations.text import sentences
from training.claim_corpora import unrelated_claims
from training.corpora import (
    conll_documents,
    data_entry,
    join_documents,
    load,
    sentences_of,
)

# words as CoNLL files have them, marks apart; diacritics, tatweel, digits, an emoji, a clitic
WORDS = ["وبغداد", "القوّات", "العراقيـــة", "(", ")", "،", ".", '"', "2017", "٣٫٥", "%", "😀", ":"]
WORDS += ["-", "لقاء", "[", "]", "؟"]
MARKS_BEFORE, MARKS_AFTER = "([", ")],.،:؟%"


@pytest.fixture
def own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty KHABAR_DATA; files that were found elsewhere before are forgotten, and these too."""
    monkeypatch.setenv("KHABAR_DATA", str(tmp_path))
    corpus_file.cache_clear()
    yield tmp_path
    corpus_file.cache_clear()


@st.composite
def annotated(draw: st.DrawFn) -> Document:
    text = draw(st.text(alphabet="ابـّ و😀\n2", min_size=1, max_size=30))
    bounds = draw(st.lists(st.integers(0, len(text)), min_size=2, max_size=6))
    spans = [Span(a, b, "GPE") for a, b in pairwise(bounds) if a < b]
    return Document("d", text, entities=draw(st.sampled_from([tuple(spans), None])))


@given(st.lists(annotated(), min_size=1, max_size=5))
@settings(max_examples=100)
def test_joined_documents_keep_every_surface_and_every_text(documents: list[Document]) -> None:
    joined = join_documents(documents)
    assert joined.text.split("\n") == "\n".join(d.text for d in documents).split("\n")
    surfaces = [(s.label, d.surface(s)) for d in documents for s in d.entities or ()]
    assert [(s.label, joined.surface(s)) for s in joined.entities or ()] == surfaces


def test_joining_puts_a_line_break_between() -> None:
    first = Document("a", "دخلت القوات القائم", entities=(Span(12, 18, "GPE"),), label_set="fine")
    second = Document("b", "وسوريا", entities=(Span(1, 6, "GPE"),))
    joined = join_documents([first, second])
    assert joined.text == "دخلت القوات القائم\nوسوريا"
    assert joined.entities == (Span(12, 18, "GPE"), Span(20, 25, "GPE"))
    assert (joined.id, joined.label_set) == ("a", "fine")
    assert join_documents([second]) == second


@given(st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from("BIO")), min_size=1, max_size=15))
@settings(max_examples=150)
def test_natural_spacing_moves_marks_and_keeps_surfaces(rows: list[tuple[str, str]]) -> None:
    words = tuple(word for word, _ in rows)
    tags = tuple(("O",) if tag == "O" else (f"{tag}-MISC",) for _, tag in rows)
    plain = sentence_document(Sentence(words, tags), "s", "anercorp")
    natural = sentence_document(Sentence(words, tags), "s", "anercorp", natural=True)
    assert plain.text == " ".join(words)
    assert natural.text.replace(" ", "") == "".join(words)
    pairs = list(zip(plain.entities or (), natural.entities or (), strict=True))
    for a, b in pairs:
        assert natural.surface(b).replace(" ", "") == plain.surface(a).replace(" ", "")
        assert natural.surface(b) == natural.surface(b).strip()
    for mark in MARKS_BEFORE:
        assert f"{mark} " not in natural.text
    for mark in MARKS_AFTER:
        assert f" {mark}" not in natural.text.replace('" ', '"')


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("أربيل ( العراق ) - قالت", "أربيل (العراق) - قالت"),
        ('قال : " لا " ، ثم خرج .', 'قال: "لا"، ثم خرج.'),
        ("نسبة 50 % !", "نسبة 50%!"),
    ],
)
def test_real_text_has_its_marks_attached(words: str, text: str) -> None:
    sentence = Sentence(tuple(words.split()), (("O",),) * len(words.split()))
    assert sentence_document(sentence, "s", "anercorp", natural=True).text == text


@pytest.mark.parametrize("corpus", ["anercorp", "wojood", "ans", "khaleej", "ant"])
def test_a_missing_file_is_named_with_its_corpus(own_data: Path, corpus: str) -> None:
    with pytest.raises(FormatError, match=r"missing; .* is .{10}.*get it from") as caught:
        load(corpus, "train")
    assert str(own_data) in str(caught.value)


def test_a_file_of_another_version_is_refused(own_data: Path) -> None:
    path = own_data / "anercorp" / "train.txt"
    path.parent.mkdir()
    path.write_text("القائم B-LOC\n\n", encoding="utf-8")
    with pytest.raises(FormatError, match=r"train\.txt: sha256 [0-9a-f]{12}…, expected 393969ce"):
        load("anercorp", "dev")


@pytest.mark.parametrize("value", [None, "", "/لا/شيء"])
def test_without_a_folder_of_corpora_the_variable_is_named(
    own_data: Path, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    if value is None:
        monkeypatch.delenv("KHABAR_DATA")
    else:
        monkeypatch.setenv("KHABAR_DATA", value)
    with pytest.raises(FormatError, match=r"KHABAR_DATA, which is (not set|/لا/شيء)"):
        load("khaleej", "train")


def test_an_unknown_corpus_lists_the_known_ones() -> None:
    with pytest.raises(FormatError, match=r"unknown corpus 'aqmar'; use one of anercorp, wojood"):
        load("aqmar", "train")


def test_the_seed_is_for_training_only() -> None:
    for name in ("seed", "seed-claims", "seed-stances"):
        assert load(name, "train")
        assert load(name, "dev") == load(name, "calibration") == []


def test_seed_claims_are_sentences_of_the_seed() -> None:
    seed = seed_document()
    own = {seed.text[start:end] for start, end in sentences(seed.text)}
    asked: dict[str, Counter[str]] = {}
    for document in load("seed-claims", "train"):
        (claim,) = document.claims or ()
        assert document.text in own
        asked.setdefault(claim.text, Counter())[claim.label] += 1
    for claim in seed.claims or ():
        best = max(shared_words(claim.text, sentence) for sentence in own)
        first = next(
            d for d in load("seed-claims", "train") if (d.claims or ())[0].text == claim.text
        )
        assert shared_words(claim.text, first.text) == best
        assert (first.claims or ())[0].label == claim.label
        assert sum(asked[claim.text].values()) <= 3


def test_seed_stances_are_the_authors_and_asked_of_the_text_of_their_scope() -> None:
    seed = seed_document()
    own = [stance for stance in seed.stances or () if stance.holder is None]
    texts = {seed.text[slice(*(stance.scope or (0, None)))] for stance in own}
    gold = {(stance.target, stance.label) for stance in own}
    found = load("seed-stances", "train")
    assert len(found) == len(own) < len(seed.stances or ())
    for document in found:
        (stance,) = document.stances or ()
        assert document.text in texts
        assert (stance.target, stance.label) in gold
        assert (stance.scope, stance.start) == (None, None)
        assert bool(stance.evidence) == (stance.label != "neutral")
        assert all(0 <= low < high <= len(document.text) for low, high in stance.evidence or ())


def test_a_file_of_ones_own_is_a_corpus(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    own = [Document(f"d{i}", f"قال سالم {i // 2}", entities=(), topic="health") for i in range(400)]
    write_documents(path, [*own, seed_document()])
    parts = {part: load(str(path), part) for part in ("train", "calibration", "dev")}
    assert parts["dev"] == [] and 0 < len(parts["calibration"]) < 80
    assert not {d.text for d in parts["calibration"]} & {d.text for d in parts["train"]}
    assert Counter(d.id for p in parts.values() for d in p) == Counter(d.id for d in own) + Counter(
        ["seed-1"]
    )
    assert load(f"{path}#stances", "train") == load("seed-stances", "train")
    assert len(load(f"{path}#topics", "train")) == len(parts["train"])
    assert data_entry(f"{path}#topics")["files"] == {"mine.jsonl": sha256(path)}
    packed = tmp_path / "my-own.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    for view in ("", "#topics"):
        assert load(f"{packed}{view}", "train") == load(f"{path}{view}", "train")
    with pytest.raises(FormatError, match=r"none\.jsonl: no such file; a recipe's paths"):
        load("none.jsonl#claims", "train")
    write_documents(path, [Document("slipped", "قال", entities=(Span(4, 9, "PERS"),))])
    with pytest.raises(FormatError, match=r"mine\.jsonl: slipped: range \(4, 9\) lies outside"):
        load(str(path), "train")


def names(documents: list[Document]) -> list[tuple[str, str]]:
    return [(s.label, "".join(d.surface(s).split())) for d in documents for s in d.entities or ()]


def test_grouping_and_respacing_lose_no_word_and_no_name(data_folder: Path) -> None:
    plain = conll_documents("wojood", "train")
    made = conll_documents("wojood", "train", group=4, detokenise=0.4, seed=13)
    assert names(made) == names(plain)
    words = ["".join(d.text.split()) for d in (*plain,)]
    assert "".join("".join(d.text.split()) for d in made) == "".join(words)
    assert made == conll_documents("wojood", "train", group=4, detokenise=0.4, seed=13)
    assert made != conll_documents("wojood", "train", group=4, detokenise=0.4, seed=14)


def test_anercorp_sentences_are_joined_inside_their_group_only(data_folder: Path) -> None:
    rows = sentences_of("anercorp", "dev")
    made = conll_documents("anercorp", "dev", group=4, seed=3)
    lines = [d.text.split("\n") for d in made]
    assert [line for found in lines for line in found] == [" ".join(s.words) for _, s in rows]
    sizes = Counter(len(found) for found in lines)
    assert set(sizes) == {1, 2, 3, 4}
    assert 0.35 < sizes[1] / len(made) < 0.7  # half of them stand alone
    position = 0
    for found in lines:
        assert len({group for group, _ in rows[position : position + len(found)]}) == 1
        position += len(found)


def test_about_the_asked_share_of_sentences_is_respaced(data_folder: Path) -> None:
    plain = conll_documents("anercorp", "dev")
    respaced = conll_documents("anercorp", "dev", detokenise=1.0)
    some = conll_documents("anercorp", "dev", detokenise=0.4, seed=1)
    changeable = [(a, c) for a, b, c in zip(plain, respaced, some, strict=True) if a.text != b.text]
    assert len(changeable) > 200
    share = sum(a.text != c.text for a, c in changeable) / len(changeable)
    assert share == pytest.approx(0.4, abs=0.1)


def test_unrelated_pairs_share_no_word(data_folder: Path) -> None:
    made = unrelated_claims("dev")
    assert len(made) > 80
    for document in random.Random(0).sample(made, 40):
        (claim,) = document.claims or ()
        assert shared_words(claim.text, document.text) == 0
