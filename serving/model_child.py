"""What the child of `serving.model_process` does, and what the two say to each other over its
pipes.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, cast

from annotations.errors import KhabarError
from serving import logs
from serving.bundle import bundle_digest
from serving.prediction import Article, Prediction

if TYPE_CHECKING:  # a worker, which knows these messages, does without ONNX Runtime
    from serving.runtime import Device
    from serving.tagger import Tagger

NICE = 5  # the worker goes first: it has little to do, and callers wait for it


@dataclass(frozen=True, slots=True)
class Asked:
    """A batch on its way to the child."""

    articles: Sequence[Article]
    max_code_points: int | None


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Said to a child that is reading: nobody waits for it any more."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the child says of a batch: predictions and the pieces read, or where it failed, or that
    it was given up.
    """

    predictions: list[Prediction]
    pieces: int = 0
    unknown: int = 0
    fault: str | None = None
    given_up: bool = False


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the child says first: the sha256 of the `bundle.json` it read, or why there is none."""

    manifest: str | None = None
    problem: str | None = None


class _GivenUp(Exception):
    """Raised in the child between two batches of the model, once it is told to give up."""


def _read(tagger: Tagger, asked: Asked, read: threading.local) -> Told:
    read.pieces = read.unknown = 0
    try:
        predictions = tagger.tag(asked.articles, asked.max_code_points)
    except _GivenUp:
        return Told([], given_up=True)
    except BaseException as fault:  # a panic of Rust is no Exception
        # its words may quote an article
        return Told([], fault=logs.fault_places(fault))
    return Told(predictions, read.pieces, read.unknown)


def _serve(tagger: Tagger, end: Connection, read: threading.local) -> None:
    """Answer the batches of one pipe until its other end is closed."""
    read.end = end
    with suppress(EOFError, OSError):
        while True:
            asked = end.recv()
            if isinstance(asked, Asked):  # else it was to give up what it had just read
                end.send(_read(tagger, asked, read))


def main() -> None:
    """The life of a child: load the bundle, say so, read until standard input ends."""
    folder, device, choice, *numbers = sys.argv[1:]
    logs.configure_alone(cast(logs.Choice, choice))
    ends = [Connection(int(number)) for number in numbers]
    from serving.tagger import Tagger

    try:
        tagger = Tagger.from_bundle(Path(folder), threads=1, device=cast("Device", device))
        loaded = Loaded(bundle_digest(Path(folder)))
    except KhabarError as error:
        loaded = Loaded(problem=str(error))
    with suppress(OSError):
        ends[0].send(loaded)
    if loaded.problem is None:
        _start_reading(tagger, ends)
    sys.stdin.buffer.read()  # nothing ever comes
    os._exit(0)


def _start_reading(tagger: Tagger, ends: Sequence[Connection]) -> None:
    """Start a thread for each pipe."""
    read = threading.local()

    def count(pieces: int, unknown: int) -> None:
        read.pieces += pieces
        read.unknown += unknown

    def give_up_when_told() -> None:
        if read.end.poll():
            read.end.recv()
            raise _GivenUp

    tagger.reader.on_read = count
    tagger.reader.before_batch = give_up_when_told
    gc.freeze()  # what is here now stays: no collection need look at it again
    os.nice(NICE)
    for end in ends:
        threading.Thread(target=_serve, args=(tagger, end, read), daemon=True).start()
