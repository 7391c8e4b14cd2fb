"""What a batch job is asked: the part that shapes its output, and the part that does not."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from serving.batch.errors import UsageError
from serving.prediction import MAX_CODE_POINTS, Targets

InputFormat = Literal["jsonl", "csv", "tsv", "parquet", "text", "html", "json"]
OutputFormat = Literal["jsonl", "parquet"]
FIELDS = ("id", "text", "title", "targets", "claims")


@dataclass(frozen=True)
class BatchOptions:
    """All that the bytes of the output depend on, apart from the input and the bundle.

    `columns` maps a field of an article to the column or key that holds it; `targets` and `claims`
    are asked of every article that brings none of its own. `sample` is the share of the rows that
    is taken, drawn by `seed` from their places; `limit` counts the rows that are left then. A part
    ends after `part_rows` rows or `part_bytes` bytes.
    """

    input_format: InputFormat | None = None
    encoding: str = "utf-8"
    columns: Mapping[str, str] = field(default_factory=dict)
    targets: Targets = ()
    claims: tuple[str, ...] = ()
    max_code_points: int = MAX_CODE_POINTS
    limit: int | None = None
    sample: float = 1.0
    seed: int = 0
    part_rows: int = 500
    part_bytes: int = 4 * 1024 * 1024
    output_format: OutputFormat = "jsonl"
    keep_text: bool = False
    entity_table: bool = True

    def __post_init__(self) -> None:
        for name, found in self.columns.items():
            if name not in FIELDS:
                raise UsageError(
                    f"--column {name}={found}: no field {name!r}; use {', '.join(FIELDS)}"
                )
        for option, value, known in (
            ("--format", self.input_format, (None, *get_args(InputFormat))),
            ("--output-format", self.output_format, get_args(OutputFormat)),
        ):
            if value not in known:
                names = ", ".join(name for name in known if name)
                raise UsageError(f"{option} {value}: no such format; use {names}")
        if not 0 < self.sample <= 1:
            raise UsageError(
                f"--sample {self.sample}: give a share of the rows, above 0, at most 1"
            )
        try:
            "".encode(self.encoding)
            # one name for each, however it is spelt: the job is the same
            object.__setattr__(self, "encoding", codecs.lookup(self.encoding).name)
        except (LookupError, UnicodeError):
            raise UsageError(
                f"--encoding {self.encoding}: unknown; use utf-8, cp1256, utf-16, iso8859-6"
            ) from None

    def column(self, name: str) -> str:
        """The column or key that holds a field of an article."""
        return self.columns.get(name, name)

    def key(self) -> dict[str, Any]:
        """The options as JSON, by which a job knows that it is the same."""
        return {
            **asdict(self),
            "columns": dict(sorted(self.columns.items())),
            "targets": self.targets if self.targets == "auto" else list(self.targets),
            "claims": list(self.claims),
        }
