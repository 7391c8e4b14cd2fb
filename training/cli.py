"""`khabar train`, `evaluate`, `report`, `export` and what belongs to them; a room's modules are
imported only when its verb is called.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from annotations.cli import plain_errors
from serving.cli import BundleOption, open_tagger
from training.command import (
    DryRunOption,
    JsonOption,
    RunFolder,
    SetOption,
    echo_json,
    first_process,
    log_to_stderr,
    resumable,
    training_parts,
    write_json,
)

training_app = typer.Typer()
models_app = typer.Typer(help="Bundles from models made elsewhere.", no_args_is_help=True)
bench_app = typer.Typer(help="Speeds, as ratios to a named rival.", no_args_is_help=True)


@training_app.command()
def evaluate(
    task: Annotated[str, typer.Option(help="ner, stance, claim or topic.")],
    data: Annotated[
        Path, typer.Option(help="khabar JSONL, CoNLL, ANS CSV, Mawqif CSV or topic JSONL(.gz).")
    ],
    bundle: BundleOption = None,
    head: Annotated[str | None, typer.Option(help="For ner: the head to score.")] = None,
    seen_in: Annotated[
        Path | None,
        typer.Option(help="For ner: a file whose entities are met; others get scores apart."),
    ] = None,
    json_out: JsonOption = None,
) -> None:
    """Score a bundle on a file; prints the scores as JSON."""
    with plain_errors():
        from training.evaluation.files import TASKS
        from training.evaluation.files import evaluate as score

        if task not in TASKS:
            raise typer.BadParameter(
                f"unknown task {task!r}; use one of {', '.join(TASKS)}", param_hint="--task"
            )
        echo_json(score(task, data, open_tagger(bundle), head, seen_in), json_out)


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
    weights_only: Annotated[
        bool,
        typer.Option(
            "--weights-only", help="Export nothing: a seed to be averaged, or a step on the way."
        ),
    ] = False,
    dry_run: DryRunOption = False,
) -> None:
    """Train a recipe to a bundle; started again on the same run folder it goes on."""
    if weights_only and allow_loss:
        raise typer.BadParameter(
            "is about the export, which --weights-only leaves out; give one of them",
            param_hint="--allow-loss",
        )
    log_to_stderr()
    with plain_errors(), training_parts(), resumable():
        from training.settings import load_recipe

        allowed = ["export.allow_loss=true"] if allow_loss else []
        settings = load_recipe(recipe, [*(overrides or []), *allowed])
        if dry_run:
            typer.echo(settings.model_dump_json(indent=1))
            return
        from training.recipe import run_recipe, train_weights

        make = train_weights if weights_only else run_recipe
        made = make(settings, run or Path("runs") / recipe.stem)
        if first_process():
            typer.echo(str(made))


@training_app.command()
def report(
    run: RunFolder,
    html: Annotated[Path | None, typer.Option(help="The page; by default RUN/report.html.")] = None,
    json_out: Annotated[
        Path | None, typer.Option("--json", help="Its numbers; by default RUN/report.json.")
    ] = None,
) -> None:
    """A page of a run: curves, scores with intervals, confusion, calibration, the worst errors."""
    log_to_stderr()
    with plain_errors(), training_parts():
        from training.report.page import write_report

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
        int, typer.Option(min=1, help="Steps to distil a head of texts or pairs.")
    ] = 300,
    max_minutes: Annotated[
        float, typer.Option(min=0.01, help="No head is distilled longer.")
    ] = 10.0,
) -> None:
    """A run as folders that transformers loads by itself, with labels and model cards."""
    log_to_stderr()
    with plain_errors(), training_parts():
        from training.hub.folders import export_huggingface

        for made in export_huggingface(run, huggingface, heads, distil_steps, max_minutes):
            typer.echo(f"{made.folder}: {made.view}")


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
    if scheme not in (None, "iob2", "iob1", "io"):
        raise typer.BadParameter("use iob2, iob1 or io", param_hint="--scheme")
    log_to_stderr()
    with plain_errors(), training_parts():
        from training.hub.imports import import_model

        named = labels.split(",") if labels else None
        bundle = import_model(source, out, head, revision, name, named, scheme)  # type: ignore[arg-type]
        typer.echo(str(bundle))


@training_app.command()
def rescore(bundle: Annotated[Path, typer.Argument(help="Folder of a bundle.")]) -> None:
    """Score a bundle again on the development splits of its recipe; rewrites scores and card."""
    log_to_stderr()
    with plain_errors(), training_parts():
        from training.recipe import rescore as score_again

        typer.echo(str(score_again(bundle)))


@training_app.command()
def recalibrate(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle.")],
    version: Annotated[str, typer.Option(help="Its version from now on.")],
) -> None:
    """Fit the confidences of a bundle again on the calibration parts of its recipe's sources, and
    score it; the model stays as it is.
    """
    log_to_stderr()
    with plain_errors(), training_parts():
        from training.recipe import recalibrate as calibrate_again

        typer.echo(str(calibrate_again(bundle, version)))


@training_app.command()
def splits(folder: Annotated[Path, typer.Argument(help="Where to write them.")]) -> None:
    """Write the committed splits to score and compare on: ANERcorp's train file as CoNLL, and the
    annotated passages of ANT as JSONL, also as two annotators had them.
    """
    with plain_errors():
        from training.corpora import write_splits

        for path, count in write_splits(folder):
            typer.echo(f"{path}: {count} written")


@training_app.command()
def shortcuts(
    train: Annotated[Path, typer.Argument(help="Annotated documents to train on.")],
    dev: Annotated[Path, typer.Argument(help="Others to score on.")],
    task: Annotated[str, typer.Option(help="stance, or topic (khabar or topic JSONL).")] = "stance",
) -> None:
    """How far stance can be guessed from a passage's words or from the target alone, or topic by
    naive Bayes; as JSON.
    """
    if task not in ("stance", "topic"):
        raise typer.BadParameter(f"unknown task {task!r}; use stance or topic", param_hint="--task")
    with plain_errors():
        from annotations.convert import Conversion
        from annotations.corpora import read_topics
        from training.evaluation.shortcuts import stance_shortcuts, topic_shortcuts

        if task == "topic":
            found = topic_shortcuts(*(list(read_topics(path)) for path in (train, dev)))
        else:
            found = stance_shortcuts(*(list(Conversion().read(path)) for path in (train, dev)))
        echo_json(found, None)


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
    log_to_stderr()
    with plain_errors(), training_parts():
        from training.bench import bench_training
        from training.settings import load_recipe

        echo_json(bench_training(load_recipe(recipe), steps), json_out)


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
    log_to_stderr()
    with plain_errors(), training_parts():
        from training.export.comparison import compare, tables

        found = compare(run, items_per_split=items)
        typer.echo(tables(found))
        write_json(found, json_out)
