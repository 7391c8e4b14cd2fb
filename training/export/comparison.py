"""Schemes of quantisation side by side: accuracy against torch, whether an answer depends on
batch-mates, speed and size.

All systems stand in one process and take turns batch by batch, so that what else the machine does
meets them all; what counts is the median of the rounds. Compare the ratios, not two runs.
"""

from __future__ import annotations

import logging
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from serving.bundle import Bundle
from serving.encoding import TextEncoder
from serving.runtime import MAX_BATCH_TOKENS, Backend, Floats, Ints, OnnxBackend, padded
from serving.tagger import Tagger
from serving.windows import token_batches
from training.corpora import load
from training.evaluation.development import DEV_SPLITS, dev_sets, scored_corpora
from training.export.gate import head_loss
from training.export.observation import calibration_inputs
from training.export.onnx_export import export_fp32
from training.export.quantisation import SCHEMES, Scheme, quantise
from training.export.torch_backend import TorchBackend
from training.preparation import prepare
from training.runs import Run, RunError
from training.settings import Recipe
from training.splits import every_nth

log = logging.getLogger(__name__)
ARTICLES, ROUNDS, THREADS = 64, 5, 2
_INSTRUCTIONS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8")
Framed = tuple[Ints, Ints]  # ids and segments, each (pieces,)


@dataclass(frozen=True)
class System:
    """A way to run the model; `megabytes` of its file, none of torch's."""

    name: str
    backend: Backend
    megabytes: float | None


def compare(
    folder: Path, schemes: Sequence[Scheme] = SCHEMES, items_per_split: int = 100
) -> dict[str, Any]:
    """What torch, ONNX in fp32 and each scheme give for the model of a run folder.

    `systems` has a row a system (differences are of logits, speeds a second), `losses` a row a
    system and development split.
    """
    run = Run.open(folder)
    with _torch_threads(THREADS):
        return _compared(run, schemes, items_per_split)


@contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _compared(run: Run, schemes: Sequence[Scheme], items_per_split: int) -> dict[str, Any]:
    model, bundle = run.model(), Bundle.load(run.bundle)
    texts = _texts(run.recipe, ARTICLES)
    if not texts:
        raise RunError(
            f"{run.folder}: no source of its recipe has a development split to compare schemes on; "
            f"such have {', '.join(DEV_SPLITS)}"
        )
    with tempfile.TemporaryDirectory() as place:
        systems = [System("torch fp32", TorchBackend(model), None)]
        files = _files(run, model, Path(place), schemes, bundle.manifest.special.pad)
        for name, path in files.items():
            backend = OnnxBackend(path, model.specs, THREADS)
            systems.append(System(name, backend, round(path.stat().st_size / 1e6, 1)))
        articles = [_windows(bundle.text_encoder(), text) for text in texts]
        pad = bundle.manifest.special.pad
        wanted = [run_rows(systems[0].backend, article, pad) for article in articles]
        rows = []
        for system in systems:
            found = _differences(system, wanted, bundle, texts, articles)
            rows.append({"system": system.name, "megabytes": system.megabytes, **found})
            log.info("%s", rows[-1])
        words = sum(len(text.split()) for text in texts)
        for row, speed in zip(rows, _speeds(systems, articles, words, pad), strict=True):
            row.update(speed)
        losses = _losses(systems, bundle, run.recipe, items_per_split)
    return {
        "machine": machine(),
        "threads": THREADS,
        "articles": len(texts),
        "pieces": sum(len(ids) for article in articles for ids, _ in article),
        "rounds": ROUNDS,
        "systems": rows,
        "losses": losses,
    }


def _files(
    run: Run, model: Any, place: Path, schemes: Sequence[Scheme], pad: int
) -> dict[str, Path]:
    """The model in ONNX: fp32, and quantised by each scheme."""
    files = {"onnx fp32": place / "fp32.onnx"}
    export_fp32(model, files["onnx fp32"], pad)
    calibration = calibration_inputs(prepare(run.recipe, run.encoder()).dataset)
    for scheme in schemes:
        files[scheme] = place / f"{scheme}.onnx"
        quantise(files["onnx fp32"], files[scheme], scheme, calibration)
    return files


