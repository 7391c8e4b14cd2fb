"""The bundle: what training hands to serving, a folder of data that is verified before it is used.

`bundle.json` says what the other files are and is written last; a folder without it is no bundle.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from annotations.clitics import NameLexicon
from annotations.errors import KhabarError
from annotations.hashes import sha256
from annotations.text import Normalization
from serving.chain import Transitions
from serving.decoding import Floats, Scheme, label_probabilities
from serving.encoding import SpecialPieces, TextEncoder, WindowRule
from serving.windows import require_overlap

FORMAT = 3
# 1 has no biases of labels and no `quiet` of transitions, 2 no head that reads pairs `mirrored`
READABLE = (1, 2, FORMAT)
MANIFEST = "bundle.json"
MODEL = "model.onnx"
TOKENIZER = "tokenizer.json"
LEXICON = "names.tsv"
CARD = "MODEL_CARD.md"
HASH_DIGITS = 12  # of a bundle's digest, where its beginning is shown
HeadKind = Literal["nested", "flat", "text", "pair"]
Combine = Literal["mean", "two_most_decided", "most_decided"]
Unit = Literal["window", "sentence", "mention"]
DEFAULT_FOLDER = Path(__file__).parent / "default_bundle"


class BundleError(KhabarError):
    """A bundle that is missing, damaged or of another format."""


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Head(_Settings):
    """A head of the model and how its answer is read.

    nested: one BIO sequence per label; flat: one BIO sequence; text: one label a text; pair: one
    label of a text and a target or claim. `temperature` divides the logits of text and pair heads
    and `biases`, none or one a label, are added to what it leaves; `slope` and `intercept` map the
    logit of a span's score to that of its confidence (Platt scaling), `transitions` tell how the
    tags of a nested head follow each other. `scheme` is how the tags of a flat head make entities,
    see `serving.decoding`; `io` has no B- tags. A head of claims that is `mirrored` reads a text of
    one sentence without a title both ways, for two sentences agree whichever comes first.
    """

    name: str
    kind: HeadKind
    labels: tuple[str, ...]
    experimental: bool = False
    temperature: float = Field(1.0, gt=0)
    biases: tuple[float, ...] = ()
    slope: float = 1.0
    intercept: float = 0.0
    transitions: Transitions | None = None
    combine: Combine = "mean"
    unit: Unit = "window"
    mirrored: bool = False
    scheme: Scheme = "iob2"

    def uncalibrated(self) -> Head:
        """The head as it is before anything is fitted."""
        fitted = ("temperature", "biases", "slope", "intercept", "transitions")
        return Head(**self.model_dump(exclude=set(fitted)))

    @model_validator(mode="after")
    def _one_bias_a_label(self) -> Head:
        if self.biases and (
            self.kind not in ("text", "pair") or len(self.biases) != len(self.labels)
        ):
            raise ValueError(
                f"head {self.name}: {len(self.biases)} biases for {len(self.labels)} labels of a "
                f"{self.kind} head; give one a label of a text or pair head, or none"
            )
        return self

    @model_validator(mode="after")
    def _mirror_claims_alone(self) -> Head:
        if self.mirrored and (
            (self.kind, self.unit) != ("pair", "sentence") or "favor" in self.labels
        ):
            raise ValueError(
                f"head {self.name} is mirrored; only a pair head of unit sentence, of claims, is"
            )
        return self

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags of a flat head, in the order of its logits."""
        prefixes = "I" if self.scheme == "io" else "BI"
        return ("O", *(f"{prefix}-{label}" for label in self.labels for prefix in prefixes))

    @property
    def width(self) -> int:
        """How many numbers the head gives for a word (or a text)."""
        return {"nested": 3 * len(self.labels), "flat": len(self.tags)}.get(
            self.kind, len(self.labels)
        )

    @property
    def columns(self) -> int:
        """How many choices its numbers for a word are: one a type where types nest."""
        return len(self.labels) if self.kind == "nested" else 1

    def probabilities(self, logits: Floats) -> Floats:
        """What a text or pair head says of its labels, calibrated, (..., labels)."""
        return label_probabilities(logits, self.temperature, self.biases)


class _Format(BaseModel):
    """What can be read of `bundle.json` whatever its format."""

    format: int


