"""The label schema: fine entity types, coarse types, topics, stances and claims, read from
`configs/labels.yaml`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml

import configs
from annotations.errors import ConfigError
from annotations.schema import Span, outermost


@dataclass(frozen=True, slots=True)
class EntityType:
    """An entity type with its Arabic name, its colour (#rrggbb) and its coarse type, if it has
    one.
    """

    name: str
    arabic: str
    colour: str
    coarse: str | None


@dataclass(frozen=True, slots=True)
class LabelSchema:
    """All labels khabar knows; topics, stances and claims map a label to its Arabic name."""

    entities: dict[str, EntityType]
    coarse: dict[str, EntityType]
    topics: dict[str, str]
    stances: dict[str, str]
    claims: dict[str, str]

    def coarse_of(self, label: str) -> str | None:
        """The coarse type of a fine or coarse label; None when it has none or is unknown."""
        if label in self.coarse:
            return label
        entity = self.entities.get(label)
        return entity.coarse if entity else None

    def coarse_view(self, spans: tuple[Span, ...]) -> tuple[Span, ...]:
        """The flat coarse spans of nested fine ones: of nested coarse mentions the outermost
        counts.
        """
        mapped = ((span, self.coarse_of(span.label)) for span in spans)
        return outermost(
            tuple(Span(s.start, s.end, label) for s, label in mapped if label is not None)
        )


def _entity_types(section: str, table: dict[str, Any]) -> dict[str, EntityType]:
    types = {}
    for name, fields in table.items():
        unknown = set(fields) - {"arabic", "colour", "coarse"}
        if unknown or not {"arabic", "colour"} <= set(fields):
            raise ConfigError(
                f"configs/labels.yaml: {section}.{name} needs arabic and colour, may have coarse; "
                f"got {sorted(fields)}"
            )
        types[name] = EntityType(name, fields["arabic"], fields["colour"], fields.get("coarse"))
    return types


@cache
def label_schema() -> LabelSchema:
    """The schema of `configs/labels.yaml`."""
    raw = yaml.safe_load(configs.read_text("labels.yaml"))
    coarse = _entity_types("coarse", raw["coarse"])
    entities = _entity_types("entities", raw["entities"])
    for entity in entities.values():
        if entity.coarse is not None and entity.coarse not in coarse:
            raise ConfigError(
                f"configs/labels.yaml: entities.{entity.name} has the unknown coarse type "
                f"{entity.coarse!r}; use one of {', '.join(coarse)}"
            )
    return LabelSchema(entities, coarse, raw["topics"], raw["stances"], raw["claims"])
