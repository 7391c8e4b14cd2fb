"""An encoder under a masked-language-model head: its own where the folder has one, else a fresh one
whose decoder is the table of word embeddings.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModelForMaskedLM
from transformers.utils import logging as hub_logging

from training.encoders.packaged import EncoderError
from training.examples import IGNORED

log = logging.getLogger(__name__)
# Families whose head takes hidden states of single pieces: only hidden ones are then decoded.
HEADS = {"bert": "cls", "roberta": "lm_head", "xlm-roberta": "lm_head", "camembert": "lm_head"}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the loader's report: of a fresh head it says that the checkpoint seems corrupted."""
    level = hub_logging.get_verbosity()
    hub_logging.set_verbosity_error()
    try:
        yield
    finally:
        hub_logging.set_verbosity(level)


class MaskedLanguageModel(nn.Module):
    """The model of a Hugging Face folder that guesses hidden pieces."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        config = AutoConfig.from_pretrained(folder)
        self.kept_dropout = getattr(config, "attention_probs_dropout_prob", None)
        if self.kept_dropout is not None:
            # attention without dropout runs in one fused kernel
            config.attention_probs_dropout_prob = 0.0
        with _quiet():
            self.model, loading = AutoModelForMaskedLM.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                trust_remote_code=False,
                output_loading_info=True,
            )
        prefix = self.model.base_model_prefix + "."
        missing = {name for name in loading["missing_keys"] if name.startswith(prefix)}
        if missing:
            raise EncoderError(
                f"{folder}: the weights lack {', '.join(sorted(missing)[:3])}; give the whole "
                "folder of the model"
            )
        self.fresh_head = bool(loading["missing_keys"])
        log.info("the head over %s is %s", folder, "fresh" if self.fresh_head else "its own")
        whole = dict(super().state_dict())
        self._keys_to_ignore_on_save = sorted(whole.keys() - self.state_dict().keys())

    @property
    def encoder(self) -> Any:
        """The encoder without the head."""
        return self.model.base_model

    def head_weights(self) -> Iterator[nn.Parameter]:
        """The weights that are the head's alone."""
        shared = {id(weight) for weight in self.encoder.parameters()}
        return (weight for weight in self.model.parameters() if id(weight) not in shared)

    def keep_layers(self, layers: int, folder: Path) -> None:
        """Cut off the layers above the lowest ones."""
        stack = layers_of(self.encoder)
        if layers > len(stack):
            raise EncoderError(
                f"{folder} has {len(stack)} layers, so generator_layers cannot be {layers}; give "
                "at most as many"
            )
        del stack[layers:]
        self.encoder.config.num_hidden_layers = layers

    def forward(self, input_ids: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The mean `loss` over hidden pieces; both inputs are (batch, pieces)."""
        hidden = labels != IGNORED
        loss = functional.cross_entropy(self.logits(input_ids, hidden).float(), labels[hidden])
        return {"loss": loss, "guessing": loss.detach()}

    def logits(self, input_ids: Tensor, hidden: Tensor) -> Tensor:
        """A score of each piece of the vocabulary, for the hidden places alone: (hidden ones,
        vocabulary).
        """
        mask = torch.ones_like(input_ids)
        name = HEADS.get(self.model.config.model_type)
        if name is None:
            every: Tensor = self.model(input_ids=input_ids, attention_mask=mask).logits
            return every[hidden]
        states = self.encoder(input_ids=input_ids, attention_mask=mask).last_hidden_state
        scores: Tensor = getattr(self.model, name)(states[hidden])
        return scores

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Every weight once: safetensors takes no shared ones."""
        state = super().state_dict(*args, **kwargs)
        seen: set[int] = set()
        for name in list(state):
            if state[name].data_ptr() in seen:
                del state[name]
            else:
                seen.add(state[name].data_ptr())
        return state

    def tie_weights(self) -> None:
        """Tie the decoder to the embeddings again."""
        self.model.tie_weights()


def layers_of(encoder: Any) -> nn.ModuleList:
    """The stack of an encoder's layers, lowest first."""
    count = int(encoder.config.num_hidden_layers)
    (stack,) = (
        module
        for module in encoder.modules()
        if isinstance(module, nn.ModuleList) and len(module) == count
    )
    return stack


def save_encoder(encoder: Any, folder: Path, dropout: float | None) -> None:
    """Write an encoder alone as a Hugging Face folder, without a tokenizer, with the attention
    dropout that it came with.
    """
    if dropout is not None:
        encoder.config.attention_probs_dropout_prob = dropout
    encoder.save_pretrained(folder)
