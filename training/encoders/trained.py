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

from serving.bundle import TOKENIZER, Head
from training.encoders.sources import encoder_fingerprint, load_encoder
from training.runs import RECIPE, Run, RunError
from training.scratch import beside

if TYPE_CHECKING:
    from torch import Tensor

    from training.model import MultiHeadModel

HEADS, HEAD_WEIGHTS = "heads.json", "heads.safetensors"


def write_trained(
    runs: Sequence[Run], target: Path, bundles: Mapping[Path, Path] | None = None
) -> None:
    """Write the encoder and heads of a run's last checkpoint, in float32, with the run's tokenizer,
    to the new folder `target`; of several runs the mean of their weights.

    `bundles` have their part in the mean as a run has, each with the folder of what it computes
    with; the runs must once have begun at them (Wortsman et al. 2022, WiSE-FT).
    """
    first, *others = runs
    model, began_with, recipe = first.model(), first.encoder(), first.recipe
    if others or bundles:
        _average(model, first, others, bundles or {})
    about = {
        "run": {"name": recipe.name, "version": recipe.version},
        "normalization": recipe.normalization.model_dump(),
        "window": recipe.windows.model_dump(include={"size", "overlap_tokens"}),
        "pair_max_pieces": recipe.windows.pair_max_pieces,
    }
    with beside(target) as partial:
        encoder: Any = model.encoder
        encoder.save_pretrained(partial)
        for name in (TOKENIZER, "tokenizer_config.json"):
            if (began_with / name).is_file():
                shutil.copy(began_with / name, partial)
        write_heads(partial, model.specs, dict(model.heads.state_dict()), about)
        partial.rename(target.resolve())


def _average(
    model: MultiHeadModel, first: Run, others: Sequence[Run], bundles: Mapping[Path, Path]
) -> None:
    """Make a run's model the mean of it, others and bundles; what does not fit is refused. A head
    that a bundle left out is the mean of the others'.
    """
    parts = [model.state_dict()]
    for run in others:
        differing = [name for name, of in _ALIKE.items() if of(run) != of(first)]
        if differing:
            raise RunError(
                f"{run.folder}: differs from {first.folder} in {', '.join(differing)}; average "
                "runs that began at the same weights, of recipes that differ in how they train"
            )
        parts.append(run.model().state_dict())
    for bundle, folder in bundles.items():
        if encoder_fingerprint(folder) not in _starts(first):
            raise RunError(
                f"{bundle}: {first.folder} did not begin there, nor did the runs before it; "
                "average it with a bundle that it was trained from"
            )
        parts.append(trained_weights(folder))
    mean = {}
    for name in model.state_dict():
        found = [part[name] for part in parts if name in part]
        mean[name] = sum(found[1:], found[0]) / len(found)
    model.load_state_dict(mean)


def _starts(run: Run) -> set[str | None]:
    """The fingerprints of the weights that a run began at, and those that the runs began at that it
    goes on from.
    """
    found = {run.started_from}
    while (source := Path(run.recipe.encoder.source)).joinpath(RECIPE).is_file():
        run = Run.open(source)
        found.add(run.started_from)
    return found


def trained_weights(folder: Path) -> dict[str, Tensor]:
    """The weights of the folder of an encoder with heads, by their names in `MultiHeadModel`."""
    encoder: Any = load_encoder(folder)
    weights = {f"encoder.{name}": weight for name, weight in encoder.state_dict().items()}
    heads = load_file(folder / HEAD_WEIGHTS)
    return weights | {f"heads.{name}": weight for name, weight in heads.items()}


# What runs whose weights are averaged must have in common.
_ALIKE: dict[str, Callable[[Run], Any]] = {
    "the weights it began at": lambda run: run.started_from,
    "its heads": lambda run: {n: (h.kind, h.labels) for n, h in run.recipe.heads.items()},
    "normalization": lambda run: run.recipe.normalization,
    "windows": lambda run: run.recipe.windows,
}


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
