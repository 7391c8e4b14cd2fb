"""The model card of a bundle, from what its manifest says."""

from __future__ import annotations

import json
from typing import Any, get_args

from serving.bundle import Manifest
from training.export.model_index import (
    RESEARCH_USE,
    SEE_DATA,
    SEE_SOURCE,
    front_matter,
    license_name,
)
from training.gold import Gold

_RESEARCH_USE = """\
The code is Apache-2.0. **The weights are for research use; rights in the training data are not
cleared.** The texts they were trained on belong to their publishers, and several corpora state no
licence, research use or share-alike: see the table below. Get your own clearance before any other
use.
"""
_SEE_SOURCE = """\
The code is Apache-2.0. **The weights are another's: the terms of the source's card hold for them**,
and those of its training data, which this bundle does not know. The lexicon of name beginnings
was counted from the corpora named below.
"""
_SEE_DATA = """\
The code is Apache-2.0. The weights were trained on data of this recipe's author alone; their terms
are for the author to state, see the table below.
"""
_NOT_SCORED = (
    "None yet: `khabar evaluate --task ner|topic --data FILE --bundle DIR` scores it on any file."
)
_LIMITS = "Heads marked experimental learnt from too little to be relied on."
_OWN_GOLD_LIMITS = (
    "The gold of the `khabar` and `stance` heads is small and was made by language models: the "
    "Wojood sample (made by people), news written for the project, passages of ANT, the seed "
    "article. Expect the rarer types and unfamiliar outlets to be read worse than the scores say."
)
_CONFIDENCES = "Confidences are calibrated on splits of their own, where these are large enough."
_OWN_GOLD = (
    "What was annotated for this project (seed, authored, antnews) was annotated by language "
    "models, in part twice, independently, and adjudicated. It is not human gold."
)


def model_card(manifest: Manifest) -> str:
    """Markdown with the hub's front matter: what the model is, how it scores with the command
    behind each number, data and their terms, limits.
    """
    words = any(head.kind in ("nested", "flat") for head in manifest.heads)
    imported = manifest.training.get("imported")
    own_gold = not {entry["name"] for entry in manifest.data}.isdisjoint(get_args(Gold))
    limits = [_LIMITS, *([_OWN_GOLD_LIMITS] if own_gold else []), _CONFIDENCES]
    parts = [
        front_matter(manifest, manifest.name, manifest.scores, words, "khabar"),
        f"# {manifest.name} {manifest.version}",
        _imported_opening(manifest, imported) if imported else _opening(manifest),
        "## Terms",
        terms(manifest),
        "## Scores",
        *(_scores(manifest) if manifest.scores else [_NOT_SCORED]),
        *_int8_loss(manifest.training),
        "## Heads",
        _head_table(manifest),
        *([] if imported else [" ".join(limits)]),
        "## Training data",
        data_table(manifest.data),
        *_left_out(manifest.training),
        *([_OWN_GOLD] if own_gold and not imported else []),
        "## Import" if imported else "## Recipe",
        "```json\n" + json.dumps(manifest.training, ensure_ascii=False, indent=1) + "\n```",
    ]
    return "\n\n".join(parts) + "\n"


def terms(manifest: Manifest) -> str:
    """The terms of a model's weights."""
    return {RESEARCH_USE: _RESEARCH_USE, SEE_SOURCE: _SEE_SOURCE, SEE_DATA: _SEE_DATA}[
        license_name(manifest)
    ].strip()


def _opening(manifest: Manifest) -> str:
    reads = {
        "nested": "entities (nested types, coarse view)",
        "flat": "entities (flat types)",
        "text": "topic",
        "pair": "stance toward a target or agreement with a claim",
    }
    kinds = [kind for kind in reads if kind in {head.kind for head in manifest.heads}]
    return (
        f"Reads Arabic news: {', '.join(reads[kind] for kind in kinds)}. "
        f"Encoder: {manifest.encoder}, exported to ONNX in int8."
    )


def _imported_opening(manifest: Manifest, imported: dict[str, Any]) -> str:
    (head,) = manifest.heads
    revision = f" at revision {imported['revision']}" if imported["revision"] else ""
    return (
        f"{imported['source']}{revision} ({imported['architecture']}), exported to ONNX in int8 "
        f"without any training. Its labels under khabar's names: {', '.join(head.labels)}"
        + (f"; its tags are read as {head.scheme.upper()}." if head.kind == "flat" else ".")
    )


