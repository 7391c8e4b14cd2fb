"""Examples: the labels of every piece against a slow loop, and what is lost said aloud."""

import logging
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import configs
from annotations.errors import FormatError
from annotations.schema import Claim, Document, Span, Stance
from annotations.seed import seed_document, seed_text
from serving.bundle import Head
from serving.encoding import NO_PIECE, TextEncoder
from training.encoders.tiny import save_tiny_encoder
from training.examples import (
    IGNORED,
    Example,
    Losses,
    examples_of,
    pair_examples,
    text_examples,
    word_examples,
    word_tags,
)
from training.preparation import text_encoder
from training.settings import Windows, load_recipe

TYPES = ("PERS", "GPE", "ORG", "DATE")
NESTED = Head(name="khabar", kind="nested", labels=TYPES)
FLAT = Head(name="anercorp", kind="flat", labels=TYPES)
CLAIM = Head(name="claim", kind="pair", labels=("agree", "disagree", "other"))
STANCE = Head(name="stance", kind="pair", labels=("favor", "against", "neutral"))
TOPIC = Head(name="topic", kind="text", labels=("politics", "sports"))
# diacritics, tatweel, a tatweel that stands alone, emoji, mixed digits, an attached wa and li
TEXT = "قالَ القائدُ نومان عبد الزوبعي إنّ القوّات العراقيـــة ـ وبغداد دخلت القائم 😀 في 3/11/٢٠١٧. "
TEXT += "ورحّب التحالف الدولي بقيادة الولايات المتحدة، للقائم وللعراق!"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> TextEncoder:
    """The tiny tokenizer with windows so short that every text needs several."""
    folder = tmp_path_factory.mktemp("encoder")
    save_tiny_encoder(folder)
    recipe = load_recipe(configs.folder() / "train" / "smoke.yaml")
    windows = Windows(size=24, overlap_tokens=6)
    return text_encoder(recipe.model_copy(update={"windows": windows}), folder)


def touches(span: Span, word: tuple[int, int]) -> bool:
    return any(span.start <= i < span.end for i in range(*word))


def slow_labels(document: Document, head: Head, encoder: TextEncoder) -> list[list[int]]:
    """The labels of each window's frame: for each piece the first word that begins in it."""
    encoded = encoder.encode(document.text)
    columns = len(head.labels) if head.kind == "nested" else 1

    def tag(word: int, column: int) -> int:
        for span in document.entities or ():
            number = head.labels.index(span.label)
            if not touches(span, encoded.words[word]):
                continue
            if head.kind == "nested" and number != column:
                continue
            before = [
                w
                for w in range(word)
                if touches(span, encoded.words[w]) and encoded.word_pieces[w] != NO_PIECE
            ]
            inside = int(bool(before))
            return 1 + inside if head.kind == "nested" else 1 + 2 * number + inside
        return 0

    windows = []
    for window in encoded.windows:
        labels = [IGNORED] * columns
        for piece in range(window.start, window.end):
            begun = [w for w, at in enumerate(encoded.word_pieces) if at == piece]
            labels += [tag(begun[0], c) if begun else IGNORED for c in range(columns)]
        windows.append(labels + [IGNORED] * columns)
    return windows


@st.composite
def gold(draw: st.DrawFn, flat: bool) -> tuple[Span, ...]:
    """Spans anywhere in the text, inside words too; none of one column share a word."""
    spans: list[Span] = []
    for label in TYPES:
        bounds = sorted(draw(st.sets(st.integers(0, len(TEXT)), max_size=6)))
        for start, end in list(pairwise(bounds))[::2]:
            mates = [s for s in spans if flat or s.label == label]
            # a space between them, so that no word belongs to two
            apart = all(" " in TEXT[s.end : start] or " " in TEXT[end : s.start] for s in mates)
            if apart and TEXT[start:end].strip(" ـ"):
                spans.append(Span(start, end, label))
    return tuple(spans)


@pytest.mark.parametrize("head", [NESTED, FLAT], ids=["nested", "flat"])
def test_every_piece_has_the_labels_of_the_slow_loop(encoder: TextEncoder, head: Head) -> None:
    @given(gold(flat=head.kind == "flat"))
    @settings(max_examples=40, deadline=None)
    def check(spans: tuple[Span, ...]) -> None:
        document = Document("d", TEXT, entities=spans)
        made = list(word_examples([document], head, encoder, "test"))
        assert [example.labels for example in made] == slow_labels(document, head, encoder)

    check()


def test_windows_cover_the_seed_and_its_labels(encoder: TextEncoder) -> None:
    seed = seed_document()
    types = tuple(sorted({span.label for span in seed.entities or ()}))
    head = Head(name="khabar", kind="nested", labels=types)
    made = list(word_examples([seed], head, encoder, "seed"))
    assert len(made) > 30
    assert [example.labels for example in made] == slow_labels(seed, head, encoder)
    for example in made:
        assert len(example.input_ids) == len(example.segments) <= 24
        assert len(example.labels) == len(types) * len(example.input_ids)
        assert example.segments == [0] + [1] * (len(example.segments) - 2) + [0]
        assert example.head == "khabar" and example.source == "seed"


@pytest.mark.parametrize(
    ("text", "surface", "label", "tags"),
    [
        ("وصل إلى وبغداد أمس", "بغداد", "GPE", [0, 0, 1, 0]),
        ("قال للقائم إنه", "لقائم", "GPE", [0, 1, 0]),
        ("ورحب وبالولايات المتحدة", "الولايات المتحدة", "GPE", [0, 1, 2]),
        ("فالقوّات العراقيـــة دخلت", "القوّات العراقيـــة", "ORG", [1, 2, 0]),
        ("في 3/11/٢٠١٧ قال", "3/11/٢٠١٧", "DATE", [0, 1, 2, 2, 2, 2, 0]),
        ("(العراق)- قالت", "العراق", "GPE", [0, 1, 0, 0, 0]),
    ],
)
def test_a_name_that_begins_inside_a_word_tags_the_word(
    encoder: TextEncoder, text: str, surface: str, label: str, tags: list[int]
) -> None:
    start = text.index(surface)
    losses = Losses(Counter())
    span = Span(start, start + len(surface), label)
    found = word_tags(encoder.encode(text), [span], NESTED, losses)
    assert found[:, TYPES.index(label)].tolist() == tags
    assert found.sum() == sum(tags)
    assert not losses.counts


def labels_told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("spans", "told"),
    [
        ([Span(0, 4, "GPE"), Span(5, 11, "LAW"), Span(5, 11, "EVENT")],
         ["try: unknown type EVENT 1 times", "try: unknown type LAW 1 times"]),
        ([Span(0, 11, "GPE"), Span(5, 11, "GPE")],
         ["try: entity that overlaps one of its own column 1 times"]),
        ([Span(4, 5, "GPE")], ["try: entity without a word 1 times"]),
        ([Span(12, 13, "GPE")], ["try: entity without a piece 1 times"]),
        ([Span(0, 11, "GPE"), Span(5, 11, "ORG")], []),
    ],
)  # fmt: skip
def test_what_cannot_be_labelled_is_counted_and_said(
    encoder: TextEncoder, caplog: pytest.LogCaptureFixture, spans: list[Span], told: list[str]
) -> None:
    document = Document("d", "دخلت سوريا، ـ أمس", entities=tuple(spans))
    with caplog.at_level(logging.WARNING):
        made = list(word_examples([document], NESTED, encoder, "try"))
    assert labels_told(caplog) == told
    begun = sum(labels.count(1) for labels in (example.labels for example in made))
    assert begun == len(spans) - sum(int(line.split()[-2]) for line in told)


