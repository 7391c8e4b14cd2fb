"""The model card of a bundle, from what its manifest says."""

from __future__ import annotations

import json
from typing import Any

from serving.bundle import Manifest

_NOTICE = """\
The code is Apache-2.0. **The weights are for research use; rights in the training data are not
cleared.** The texts they were trained on belong to their publishers, and several corpora state no
licence, research use or share-alike: see the table below. Get your own clearance before any other
use.
"""


def model_card(manifest: Manifest) -> str:
    """Markdown: what the model is, how it scores with the command behind each number, data and
    their terms, limits.
    """
    parts = [
        f"# {manifest.name} {manifest.version}",
        "Reads Arabic news: entities (21 nested types, coarse view), topic, stance toward a "
        "target, agreement with a "
        f"claim. Encoder: {manifest.encoder}, exported to ONNX in int8.",
        "## Terms",
        _NOTICE.strip(),
        "## Scores",
        "Of the exported int8 model, on development splits that it was not trained on, with "
        "95 % bootstrap intervals "
        "over items, one seed. `runs/splits` is written by `khabar splits runs/splits`; ECE "
        "is the expected "
        "calibration error in ten bins.",
        score_table(manifest.scores),
        *(_label_table(entry) for entry in manifest.scores),
        "## Heads",
        _head_table(manifest),
        "Heads marked experimental learnt from too little to be relied on. The "
        "gold of the `khabar` and `stance` heads is small and was made by language models: the "
        "Wojood sample (made by people), news written for the project, passages of ANT, the seed "
        "article. Expect the rarer types and unfamiliar outlets to be read worse than the scores "
        "say. Confidences are calibrated on splits of their own, where these are large enough.",
        "## Training data",
        _data_table(manifest.data),
        "What was annotated for this project (seed, authored, antnews) was annotated by language "
        "models, in part twice, independently, and adjudicated. It is not human gold.",
        "## Recipe",
        "```json\n" + json.dumps(manifest.training, ensure_ascii=False, indent=1) + "\n```",
    ]
    return "\n\n".join(parts) + "\n"


def score_table(scores: list[dict[str, Any]]) -> str:
    """Markdown: a line a score, with its interval and the command that repeats it."""
    rows = [
        "| head | split | items | score | 95 % interval | ECE | command |",
        "|---|---|---|---|---|---|---|",
    ]
    for entry in scores:
        if "f1" in entry:
            text = f"F1 {entry['f1']:.3f} (strict {entry['f1_strict']:.3f})"
        else:
            text = f"accuracy {entry['accuracy']:.3f}, macro F1 {entry['macro_f1']:.3f}"
        low, high = entry["interval"]
        ece = "-" if entry["ece"] is None else f"{entry['ece']:.3f}"
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
        note = "experimental" if head.experimental else ""
        rows.append(f"| {head.name} | {head.kind} | {', '.join(head.labels)} | {note} |")
    return "\n".join(rows)


def _data_table(data: list[dict[str, Any]]) -> str:
    rows = ["| corpus | what | terms as found | sha256 of its files |", "|---|---|---|---|"]
    for entry in data:
        hashes = "<br>".join(f"{name}: `{value[:16]}…`" for name, value in entry["files"].items())
        rows.append(f"| {entry['name']} | {entry['title']} | {entry['license']} | {hashes} |")
    return "\n".join(rows)
