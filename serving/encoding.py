"""Text to pieces: normalised, tokenised, and every word of the text as received tied to a piece."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer
from tokenizers.models import BPE

from annotations.schema import Range
from annotations.text import Normalization, normalize, sentences, words
from serving.windows import Window, make_windows

Ints = npt.NDArray[np.int64]
NO_PIECE = -1
FRAME = 2  # special pieces of a window
PAIR_FRAME = 4  # and of a pair
_UNKNOWN = ("<unk>", "[UNK]")


@dataclass(frozen=True, slots=True)
class WindowRule:
    """How a text is cut for the encoder; lengths in pieces, the two special ones of a window
    included.
    """

    size: int = 160
    overlap_tokens: int = 32

    @property
    def room(self) -> int:
        """How many pieces of a text a window holds."""
        return self.size - FRAME


@dataclass(frozen=True, slots=True)
class EncodedText:
    """A text as the encoder reads it.

    `pieces` is (pieces,) token ids without special ones; `words` are ranges of the text as
    received; `word_pieces` is (words,): the piece in which each word begins, or -1 where
    normalisation leaves nothing of it.
    """

    pieces: Ints
    words: list[Range]
    word_pieces: Ints
    windows: list[Window]


@dataclass(frozen=True, slots=True)
class SpecialPieces:
    """Ids of the pieces that frame an input."""

    begin: int
    end: int
    pad: int


class TextEncoder:
    """A tokenizer with the rules of normalisation and windows that the model was trained with."""

    def __init__(
        self, tokenizer: Tokenizer, special: SpecialPieces, rules: Normalization, window: WindowRule
    ) -> None:
        self.tokenizer = tokenizer
        self.special = special
        self.rules = rules
        self.window = window
        tokenizer.encode_special_tokens = True  # "<s>" in an article is three signs, not a frame
        added = tokenizer.get_added_tokens_decoder().items()
        self._reserved = [piece for piece, token in added if token.special]
        self._space = space_piece(tokenizer)
        self._unknown = next((i for i, token in added if token.content in _UNKNOWN), None)
        tokenizer.no_padding()
        tokenizer.no_truncation()

    @classmethod
    def from_file(
        cls, path: Path, rules: Normalization, window: WindowRule, **special: int
    ) -> TextEncoder:
        """The encoder of a `tokenizer.json`; `special` gives begin, end and pad."""
        return cls(Tokenizer.from_file(str(path)), SpecialPieces(**special), rules, window)

    def pieces(self, text: str) -> Ints:
        """The token ids of a text without special pieces, (pieces,)."""
        encoding = self.tokenizer.encode(normalize(text, self.rules).text, add_special_tokens=False)
        return self._ids(encoding)

    def encode(self, text: str) -> EncodedText:
        """Pieces, words and windows of a text."""
        normalized = normalize(text, self.rules)
        encoding = self.tokenizer.encode(normalized.text, add_special_tokens=False)
        word_ranges = words(text)
        piece_of = self._pieces_of_characters(encoding, len(normalized.text))
        word_pieces = _word_pieces(normalized.text, normalized.starts, piece_of, word_ranges)
        starts = np.unique(word_pieces[word_pieces != NO_PIECE])
        windows = make_windows(
            len(encoding.ids),
            self.window.room,
            self.window.overlap_tokens,
            starts.tolist(),
            _sentence_starts(text, word_ranges, word_pieces),
        )
        return EncodedText(self._ids(encoding), word_ranges, word_pieces, windows)

    def _pieces_of_characters(self, encoding: Encoding, length: int) -> Ints:
        """The piece of each normalised character, (length,), -1 where none is.

        Of pieces that share one (its bytes) the first, but a lone space piece, whose offsets may be
        those of the letter after it, gives way to all others.
        """
        found = np.full(length, NO_PIECE, dtype=np.int64)
        ids, offsets = encoding.ids, encoding.offsets
        spaces = [i for i, piece in enumerate(ids) if piece == self._space]
        letters = [i for i in reversed(range(len(ids))) if ids[i] != self._space]
        for piece in (*spaces, *letters):
            start, end = offsets[piece]
            found[start:end] = piece
        return found

    def _ids(self, encoding: Encoding) -> Ints:
        """The token ids of a text, reserved ones unknown: a unigram model finds a typed "<s>" among
        its pieces all the same.
        """
        ids = np.asarray(encoding.ids, dtype=np.int64)
        if self._unknown is not None:
            ids[np.isin(ids, self._reserved)] = self._unknown
        return ids

    def unknown(self, pieces: Ints) -> int:
        """How many of some pieces stand for what the vocabulary does not hold."""
        return 0 if self._unknown is None else int(np.count_nonzero(pieces == self._unknown))

    def frame(self, pieces: Ints) -> tuple[Ints, Ints]:
        """The input `<s> pieces </s>` and its segments: 1 for the pieces, 0 for the frame."""
        ids = np.concatenate(([self.special.begin], pieces, [self.special.end]))
        segments = np.zeros(len(ids), dtype=np.int64)
        segments[1:-1] = 1
        return ids, segments

    def frame_pair(self, first: Ints, second: Ints, max_pieces: int) -> tuple[Ints, Ints]:
        """The input `<s> first </s> </s> second </s>`; segments are 1 for the first, 2 for the
        second.

        Callers cut their passages to fit; an overlong first is an error of theirs.
        """
        if len(first) + len(second) + PAIR_FRAME > max_pieces:
            raise ValueError(
                f"a pair of {len(first)} + {len(second)} pieces exceeds {max_pieces} with its frame"
            )
        begin, end = self.special.begin, self.special.end
        ids = np.concatenate(([begin], first, [end, end], second, [end]))
        segments = np.zeros(len(ids), dtype=np.int64)
        segments[1 : 1 + len(first)] = 1
        segments[3 + len(first) : -1] = 2
        return ids, segments


def space_piece(tokenizer: Tokenizer) -> int | None:
    """The piece that is the space before a word and nothing else: "▁", or "Ġ" where pieces are of
    bytes.
    """
    found = tokenizer.token_to_id("▁")
    if found is None and isinstance(tokenizer.model, BPE):  # else "Ġ" is a letter of Maltese
        found = tokenizer.token_to_id("Ġ")
    return found if found is None else int(found)


def _word_pieces(
    normalized: str, starts: list[int], piece_of: Ints, word_ranges: list[Range]
) -> Ints:
    """The piece that holds the first normalised letter of each word, (words,); -1 where a word has
    none.
    """
    if not word_ranges:
        return np.zeros(0, dtype=np.int64)
    origin = np.asarray(starts, dtype=np.int64)
    bounds = np.searchsorted(origin, np.asarray(word_ranges, dtype=np.int64))
    result = np.full(len(word_ranges), NO_PIECE, dtype=np.int64)
    for word, (low, high) in enumerate(bounds.tolist()):
        for i in range(low, high):
            if piece_of[i] != NO_PIECE and normalized[i] != " ":
                result[word] = piece_of[i]
                break
    return result


def _sentence_starts(text: str, word_ranges: list[Range], word_pieces: Ints) -> list[int]:
    """The pieces that begin a sentence, ascending."""
    word_starts = np.asarray([start for start, _ in word_ranges], dtype=np.int64)
    firsts = np.searchsorted(
        word_starts, np.asarray([start for start, _ in sentences(text)], dtype=np.int64)
    )
    pieces = [int(word_pieces[word]) for word in firsts.tolist() if word < len(word_ranges)]
    return sorted({piece for piece in pieces if piece != NO_PIECE})
