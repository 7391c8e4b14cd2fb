"""Blocks of running text and their masks: what is hidden depends on the seed and the draw alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from annotations.authored import authored_documents
from annotations.text import Normalization
from serving.encoding import TextEncoder, WindowRule
from tests.small_encoders import maskable_encoder  # noqa: F401 - a fixture
from training.encoders.masking import Blocks, MaskedBlocks, Masker
from training.encoders.sources import special_pieces
from training.examples import IGNORED


def encoder_of(folder: Path) -> TextEncoder:
    path = folder / "tokenizer.json"
    return TextEncoder.from_file(path, Normalization(), WindowRule(), **special_pieces(path))


def blocks_of(folder: Path, length: int = 32) -> Blocks:
    texts = [document.text for document in authored_documents("train")][:40]
    return Blocks.pack(texts, encoder_of(folder), length)


def masker_of(blocks: Blocks, **changes: Any) -> Masker:
    settings = {"mask": 600, "vocabulary": 601, "reserved": (0, 1, 2, 3, 600), "share": 0.15}
    return Masker(**(settings | {"whole_words": False, "seed": 5} | changes))


def test_blocks_hold_the_texts_one_after_the_other(source: Path) -> None:
    encoder = encoder_of(source)
    texts = ["قالت القوات العراقية", "دخلت مدينة القائم، الجمعة."] * 3
    blocks = Blocks.pack(texts, encoder, 10)
    pieces = [[*encoder.pieces(text), encoder.special.end] for text in texts]
    stream = [piece for text in pieces for piece in text]
    inner = blocks.pieces[:, 1:-1].reshape(-1).tolist()
    assert inner == stream[: len(inner)] and 0 <= len(stream) - len(inner) < 8
    assert set(blocks.pieces[:, 0]) == {encoder.special.begin}
    assert set(blocks.pieces[:, -1]) == {encoder.special.end}
    begun = [encoder.tokenizer.id_to_token(i) for i in blocks.pieces[blocks.begins]]
    assert all(piece.startswith("▁") or piece in "،." for piece in begun)
    assert len(Blocks.pack(texts, encoder, 10, most=2)) == 2
    assert np.array_equal(Blocks.pack(texts, encoder, 10, most=2).pieces, blocks.pieces[:2])


def test_fifteen_of_a_hundred_pieces_are_asked_and_most_of_them_hidden(source: Path) -> None:
    blocks = blocks_of(source)
    masked = MaskedBlocks(blocks, masker_of(blocks), draws=4 * len(blocks))
    asked = hidden = same = total = 0
    for draw in range(len(masked)):
        epoch, place = divmod(draw, len(blocks))
        original = torch.from_numpy(blocks.pieces[masked._rows(epoch)[place]].astype(np.int64))
        pieces, labels = masked[draw]["input_ids"], masked[draw]["labels"]
        chosen = labels != IGNORED
        assert torch.equal(labels[chosen], original[chosen])
        assert torch.equal(pieces[~chosen], original[~chosen])
        assert not set(labels[chosen].tolist()) & {0, 1, 2, 3, 600}
        asked += int(chosen.sum())
        hidden += int((pieces[chosen] == 600).sum())
        same += int((pieces[chosen] == original[chosen]).sum())
        total += int((~torch.isin(original, torch.tensor([0, 1, 2, 3, 600]))).sum())
    assert asked / total == pytest.approx(0.15, abs=0.01)
    assert hidden / asked == pytest.approx(0.8, abs=0.03)
    assert same / asked == pytest.approx(0.1, abs=0.03)


def test_whole_words_are_hidden_whole(source: Path) -> None:
    blocks = blocks_of(source)
    masker = masker_of(blocks, whole_words=True)
    longer = 0
    for row in range(20):
        labels = masker(blocks, row, row)[1].numpy()
        words = np.cumsum(blocks.begins[row])
        for word in np.unique(words):
            places = (words == word) & ~np.isin(blocks.pieces[row], masker.reserved)
            if places.any():
                assert len(set((labels[places] != IGNORED).tolist())) == 1
                longer += places.sum() > 1 and bool((labels[places] != IGNORED).all())
        share = (labels != IGNORED).sum() / (~np.isin(blocks.pieces[row], masker.reserved)).sum()
        assert 0.1 < share < 0.5
    assert longer > 5


def test_a_mask_depends_on_the_seed_and_the_draw_alone(source: Path) -> None:
    blocks = blocks_of(source)

    def drawn(seed: int, order: list[int]) -> dict[int, list[int]]:
        masked = MaskedBlocks(blocks, masker_of(blocks, seed=seed), draws=3 * len(blocks))
        return {draw: masked[draw]["input_ids"].tolist() for draw in order}

    draws = list(range(3 * len(blocks)))
    first = drawn(5, draws)
    assert drawn(5, draws[::-1]) == first
    assert drawn(6, draws) != first
    masked = MaskedBlocks(blocks, masker_of(blocks), draws=2 * len(blocks))
    orders = [masked._rows(epoch).tolist() for epoch in (0, 1)]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(len(blocks)))
