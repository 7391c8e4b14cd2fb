"""The optimiser: AdamW whose rate falls from layer to layer, and whether bfloat16 pays here."""

from __future__ import annotations

import logging
import re
import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional

from annotations.errors import ConfigError

log = logging.getLogger(__name__)
_LAYER = re.compile(r"\blayers?\.(\d+)\.")
BF16_GAIN = 1.2  # below it the casts cost what the products save


def layer_of(name: str, layers: int) -> int:
    """The height of an encoder's weight by its name: 0 for embeddings, then 1 to `layers`; what
    stands in no layer but above all of them counts with the highest.
    """
    found = _LAYER.search(name)
    if found:
        return int(found[1]) + 1
    return 0 if "embed" in name else layers


def freeze(encoder: nn.Module, layers: int, setting: str = "optimiser.frozen_layers") -> None:
    """Hold an encoder's embeddings and its lowest `layers` layers as they are; 0 holds nothing.
    `setting` is what the number is called where it was given.
    """
    if not layers:
        return
    numbers = [found for name, _ in encoder.named_parameters() if (found := _LAYER.search(name))]
    depth = max((int(found[1]) + 1 for found in numbers), default=0)
    if layers > depth:
        raise ConfigError(
            f"{setting} is {layers}, the encoder has {depth} layers; freeze at most as many"
        )
    for name, weight in encoder.named_parameters():
        if layer_of(name, depth) <= layers:
            weight.requires_grad_(False)


def adamw(
    parts: Iterable[tuple[nn.Module, float, float]], weight_decay: float
) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019) over (module, learning rate, layer decay).

    Biases and norms are not decayed. A layer learns at `layer decay` times the rate of the one
    above it (Howard and Ruder 2018); modules without layers have one rate.
    """
    grouped: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
    for module, rate, layer_decay in parts:
        numbers = [_LAYER.search(name) for name, _ in module.named_parameters()]
        layers = max((int(found[1]) + 1 for found in numbers if found), default=0)
        for name, weight in module.named_parameters():
            if weight.requires_grad:
                depth = layers - layer_of(name, layers) if layers else 0
                decay = weight_decay if weight.ndim > 1 else 0.0
                grouped[rate * layer_decay**depth, decay].append(weight)
    groups: list[dict[str, Any]] = [
        {"params": weights, "lr": rate, "weight_decay": decay}
        for (rate, decay), weights in grouped.items()
    ]
    return torch.optim.AdamW(groups, fused=True)


def in_bf16(asked: bool | Literal["auto"]) -> bool:
    """Whether to compute in bf16: as asked, or by what is faster on this machine."""
    return bf16_pays() if asked == "auto" else asked


def bf16_pays(trials: int = 5) -> bool:
    """Whether matrix products of an encoder's size are faster in bfloat16 than in float32 on this
    machine.
    """
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        rows, weights = torch.randn(1024, 384, dtype=dtype), torch.randn(1536, 384, dtype=dtype)
        functional.linear(rows, weights)
        began = time.perf_counter()
        for _ in range(trials):
            functional.linear(rows, weights)
        seconds[dtype] = time.perf_counter() - began
    ratio = seconds[torch.float32] / seconds[torch.bfloat16]
    log.info(
        "bf16 matrix products run %.1f times as fast as fp32: %s",
        ratio,
        "bf16" if ratio > BF16_GAIN else "fp32",
    )
    return ratio > BF16_GAIN
