"""A trained model as a Hugging Face folder with its heads, so that another recipe goes on from
it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file, save_file

from serving.bundle import TOKENIZER, Bundle, Head
from training.encoders.sources import encoder_fingerprint, former_fingerprints, load_encoder
from training.lineage import Lineage
from training.runs import HEADS, RECIPE, Run, RunError
from training.scratch import beside
from training.settings import Recipe

if TYPE_CHECKING:
    from torch import Tensor

    from training.model import MultiHeadModel

HEAD_WEIGHTS = "heads.safetensors"


def write_trained(
    runs: Sequence[Run], target: Path, bundles: Mapping[Path, Path] | None = None
) -> None:
    """Write the encoder and heads of a run's last checkpoint, in float32, with the run's tokenizer,
    to the new folder `target`; of several runs the mean of their weights.

    Runs must have begun at the same weights, or the first must go on from the other. `bundles` have
    their part in the mean as a run has, each with the folder that it was unpacked to; the first
    run, or one that it goes on from, must have begun at that (Wortsman et al. 2022, WiSE-FT).
    """
    first, *others = runs
    model, began_with, recipe = first.model(), first.encoder(), first.recipe
    if others or bundles:
        _average(model, first, others, bundles or {})
    averaged = [Bundle.load(folder).manifest for folder in bundles or ()]
    lineage = Lineage.joined([*map(Lineage.of_run, runs), *map(Lineage.of_bundle, averaged)])
    about = {
        "run": {"name": recipe.name, "version": recipe.version},
        **lineage.to_dict(),
        **_rules(recipe),
    }
    with beside(target) as partial:
        encoder: Any = model.encoder
        encoder.save_pretrained(partial)
        for name in (TOKENIZER, "tokenizer_config.json"):
            if (began_with / name).is_file():
                shutil.copy(began_with / name, partial)
        write_heads(partial, model.specs, dict(model.heads.state_dict()), about)
        partial.rename(target.resolve())


def _rules(recipe: Recipe) -> dict[str, Any]:
    return {
        "normalization": recipe.normalization.model_dump(),
        "window": recipe.windows.model_dump(include={"size", "overlap_tokens"}),
        "pair_max_pieces": recipe.windows.pair_max_pieces,
    }


def _average(
    model: MultiHeadModel, first: Run, others: Sequence[Run], bundles: Mapping[Path, Path]
) -> None:
    """Make a run's model the mean of it, others and bundles; what does not fit is refused. A head
    that a bundle left out is the mean of the others'.
    """
    total = model.state_dict()
    counts = dict.fromkeys(total, 1)

    def add(weights: dict[str, Tensor]) -> None:
        for name in total.keys() & weights.keys():
            total[name] = total[name] + weights[name]
            counts[name] += 1

    for run in others:
        unlike = [name for name, of in _ALIKE.items() if of(run) != of(first)]
        if _BEGAN in unlike and _goes_on_from(first, run):
            unlike.remove(_BEGAN)
        _refuse(run.folder, first, unlike)
        add(run.model().state_dict())
    for bundle, folder in bundles.items():
        _refuse(bundle, first, _unlike(folder, first.recipe, model.specs))
        _require_start(first, bundle, folder)
        add(trained_weights(folder))
    model.load_state_dict({name: weight / counts[name] for name, weight in total.items()})


_BEGAN = "the weights it began at"
# What runs whose weights are averaged must have in common; one that the first goes on from need not
# have begun where it did.
_ALIKE: dict[str, Callable[[Run], Any]] = {
    _BEGAN: lambda run: run.started_from,
    "its heads": lambda run: {n: (h.kind, h.labels) for n, h in run.recipe.heads.items()},
    "normalization": lambda run: run.recipe.normalization,
    "windows": lambda run: run.recipe.windows,
}


def _unlike(folder: Path, recipe: Recipe, own: Sequence[Head]) -> list[str]:
    """In what an unpacked bundle differs from a recipe and its heads; one may lack some."""
    told = json.loads((folder / HEADS).read_text(encoding="utf-8"))
    heads = {head.name: head for head in map(Head.model_validate, told["heads"])}
    both = [(heads[head.name], head) for head in own if head.name in heads]
    unlike = [name for name, rule in _rules(recipe).items() if told[name] != rule]
    if any((one.kind, one.labels) != (other.kind, other.labels) for one, other in both):
        unlike.append("its heads")
    return unlike


def _refuse(folder: Path, first: Run, unlike: Sequence[str]) -> None:
    if unlike:
        raise RunError(
            f"{folder}: differs from {first.folder} in {', '.join(unlike)}; average "
            "runs that began at the same weights, or one with another that it goes on from and "
            "that is where it was, of recipes that differ in how they train"
        )


def _steps(run: Run) -> list[Run]:
    """A run and those that it goes on from, the last one first."""
    steps = [run]
    while (source := Path(steps[-1].recipe.encoder.source)).joinpath(RECIPE).is_file():
        steps.append(Run.open(source))
    return steps


def _goes_on_from(run: Run, other: Run) -> bool:
    """Whether a run, by as many steps as may be, began at the weights that another has now."""
    for step in _steps(run):
        if encoder_fingerprint(step.encoder()) != step.started_from:
            return False
        if Path(step.recipe.encoder.source).resolve() == other.folder.resolve():
            return True
    return False


def _require_start(run: Run, bundle: Path, folder: Path) -> None:
    """Refuse a bundle at which neither a run began, nor one of those that it goes on from, nor an
    encoder of theirs before it was adapted.
    """
    steps = _steps(run)
    began = {step.started_from for step in steps}
    began.update(former for step in steps for former in former_fingerprints(step.encoder()))
    if encoder_fingerprint(folder) not in began:
        raise RunError(
            f"{bundle}: none of {', '.join(str(step.folder) for step in steps)} began at its "
            f"weights; average {run.folder} with a bundle that it or a run before it names as its "
            "encoder.source, and keep those runs where they were"
        )


def trained_weights(folder: Path) -> dict[str, Tensor]:
    """The weights of the folder of an encoder with heads, by their names in `MultiHeadModel`."""
    encoder: Any = load_encoder(folder)
    weights = {f"encoder.{name}": weight for name, weight in encoder.state_dict().items()}
    heads = load_file(folder / HEAD_WEIGHTS)
    return weights | {f"heads.{name}": weight for name, weight in heads.items()}


def write_heads(
    folder: Path, heads: Sequence[Head], weights: dict[str, Tensor], about: dict[str, Any]
) -> None:
    """Write heads beside their encoder: weights by name below the head's, and heads.json, which
    says what they are and `about` under which rules they read.
    """
    tensors = {name: weight.contiguous() for name, weight in weights.items()}
    save_file(tensors, folder / HEAD_WEIGHTS, metadata={"format": "pt"})
    row = {**about, "heads": [head.model_dump(mode="json") for head in heads]}
    (folder / HEADS).write_text(json.dumps(row, ensure_ascii=False, indent=1) + "\n", "utf-8")


def load_heads(model: MultiHeadModel, folder: Path) -> list[str]:
    """Copy the heads of a folder into a model; returns the names of those that fit by name, kind,
    labels and shape.
    """
    known = json.loads((folder / HEADS).read_text(encoding="utf-8"))["heads"]
    saved = {head.name: head for head in map(Head.model_validate, known)}
    weights = load_file(folder / HEAD_WEIGHTS)
    loaded = []
    for spec in model.specs:
        head = saved.get(spec.name)
        if head is None or (head.kind, head.labels) != (spec.kind, spec.labels):
            continue
        module = model.heads[spec.name]
        prefix = f"{spec.name}."
        found = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
        expected = {name: weight.shape for name, weight in module.state_dict().items()}
        if {name: weight.shape for name, weight in found.items()} == expected:
            module.load_state_dict(found)
            loaded.append(spec.name)
    return loaded
