"""The numbers of a run's report: all that `report.json` holds and the page shows."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open

from annotations.catalogue import catalogue
from serving.bundle import MANIFEST, MODEL, Bundle, Head
from training.label_sets import judges
from training.preparation import recipe_heads
from training.report import analysis, confusion, worst
from training.report.analysis import Reliability, Score
from training.report.answers import Answers, dev_answers
from training.report.confusion import Matrix
from training.report.published import PublishedScore, published_scores
from training.report.worst import Error
from training.runs import DATA, Run, RunError, curve_name, read_json
from training.settings import Recipe
from training.source_documents import development_texts
from training.strict import validated

log = logging.getLogger(__name__)
NOTICE = (
    "This report contains text of the development splits; do not publish it where their terms "
    "forbid it."
)
_MIXED = (
    "the bundle was made by another recipe than recipe.json, which differs in {}; this report is "
    "of the bundle, and the curves, checkpoint and fingerprints of the other are left out"
)


@dataclass(frozen=True)
class SplitSummary:
    """A development split of a head: its scores in the bundle and what lies behind them.

    `scores` is the bundle's own row, of all `total` items; the rest is counted on the `items` that
    were read again, whose score is `recounted`.
    """

    corpus: str
    name: str
    metric: str
    value: float
    interval: tuple[float, float]
    total: int
    items: int
    recounted: float
    scores: dict[str, Any]
    matrix: Matrix
    before: Reliability
    after: Reliability
    lengths: list[Score]
    sources: list[Score]
    novelty: tuple[Score, Score] | None

    @property
    def complete(self) -> bool:
        """Whether no item of the split was left out."""
        return self.items == self.total


@dataclass(frozen=True)
class HeadSummary:
    """A head with its development splits; `matrix` and reliability are of all of them together."""

    name: str
    kind: str
    labels: tuple[str, ...]
    experimental: bool
    corpora: tuple[str, ...]
    splits: list[SplitSummary]
    matrix: Matrix | None
    before: Reliability | None
    after: Reliability | None
    calibration: dict[str, float]

    @property
    def words(self) -> bool:
        """Whether it finds entities, rather than labelling texts."""
        return self.kind in ("nested", "flat")


@dataclass(frozen=True)
class Summary:
    """A run in numbers; see `report.html` for what they mean. `mixed` says that the folder holds a
    bundle and what another recipe left.
    """

    name: str
    version: str
    encoder: str
    parameters: int | None
    bundle_bytes: int
    model_bytes: int
    seed: int
    minutes: dict[str, float]
    heads: list[HeadSummary]
    history: list[dict[str, Any]]
    history_missing: str | None
    quantisation: list[dict[str, Any]]
    logit_difference: dict[str, float]
    published: list[PublishedScore]
    data: list[dict[str, Any]]
    fingerprints: dict[str, Any]
    errors: list[Error]
    recipe: dict[str, Any]
    mixed: str | None

    def to_dict(self) -> dict[str, Any]:
        """The JSON of `report.json`."""
        found = asdict(self)
        found["published"] = [score.model_dump() for score in self.published]
        definitions = {
            "confusion": confusion.DEFINITION,
            "seen": analysis.SEEN_DEFINITION,
            "errors": worst.DEFINITION,
        }
        return {"notice": NOTICE, "definitions": definitions, **found}


def summarise(run: Run) -> Summary:
    """All numbers of a run with a finished bundle; its development items are read once more."""
    bundle = Bundle.load(run.bundle)
    recipe = _recipe(bundle, run)
    changed = recipe.changed_from(run.recipe)
    mixed = _MIXED.format(", ".join(changed)) if changed else None
    if mixed:
        log.warning("%s: %s", run.folder, mixed)
    answers: dict[str, list[Answers]] = {head.name: [] for head in bundle.manifest.heads}
    for found in dev_answers(bundle, recipe):
        if found.items:
            log.info("%s on %s: %d items read", found.head.name, found.split.name, len(found.items))
            answers[found.head.name].append(found)
    held_out = development_texts(recipe)
    surfaces = {
        name: analysis.train_surfaces(recipe, name, bundle.lexicon, held_out)
        for name, group in answers.items()
        if group and group[0].entities
    }
    everything = [found for group in answers.values() for found in group]
    training, corpora = bundle.manifest.training, [s.corpus for s in recipe.sources]
    history, missing = (
        ([], "those in its folder are of another recipe") if mixed else _history(run, recipe)
    )
    return Summary(
        name=bundle.name,
        version=bundle.version,
        encoder=bundle.manifest.encoder,
        parameters=None if mixed else _parameters(run.checkpoint),
        bundle_bytes=sum(path.stat().st_size for path in bundle.folder.iterdir()),
        model_bytes=(bundle.folder / MODEL).stat().st_size,
        seed=recipe.seed,
        minutes=dict(training.get("minutes", {})),
        heads=[
            _head(head, answers[head.name], bundle, recipe, surfaces.get(head.name, Counter()))
            for head in bundle.manifest.heads
        ],
        history=history,
        history_missing=missing,
        quantisation=list(training.get("int8_loss", [])),
        logit_difference=dict(training.get("logit_difference", {})),
        published=published_scores(corpora),
        data=[_data(entry) for entry in bundle.manifest.data],
        fingerprints={} if mixed else _fingerprints(run),
        errors=worst.worst_errors(everything, surfaces, bundle.lexicon),
        recipe=recipe.model_dump(mode="json"),
        mixed=mixed,
    )


def _recipe(bundle: Bundle, run: Run) -> Recipe:
    """The recipe that a bundle was made by, as it says; an old one's is that of the run."""
    raw = bundle.manifest.training.get("recipe")
    return run.recipe if raw is None else validated(raw, Recipe, f"{bundle.folder}/{MANIFEST}")


