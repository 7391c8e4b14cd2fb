"""The model: losses that see gold only, heads that read what they should, no talk in a batch."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from serving.bundle import Head
from training.encoders.sources import load_encoder
from training.encoders.tiny import save_tiny_encoder
from training.examples import IGNORED
from training.model import MultiHeadModel, PairHead, TextHead, segment_mean

HEADS = (
    Head(name="khabar", kind="nested", labels=("PERS", "GPE")),
    Head(name="anercorp", kind="flat", labels=("PERS", "LOC")),
    Head(name="topic", kind="text", labels=("politics", "economy", "sports")),
    Head(name="claim", kind="pair", labels=("agree", "disagree", "other")),
)
PAD = 1
Batch = tuple[Tensor, Tensor, Tensor]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> MultiHeadModel:
    folder = tmp_path_factory.mktemp("tiny")
    save_tiny_encoder(folder)
    torch.manual_seed(1)
    made = MultiHeadModel(load_encoder(folder), HEADS, 0.1, {"khabar": 4.0}).eval()
    with torch.no_grad():  # a trained head says more than a fresh one
        for weight in made.heads.parameters():
            weight.add_(torch.randn_like(weight) * 0.3)
    return made


def batch(lengths: list[int], pairs: bool = False, seed: int = 0) -> Batch:
    """Random inputs: ids, mask and segments, (batch, longest), padded."""
    random = torch.Generator().manual_seed(seed)
    longest = max(lengths)
    ids = torch.full((len(lengths), longest), PAD)
    mask, segments = torch.zeros_like(ids), torch.zeros_like(ids)
    for i, length in enumerate(lengths):
        ids[i, :length] = torch.randint(4, 200, (length,), generator=random)
        mask[i, :length] = 1
        segments[i, 1 : length - 1] = 1
        if pairs:
            middle = length // 2
            segments[i, middle : middle + 2] = 0
            segments[i, middle + 2 : length - 1] = 2
    return ids, mask, segments


@pytest.mark.parametrize("pairs", [False, True])
def test_batch_mates_and_padding_do_not_change_an_answer(
    model: MultiHeadModel, pairs: bool
) -> None:
    lengths = [9, 40, 17, 25]
    ids, mask, segments = batch(lengths, pairs)
    with torch.no_grad():
        together = model.logits(ids, mask, segments)
        for i, n in enumerate(lengths):
            alone = model.logits(ids[i : i + 1, :n], mask[i : i + 1, :n], segments[i : i + 1, :n])
            for head, many, one in zip(HEADS, together, alone, strict=True):
                kept = many[i, :n] if head.kind in ("nested", "flat") else many[i]
                torch.testing.assert_close(kept, one[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "classes"), [("khabar", 3), ("anercorp", 5)], ids=["nested", "flat"]
)
def test_the_loss_is_the_mean_over_the_words_alone(
    model: MultiHeadModel, name: str, classes: int
) -> None:
    index = [head.name for head in HEADS].index(name)
    columns = len(HEADS[index].labels) if classes == 3 else 1
    inputs = batch([20, 8])
    labels = torch.full((2, 20, columns), IGNORED)
    gold = {(0, 2): 1, (0, 3): 2, (0, 7): 0, (1, 1): 1, (1, 5): 0}  # (text, piece): tag
    for (text, piece), tag in gold.items():
        labels[text, piece] = tag
    with torch.no_grad():
        loss = model(*inputs, torch.tensor(index), labels.reshape(2, -1))["loss"]
        logits = model.logits(*inputs)[index].reshape(2, 20, columns, classes)
    chances = logits.log_softmax(-1)
    terms = [-chances[t, p, c, tag] for (t, p), tag in gold.items() for c in range(columns)]
    weight = 4.0 if name == "khabar" else 1.0
    torch.testing.assert_close(loss, weight * torch.stack(terms).mean())


def test_what_stands_in_the_padding_does_not_move_the_loss(model: MultiHeadModel) -> None:
    ids, mask, segments = batch([20, 8])
    labels = torch.full((2, 20), IGNORED)
    labels[0, 3], labels[1, 2] = 1, 3
    with torch.no_grad():
        before = model(ids, mask, segments, torch.tensor(1), labels)["loss"]
        ids[1, 8:] = 77
        after = model(ids, mask, segments, torch.tensor(1), labels)["loss"]
        labels[1, 4] = 2  # but a word does
        other = model(ids, mask, segments, torch.tensor(1), labels)["loss"]
    torch.testing.assert_close(before, after, rtol=0, atol=1e-5)
    assert abs(other - before) > 1e-3


def test_a_batch_teaches_the_encoder_and_its_own_head_only(model: MultiHeadModel) -> None:
    model.zero_grad()
    model(*batch([12, 12]), torch.tensor(2), torch.tensor([0, 2]))["loss"].backward()
    taught = {head.name for head in HEADS if model.heads[head.name].out.weight.grad is not None}
    assert taught == {"topic"}
    assert all(
        weight.grad is not None and weight.grad.abs().sum() > 0
        for weight in model.encoder.encoder.parameters()
        if weight.ndim > 1
    )
    model.zero_grad()


def test_segment_mean_is_the_mean_of_its_pieces_and_zero_without_any() -> None:
    hidden = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(0))
    segments = torch.tensor([[0, 1, 1, 0, 2, 0], [0, 1, 0, 0, 0, 0]])
    torch.testing.assert_close(segment_mean(hidden, segments, 1)[0], hidden[0, 1:3].mean(0))
    torch.testing.assert_close(segment_mean(hidden, segments, 2)[0], hidden[0, 4])
    torch.testing.assert_close(segment_mean(hidden, segments, 2)[1], torch.zeros(5))


@pytest.mark.parametrize("changed", [1, 2])
def test_a_pair_head_reads_both_segments(changed: int) -> None:
    torch.manual_seed(0)
    head = PairHead(16, 3, dropout=0.0).eval()
    hidden, segments = torch.randn(1, 10, 16), torch.tensor([[0, 1, 1, 1, 0, 0, 2, 2, 2, 0]])
    moved = hidden.clone()
    moved[segments == changed] += 1.0
    frame = hidden.clone()
    frame[segments == 0] += 1.0
    with torch.no_grad():
        assert (head(moved, segments) - head(hidden, segments)).abs().max() > 1e-3
        torch.testing.assert_close(head(frame, segments), head(hidden, segments))


def test_a_pair_head_knows_which_side_is_the_claim() -> None:
    torch.manual_seed(0)
    head = PairHead(16, 3, dropout=0.0).eval()
    hidden, segments = torch.randn(1, 8, 16), torch.tensor([[0, 1, 1, 0, 0, 2, 2, 0]])
    swapped = torch.tensor([[0, 2, 2, 0, 0, 1, 1, 0]])
    with torch.no_grad():
        assert (head(hidden, segments) - head(hidden, swapped)).abs().max() > 1e-3


def test_a_text_head_reads_the_text_and_not_its_frame() -> None:
    torch.manual_seed(0)
    head = TextHead(16, 3, dropout=0.0).eval()
    hidden, segments = torch.randn(1, 5, 16), torch.tensor([[0, 1, 1, 1, 0]])
    other = hidden.clone()
    other[:, [0, 4]] = 9.0
    with torch.no_grad():
        torch.testing.assert_close(head(other, segments), head(hidden, segments))


def test_word_heads_start_out_from_outside(tmp_path: Path) -> None:
    save_tiny_encoder(tmp_path)
    fresh = MultiHeadModel(load_encoder(tmp_path), HEADS, 0.1, {}).eval()
    with torch.no_grad():
        nested, flat, *_ = fresh.logits(*batch([30]))
    nested_chances = nested.reshape(1, 30, 2, 3).softmax(-1)
    assert nested_chances[..., 0].min() > 0.5 > nested_chances[..., 1:].max()
    assert flat.softmax(-1)[..., 0].min() > 0.5


def test_class_weights_enter_the_loss(model: MultiHeadModel) -> None:
    inputs, labels = batch([14, 9, 11], pairs=True), torch.tensor([0, 2, 2])
    weighted = MultiHeadModel(
        model.encoder, HEADS, 0.1, {"claim": 0.5}, {"claim": torch.tensor([[1.0, 1.0, 5.0]])}
    ).eval()
    weighted.heads = model.heads
    with torch.no_grad():
        logits = model.logits(*inputs)[3]
        loss = weighted(*inputs, torch.tensor(3), labels)["loss"]
    each = functional.cross_entropy(logits, labels, reduction="none")
    torch.testing.assert_close(loss, 0.5 * (each[0] + 5 * each[1] + 5 * each[2]) / 11)
