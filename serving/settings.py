"""The settings of the HTTP service, `configs/serving.yaml` checked, and the bundle's folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
)

import configs
from annotations.errors import ConfigError
from serving.cores import usable_cores
from serving.prediction import Limits

FILE = "serving.yaml"
BUNDLE_VARIABLE = "KHABAR_BUNDLE"
SETTINGS_VARIABLE = "KHABAR_SETTINGS"
MAX_READING_THREADS = 8  # a tenth of their work is Python's, which one of them does at a time


class ServeSettings(BaseModel):
    """Where the service listens and how much it takes; the values are in the file alone."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    host: str
    port: int = Field(ge=1, le=65535)
    workers: PositiveInt  # processes
    threads: NonNegativeInt  # of a worker that read batches, 0 for as many as pay
    device: Literal["cpu", "cuda"]
    batch_pieces: PositiveInt  # read at once
    max_waiting_pieces: PositiveInt
    max_open_requests: PositiveInt
    max_code_points: PositiveInt  # of an article's text, and of its title
    max_body_bytes: PositiveInt  # a request
    body_timeout_s: PositiveInt
    timeout_s: PositiveInt  # a request, once its body is there
    drain_timeout_s: PositiveInt
    cors_origins: list[str]
    logs: Literal["auto", "json", "plain"]

    @property
    def limits(self) -> Limits:
        """What is told of how much the service takes."""
        return Limits(body_bytes=self.max_body_bytes, code_points=self.max_code_points)

    @property
    def reading_threads(self) -> int:
        """The threads of a worker that read batches, each on a core of its own; on a GPU one
        prepares while the other computes.
        """
        if self.threads or self.device == "cuda":
            return self.threads or 2
        return min(max(usable_cores() // self.workers, 1), MAX_READING_THREADS)


def read_settings(text: str, name: str, shipped: dict[str, Any] | None = None) -> ServeSettings:
    """The settings of a YAML text over those that ship; `name` is the file that an error speaks
    of.
    """
    try:
        raw: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{name} is not YAML: {error}") from None
    if raw is not None and not isinstance(raw, dict):
        raise ConfigError(f"{name} holds a YAML {type(raw).__name__}; write KEY: VALUE lines")
    raw = {**(shipped or {}), **(raw or {})}
    try:
        return ServeSettings.model_validate(raw)
    except ValidationError as error:
        found = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in found["loc"])
    known = ", ".join(ServeSettings.model_fields)
    if found["type"] == "extra_forbidden":
        raise ConfigError(f"{name}: unknown key {key!r}; use {known}")
    raise ConfigError(f"{name}: {key}: {found['msg']}; the keys are {known}")


@cache
def serve_settings() -> ServeSettings:
    """The settings of the installed `configs/serving.yaml` and of the file that KHABAR_SETTINGS
    names.
    """
    shipped = read_settings(configs.read_text(FILE), f"configs/{FILE}")
    own = named_place(SETTINGS_VARIABLE, os.environ)
    if own is None:
        return shipped
    try:
        text = own.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{own}: cannot be read ({error}); {SETTINGS_VARIABLE} names a YAML file"
        ) from None
    return read_settings(text, str(own), shipped.model_dump())


def bundle_folder() -> Path | None:
    """The bundle named by KHABAR_BUNDLE; None for the one that comes with the package."""
    return named_place(BUNDLE_VARIABLE, os.environ)


def named_place(variable: str, environment: Mapping[str, str]) -> Path | None:
    """The file or folder that a variable names; None where it names none.

    A relative path that leads nowhere is refused with the folder that it was looked for in, which
    in a Bento is none of the caller's.
    """
    named = environment.get(variable, "").strip()
    if not named:
        return None
    place = Path(named)
    if not place.is_absolute() and not place.exists():
        raise ConfigError(
            f"{variable}: no {named} in {Path.cwd()}; give the whole path, a Bento is served from "
            "a folder of its own"
        )
    return place
