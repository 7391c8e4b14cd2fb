"""`khabar annotations …`: check, convert, count, show and compare annotated news."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, get_args

import typer

from annotations.agreement import agreement_report
from annotations.catalogue import corpus_named
from annotations.convert import Conversion, Format, replacing, require_there
from annotations.corpora import read_corpus
from annotations.counts import counts
from annotations.errors import FormatError, KhabarError
from annotations.labelstudio_project import project_xml
from annotations.schema import Document
from annotations.text import SURROGATE
from annotations.validate import placed, problems
from annotations.view import diff_html, documents_html

annotations_app = typer.Typer(
    help="Check, convert, count, show and compare annotated news.", no_args_is_help=True
)

Input = Annotated[Path, typer.Argument(help="A file or, for brat, a folder.")]
FromOption = Annotated[
    str | None, typer.Option("--from", help="The format of the input, where its name does not say.")
]


@contextmanager
def plain_errors() -> Iterator[None]:
    """Errors a user can mend become one line on standard error and exit status 1."""
    try:
        yield
    except KhabarError as error:
        typer.echo(f"khabar: {error}", err=True)
        raise typer.Exit(1) from None
    except UnicodeEncodeError as error:
        if SURROGATE.match(error.object, error.start):
            cure = "a text or name holds no Unicode (a lone surrogate); mend or remove it"
        else:
            cure = (
                f"the output is {error.encoding}, which has no Arabic; set PYTHONIOENCODING=utf-8"
            )
        typer.echo(f"khabar: {cure}", err=True)
        raise typer.Exit(1) from None
    except BrokenPipeError:
        raise  # nobody reads on
    except OSError as error:
        where = error.filename or "the output"
        typer.echo(f"khabar: {where}: {error.strerror}; give another path", err=True)
        raise typer.Exit(1) from None


def progress(documents: Iterable[Document], every_s: float = 0.5) -> Iterator[Document]:
    """The same documents, counted on standard error while they pass, where that is a terminal."""
    shown, count, began = False, 0, time.monotonic()
    last = began
    for count, document in enumerate(documents, 1):
        yield document
        if sys.stderr.isatty() and time.monotonic() - last > every_s:
            shown, last = True, time.monotonic()
            rate = count / (last - began)
            sys.stderr.write(f"\r{count} documents, {rate:.0f} a second ")
            sys.stderr.flush()
    if shown:
        sys.stderr.write("\n")


def _say(notes: Counter[str]) -> None:
    """What a conversion repaired or left out, on standard error."""
    for note, count in sorted(notes.items()):
        if count:
            typer.echo(f"khabar: {count} x {note}", err=True)


def _format(name: str | None) -> Format | None:
    if name is not None and name not in get_args(Format):
        raise FormatError(f"unknown format {name!r}; use one of {', '.join(get_args(Format))}")
    return name  # type: ignore[return-value]  # one of the literals, just checked


@annotations_app.command()
def convert(
    source: Input,
    target: Annotated[Path, typer.Argument(help="The file or, for brat, the folder to write.")],
    from_format: FromOption = None,
    to_format: Annotated[
        str | None, typer.Option("--to", help="The format to write, where the name does not say.")
    ] = None,
    annotator: Annotated[
        str | None, typer.Option(help="Whose annotation of a Label Studio task to read.")
    ] = None,
    predictions: Annotated[
        bool, typer.Option("--predictions", help="Read predictions where nobody annotated.")
    ] = False,
    model_version: Annotated[
        str | None, typer.Option(help="Write Label Studio predictions of this name, to correct.")
    ] = None,
) -> None:
    """From one format to another: .jsonl khabar, .json Label Studio, .markup, .conll, .bio flat
    CoNLL, a folder brat. Says what was repaired and what the format cannot hold.
    """
    with plain_errors():
        for path, stream in ((source, "/dev/stdin"), (target, "/dev/stdout")):
            if str(path) == "-":
                raise FormatError(f"-: give {stream}, and its format with --from or --to")
        conversion = Conversion(annotator, predictions)
        documents = progress(conversion.read(source, _format(from_format)))
        count = conversion.write(target, documents, _format(to_format), model_version)
        _say(conversion.notes)
    typer.echo(f"{target}: {count} written")


@annotations_app.command()
def labelstudio(
    source: Input,
    folder: Annotated[Path, typer.Argument(help="The folder to write project.xml and tasks.json.")],
    from_format: FromOption = None,
    completed: Annotated[
        bool, typer.Option("--completed", help="As completed annotations, not as predictions.")
    ] = False,
) -> None:
    """A Label Studio project: the labelling configuration and tasks with what is annotated yet."""
    with plain_errors():
        tasks = folder / "tasks.json"
        if os.path.realpath(source) == os.path.realpath(tasks):
            raise FormatError(f"{tasks}: is what the project is made of; give another folder")
        require_there(source)
        folder.mkdir(parents=True, exist_ok=True)
        conversion = Conversion()
        labels: set[str] = set()
        documents = _noting(progress(conversion.read(source, _format(from_format))), labels)
        version = None if completed else "khabar"
        count = conversion.write(tasks, documents, "labelstudio", version)
        with replacing(folder / "project.xml") as partial:
            partial.write_text(project_xml(labels), encoding="utf-8")
        _say(conversion.notes)
    typer.echo(f"{folder}: project.xml and tasks.json with {count} tasks")


def _noting(documents: Iterable[Document], labels: set[str]) -> Iterator[Document]:
    """The documents as they are; the labels of their entities are added to `labels`."""
    for document in documents:
        labels.update(span.label for span in document.entities or ())
        yield document


@annotations_app.command()
def show(
    source: Input,
    html: Annotated[Path, typer.Option(help="The HTML file to write.")],
    diff: Annotated[
        Path | None, typer.Option(help="Another annotation of the same documents, beside it.")
    ] = None,
) -> None:
    """Annotated documents as a right-to-left page, alone or beside another annotation of them."""
    with plain_errors():
        for given in (source, diff):
            if given is not None and os.path.realpath(html) == os.path.realpath(given):
                raise FormatError(f"{html}: is what the page is made of; give --html another name")
        conversion = Conversion()
        if diff is None:
            page = documents_html(list(placed(conversion.read(source), source)), source.name)
        else:
            first, second = conversion.read_two(source, diff)
            sides = list(placed(first, source)), list(placed(second, diff))
            page = diff_html(*sides, f"{source.name} | {diff.name}")
        with replacing(html) as partial:
            partial.write_text(page, encoding="utf-8")
        _say(conversion.notes)
    typer.echo(str(html))


@annotations_app.command()
def corpus(
    name: Annotated[str, typer.Argument(help="A corpus of configs/data.")],
    target: Annotated[Path, typer.Argument(help="The file to write, in any format.")],
    part: Annotated[str, typer.Option(help="train, dev …")] = "train",
    mapped: Annotated[
        bool, typer.Option("--mapped", help="In khabar's labels instead of the corpus's own.")
    ] = False,
) -> None:
    """A public corpus under KHABAR_DATA as documents; says what was left out, and its terms."""
    with plain_errors():
        conversion = Conversion()
        documents = read_corpus(name, part, conversion.notes, mapped)
        count = conversion.write(target, progress(documents))
        _say(conversion.notes)
        typer.echo(f"{target}: {count} written; {name}: {corpus_named(name).license}")


@annotations_app.command()
def stats(source: Input) -> None:
    """How many documents, words, entities by type, stances, claims and topics; as JSON."""
    with plain_errors():
        conversion = Conversion()
        found = counts(progress(conversion.read(source)))
        _say(conversion.notes)
        typer.echo(json.dumps(found, ensure_ascii=False, indent=1))


@annotations_app.command()
def validate(files: Annotated[list[Path], typer.Argument(help="Annotated files.")]) -> None:
    """Check gold: offsets, crossing spans, labels; prints every breach and exits with 1 when there
    is one.
    """
    found = 0
    with plain_errors():
        for path in files:
            conversion = Conversion()
            for problem in problems(progress(conversion.read(path))):
                typer.echo(f"{path}: {problem}")
                found += 1
            _say(conversion.notes)
    if found:
        raise typer.Exit(1)
    typer.echo("no problem found")


@annotations_app.command()
def agree(
    first: Annotated[Path, typer.Argument(help="The documents of one annotator.")],
    second: Annotated[Path, typer.Argument(help="The same documents of the other.")],
) -> None:
    """How far two annotations of the same documents agree, and where they do not; as JSON."""
    with plain_errors():
        conversion = Conversion()
        report = agreement_report(*conversion.read_two(first, second))
        _say(conversion.notes)
        typer.echo(json.dumps(report, ensure_ascii=False, indent=1))