def machine() -> dict[str, Any]:
    """The processor and which of its instructions matter to int8."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    found = dict(line.split(":", 1) for line in lines[:40] if ":" in line)
    named = {name.strip(): value.strip() for name, value in found.items()}
    flags = named.get("flags", "").split()
    return {
        "processor": named.get("model name", platform.processor()),
        "instructions": [name for name in _INSTRUCTIONS if name in flags],
    }


def _texts(recipe: Recipe, count: int) -> list[str]:
    """Development texts of all sources in turn: sentences beside long articles."""
    names = scored_corpora(recipe.sources)
    share = -(-count // max(len(names), 1))
    columns = []
    for name in names:
        texts = [document.text for document in load(name, "dev")]
        columns.append([texts[i] for i in every_nth(len(texts), share)])
    mixed = [column[i] for i in range(share) for column in columns if i < len(column)]
    return list(dict.fromkeys(mixed))[:count]


def _windows(encoder: TextEncoder, text: str) -> list[Framed]:
    encoded = encoder.encode(text)
    return [encoder.frame(encoded.pieces[w.start : w.end]) for w in encoded.windows]


def run_rows(backend: Backend, rows: Sequence[Framed], pad: int) -> list[dict[str, Floats]]:
    """The logits of each of some inputs that share one batch, without padding."""
    ids, segments = padded([row[0] for row in rows], pad), padded([row[1] for row in rows], 0)
    mask = padded([np.ones(len(row[0]), np.int64) for row in rows], 0)
    outputs = backend.run(ids, mask, segments)
    return [
        {
            name: logits[i, : len(row[0])] if logits.ndim == 3 else logits[i]
            for name, logits in outputs.items()
        }
        for i, row in enumerate(rows)
    ]


class Replay:
    """A backend that gives what was computed in another batch."""

    def __init__(self, backend: Backend, articles: Sequence[Sequence[Framed]], pad: int) -> None:
        everything = [row for article in articles for row in article]
        answers = run_rows(backend, everything, pad)
        self.known = {
            row[0].tobytes(): logits for row, logits in zip(everything, answers, strict=True)
        }

    def run(self, ids: Ints, mask: Ints, segments: Ints) -> dict[str, Floats]:
        """See `serving.runtime.Backend.run`."""
        lengths = mask.sum(axis=1).tolist()
        rows = [
            self.known[row[:length].tobytes()] for row, length in zip(ids, lengths, strict=True)
        ]
        outputs = {}
        for name, first in rows[0].items():
            shape = (len(rows), *ids.shape[1:], *first.shape[1:]) if first.ndim == 2 else None
            outputs[name] = np.zeros(shape or (len(rows), len(first)), np.float32)
            for i, row in enumerate(rows):
                if shape is None:
                    outputs[name][i] = row[name]
                else:
                    outputs[name][i, : len(row[name])] = row[name]
        return outputs


def _differences(
    system: System,
    wanted: Sequence[Sequence[dict[str, Floats]]],
    bundle: Bundle,
    texts: Sequence[str],
    articles: Sequence[Sequence[Framed]],
) -> dict[str, Any]:
    """Largest differences of logits: to the wanted ones, and of articles alone to all in one batch;
    and how many articles are answered otherwise there.
    """
    to_torch = to_batch = 0.0
    pad = bundle.manifest.special.pad
    batch = Replay(system.backend, articles, pad)
    for article, reference in zip(articles, wanted, strict=True):
        found = run_rows(system.backend, article, pad)
        for row, expected, alone in zip(article, reference, found, strict=True):
            together = batch.known[row[0].tobytes()]
            for name, logits in alone.items():
                to_torch = max(to_torch, float(np.abs(logits - expected[name]).max()))
                to_batch = max(to_batch, float(np.abs(logits - together[name]).max()))
    answers, beside = (
        [_answer(p) for p in Tagger(bundle, backend=backend).tag(texts)]
        for backend in (system.backend, batch)
    )
    changed = sum(a != b for a, b in zip(answers, beside, strict=True))
    return {"to_torch": to_torch, "alone_to_batch": to_batch, "changed_articles": changed}


def _answer(prediction: Any) -> tuple[Any, ...]:
    """What was read, without confidences."""
    spans = tuple((e.start, e.end, e.label) for e in prediction.entities)
    return spans, tuple(topic.label for topic in prediction.topics)


def _speeds(
    systems: Sequence[System], articles: Sequence[Sequence[Framed]], words: int, pad: int
) -> Iterator[dict[str, int]]:
    """Pieces and words a second of each system, an article a batch and in batches of a token budget
    across articles.
    """
    everything = [row for article in articles for row in article]
    shared = [
        [everything[i] for i in batch]
        for batch in token_batches([len(ids) for ids, _ in everything], MAX_BATCH_TOKENS)
    ]
    pieces = sum(len(ids) for ids, _ in everything)
    seconds = {
        way: _seconds(systems, batches, pad)
        for way, batches in (("alone", articles), ("batched", shared))
    }
    for i in range(len(systems)):
        row = {}
        for way, taken in seconds.items():
            row[f"pieces_{way}"] = round(pieces / taken[i])
            row[f"words_{way}"] = round(words / taken[i])
        yield row


def _seconds(
    systems: Sequence[System], batches: Sequence[Sequence[Framed]], pad: int
) -> list[float]:
    """The seconds of each system for all batches: the sum of each batch's median over the rounds.

    Systems take turns batch by batch, each time another first.
    """
    taken = np.zeros((len(systems), len(batches), ROUNDS))
    for number in range(ROUNDS):
        for place, batch in enumerate(batches):
            for turn in range(len(systems)):
                i = (number + place + turn) % len(systems)
                began = time.perf_counter()
                run_rows(systems[i].backend, batch, pad)
                taken[i, place, number] = time.perf_counter() - began
        log.info("speeds: round %d of %d", number + 1, ROUNDS)
    return [float(value) for value in np.median(taken, axis=2).sum(axis=1)]


def _losses(
    systems: Sequence[System], bundle: Bundle, recipe: Recipe, items_per_split: int
) -> list[dict[str, Any]]:
    """What each system loses against the first, on some items of every development split."""
    taggers = [Tagger(bundle, backend=system.backend) for system in systems]
    rows = []
    for dev in dev_sets(taggers[0], recipe):
        total = len(dev.questions)
        chosen = every_nth(total, items_per_split)
        scores = [dev.questions.scores(tagger, chosen) for tagger in taggers]
        for system, found in zip(systems[1:], scores[1:], strict=True):
            loss = head_loss(dev, scores[0], found, total)
            log.info("%s: %s", system.name, loss)
            rows.append({"system": system.name, **loss.to_dict()})
    return rows


def tables(report: dict[str, Any]) -> str:
    """The report as two plain tables."""
    head = ["system", "MB", "to torch", "alone to batch", "changed", "pieces/s", "batched"]
    head += ["words/s", "batched"]
    systems = [
        [
            row["system"],
            row["megabytes"] or "-",
            f"{row['to_torch']:.5f}",
            f"{row['alone_to_batch']:.7f}",
            f"{row['changed_articles']}/{report['articles']}",
            row["pieces_alone"],
            row["pieces_batched"],
            row["words_alone"],
            row["words_batched"],
        ]
        for row in report["systems"]
    ]
    losses = [
        [
            row["system"],
            row["head"],
            row["split"],
            f"{row['items']}/{row['total']}",
            row["metric"],
            f"{row['fp32']:.4f}",
            f"{row['int8']:.4f}",
            f"{100 * row['loss']:.2f}",
            "{:.2f} to {:.2f}".format(*(100 * end for end in row["interval"])),
        ]
        for row in report["losses"]
    ]
    beneath = ["system", "head", "split", "items", "metric", "torch", "found", "points", "95 %"]
    return "\n\n".join(
        _aligned([titles, *body]) for titles, body in ((head, systems), (beneath, losses))
    )


def _aligned(rows: Sequence[Sequence[Any]]) -> str:
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    pad: Callable[[str, int], str] = str.ljust
    return "\n".join(
        "  ".join(pad(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )
