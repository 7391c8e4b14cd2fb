"""`khabar batch`: archives of articles from the shell; `khabar batch-compare`: two of its outputs.

Exit codes of a job: 0 done; 1 stopped by an error, the same command goes on; 2 asked for in a way
that cannot begin; 3 done, with rejects, under --strict; 130 interrupted, the same command goes on.
Of a comparison: 0 nothing differs; 1 something does; 2 cannot be compared.
"""

from __future__ import annotations

import json
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from annotations.cli import plain_errors
from annotations.errors import MissingExtraError
from serving.batch.options import BatchOptions, InputFormat, OutputFormat
from serving.cli import BundleOption

if TYPE_CHECKING:
    from serving.batch.engines import Chosen
    from serving.batch.job import Job, Outcome
    from serving.prediction import Targets

batch_app = typer.Typer()

DIFFERENT, USAGE, REJECTS, INTERRUPTED = 1, 2, 3, 130


@batch_app.command()
def batch(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            help="JSONL, JSON, CSV, Parquet, text or HTML: files, folders, globs, URLs, or - for "
            "standard input; .gz and .zst are unpacked.",
        ),
    ],
    output: Annotated[str, typer.Argument(metavar="OUTPUT", help="Folder or URL of the output.")],
    output_format: Annotated[
        str, typer.Option(help="jsonl or parquet.")
    ] = BatchOptions.output_format,
    input_format: Annotated[
        str | None,
        typer.Option(
            "--format", help="jsonl, json, csv, tsv, parquet, text or html; else by name."
        ),
    ] = None,
    encoding: Annotated[str, typer.Option(help="Of text inputs.")] = BatchOptions.encoding,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--column", help="FIELD=NAME: where id, text, title, targets or claims are found."
        ),
    ] = None,
    targets: Annotated[
        list[str] | None,
        typer.Option("--target", help="Ask the stance toward this; auto: the main actors."),
    ] = None,
    claims: Annotated[
        list[str] | None, typer.Option("--claim", help="Ask what the texts say of this.")
    ] = None,
    max_code_points: Annotated[
        int, typer.Option(min=1, help="A longer article is rejected.")
    ] = BatchOptions.max_code_points,
    limit: Annotated[int | None, typer.Option(min=0, help="Read only the first rows.")] = None,
    sample: Annotated[
        float, typer.Option(help="Read this share of the rows, 0 to 1.")
    ] = BatchOptions.sample,
    seed: Annotated[int, typer.Option(help="Draws the sample.")] = BatchOptions.seed,
    part_rows: Annotated[
        int, typer.Option(min=1, help="Rows a part, at most.")
    ] = BatchOptions.part_rows,
    keep_text: Annotated[
        bool, typer.Option("--keep-text", help="Write the texts beside the answers.")
    ] = False,
    entity_table: Annotated[
        bool, typer.Option("--entity-table/--no-entity-table", help="Write entities/ for SQL.")
    ] = BatchOptions.entity_table,
    engine: Annotated[
        str, typer.Option(help="What reads: local (processes here), http (a service) or ray.")
    ] = "local",
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="How many read at once; by default one a core, http: 4."),
    ] = None,
    bundle: BundleOption = None,
    url: Annotated[
        str | None, typer.Option(help="The service of --engine http, as http://HOST:3000.")
    ] = None,
    api_key_env: Annotated[
        str | None, typer.Option(help="The environment variable that holds its API key.")
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(help="A Ray cluster; by default --engine ray starts one on this machine."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count and estimate the time; write nothing.")
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Throw an older output of a job away.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 3 after rejects.")] = False,
    json_logs: Annotated[
        bool, typer.Option("--json-logs", help="Progress as JSON lines on standard error.")
    ] = False,
) -> None:
    """Tag an archive of articles; started again, it goes on where it was stopped."""
    with _outcomes(output, restart):
        from serving.batch.engines import Wanted, chosen_engine
        from serving.batch.job import Job

        options = BatchOptions(
            input_format=cast(InputFormat | None, input_format),
            encoding=encoding,
            columns=_columns(columns or []),
            targets=_targets(targets or []),
            claims=tuple(claims or ()),
            max_code_points=max_code_points,
            limit=limit,
            sample=sample,
            seed=seed,
            part_rows=part_rows,
            output_format=cast(OutputFormat, output_format),
            keep_text=keep_text,
            entity_table=entity_table,
        )
        wanted = Wanted(engine, workers, bundle, url, api_key_env, ray_address)
        chosen = chosen_engine(wanted, options)
        job = Job(tuple(inputs), output, chosen.model, options, restart)
        if dry_run:
            _estimate(job, chosen)
        elif _run(job, chosen, json_logs).rejects and strict:
            raise typer.Exit(REJECTS)


@batch_app.command("batch-compare")
def batch_compare(
    first: Annotated[str, typer.Argument(metavar="FIRST", help="Folder or URL of an output.")],
    second: Annotated[str, typer.Argument(metavar="SECOND", help="Another, of the same input.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Count the articles and spans that differ between two outputs of `khabar batch`."""
    with _outcomes(first):
        from serving.batch.comparison import compare
        from serving.batch.errors import BatchError, UsageError
        from serving.batch.manifest import Manifest
        from serving.batch.store import open_store

        try:
            found = compare(*(Manifest.finished(open_store(name)) for name in (first, second)))
        except BatchError as error:  # a file of one was lost or changed
            raise UsageError(str(error)) from None
        typer.echo(json.dumps(found.to_dict(), indent=1) if as_json else found.to_text())
        if not found.identical:
            raise typer.Exit(DIFFERENT)


def _run(job: Job, chosen: Chosen, json_logs: bool) -> Outcome:
    from serving.batch.progress import progress_to

    outcome = job.run(chosen.engine, progress_to(sys.stderr, json_logs))
    done = outcome.parts - outcome.parts_read
    notes = [f" ({done} were done already)" if done else ""]
    if outcome.duplicate_ids:
        notes.append(f"; {outcome.duplicate_ids} repeated ids, see summary.json")
    if outcome.first_reject:
        notes.append(f"; the first reject: {outcome.first_reject}")
    typer.echo(
        f"{job.output}: {outcome.articles} articles, {outcome.rejects} rejects in "
        f"{outcome.parts} parts{''.join(notes)}"
    )
    return outcome


def _estimate(job: Job, chosen: Chosen) -> None:
    from serving.batch.estimate import estimate
    from serving.batch.store import open_store
    from serving.inputs import left_out_words

    left_out = Counter[str]()
    sources = job.sources(open_store(job.output), left_out)
    typer.echo(estimate(sources, job.options, chosen.at_once, chosen.tagger).to_text())
    if left_out:
        typer.echo(left_out_words(left_out))


def _targets(given: list[str]) -> Targets:
    from serving.batch.errors import UsageError
    from serving.prediction import targets_of

    try:
        return targets_of(given)
    except ValueError as error:
        raise UsageError(f"--target {error}") from None


def _columns(given: list[str]) -> dict[str, str]:
    from serving.batch.errors import UsageError

    found: dict[str, str] = {}
    for column in given:
        field, equals, name = column.partition("=")
        if not equals or not name:
            raise UsageError(f"--column {column}: write FIELD=NAME, such as text=body")
        if field in found:
            raise UsageError(f"--column {column}: {field} is in {found[field]} already; give one")
        found[field] = name
    return found


@contextmanager
def _outcomes(output: str, restart: bool = False) -> Iterator[None]:
    """Errors and signals become words and the exit codes of this command; one that began anew goes
    on without `restart`.
    """
    from serving.batch.errors import BatchError, UsageError

    command = "the same command without --restart" if restart else "the same command"

    def stop(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before: Any = signal.signal(signal.SIGTERM, stop)
    try:
        with plain_errors():
            try:
                yield
            except (UsageError, MissingExtraError) as error:
                typer.echo(f"khabar: {error}", err=True)
                raise typer.Exit(USAGE) from None
            except BatchError as error:
                raise BatchError(str(error).replace("the same command", command)) from None
    except KeyboardInterrupt:
        typer.echo(f"khabar: {output}: interrupted; start {command} to go on", err=True)
        raise typer.Exit(INTERRUPTED) from None
    finally:
        signal.signal(signal.SIGTERM, before)
