"""The optimiser's groups: rates by layer, no decay of biases and norms."""

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModel

from annotations.errors import ConfigError
from training.encoders.sources import load_encoder
from training.encoders.tiny import save_tiny_encoder
from training.optimisation import adamw, bf16_pays, freeze, layer_of


def rates(model: torch.nn.Module, layer_decay: float) -> dict[str, tuple[float, float]]:
    """(rate, weight decay) of every weight by name."""
    optimiser = adamw([(model, 1e-3, layer_decay)], weight_decay=0.05)
    where = {
        id(w): (g["lr"], g["weight_decay"]) for g in optimiser.param_groups for w in g["params"]
    }
    assert len(where) == len(list(model.parameters()))
    return {name: where[id(weight)] for name, weight in model.named_parameters()}


def test_a_layer_learns_slower_than_the_one_above_it(tmp_path: Path) -> None:
    save_tiny_encoder(tmp_path)
    for name, (rate, _) in rates(load_encoder(tmp_path), 0.5).items():
        depth = {"layer.1": 0, "layer.0": 1}.get(name[8:15], 2)
        assert rate == pytest.approx(1e-3 * 0.5**depth), name


def test_without_layer_decay_all_weights_share_a_rate_and_norms_are_not_decayed(
    tmp_path: Path,
) -> None:
    save_tiny_encoder(tmp_path)
    for name, (rate, decay) in rates(load_encoder(tmp_path), 1.0).items():
        assert rate == 1e-3
        assert decay == (0.0 if name.endswith("bias") or "LayerNorm" in name else 0.05), name


@pytest.mark.parametrize(("layers", "learning"), [(0, 3), (1, 1), (2, 0)])
def test_frozen_layers_are_held_from_the_embeddings_up(
    tmp_path: Path, layers: int, learning: int
) -> None:
    save_tiny_encoder(tmp_path)
    encoder = load_encoder(tmp_path)
    freeze(encoder, layers)
    heights = {layer_of(name, 2) for name, w in encoder.named_parameters() if w.requires_grad}
    assert len(heights) == learning and all(height > layers for height in heights if layers)
    head = torch.nn.Linear(2, 2)
    groups = adamw([(encoder, 1e-3, 1.0), (head, 1e-3, 1.0)], weight_decay=0.01).param_groups
    taught = sum(w.requires_grad for w in encoder.parameters())
    assert sum(len(group["params"]) for group in groups) == taught + 2


def test_more_frozen_layers_than_there_are_is_refused(tmp_path: Path) -> None:
    save_tiny_encoder(tmp_path)
    with pytest.raises(ConfigError, match=r"frozen_layers is 3, the encoder has 2 layers"):
        freeze(load_encoder(tmp_path), 3)


def test_modules_of_other_rates_stand_side_by_side() -> None:
    one, two = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    groups = adamw([(one, 1e-4, 0.9), (two, 1e-3, 1.0)], weight_decay=0.0).param_groups
    found = {g["lr"]: {id(w) for w in g["params"]} for g in groups}
    assert found == {1e-4: set(map(id, one.parameters())), 1e-3: set(map(id, two.parameters()))}


@pytest.mark.parametrize("kind", ["bert", "xlm-roberta", "modernbert", "distilbert", "electra"])
def test_the_layers_of_an_encoder_are_found_whatever_its_class_calls_them(kind: str) -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
    if kind == "distilbert":
        sizes = {"dim": 32, "n_layers": 3, "n_heads": 2}
    config = AutoConfig.for_model(kind, vocab_size=50, intermediate_size=64, **sizes)
    config.pad_token_id = 0
    model = AutoModel.from_config(config)
    heights = {name: layer_of(name, 3) for name, _ in model.named_parameters()}
    assert set(heights.values()) == {0, 1, 2, 3}
    assert all(
        height == 0
        for name, height in heights.items()
        if "word_embed" in name or "tok_embed" in name
    )


def test_whether_bfloat16_pays_is_measured_and_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        pays = bf16_pays()
    said = caplog.records[-1].getMessage()
    assert said.endswith("bf16" if pays else "fp32") and "times as fast as fp32" in said
