"""Which model reads a job: what must be the same for its output to be gone on with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving.batch.errors import UsageError
from serving.bundle import Bundle, bundle_digest


@dataclass(frozen=True, slots=True)
class ModelId:
    """A model's name and version, and a digest of what it is made of."""

    name: str
    version: str
    sha256: str

    @classmethod
    def of_bundle(cls, bundle: Bundle) -> ModelId:
        """The identity of a bundle."""
        return cls(bundle.name, bundle.version, bundle_digest(bundle.folder))

    @classmethod
    def of_summary(cls, summary: Mapping[str, Any], where: str) -> ModelId:
        """The identity of a served model, from the answer of `GET /v1/model`.

        A service that tells no digest of its bundle is known by that of all that it tells.
        """
        name, version = summary.get("name"), summary.get("version")
        if not isinstance(name, str) or not isinstance(version, str):
            raise UsageError(f"{where}: tells no name and version of its model; is it khabar?")
        told = summary.get("sha256")
        if not isinstance(told, str):
            told = hashlib.sha256(json.dumps(summary, sort_keys=True).encode()).hexdigest()
        return cls(name, version, told)
