"""The door of khabar: one command line that opens the rooms lazily, each only when its verb is
called.
"""

from __future__ import annotations

import os

import typer

from annotations.cli import annotations_app
from serving.batch.cli import batch_app
from serving.cli import serving_app
from training.cli import bench_app, models_app, training_app
from training.encoders.cli import encoder_app

# nothing phones home: set before any library reads it
for name in ("BENTOML_DO_NOT_TRACK", "HF_HUB_DISABLE_TELEMETRY", "MLFLOW_DISABLE_TELEMETRY"):
    os.environ.setdefault(name, "True")

app = typer.Typer(
    help=(
        "khabar reads Arabic news: who, where and which organisation; what stance; what it "
        "is about."
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(serving_app)
app.add_typer(batch_app)
app.add_typer(training_app)
app.add_typer(annotations_app, name="annotations")
app.add_typer(encoder_app, name="encoder")
app.add_typer(models_app, name="models")
app.add_typer(bench_app, name="bench")


def main() -> None:
    """The entry point of the command `khabar`."""
    app()


if __name__ == "__main__":
    main()
