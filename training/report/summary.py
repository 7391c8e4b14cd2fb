"""The numbers of a run's report: all that `report.json` holds and the page shows."""

from __future__ import annotations

import json
import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open

from annotations.catalogue import catalogue
from serving.bundle import MODEL, Bundle, Head
from training.report import analysis, confusion, worst
from training.report.analysis import Reliability, Score
from training.report.answers import Answers, dev_answers
from training.report.confusion import Matrix
from training.report.published import PublishedScore, published_scores
from training.report.worst import Error
from training.runs import DATA, Run, RunError
from training.settings import Recipe
from training.source_documents import development_texts

log = logging.getLogger(__name__)
NOTICE = (
    "This report contains text of the development splits; do not publish it where their terms "
    "forbid it."
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
    """A run in numbers; see `report.html` for what they mean."""

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
    bundle, recipe = Bundle.load(run.bundle), run.recipe
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
    history, missing = _history(run)
    return Summary(
        name=bundle.name,
        version=bundle.version,
        encoder=bundle.manifest.encoder,
        parameters=_parameters(run.checkpoint),
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
        fingerprints=_fingerprints(run),
        errors=worst.worst_errors(everything, surfaces, bundle.lexicon),
        recipe=recipe.model_dump(mode="json"),
    )


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


def _history(run: Run) -> tuple[list[dict[str, Any]], str | None]:
    """The learning curves, or why there are none."""
    try:
        return run.history(), None
    except RunError as error:
        return [], str(error).removeprefix(f"{run.folder}/")


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
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found if isinstance(found, dict) else {"examples": found}