class Manifest(_Settings):
    """All of `bundle.json`."""

    format: int
    name: str
    version: str
    encoder: str
    heads: tuple[Head, ...]
    window: WindowRule
    pair_max_pieces: int
    batch_invariant: bool = False  # no answer depends on what else is in its batch
    special: SpecialPieces
    normalization: Normalization
    files: dict[str, str]  # name -> sha256
    training: dict[str, Any]
    data: list[dict[str, Any]]
    scores: list[dict[str, Any]]

    @model_validator(mode="after")
    def _heads_of_distinct_names(self) -> Manifest:
        names = [head.name for head in self.heads]
        if len(set(names)) < len(names):
            raise ValueError(f"two heads have one name among {', '.join(names)}; name each once")
        return self

    @model_validator(mode="after")
    def _windows_that_go_on(self) -> Manifest:
        require_overlap(self.window.room, self.window.overlap_tokens)
        return self


def bundle_digest(folder: Path) -> str:
    """The sha256 of a bundle's `bundle.json`, which itself holds that of every other file."""
    return sha256(folder / MANIFEST)


@dataclass(frozen=True)
class Bundle:
    """A verified bundle on disk."""

    folder: Path
    manifest: Manifest

    @classmethod
    def load(cls, folder: Path) -> Bundle:
        """The bundle of a folder, every file checked against its hash."""
        manifest = _read_manifest(folder)
        for name in (MODEL, TOKENIZER, LEXICON):
            if name not in manifest.files:
                raise BundleError(
                    f"{folder / MANIFEST}: no sha256 of {name}; export the bundle again"
                )
        for name, expected in manifest.files.items():
            path = folder / name
            if not path.is_file():
                raise BundleError(
                    f"{folder}: {name} is missing; copy the whole bundle or export it again"
                )
            found = sha256(path)
            if found != expected:
                raise BundleError(
                    f"{path}: sha256 is {found[:12]}…, bundle.json says {expected[:12]}…; the "
                    "file is damaged or "
                    "from another bundle, copy or export it again"
                )
        return cls(folder, manifest)

    @property
    def name(self) -> str:
        """The name of the model."""
        return self.manifest.name

    @property
    def version(self) -> str:
        """The version of the model."""
        return self.manifest.version

    @property
    def digest(self) -> str:
        """See `bundle_digest`."""
        return bundle_digest(self.folder)

    def head(self, name: str) -> Head:
        """A head by its name."""
        for head in self.manifest.heads:
            if head.name == name:
                return head
        names = ", ".join(head.name for head in self.manifest.heads)
        raise BundleError(f"{self.folder}: no head {name!r}; this bundle has {names}")

    @cached_property
    def lexicon(self) -> NameLexicon:
        """The words that begin names, by which clitics are told apart."""
        return NameLexicon.read(self.folder / LEXICON)

    def text_encoder(self) -> TextEncoder:
        """The tokenizer with the rules of the model."""
        return TextEncoder.from_file(
            self.folder / TOKENIZER,
            self.manifest.normalization,
            self.manifest.window,
            **asdict(self.manifest.special),
        )

    def summary(self) -> dict[str, Any]:
        """What a client may want to know of the model, ready for JSON."""
        manifest = self.manifest
        return {
            "name": manifest.name,
            "version": manifest.version,
            "sha256": self.digest,
            "encoder": manifest.encoder,
            "heads": {
                head.name: {"kind": head.kind, "labels": list(head.labels)}
                for head in manifest.heads
            },
            "experimental": [head.name for head in manifest.heads if head.experimental],
            "data": manifest.data,
            "scores": manifest.scores,
        }


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `bundle.json`, which makes a folder a bundle, in today's format; everything else must
    stand there already.
    """
    today = manifest.model_copy(update={"format": FORMAT})
    (folder / MANIFEST).write_text(today.model_dump_json(indent=1), encoding="utf-8")


def _read_manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleError(
            f"{folder}: no {MANIFEST}; give the folder of a bundle that `khabar train` finished"
        )
    data = path.read_bytes()
    try:
        found = _Format.model_validate_json(data).format
        if found in READABLE:
            return Manifest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise BundleError(f"{path}: {place}: {first['msg']}; export the bundle again") from None
    listed = ", ".join(map(str, READABLE[:-1]))
    raise BundleError(
        f"{path}: format {found}, this khabar reads {listed} and {READABLE[-1]}; "
        + ("install a newer khabar" if found > FORMAT else "export the bundle again")
    )
