"""The front matter of a model card: what the Hugging Face hub reads of a model, scores included.

The format is the hub's own, written by `huggingface_hub`: a `model-index` lists each score under
its task, data set and split.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from annotations.catalogue import catalogue
from serving.bundle import Manifest

HUB_NAMES = {"packaged": "intfloat/multilingual-e5-small"}
RESEARCH_USE = "research-use-rights-not-cleared"
SEE_SOURCE = "see-the-source-model"
SEE_DATA = "see-the-training-data"
Row = dict[str, Any]
# metric of a score row -> the hub's type, its name, the key of its interval
_METRICS = {
    "f1": ("f1", "F1 (micro, seqeval)", "interval"),
    "f1_strict": ("f1", "F1 (micro, seqeval IOB2 strict)", None),
    "precision": ("precision", "precision (micro)", None),
    "recall": ("recall", "recall (micro)", None),
    "accuracy": ("accuracy", "accuracy", "accuracy_interval"),
    "macro_f1": ("f1", "macro F1", "interval"),
    "ece": ("expected_calibration_error", "expected calibration error (ten bins)", None),
}


def front_matter(
    manifest: Manifest, name: str, scores: Sequence[Row], words: bool, library: str
) -> str:
    """The YAML head of a card, its fences included.

    `scores` are rows as a manifest holds them; `words` says that the model's main answer is a tag a
    word.
    """
    card = "README.md" if library == "transformers" else "MODEL_CARD.md"
    results = list(eval_results(scores))
    corpora = [entry["name"] for entry in manifest.data if entry["name"] in catalogue()]
    data = ModelCardData(
        language="ar",
        license="other",
        license_name=license_name(manifest),
        license_link=f"{card}#terms",
        library_name=library,
        pipeline_tag="token-classification" if words else "text-classification",
        tags=["arabic", "news", *_tags(manifest)],
        datasets=None if "imported" in manifest.training else corpora or None,
        base_model=base_model(manifest.encoder),
        model_name=name if results else None,
        eval_results=results or None,
    )
    return f"---\n{data.to_yaml()}\n---"


def eval_results(scores: Sequence[Row]) -> Iterator[EvalResult]:
    """Each number of score rows as the hub lists it, with its interval, count and command."""
    for row in scores:
        yield from _row_results(row, row["head"], row)
        if "coarse" in row:
            yield from _row_results(row, f"{row['head']} (coarse view)", row["coarse"])


def _row_results(row: Row, head: str, numbers: Row) -> Iterator[EvalResult]:
    words = "f1" in row
    dataset, _, split = row["split"].rpartition(" ")
    measured = {"items": numbers["items"]}
    measured |= {"command": row["command"]} if row.get("command") else {}
    for key, (kind, name, interval) in _METRICS.items():
        if numbers.get(key) is None:
            continue
        yield EvalResult(
            task_type="token-classification" if words else "text-classification",
            task_name=f"head {head}",
            dataset_type=re.sub(r"[^a-z0-9]+", "-", (dataset or split).lower()),
            dataset_name=dataset or split,
            dataset_config=head,
            dataset_split=split,
            dataset_args=measured,
            metric_type=kind,
            metric_name=name,
            metric_value=float(numbers[key]),
            metric_args={"interval_95": [float(end) for end in numbers[interval]]}
            if interval in numbers
            else None,
        )


def license_name(manifest: Manifest) -> str:
    """What stands for a licence: the source's for an imported model, research use where khabar's
    own corpora taught it.
    """
    if "imported" in manifest.training:
        return SEE_SOURCE
    shipped = any(entry["name"] in catalogue() for entry in manifest.data)
    return RESEARCH_USE if shipped else SEE_DATA


def base_model(encoder: str) -> str | None:
    """The hub's name of an encoder as a manifest states it; a local folder has none."""
    source = encoder.removesuffix(" (trimmed)")
    if source in HUB_NAMES:
        return HUB_NAMES[source]
    is_hub_name = re.fullmatch(r"[\w.-]+/[\w.-]+", source) and not source.startswith(".")
    return source if is_hub_name and not Path(source).exists() else None


def _tags(manifest: Manifest) -> list[str]:
    kinds = {head.kind for head in manifest.heads}
    tags = ["named-entity-recognition"] if kinds & {"nested", "flat"} else []
    return [*tags, *(head.name for head in manifest.heads if head.kind in ("text", "pair"))]
