"""Replaced-token detection (ELECTRA, Clark et al. 2020): an encoder learns to tell which pieces a
small generator has put in the places of others.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.encoders.language_model import MaskedLanguageModel
from training.encoders.sources import load_encoder
from training.examples import IGNORED

TELLING_WEIGHT = 50.0  # of the second loss beside the generator's, as in the paper


class ReplacedTokenModel(nn.Module):
    """The encoder of a Hugging Face folder, and a generator of its lowest layers that guesses what
    is hidden; the encoder reads the guesses and tells of each piece whether it was there before.

    The generator has weights of its own, the embeddings too, and is left behind.
    """

    fresh_head = True

    def __init__(self, folder: Path, generator_layers: int) -> None:
        super().__init__()
        self.generator = MaskedLanguageModel(folder)
        self.generator.keep_layers(generator_layers, folder)
        self.encoder = load_encoder(folder)
        self.kept_dropout = self.generator.kept_dropout
        width = int(self.encoder.config.hidden_size)
        self.telling = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, 1))
        self._keys_to_ignore_on_save = [
            f"generator.{name}" for name in self.generator._keys_to_ignore_on_save
        ]

    def head_weights(self) -> Iterator[nn.Parameter]:
        """The weights of the generator and of the head that tells."""
        yield from self.generator.parameters()
        yield from self.telling.parameters()

    def forward(self, input_ids: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """`loss`, of which `guessing` is the generator's over hidden pieces and `telling` the
        encoder's over all pieces; both inputs are (batch, pieces).
        """
        hidden = labels != IGNORED
        guesses = self.generator.logits(input_ids, hidden).float()
        guessing = functional.cross_entropy(guesses, labels[hidden])
        original = torch.where(hidden, labels, input_ids)
        read = original.clone()
        read[hidden] = self._drawn(guesses.detach())
        states = self.encoder(
            input_ids=read, attention_mask=torch.ones_like(read)
        ).last_hidden_state
        told = self.telling(states)[..., 0].float()
        telling = functional.binary_cross_entropy_with_logits(told, (read != original).float())
        loss = guessing + TELLING_WEIGHT * telling
        return {"loss": loss, "guessing": guessing.detach(), "telling": telling.detach()}

    def _drawn(self, guesses: Tensor) -> Tensor:
        """A piece for each hidden one, by its probability; while evaluating always the same."""
        chance = None
        if not self.training:
            chance = torch.Generator(guesses.device).manual_seed(0)
        return torch.multinomial(guesses.softmax(-1), 1, generator=chance)[:, 0]

    def tie_weights(self) -> None:
        """Tie the generator's decoder to its embeddings again."""
        self.generator.tie_weights()
