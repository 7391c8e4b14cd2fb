"""Lineage: where the weights of a model come from, as every bundle tells it: the name of its first
encoder and all data that taught it since, the texts that the encoder was adapted to among them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from serving.bundle import Bundle, Manifest
from training.corpora import data_entry
from training.runs import HEADS, LINEAGE, ORIGIN, Run, read_json, write_text
from training.settings import Encoder, Recipe
from training.teachers import teacher_bundle


@dataclass(frozen=True, slots=True)
class Lineage:
    """The name of the first encoder, and an entry a corpus as in a bundle's manifest."""

    encoder: str
    data: tuple[dict[str, Any], ...]

    @classmethod
    def of_bundle(cls, manifest: Manifest) -> Self:
        """What a bundle tells."""
        return cls(manifest.encoder, tuple(manifest.data))

    @classmethod
    def of_encoder(cls, settings: Encoder, folder: Path) -> Self:
        """What the folder of an encoder tells; one that has no heads and was not adapted has learnt
        nothing here.
        """
        paths = [folder / name for name in (HEADS, ORIGIN) if (folder / name).is_file()]
        told = [read_json(path) for path in paths]
        name = settings.source + (" (trimmed)" if settings.trim else "")
        first = next((one["encoder"] for one in told if "encoder" in one), name)
        return cls(first, _distinct(entry for one in told for entry in one.get("data", [])))

    @classmethod
    def of_recipe(cls, recipe: Recipe, encoder: Path) -> Self:
        """That of what a recipe trains on the folder of its encoder."""
        before = cls.of_encoder(recipe.encoder, encoder)
        data = list(before.data)
        for teacher in dict.fromkeys(name for s in recipe.sources for name in s.taught_by):
            data += teacher_bundle(teacher).manifest.data
        lists = [name for s in recipe.sources if s.variants for name in s.variants.names]
        data += [data_entry(corpus) for corpus in (*(s.corpus for s in recipe.sources), *lists)]
        return cls(before.encoder, _distinct(data))

    @classmethod
    def of_run(cls, run: Run) -> Self:
        """That of a run, written when it began; of an older one, what its bundle tells."""
        path = run.folder / LINEAGE
        if not path.is_file():
            return cls.of_bundle(Bundle.load(run.bundle).manifest)
        told = read_json(path)
        return cls(told["encoder"], tuple(told["data"]))

    @classmethod
    def joined(cls, several: Iterable[Lineage]) -> Self:
        """That of the mean of several models: the encoder of the first, the data of all."""
        every = list(several)
        return cls(every[0].encoder, _distinct(entry for one in every for entry in one.data))

    def with_data(self, corpora: Iterable[str]) -> Lineage:
        """With the entries of more corpora."""
        return Lineage(self.encoder, _distinct([*self.data, *map(data_entry, corpora)]))

    def to_dict(self) -> dict[str, Any]:
        """The two fields, ready for JSON."""
        return {"encoder": self.encoder, "data": list(self.data)}

    def write(self, run: Path) -> None:
        """Leave it in the folder of a run."""
        write_text(run / LINEAGE, json.dumps(self.to_dict(), ensure_ascii=False, indent=1))


def _distinct(data: Iterable[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """One entry a corpus, the last one told; a user's files of one name that differ are two."""

    def key(entry: dict[str, Any]) -> tuple[str, ...]:
        own = Path(entry["name"]).suffix
        return (entry["name"], *sorted(entry["files"].values())) if own else (entry["name"],)

    return tuple({key(entry): entry for entry in data}.values())
