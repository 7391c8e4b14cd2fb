"""Blocks of running text for masked-language-model training (Devlin et al. 2019).

What is masked in a block depends on the seed and on how many blocks were drawn before it, and on
nothing else, so that a run that goes on sees what it would have seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from serving.encoding import NO_PIECE, EncodedText, TextEncoder, space_piece
from training.examples import IGNORED

Ints = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]
MASKED, REPLACED = 0.8, 0.1  # of the chosen pieces; the rest stays as it is and is asked for too


@dataclass(frozen=True)
class Blocks:
    """Texts one after the other, cut to equal lengths: `<s> text </s> text ... </s>`.

    pieces is (blocks, length) token ids; begins is (blocks, length), true where a word begins.
    """

    pieces: Ints
    begins: Bools

    def __len__(self) -> int:
        return len(self.pieces)

    @property
    def fingerprint(self) -> str:
        """The sha256 of the pieces."""
        return hashlib.sha256(self.pieces.tobytes()).hexdigest()

    @classmethod
    def pack(
        cls, texts: Iterable[str], encoder: TextEncoder, length: int, most: int | None = None
    ) -> Blocks:
        """The blocks of texts, at most so many; what is left after the last is dropped."""
        special = encoder.special
        pieces: list[npt.NDArray[np.int64]] = []
        begins: list[Bools] = []
        found, inner = 0, length - 2
        for text in texts:
            if most is not None and found >= most * inner:
                break
            encoded = encoder.encode(text)
            pieces.append(np.append(encoded.pieces, special.end))
            begins.append(_begins(encoded, space_piece(encoder.tokenizer)))
            found += len(encoded.pieces) + 1
        stream = np.concatenate(pieces) if pieces else np.zeros(0, np.int64)
        count = min(len(stream) // inner, len(stream) if most is None else most)
        framed = np.empty((count, length), np.int32)
        framed[:, 0], framed[:, -1] = special.begin, special.end
        framed[:, 1:-1] = stream[: count * inner].reshape(count, inner)
        starts = np.zeros((count, length), dtype=bool)
        if count:
            starts[:, 1:-1] = np.concatenate(begins)[: count * inner].reshape(count, inner)
        return cls(framed, starts)

    def save(self, path: Path) -> None:
        """Write them to a file that is whole or not there."""
        partial = path.with_suffix(".partial.npz")
        np.savez(partial, pieces=self.pieces, begins=self.begins)
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> Blocks:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(arrays["pieces"], arrays["begins"])


def _begins(encoded: EncodedText, space: int | None) -> Bools:
    """Where words begin among the pieces of a text and the end after them, (pieces + 1,); a space
    that is a piece of its own belongs to the word after it.
    """
    first = encoded.word_pieces[encoded.word_pieces != NO_PIECE]
    spaced = encoded.pieces[np.maximum(first - 1, 0)] == space
    begins = np.zeros(len(encoded.pieces) + 1, dtype=bool)
    begins[np.where(spaced & (first > 0), first - 1, first)] = True
    return begins


@dataclass(frozen=True)
class Masker:
    """Hides a share of a block's pieces: four fifths become the mask, a tenth another piece.

    `reserved` are the ids that are neither hidden nor put in another's place. With `whole_words`
    all pieces of a word are hidden together.
    """

    mask: int
    vocabulary: int
    reserved: tuple[int, ...]
    share: float
    whole_words: bool
    seed: int

    def __call__(self, blocks: Blocks, row: int, draw: int) -> tuple[Tensor, Tensor]:
        """The pieces of a block as the model sees them and what it is asked, both (length,)."""
        rng = np.random.default_rng([self.seed, draw])
        pieces = blocks.pieces[row].astype(np.int64)
        chosen = self._chosen(pieces, blocks.begins[row], rng)
        labels = np.full(len(pieces), IGNORED, dtype=np.int64)
        labels[chosen] = pieces[chosen]
        fate = rng.random(len(chosen))
        pieces[chosen[fate < MASKED]] = self.mask
        replaced = chosen[(fate >= MASKED) & (fate < MASKED + REPLACED)]
        pieces[replaced] = rng.choice(self._ordinary, len(replaced))
        return torch.from_numpy(pieces), torch.from_numpy(labels)

    @cached_property
    def _ordinary(self) -> npt.NDArray[np.int64]:
        return np.setdiff1d(np.arange(self.vocabulary), self.reserved)

    def _chosen(
        self, pieces: npt.NDArray[np.int64], begins: Bools, rng: np.random.Generator
    ) -> npt.NDArray[np.int64]:
        """The places that are hidden, in random order."""
        open_places = np.flatnonzero(~np.isin(pieces, self.reserved))
        # rounded up as often as its fraction says: short blocks would else lose a part of it
        wanted = max(1, int(self.share * len(open_places) + rng.random()))
        if not self.whole_words:
            return rng.permutation(open_places)[:wanted]
        words = np.cumsum(begins)[open_places]
        order = rng.permutation(np.unique(words))
        sizes = [np.count_nonzero(words == word) for word in order]
        enough = int(np.searchsorted(np.cumsum(sizes), wanted)) + 1
        return open_places[np.isin(words, order[:enough])]


class MaskedBlocks(torch.utils.data.Dataset[dict[str, Tensor]]):
    """`draws` masked blocks: all blocks in an order by the seed, then again in another."""

    def __init__(self, blocks: Blocks, masker: Masker, draws: int, shuffle: bool = True) -> None:
        self.blocks, self.masker, self.draws, self.shuffle = blocks, masker, draws, shuffle
        self._order: tuple[int, npt.NDArray[np.int64]] = (-1, np.arange(len(blocks)))

    def __len__(self) -> int:
        return self.draws

    def __getitem__(self, draw: int) -> dict[str, Tensor]:
        epoch, place = divmod(draw, len(self.blocks))
        pieces, labels = self.masker(self.blocks, int(self._rows(epoch)[place]), draw)
        return {"input_ids": pieces, "labels": labels}

    def _rows(self, epoch: int) -> npt.NDArray[np.int64]:
        if self.shuffle and self._order[0] != epoch:
            rng = np.random.default_rng([self.masker.seed, epoch, len(self.blocks)])
            self._order = (epoch, rng.permutation(len(self.blocks)))
        return self._order[1]
