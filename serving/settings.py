"""The settings of the HTTP service, `configs/serving.yaml` checked, and the bundle's folder."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

import configs
from annotations.errors import ConfigError

FILE = "serving.yaml"
BUNDLE_VARIABLE = "KHABAR_BUNDLE"


class ServeSettings(BaseModel):
    """Where the service listens and how much it takes; the values are in the file alone."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    host: str
    port: int = Field(ge=1, le=65535)
    threads: PositiveInt  # requests read at the same time
    max_waiting: PositiveInt  # requests waiting for a thread
    max_code_points: PositiveInt  # an article
    max_body_bytes: PositiveInt  # a request
    timeout_s: PositiveInt  # a request


def read_settings(text: str, name: str = f"configs/{FILE}") -> ServeSettings:
    """The settings of a YAML text; `name` is the file that an error speaks of."""
    try:
        raw: Any = yaml.safe_load(text)
        return ServeSettings.model_validate(raw)
    except yaml.YAMLError as error:
        raise ConfigError(f"{name} is not YAML: {error}") from None
    except ValidationError as error:
        found = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in found["loc"]) or "the file"
        known = ", ".join(ServeSettings.model_fields)
        if found["type"] == "extra_forbidden":
            raise ConfigError(f"{name}: unknown key {key!r}; use {known}") from None
        raise ConfigError(f"{name}: {key}: {found['msg']}; the keys are {known}") from None


@cache
def serve_settings() -> ServeSettings:
    """The settings of the installed `configs/serving.yaml`."""
    return read_settings(configs.read_text(FILE))


def bundle_folder() -> Path | None:
    """The bundle named by KHABAR_BUNDLE; None for the one that comes with the package."""
    named = os.environ.get(BUNDLE_VARIABLE, "").strip()
    return Path(named) if named else None
