"""`khabar tag` and `khabar serve`: articles from the shell, and the service."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from annotations.cli import plain_errors
from annotations.errors import FormatError
from annotations.jsonl import document_to_dict
from serving.settings import SETTINGS_VARIABLE

if TYPE_CHECKING:
    from serving.prediction import Article, Prediction, Targets
    from serving.tagger import Tagger

serving_app = typer.Typer()

BundleOption = Annotated[
    Path | None, typer.Option(help="Folder of a bundle; by default the shipped one.")
]


def open_tagger(bundle: Path | None) -> Tagger:
    """The Tagger of a bundle's folder, or the shipped one."""
    from serving.tagger import Tagger

    return Tagger.default() if bundle is None else Tagger.from_bundle(bundle)


@serving_app.command()
def tag(
    files: Annotated[
        list[str],
        typer.Argument(help="Text files, khabar JSONL or JSON, folders, or - for standard input."),
    ],
    targets: Annotated[
        list[str] | None,
        typer.Option("--target", help="Ask the stance toward this; auto: the main actors."),
    ] = None,
    claims: Annotated[
        list[str] | None, typer.Option("--claim", help="Ask what the text says of this.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Also write a right-to-left view to this file.")
    ] = None,
    readable: Annotated[
        bool, typer.Option("--readable", help="Print for people instead of JSONL.")
    ] = False,
    documents: Annotated[
        bool, typer.Option("--documents", help="Print documents to annotate, in khabar JSONL.")
    ] = False,
    bundle: BundleOption = None,
) -> None:
    """Tag articles: prints one JSON result a line, in order."""
    from serving.inputs import left_out_words, read_articles
    from serving.prediction import Article, document_of

    with plain_errors():
        if documents and readable:
            raise FormatError("--documents prints JSONL, --readable is for people; give one")
        asked_targets = _targets(targets or [])
        if html is not None:
            _require_other_file(html, files)
        tagger = open_tagger(bundle)
        seen: list[tuple[Article, Prediction]] = []
        left_out = Counter[str]()
        for given in read_articles(files, left_out):
            asked = replace(Article.of(given), targets=asked_targets, claims=tuple(claims or ()))
            (prediction,) = tagger.tag([asked])
            if html is not None:
                seen.append((asked, prediction))
            if readable:
                line = _readable(prediction)
            else:
                row = (
                    document_to_dict(document_of(given, prediction))
                    if documents
                    else prediction.to_dict()
                )
                line = json.dumps(row, ensure_ascii=False)
            # an id or the name of a file may hold what is no Unicode; its escape is JSON as well
            typer.echo(line.encode("utf-8", "backslashreplace").decode("utf-8"))
        if left_out:
            typer.echo(f"khabar: {left_out_words(left_out)}", err=True)
        if html is not None:
            from serving.view import html_view

            html.write_text(html_view(seen, tagger.bundle.summary()), encoding="utf-8")


def _targets(given: list[str]) -> Targets:
    from serving.prediction import targets_of

    try:
        return targets_of(given)
    except ValueError as error:
        raise FormatError(f"--target {error}") from None


def _require_other_file(html: Path, files: list[str]) -> None:
    """Refuse a view that would take the place of what it is made of, or has no place."""
    from serving.inputs import SUFFIXES

    place = html.resolve()
    for name in files:
        given = Path(name).resolve()
        in_folder = given in place.parents and place.suffix in SUFFIXES and place.is_file()
        if given == place or in_folder:
            raise FormatError(f"{html}: is among the articles; give --html another name")
    if not place.parent.is_dir():
        raise FormatError(f"{html}: its folder is not there; make it first")


def _readable(prediction: Prediction) -> str:
    """A prediction for a terminal: topic, stances and claims, and the entities by type."""
    if prediction.error:
        return f"{prediction.id}: error: {prediction.error}"
    lines = [f"{prediction.id}"]
    lines += [f"  topic   {topic.label} {topic.confidence:.2f}" for topic in prediction.topics]
    for kind, attitudes in (("stance", prediction.stances), ("claim ", prediction.claims)):
        lines += [f"  {kind}  {a.label} {a.confidence:.2f}  {a.about}" for a in attitudes]
    by_label: dict[str, dict[str, int]] = {}
    for entity in prediction.entities:
        names = by_label.setdefault(entity.label, {})
        names[entity.normalized] = names.get(entity.normalized, 0) + 1
    for label, names in sorted(by_label.items(), key=lambda item: -sum(item[1].values())):
        ranked = sorted(names.items(), key=lambda item: -item[1])
        lines.append(
            f"  {label:<9}" + "، ".join(f"{name} ({n})" if n > 1 else name for name, n in ranked)
        )
    return "\n".join(lines)


@serving_app.command()
def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; by default loopback.")
    ] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port to listen on.")] = None,
    bundle: BundleOption = None,
    settings: Annotated[
        Path | None, typer.Option(help="A YAML file that replaces keys of configs/serving.yaml.")
    ] = None,
) -> None:
    """Start the service: the page at /, predictions at POST /v1/tag."""
    with plain_errors():
        if settings is not None:
            os.environ[SETTINGS_VARIABLE] = str(settings.resolve())
        from serving.service import serve as start

        start(host, port, bundle)


@serving_app.command()
def build(
    bundle: BundleOption = None,
    name: Annotated[str, typer.Option(help="Name of the Bento.")] = "khabar",
    version: Annotated[
        str | None, typer.Option(help="Version of the Bento; by default a new one.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Also export it to this file, .bento or .tar.")
    ] = None,
) -> None:
    """Make a Bento for `bentoml serve` and `bentoml containerize`: prints its tag."""
    with plain_errors():
        from serving.bundle import DEFAULT_FOLDER
        from serving.packaging import build as make

        built = make(bundle or DEFAULT_FOLDER, name, version, out)
    typer.echo(built.tag)
    typer.echo(f"bundle {built.bundle}", err=True)
    if built.file is not None:
        typer.echo(f"exported to {built.file}", err=True)