def test_a_flat_head_says_which_nested_names_it_cannot_hold(
    encoder: TextEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    document = Document("d", "مدينة القائم", entities=(Span(0, 12, "GPE"), Span(6, 12, "GPE")))
    with caplog.at_level(logging.WARNING):
        (example,) = word_examples([document], FLAT, encoder, "try")
    assert labels_told(caplog) == ["try: entity that overlaps one of its own column 1 times"]
    assert [tag for tag in example.labels if tag != IGNORED] == [3, 4]


def test_a_name_after_a_tatweel_of_its_own_begins_at_its_first_readable_word(
    encoder: TextEncoder,
) -> None:
    document = Document("d", "قال ـ سوريا", entities=(Span(4, 11, "GPE"),))
    (example,) = word_examples([document], FLAT, encoder, "try")
    assert [tag for tag in example.labels if tag != IGNORED] == [0, 3]


def decoded(encoder: TextEncoder, ids: Sequence[int]) -> str:
    pieces = [encoder.tokenizer.id_to_token(i) for i in ids]
    return "".join(pieces).replace("▁", " ").strip()


def test_a_text_is_read_for_its_first_pieces_and_what_is_cut_is_said(
    encoder: TextEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    documents = [
        Document("a", seed_text(), topic="politics"),
        Document("b", "قالت القوات", topic="sports"),
    ]
    with caplog.at_level(logging.INFO):
        long, short = text_examples(documents, TOPIC, encoder, "khaleej", max_pieces=16)
    assert "khaleej: 1 of 2 texts are read for their first 16 pieces" in caplog.text
    assert (long.labels, short.labels) == ([0], [1])
    assert len(long.input_ids) == len(long.segments) == 16
    whole = encoder.pieces(seed_text()).tolist()
    begin, end = encoder.special.begin, encoder.special.end
    assert long.input_ids == [begin, *whole[:14], end]
    assert decoded(encoder, short.input_ids[1:-1]) == "قالت القوات"


def segment(example: Example, which: int) -> list[int]:
    return [i for i, s in zip(example.input_ids, example.segments, strict=True) if s == which]


def test_a_claim_and_its_text_are_framed_as_a_pair(encoder: TextEncoder) -> None:
    claims = tuple(
        Claim("دخلت القوات القائم", label) for label in ("agree", "disagree", "discuss", "other")
    )
    document = Document("d", "القوات العراقية دخلت القائم", claims=claims)
    made = list(pair_examples([document], CLAIM, encoder, "ans", max_pieces=64))
    assert [example.labels for example in made] == [[0], [1], [2], [2]]
    first = made[0]
    assert decoded(encoder, segment(first, 1)) == "دخلت القوات القائم"
    assert decoded(encoder, segment(first, 2)) == "القوات العراقية دخلت القائم"
    begin, end = encoder.special.begin, encoder.special.end
    assert segment(first, 0) == [begin, end, end, end]


def test_a_long_text_gives_one_pair_for_each_window_that_names_the_target(
    encoder: TextEncoder,
) -> None:
    stances = (Stance("القوات العراقية", "favor"), Stance("العلاقات التجارية", "neutral"))
    document = Document("d", seed_text()[:600], stances=stances)
    encoded = encoder.encode(document.text)
    made = list(pair_examples([document], STANCE, encoder, "seed-stances", max_pieces=64))
    named = [example for example in made if example.labels == [0]]
    elsewhere = [example for example in made if example.labels == [2]]
    assert 0 < len(named) < len(encoded.windows) == len(elsewhere)  # a phrase is asked everywhere
    assert {decoded(encoder, segment(example, 1)) for example in named} == {"القوات العراقية"}
    for example in named:
        assert "القوات العراقية" in decoded(encoder, segment(example, 2))
    read = [piece for example in elsewhere for piece in segment(example, 2)]
    assert set(read) == set(encoder.pieces(document.text).tolist())


@pytest.mark.parametrize(("head", "columns"), [(NESTED, 4), (FLAT, 1), (TOPIC, 0), (CLAIM, 0)])
def test_every_kind_of_head_gets_its_kind_of_examples(
    encoder: TextEncoder, head: Head, columns: int
) -> None:
    document = Document(
        "d", "قال الرئيس", entities=(), topic="sports", claims=(Claim("قال", "agree"),)
    )
    (example,) = examples_of([document], head, encoder, "x", None, 64)
    assert len(example.labels) == (columns * len(example.input_ids) or 1)
    assert (2 in example.segments) == (head.kind == "pair")


@pytest.mark.parametrize("more", [{"holder": "سالم"}, {"scope": (0, 4)}])
def test_stances_of_others_or_of_parts_are_no_stance_toward_the_whole(
    encoder: TextEncoder, more: dict[str, Any]
) -> None:
    document = Document("d", "دخلت القوات", stances=(Stance("القوات", "favor", **more),))
    with pytest.raises(FormatError, match=r"document d: a stance of .* add #stances to the name"):
        list(pair_examples([document], STANCE, encoder, "x", 64))


def test_a_part_without_evidence_says_nothing(encoder: TextEncoder) -> None:
    text = "دخلت القوات العراقية القائم. ثم مر يوم. القوات العراقية أحرقت البيوت. انتهى."
    start = text.index("أحرقت")
    stances = (Stance("القوات العراقية", "against", evidence=((start, start + 12),)),)
    head = STANCE.model_copy(update={"unit": "mention"})
    made = list(pair_examples([Document("d", text, stances=stances)], head, encoder, "x", 64))
    assert [example.labels for example in made] == [[2], [1]]
    without = (Stance("القوات العراقية", "against"),)
    made = list(pair_examples([Document("d", text, stances=without)], head, encoder, "x", 64))
    assert [example.labels for example in made] == [[1], [1]]