def _scores(manifest: Manifest) -> list[str]:
    return [
        "Of the exported int8 model, on development splits that it was not trained on, with 95 % "
        "bootstrap intervals over items, those of one article together, "
        f"{_seeds(manifest)}. `runs/splits` is written by `khabar splits runs/splits`; ECE is the "
        "expected calibration error in ten bins, in brackets what as many items would show by "
        "chance if every confidence were true.",
        score_table(manifest.scores),
        *(_label_table(entry) for entry in manifest.scores),
    ]


def _seeds(manifest: Manifest) -> str:
    """Of how many runs the scored weights are."""
    recipe = manifest.training.get("recipe") or {}
    others = (recipe.get("encoder") or {}).get("averaged_with") or ()
    return f"the mean of {len(others) + 1} sets of weights" if others else "one seed"


def _int8_loss(training: dict[str, Any]) -> list[str]:
    """What int8 costs where the gate was overridden; nothing where it held."""
    rows = training.get("int8_loss") or []
    if not training.get("allow_loss") or not rows:
        return []
    lines = ["| head | split | metric | fp32 | int8 | loss | 95 % interval |", "|---|" + "---|" * 6]
    for row in rows:
        low, high = row["interval"]
        lines.append(
            f"| {row['head']} | {row['split']} | {row['metric']} | {row['fp32']:.4f} "
            f"| {row['int8']:.4f} | {row['loss']:.4f} | {low:.4f} to {high:.4f} |"
        )
    return [
        "## Loss of int8",
        "**Exported with `--allow-loss`**: the int8 model was held against the float32 one on "
        "development data, and the export would have been refused for what it loses. The interval "
        "is that of the paired difference.",
        "\n".join(lines),
    ]


def _left_out(training: dict[str, Any]) -> list[str]:
    """How many documents were left out for development's sake; nothing where nobody looked."""
    if "left_out" not in training:
        return []
    counts = {name: count for name, count in training["left_out"].items() if count}
    told = ", ".join(f"{count} of {name}" for name, count in counts.items()) or "none"
    return [
        "Documents left out of training because a text of theirs is a near-duplicate of one of the "
        f"development splits (half of its runs of 30 letters): {told}."
    ]


def score_table(scores: list[dict[str, Any]]) -> str:
    """Markdown: a line a score, with its interval and the command that repeats it."""
    rows = [
        "| head | split | items | score | 95 % interval | ECE (by chance) | command |",
        "|---|---|---|---|---|---|---|",
    ]
    for entry in scores:
        if "f1" in entry:
            text = f"F1 {entry['f1']:.3f} (strict {entry['f1_strict']:.3f})"
            if "coarse" in entry:
                text += f", coarse {entry['coarse']['f1']:.3f}"
        else:
            text = f"accuracy {entry['accuracy']:.3f}, macro F1 {entry['macro_f1']:.3f}"
        low, high = entry["interval"]
        ece = "-" if entry["ece"] is None else f"{entry['ece']:.3f}"
        if entry.get("ece_by_chance") is not None:
            ece += f" ({entry['ece_by_chance']:.3f})"
        rows.append(
            f"| {entry['head']} | {entry['split']} | {entry['items']} | {text} | {low:.3f} to "
            f"{high:.3f} | {ece} "
            f"| `{entry['command']}` |"
        )
    return "\n".join(rows)


def _label_table(entry: dict[str, Any]) -> str:
    rows = [
        f"### {entry['head']} on {entry['split']}",
        "",
        "| label | precision | recall | F1 | 95 % interval | gold |",
        "|---|---|---|---|---|---|",
    ]
    for label, scores in entry["per_label"].items():
        low, high = scores["interval"]
        rows.append(
            f"| {label} | {scores['precision']:.3f} | {scores['recall']:.3f} | {scores['f1']:.3f} "
            f"| {low:.3f} to {high:.3f} | {scores['support']} |"
        )
    return "\n".join(rows)


def _head_table(manifest: Manifest) -> str:
    rows = ["| head | kind | labels | |", "|---|---|---|---|"]
    for head in manifest.heads:
        notes = ["experimental"] if head.experimental else []
        if head.mirrored:
            notes.append("reads a text of one sentence both ways round")
        told = "; ".join(notes)
        rows.append(f"| {head.name} | {head.kind} | {', '.join(head.labels)} | {told} |")
    return "\n".join(rows)


def data_table(data: list[dict[str, Any]]) -> str:
    """Markdown: the corpora with their terms and the hashes of their files."""
    rows = ["| corpus | what | terms as found | sha256 of its files |", "|---|---|---|---|"]
    for entry in data:
        hashes = "<br>".join(f"{name}: `{value[:16]}…`" for name, value in entry["files"].items())
        rows.append(f"| {entry['name']} | {entry['title']} | {entry['license']} | {hashes} |")
    return "\n".join(rows)
