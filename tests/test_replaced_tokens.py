"""Replaced-token detection: what the generator is, what is asked of the encoder, what is left."""

import math
from pathlib import Path

import pytest
import torch

from tests.small_encoders import maskable_encoder, save_bert  # noqa: F401 - a fixture
from training.encoders.language_model import save_encoder
from training.encoders.packaged import EncoderError
from training.encoders.replaced_tokens import TELLING_WEIGHT, ReplacedTokenModel
from training.encoders.sources import load_encoder
from training.examples import IGNORED


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Pieces of which some are hidden behind piece 5, and what stood there; both (4, 24)."""
    chance = torch.Generator().manual_seed(3)
    original = torch.randint(6, 200, (4, 24), generator=chance)
    hidden = torch.rand(4, 24, generator=chance) < 0.25
    pieces = torch.where(hidden, torch.tensor(5), original)
    return pieces, torch.where(hidden, original, torch.tensor(IGNORED))


class Reading:
    """Keeps what the encoder of a model reads."""

    def __init__(self, model: ReplacedTokenModel) -> None:
        self.pieces: list[torch.Tensor] = []
        forward = model.encoder.forward

        def reading(input_ids: torch.Tensor, **others: torch.Tensor) -> object:
            self.pieces.append(input_ids.clone())
            return forward(input_ids=input_ids, **others)

        model.encoder.forward = reading


def test_the_generator_is_the_lowest_layers_with_weights_of_its_own(source: Path) -> None:
    model = ReplacedTokenModel(source, generator_layers=1)
    whole = load_encoder(source).state_dict()
    own = model.generator.encoder.state_dict()
    assert sum(name.startswith("encoder.layer.1.") for name in whole) > 0
    assert not [name for name in own if name.startswith("encoder.layer.1.")]
    for name, weight in own.items():
        assert torch.equal(weight, whole[name]), name
    shared = {id(w) for w in model.encoder.parameters()} & {id(w) for w in model.head_weights()}
    assert not shared
    ids = {id(w) for w in [*model.encoder.parameters(), *model.head_weights()]}
    assert ids == {id(w) for w in model.parameters()}
    with pytest.raises(EncoderError, match=r"has 2 layers, so generator_layers cannot be 3"):
        ReplacedTokenModel(source, generator_layers=3)


def test_the_encoder_reads_guesses_where_pieces_were_hidden_and_nothing_else_new(
    source: Path,
) -> None:
    torch.manual_seed(1)
    model = ReplacedTokenModel(source, generator_layers=1)
    reading = Reading(model)
    pieces, labels = batch()
    hidden = labels != IGNORED
    for _ in range(3):
        model(pieces, labels)
    for read in reading.pieces:
        assert torch.equal(read[~hidden], pieces[~hidden])
    assert len({tuple(read[hidden].tolist()) for read in reading.pieces}) == 3
    model.eval()
    model(pieces, labels)
    model(pieces, labels)
    assert torch.equal(*reading.pieces[-2:])  # the held-out loss is the same loss each time


def test_a_guess_that_is_right_is_no_replacement(source: Path) -> None:
    model = ReplacedTokenModel(source, generator_layers=1).eval()
    pieces, labels = batch()
    hidden = labels != IGNORED

    def told(guesses: torch.Tensor) -> float:
        model._drawn = lambda _: guesses  # type: ignore[method-assign]
        with torch.no_grad():
            model.telling[2].weight.zero_()
            model.telling[2].bias.fill_(-2.0)  # "nothing was replaced", everywhere
            return float(model(pieces, labels)["telling"])

    kept, wrong = math.log1p(math.exp(-2.0)), math.log1p(math.exp(2.0))
    share = float(hidden.float().mean())
    assert told(labels[hidden]) == pytest.approx(kept, rel=1e-4)
    assert told(labels[hidden] + 1) == pytest.approx(share * wrong + (1 - share) * kept, rel=1e-4)


def test_both_losses_are_learnt_from_and_stay_apart(source: Path) -> None:
    model = ReplacedTokenModel(source, generator_layers=1)
    losses = model(*batch())
    expected = losses["guessing"] + TELLING_WEIGHT * losses["telling"]
    assert float(losses["loss"].detach()) == pytest.approx(float(expected), rel=1e-5)
    losses["loss"].backward()
    unmoved = [
        name
        for name, weight in model.named_parameters()
        if weight.grad is None or not weight.grad.abs().sum()
    ]
    # the generator's guesses are drawn: what is told of them teaches the encoder alone
    assert all("position_embeddings" in name or ".key.bias" in name for name in unmoved), unmoved


def test_an_encoder_with_a_head_of_its_own_gives_its_generator_that(tmp_path: Path) -> None:
    save_bert(tmp_path / "bert", fast_tokenizer=True)
    model = ReplacedTokenModel(tmp_path / "bert", generator_layers=1)
    assert not model.generator.fresh_head and model.fresh_head
    save_encoder(model.encoder, tmp_path / "out", model.kept_dropout)
    ends = load_encoder(tmp_path / "out").state_dict()
    for name, weight in load_encoder(tmp_path / "bert").state_dict().items():
        assert torch.equal(weight, ends[name]), name
