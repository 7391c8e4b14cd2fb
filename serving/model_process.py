"""The model in a process of its own, so that what computes never holds up what answers.

Threads that read articles and the event loop of the service would take Python's lock from each
other: asked for too much, a service would take seconds to say no. Here a worker keeps the sockets
and one child keeps the model, with a thread for each batch that is read at a time. They speak over
pipes. The child ends when the worker is gone in any way; a child that dies is replaced.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, cast

from annotations.errors import KhabarError
from serving import logs, model_child
from serving.bundle import Bundle
from serving.model_child import Asked, GiveUp, Loaded, Told
from serving.prediction import Article, Prediction
from serving.queue import CallersGoneError, Gone

if TYPE_CHECKING:  # a worker does without ONNX Runtime
    from serving.reader import OnRead
    from serving.runtime import Device

# SIGINT and SIGTERM reach a whole group of processes; the worker says when its child ends. Run by
# -m the classes of its module would be other ones than the worker's.
START = f"""
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
from {model_child.__name__} import main
main()
"""
LOAD_S, STOP_S = 120, 10  # after which a child is killed
RETRY_S = 5.0  # between tries to replace a child that cannot be started
GONE_S = 0.2  # between looks whether anybody still waits for a batch
ROOT = Path(__file__).parents[1]  # where `serving` can be imported from
logger = logging.getLogger("khabar.service")


class ModelProcessError(KhabarError):
    """A child that cannot be started, or that died; it tells nothing of an article."""


class ReadingFault(Exception):
    """An exception of the child while it read; `places` tells where, without a word of the text."""

    def __init__(self, places: str) -> None:
        super().__init__(places)
        self.places = places


class _Child:
    """A running child and the ends of its pipes that no batch uses now.

    It ends when its standard input does, which only the worker holds open.
    """

    def __init__(self, folder: Path, device: Device, threads: int, choice: logs.Choice) -> None:
        pipes = [Pipe() for _ in range(threads)]
        theirs = [end.fileno() for _, end in pipes]
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        arguments = [str(folder), device, choice, *map(str, theirs)]
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", START, *arguments],
            stdin=subprocess.PIPE,
            pass_fds=theirs,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
        self.free: SimpleQueue[Connection] = SimpleQueue()
        for ours, end in pipes:
            end.close()
            self.free.put(ours)
        try:
            self.manifest = self._loaded(folder)
        except ModelProcessError:
            self.bury()
            raise

    def _loaded(self, folder: Path) -> str | None:
        end = self.free.get()
        try:
            if not end.poll(LOAD_S):
                raise ModelProcessError(f"{folder}: not loaded within {LOAD_S} s; start again")
            loaded = cast(Loaded, end.recv())
        except (EOFError, OSError):
            code = self.process.wait(STOP_S)
            told = f"{folder}: the model's process ended while loading (exit {code}); see the log"
            raise ModelProcessError(told) from None
        if loaded.problem is not None:
            raise ModelProcessError(loaded.problem)
        self.free.put(end)
        return loaded.manifest

    def ask(self, asked: Asked, gone: Gone) -> Told:
        """The child's answer about a batch; EOFError or OSError when it died."""
        end = self.free.get()
        try:
            end.send(asked)
            while not end.poll(GONE_S):
                if gone():
                    end.send(GiveUp())
                    break
            return cast(Told, end.recv())
        except (EOFError, OSError):
            raise
        except BaseException:
            self.bury()  # its answer would go to the next batch
            raise
        finally:
            self.free.put(end)

    def bury(self) -> None:
        """End a child that is of no use any more, whatever it does."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End the child; what it is reading is lost."""
        assert self.process.stdin
        with suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.bury()


class ModelProcess:
    """Reads articles as a Tagger does, in a child with `threads` threads.

    Safe to share between threads. `problem` is why there is no child now, which is tried again
    every `RETRY_S` as long as articles come. ModelProcessError when the first one cannot be
    started; BundleError when the bundle is not whole.
    """

    def __init__(
        self, folder: Path, device: Device, threads: int, choice: logs.Choice = "auto"
    ) -> None:
        self.bundle = Bundle.load(folder)
        self.on_read: OnRead | None = None
        self.problem: str | None = None
        self._manifest = self.bundle.digest
        self._start_anew = partial(_Child, self.bundle.folder, device, threads, choice)
        self._turns = _Turns()
        self._replacing = threading.Lock()
        self._closed = False
        self._failed_at = 0.0  # time.monotonic()
        self._child = self._start_anew()

    def tag(
        self,
        articles: Sequence[Article],
        max_code_points: int | None = None,
        gone: Gone = lambda: False,
    ) -> list[Prediction]:
        """A prediction an article, in order. ReadingFault when the child failed at them,
        ModelProcessError when it died of them or is not there, CallersGoneError when they were
        given up because `gone` says so.

        Whatever was being read when the child died is read again with nothing beside it, so that
        none is blamed for another's fault.
        """
        asked = Asked(articles, max_code_points)
        with self._turns.shared():
            told = self._told(asked, gone)
        if told is None:
            with self._turns.alone():
                told = self._told(asked, gone)
        if told is None:
            raise ModelProcessError("the model's process died while it read a batch, twice")
        if told.given_up:
            raise CallersGoneError("given up: nobody waits for it")
        if told.fault is not None:
            raise ReadingFault(told.fault)
        if self.on_read is not None:
            self.on_read(told.pieces, told.unknown)
        return told.predictions

    def close(self) -> None:
        """End the child for good; what it is reading is lost."""
        with self._replacing:
            self._closed = True
            self._child.stop()

    def _told(self, asked: Asked, gone: Gone) -> Told | None:
        """What the child says of a batch; None when it died, and then another one is there."""
        child = self._child
        if gone():
            return Told([], given_up=True)
        try:
            return child.ask(asked, gone)
        except (EOFError, OSError):
            with self._replacing:
                if self._child is child:  # else another batch that it took with it has replaced it
                    self._replace(child)
            return None

    def _replace(self, dead: _Child) -> None:
        if self._closed:
            raise ModelProcessError("the model is closed")
        if self.problem and time.monotonic() < self._failed_at + RETRY_S:
            raise ModelProcessError(self.problem)
        dead.bury()
        if self.problem is None:
            code = dead.process.returncode
            logger.warning("the model's process died (exit %s) and is started anew", code)
        try:
            child = self._start_anew()
            if child.manifest != self._manifest:
                child.bury()
                told = f"{self.bundle.folder}: holds another bundle now; restart the service"
                raise ModelProcessError(told)
        except (ModelProcessError, OSError) as error:
            self.problem, self._failed_at = str(error), time.monotonic()
            logger.error("the model's process cannot be started anew: %s", error)
            raise ModelProcessError(self.problem) from None
        self._child, self.problem = child, None


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
