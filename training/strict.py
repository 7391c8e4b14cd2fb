"""Strict settings: YAML files, validated, with overrides; an unknown key is an error that names
file and key and suggests the nearest.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from annotations.errors import ConfigError


class Settings(BaseModel):
    """Strict: what is not known is not accepted."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which a key stands once: of two, plain YAML would take the last without a word."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = [key.value for key, _ in node.value]
        for key, _ in node.value:
            if seen.count(key.value) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key.value!r} stands there twice", key.start_mark
                )
        return super().construct_mapping(node, deep)


_NOT_YAML = (yaml.YAMLError, ValueError, RecursionError)  # a date of month 13 is a ValueError
Model = TypeVar("Model", bound=Settings)


def load_settings(path: Path, model: type[Model], overrides: Sequence[str] = ()) -> Model:
    """The settings of a YAML file; each override `a.b=c` replaces one value of it.

    A file may begin from another with `extends: FILE` beside it: mappings are merged, everything
    else is replaced. The value of an override is read as YAML, in which `"1.0"` is text; numbers in
    its path pick from lists.
    """
    raw = _read(path, ())
    for override in overrides:
        _override(raw, override)
    return validated(raw, model, str(path))


def _read(path: Path, via: tuple[Path, ...]) -> dict[str, Any]:
    """The plain values of a file over those of the file that it extends."""
    if path.resolve() in via:
        way = " -> ".join(step.name for step in (*via, path))
        raise ConfigError(f"{path}: extends itself ({way})")
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; the shipped ones are in configs/")
    try:
        raw: Any = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeys)
    except _NOT_YAML as error:
        raise ConfigError(f"{path}: not YAML ({' '.join(str(error).split())})") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: {type(raw).__name__} where a mapping of settings is needed")
    base = raw.pop("extends", None)
    if base is None:
        return raw
    if not isinstance(base, str):
        raise ConfigError(f"{path}: extends names one file beside it, got {base!r}")
    return _merged(_read(path.parent / base, (*via, path.resolve())), raw)


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
    except _NOT_YAML:
        raise ConfigError(f"--set {override}: {text!r} is not YAML; quote it") from None
    place: Any = raw
    for key in keys[:-1]:
        place = _step(place, key, override)
    if isinstance(place, list):
        place[_index(place, keys[-1], override)] = value
    elif isinstance(place, dict):
        place[keys[-1]] = value
    else:
        raise ConfigError(f"--set {override}: {'.'.join(keys[:-1])} holds a value, not settings")


def _step(place: Any, key: str, override: str) -> Any:
    if isinstance(place, list):
        return place[_index(place, key, override)]
    if not isinstance(place, dict):
        raise ConfigError(f"--set {override}: there is nothing below a plain value")
    if place.get(key) is None:
        place[key] = {}
    return place[key]


def _index(place: list[Any], key: str, override: str) -> int:
    if not (key.isascii() and key.isdigit()) or int(key) >= len(place):
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
