"""What the commands of training share: what they log, how they fail, and their options."""

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

from annotations.errors import MissingExtraError

TRAIN_EXTRA = (
    "accelerate",
    "datasets",
    "huggingface_hub",
    "jinja2",
    "matplotlib",
    "onnx",
    "onnxscript",
    "safetensors",
    "scipy",
    "torch",
    "tqdm",
    "transformers",
)
INTERRUPTED = 130  # as a shell reports a process that Ctrl-C ended

RunFolder = Annotated[Path, typer.Argument(help="The folder of a run of `khabar train`.")]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Print the resolved settings and stop.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Replace a setting: optimiser.epochs=3; may be given again."),
]


def first_process() -> bool:
    """Whether this is the first, or the only one, of the processes that train together."""
    return os.environ.get("RANK", "0") == "0"


def log_to_stderr() -> None:
    """Progress for people: our own lines, and only the warnings of the libraries. Of several
    processes the first alone speaks.
    """
    logging.basicConfig(
        level=logging.INFO if first_process() else logging.ERROR,
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
        transformers_logging.set_verbosity_error()
        yield
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] in TRAIN_EXTRA:
            raise MissingExtraError(
                f"{error.name} is not installed; install khabar[train]"
            ) from None
        raise


@contextmanager
def resumable() -> Iterator[None]:
    """A run that a signal stopped ends with the status of one, and says how it goes on."""
    from training.interruption import InterruptedRunError

    try:
        yield
    except InterruptedRunError as error:
        typer.echo(f"khabar: {error}", err=True)
        raise typer.Exit(INTERRUPTED) from None


def echo_json(found: object, out: Path | None) -> None:
    """Print a result as JSON, and write it to a file where one is named."""
    typer.echo(json.dumps(found, ensure_ascii=False, indent=1))
    write_json(found, out)  # last, as what was counted for minutes is told whatever the file does


def write_json(found: object, out: Path | None) -> None:
    """Write a result as JSON to a file, where one is named."""
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(found, ensure_ascii=False, indent=1)
        out.write_text(text + "\n", encoding="utf-8")


JsonOption = Annotated[
    Path | None, typer.Option("--json", help="Also write the result to this file.")
]
