"""The model in a process of its own, so that what computes never holds up what answers.

Threads that read articles and the event loop of the service would take Python's lock from each
other: asked for too much, a service would take seconds to say no. Here a worker keeps the sockets
and one child keeps the model, with a thread for each batch that is read at a time. The two speak
over pipes; when the worker is gone in any way the pipes end, and the child with them. A child that
dies is replaced.
"""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, cast

from annotations.errors import KhabarError
from serving.bundle import Bundle
from serving.logs import fault_places
from serving.prediction import Article, Prediction

if TYPE_CHECKING:  # a worker does without ONNX Runtime
    from serving.reader import OnRead
    from serving.runtime import Device
    from serving.tagger import Tagger

START = f"from {__name__} import main; main()"  # run by -m its classes would be other ones
NICE = 5  # the worker goes first: it has little to do, and callers wait for it
STOP_S = 10  # for the batches in hand; a child that takes longer is killed
ROOT = Path(__file__).parents[1]  # where `serving` can be imported from


class ModelProcessError(KhabarError):
    """A child that cannot load its bundle, or that died."""


class ReadingFault(Exception):
    """An exception of the child while it read; `places` tells where, without a word of the text."""

    def __init__(self, places: str) -> None:
        super().__init__(places)
        self.places = places


@dataclass(frozen=True, slots=True)
class _Asked:
    """A batch on its way to the child."""

    articles: Sequence[Article]
    max_code_points: int | None


@dataclass(frozen=True, slots=True)
class _Told:
    """What the child says of a batch: predictions and the pieces read, or where it failed."""

    predictions: list[Prediction]
    pieces: int = 0
    unknown: int = 0
    fault: str | None = None


class _Child:
    """A running child and the ends of its pipes that no batch uses now."""

    def __init__(self, folder: Path, device: Device, threads: int) -> None:
        pipes = [Pipe() for _ in range(threads)]
        theirs = [end.fileno() for _, end in pipes]
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        command = [sys.executable, "-c", START, str(folder), device, *map(str, theirs)]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            pass_fds=theirs,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
        self.ends: list[Connection] = []
        self.free: SimpleQueue[Connection] = SimpleQueue()
        for ours, end in pipes:
            end.close()
            self.ends.append(ours)
        try:
            problem = self.ends[0].recv()
        except (EOFError, OSError):
            self.stop()
            code = self.process.returncode
            raise ModelProcessError(
                f"the model's process ended while loading (exit {code})"
            ) from None
        if problem is not None:
            self.stop()
            raise ModelProcessError(problem)
        for ours in self.ends:
            self.free.put(ours)

    def ask(self, asked: _Asked) -> _Told:
        """The child's answer about a batch; EOFError or OSError when it died."""
        end = self.free.get()
        try:
            end.send(asked)
            return cast(_Told, end.recv())
        finally:
            self.free.put(end)

    def stop(self) -> None:
        """End the child."""
        for end in self.ends:
            end.close()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class ModelProcess:
    """Reads articles as a Tagger does, in a child with `threads` threads.

    Safe to share between threads. ModelProcessError when the child cannot be started; BundleError
    when the bundle is not whole.
    """

    def __init__(self, folder: Path, device: Device, threads: int) -> None:
        self.bundle = Bundle.load(folder)
        self.on_read: OnRead | None = None
        self._start_anew = partial(_Child, self.bundle.folder, device, threads)
        self._turns = _Turns()
        self._replacing = threading.Lock()
        self._child = self._start_anew()

    def tag(
        self, articles: Sequence[Article], max_code_points: int | None = None
    ) -> list[Prediction]:
        """A prediction an article, in order. ReadingFault when the child failed at them,
        ModelProcessError when it died of them.

        Whatever was being read when the child died is read again with nothing beside it, so that
        none is blamed for another's fault.
        """
        asked = _Asked(articles, max_code_points)
        with self._turns.shared():
            told = self._told(asked)
        if told is None:
            with self._turns.alone():
                told = self._told(asked)
        if told is None:
            raise ModelProcessError("the model's process died while it read a batch, twice")
        if told.fault is not None:
            raise ReadingFault(told.fault)
        if self.on_read is not None:
            self.on_read(told.pieces, told.unknown)
        return told.predictions

    def close(self) -> None:
        """End the child; batches in hand are lost."""
        self._child.stop()

    def _told(self, asked: _Asked) -> _Told | None:
        """What the child says of a batch; None when it died, and then another one is there."""
        child = self._child
        try:
            return child.ask(asked)
        except (EOFError, OSError):
            with self._replacing:
                if self._child is child:  # else another batch that it took with it has replaced it
                    child.stop()
                    self._child = self._start_anew()
            return None


class _Turns:
    """A lock that many share or one has alone; who wants it alone goes first."""

    def __init__(self) -> None:
        self._sharing = 0
        self._wanted_alone = 0
        self._changed = threading.Condition()

    @contextmanager
    def shared(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._wanted_alone)
            self._sharing += 1
        try:
            yield
        finally:
            with self._changed:
                self._sharing -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        with self._changed:
            self._wanted_alone += 1
            try:
                self._changed.wait_for(lambda: not self._sharing)
                yield
            finally:
                self._wanted_alone -= 1
                self._changed.notify_all()


def _read(tagger: Tagger, asked: _Asked, read: threading.local) -> _Told:
    read.pieces = read.unknown = 0
    try:
        predictions = tagger.tag(asked.articles, asked.max_code_points)
    except Exception as fault:  # its words may quote an article
        return _Told([], fault=fault_places(fault))
    return _Told(predictions, read.pieces, read.unknown)


def _serve(tagger: Tagger, end: Connection, read: threading.local) -> None:
    """Answer the batches of one pipe until its other end is closed."""
    try:
        while True:
            end.send(_read(tagger, end.recv(), read))
    except (EOFError, OSError):
        return


def main() -> None:
    """The life of a child: load the bundle, say so, read until the pipes end."""
    from serving.tagger import Tagger

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # reach a whole group; the worker says when
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    folder, device, *numbers = sys.argv[1:]
    ends = [Connection(int(number)) for number in numbers]
    try:
        tagger = Tagger.from_bundle(Path(folder), threads=1, device=cast("Device", device))
    except KhabarError as error:
        ends[0].send(str(error))
        return
    read = threading.local()

    def count(pieces: int, unknown: int) -> None:
        read.pieces += pieces
        read.unknown += unknown

    tagger.reader.on_read = count
    gc.freeze()
    os.nice(NICE)
    ends[0].send(None)
    threads = [threading.Thread(target=_serve, args=(tagger, end, read)) for end in ends]
    for thread in threads:
        thread.start()