def _head(
    head: Head,
    answers: Sequence[Answers],
    bundle: Bundle,
    recipe: Recipe,
    surfaces: Mapping[str, int],
) -> HeadSummary:
    items = [item for found in answers for item in found.items]
    before, after = analysis.reliability(items) if items else (None, None)
    return HeadSummary(
        name=head.name,
        kind=head.kind,
        labels=head.labels,
        experimental=head.experimental,
        corpora=tuple(s.corpus for s in recipe.sources if s.head == head.name),
        splits=[
            split for found in answers if (split := _split(found, bundle, surfaces)) is not None
        ],
        matrix=_matrix(head, answers) if items else None,
        before=before,
        after=after,
        calibration=_calibration(head),
    )


def _calibration(head: Head) -> dict[str, float]:
    if head.kind in ("nested", "flat"):
        return {"slope": head.slope, "intercept": head.intercept}
    biases = zip(head.labels, head.biases, strict=False)  # there may be none
    return {"temperature": head.temperature, **{f"bias of {label}": bias for label, bias in biases}}


def _split(found: Answers, bundle: Bundle, surfaces: Mapping[str, int]) -> SplitSummary | None:
    row = next(
        (
            row
            for row in bundle.manifest.scores
            if row["split"] == found.split.name
            and row["head"] == found.head.name
            and ("f1" in row) == bool(found.entities)
        ),
        None,
    )
    if row is None:
        log.warning("%s: the bundle has no score on %s", found.head.name, found.split.name)
        return None
    recounted = analysis.headline(found)
    value = row["f1"] if found.entities else row["macro_f1"]
    if len(found.items) == found.total and not math.isclose(recounted, value, abs_tol=1e-3):
        log.warning(
            "%s on %s: %.4f when counted again, %.4f in the bundle; score it again",
            found.head.name, found.split.name, recounted, value,
        )  # fmt: skip
    before, after = analysis.reliability(found.items)
    return SplitSummary(
        corpus=found.corpus,
        name=found.split.name,
        metric="F1" if found.entities else "macro F1",
        value=value,
        interval=tuple(row["interval"]),
        total=found.total,
        items=len(found.items),
        recounted=recounted,
        scores=row,
        matrix=_matrix(found.head, [found]),
        before=before,
        after=after,
        lengths=analysis.by_length(found.items),
        sources=analysis.by_source(found.items),
        novelty=analysis.by_novelty(found.entities, surfaces, bundle.lexicon)
        if found.entities
        else None,
    )


def _matrix(head: Head, answers: Sequence[Answers]) -> Matrix:
    if head.kind in ("nested", "flat"):
        return confusion.entity_matrix(
            (item.gold, [scored.span for scored in item.predicted])
            for found in answers
            for item in found.entities
        )
    return confusion.label_matrix(
        head.labels,
        ((item.gold, item.predicted) for found in answers for item in found.labelled),
    )


def _history(run: Run, recipe: Recipe) -> tuple[list[dict[str, Any]], str | None]:
    """The learning curves, or why there are none."""
    try:
        return curves_by_head(run.history(), recipe), None
    except RunError as error:
        return [], str(error).removeprefix(f"{run.folder}/")


def curves_by_head(history: list[dict[str, Any]], recipe: Recipe) -> list[dict[str, Any]]:
    """A history whose scores are named HEAD/CORPUS. In an old one they have the name of the corpus,
    and those that several heads may have left there are dropped.
    """
    heads = {head.name: head for head in recipe_heads(recipe)}
    judged: dict[str, list[str]] = {}
    for source in recipe.sources:
        if judges(source, heads[source.head]):
            name = curve_name(source.head, source.corpus)
            judged[name] = [name]
            judged.setdefault(source.corpus, []).append(name)
    alone = {name: names[0] for name, names in judged.items() if len(names) == 1}
    return [
        row | {"dev": {alone[name]: f1 for name, f1 in row["dev"].items() if name in alone}}
        if "dev" in row
        else row
        for row in history
    ]


def _parameters(checkpoint: Path | None) -> int | None:
    """How many numbers the model has, by its last checkpoint."""
    path = checkpoint / "model.safetensors" if checkpoint else None
    if path is None or not path.is_file():
        return None
    with safe_open(path, framework="numpy") as weights:
        shapes = [weights.get_slice(name).get_shape() for name in weights.keys()]  # noqa: SIM118
    return int(sum(math.prod(shape) for shape in shapes))


def _data(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What the bundle says of a corpus, with whom to cite."""
    corpus = catalogue().get(entry["name"])
    return {**entry, "citation": corpus.citation if corpus else None}


def _fingerprints(run: Run) -> dict[str, Any]:
    """The fingerprints of the examples of each source; none in a run that kept none."""
    path = run.folder / DATA
    found = read_json(path) if path.is_file() else {}
    return found if isinstance(found, dict) else {"examples": found}
