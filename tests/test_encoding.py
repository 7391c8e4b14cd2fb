"""Text to pieces and back to words: no word is lost, none is torn from its piece."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import ByteLevelBPETokenizer

from annotations.seed import seed_text
from annotations.text import Normalization, normalize, sentences, words
from serving.bundle import Bundle
from serving.encoding import NO_PIECE, EncodedText, SpecialPieces, TextEncoder, WindowRule

WRITTEN = "اوصلت القوات العراقية إلى مدينة القائم و البوكمال في سوريا 2017"


@pytest.fixture(scope="module")
def bundle(smoke_bundle: Path) -> Bundle:
    return Bundle.load(smoke_bundle)


@pytest.fixture(scope="module")
def encoder(bundle: Bundle) -> TextEncoder:
    return bundle.text_encoder()


def first_pieces(encoder: TextEncoder, text: str) -> list[int]:
    """The slow way, for words with spaces between: each tokenised alone, the pieces counted."""
    found, count = [], 0
    for start, end in words(text):
        pieces = encoder.pieces(text[start:end])
        tokens = [encoder.tokenizer.id_to_token(int(piece)) for piece in pieces]
        found.append(count + (tokens[0] == "▁") if tokens else NO_PIECE)
        count += len(tokens)
    return found


@pytest.mark.parametrize(
    "text",
    [
        WRITTEN,
        "وَصَلَتِ القُوّاتُ العِراقِيَّةُ",  # diacritics
        "العـــراق ـــ القائـم",  # tatweel, and a word of nothing else
        "ﻻ ﷺ ﺍﻟﻌﺮﺍﻕ ﷲ",  # presentation forms: one sign is several letters
        "😀 القوات 👍 حمص",
        "قال \u202bالجيش\u202c إن \u200fالعراق\u200f",
        "حمص\x00دمشق\tحلب\u00a0\u2003الرقة\r\nدير",
        "3,5 و 2017 و ٢٠١٧ و ١٢٫٥ و 1.234.567",
        "NATO CNN Москва 中文",
    ],
)
def test_each_word_is_tied_to_the_piece_of_its_first_letter(
    encoder: TextEncoder, text: str
) -> None:
    encoded = encoder.encode(text)
    assert encoded.words == words(text)
    assert encoded.word_pieces.tolist() == first_pieces(encoder, text)


def test_words_that_share_a_run_are_tied_to_the_piece_that_holds_them(
    encoder: TextEncoder,
) -> None:
    text = "«القائم»،البوكمال."
    encoded = encoder.encode(text)
    offsets = encoder.tokenizer.encode(text, add_special_tokens=False).offsets
    assert [text[start:end] for start, end in encoded.words] == [
        "«", "القائم", "»", "،", "البوكمال", ".",
    ]  # fmt: skip
    for (start, _), piece in zip(encoded.words, encoded.word_pieces.tolist(), strict=True):
        assert offsets[piece][0] <= start < offsets[piece][1]


def test_a_word_whose_letters_are_several_pieces_is_tied_to_the_first_of_them() -> None:
    bytewise = ByteLevelBPETokenizer(add_prefix_space=True)
    bytewise.train_from_iterator([], vocab_size=256, show_progress=False)
    encoder = TextEncoder(
        bytewise._tokenizer, SpecialPieces(0, 0, 0), Normalization(), WindowRule()
    )
    # a piece for the space, two for an Arabic letter: في 1+4, ميناء 1+10, and the digit 1+1
    assert encoder.encode("في ميناء 5").word_pieces.tolist() == [1, 6, 17]


def test_the_space_before_a_sign_is_not_the_piece_of_the_sign(encoder: TextEncoder) -> None:
    encoded = encoder.encode("٪نص")  # the offsets of "▁" are those of the sign
    tokens = [encoder.tokenizer.id_to_token(int(piece)) for piece in encoded.pieces]
    assert tokens[0] == "▁" and encoded.word_pieces.tolist()[0] == 1


@settings(max_examples=150, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_no_word_of_any_text_is_lost(encoder: TextEncoder, text: str) -> None:
    encoded = encoder.encode(text)
    assert encoded.words == words(text)
    assert len(encoded.word_pieces) == len(encoded.words)
    tied = encoded.word_pieces[encoded.word_pieces != NO_PIECE]
    assert (np.diff(tied) >= 0).all() and (tied < len(encoded.pieces)).all()
    for (start, end), piece in zip(encoded.words, encoded.word_pieces, strict=True):
        alone = normalize(text[start:end]).text.strip()
        if not alone:
            assert piece == NO_PIECE
        elif piece == NO_PIECE:  # it begins with marks that belong to the sign before it
            assert normalize(text[start - 1 : end]).starts[-1] == 0


@pytest.mark.parametrize(
    ("text", "n_words"),
    [
        ("", 0),
        (" \n\t", 0),
        ("\x00\x01\x7f", 0),
        ("\u200b\u200f\u202e", 0),
        ("ـــ", 1),
        ("\u064b\u064c", 1),
        ("ــ ًٌ ــ", 3),
    ],
)
def test_a_text_that_normalises_to_nothing_has_no_pieces_and_no_windows(
    encoder: TextEncoder, text: str, n_words: int
) -> None:
    encoded = encoder.encode(text)
    assert len(encoded.pieces) == 0
    assert encoded.windows == []
    assert encoded.word_pieces.tolist() == [NO_PIECE] * n_words
    assert len(encoder.pieces(text)) == 0


@pytest.mark.parametrize(
    "text", ["<s>", "</s>", "<pad>", "قال </s> حمص", "<s>القوات</s><s>", "القوات<pad>العراقية"]
)
def test_a_frame_that_is_typed_in_an_article_is_no_frame(encoder: TextEncoder, text: str) -> None:
    special = {encoder.special.begin, encoder.special.end, encoder.special.pad}
    encoded = encoder.encode(text)
    assert special.isdisjoint(encoded.pieces.tolist())
    assert special.isdisjoint(encoder.pieces(text).tolist())
    assert NO_PIECE not in encoded.word_pieces


def test_a_typed_frame_changes_nothing_around_it(encoder: TextEncoder) -> None:
    plain, typed = encoder.pieces("القوات العراقية"), encoder.pieces("القوات </s> العراقية")
    first = len(encoder.pieces("القوات"))
    assert typed[:first].tolist() == plain[:first].tolist()
    assert typed[first - len(plain) :].tolist() == plain[first:].tolist()


def test_an_input_is_framed_once(encoder: TextEncoder) -> None:
    begin, end = encoder.special.begin, encoder.special.end
    ids, segments = encoder.frame(np.array([7, 8, 9]))
    assert ids.tolist() == [begin, 7, 8, 9, end]
    assert segments.tolist() == [0, 1, 1, 1, 0]


def test_a_pair_is_framed_and_its_sides_are_told_apart(encoder: TextEncoder) -> None:
    begin, end = encoder.special.begin, encoder.special.end
    ids, segments = encoder.frame_pair(np.array([7, 8]), np.array([9]), 7)
    assert ids.tolist() == [begin, 7, 8, end, end, 9, end]
    assert segments.tolist() == [0, 1, 1, 0, 0, 2, 0]


def test_frames_are_what_the_tokenizer_itself_would_write(encoder: TextEncoder) -> None:
    first, second = "القوات العراقية", "مدينة القائم"
    ids, _ = encoder.frame(encoder.pieces(first))
    assert ids.tolist() == encoder.tokenizer.encode(first).ids
    ids, _ = encoder.frame_pair(encoder.pieces(first), encoder.pieces(second), 64)
    assert ids.tolist() == encoder.tokenizer.encode(first, second).ids


def test_a_pair_that_is_too_long_is_refused_with_its_lengths(encoder: TextEncoder) -> None:
    with pytest.raises(ValueError, match=r"a pair of 2 \+ 3 pieces exceeds 8"):
        encoder.frame_pair(np.array([7, 8]), np.array([9, 9, 9]), 8)


def window_starts(encoded: EncodedText) -> list[int]:
    """Where in the text the first word of each window begins."""
    firsts = np.searchsorted(encoded.word_pieces, [window.start for window in encoded.windows])
    return [encoded.words[first][0] for first in firsts]


def test_windows_fit_the_encoder_and_begin_with_sentences(bundle: Bundle) -> None:
    text = " ".join(f"{WRITTEN}." for _ in range(40))
    encoder = TextEncoder.from_file(
        bundle.folder / "tokenizer.json",
        Normalization(),
        WindowRule(100, 10),
        **asdict(bundle.manifest.special),
    )
    encoded = encoder.encode(text)
    assert len(encoded.windows) > 5
    starts = {start for start, _ in sentences(text)}
    assert all(len(window) <= 98 for window in encoded.windows)
    assert set(window_starts(encoded)) <= starts


def test_the_rules_of_the_bundle_are_the_rules_of_the_pieces(bundle: Bundle) -> None:
    def pieces(text: str, rules: Normalization) -> list[int]:
        return TextEncoder.from_file(
            bundle.folder / "tokenizer.json", rules, WindowRule(), **asdict(bundle.manifest.special)
        ).pieces(text).tolist()  # fmt: skip

    assert pieces("إلى أن", Normalization(unify_alef=True)) == pieces("الى ان", Normalization())
    assert pieces("إلى أن", Normalization()) != pieces("الى ان", Normalization())
    assert pieces("وَصَلَت", Normalization()) == pieces("وصلت", Normalization())


def test_a_long_text_is_neither_padded_nor_cut(encoder: TextEncoder) -> None:
    text = seed_text() * 4
    assert len(encoder.encode(text).pieces) >= 4 * len(encoder.encode(seed_text()).pieces) - 4
    assert encoder.encode(text).windows[-1].end == len(encoder.encode(text).pieces)
