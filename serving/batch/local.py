"""The local engine: worker processes on this machine, each with a Tagger of one thread."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from serving.batch.errors import BatchError, failure
from serving.batch.options import BatchOptions
from serving.batch.parts import Part
from serving.batch.tagging import Beat, Heard, TaggedPart, TagsArticles, tag_part

_MAX_DEATHS = 2  # workers that may die over one part before the job stops


@dataclass(frozen=True, slots=True)
class _Ready:
    pass


def bundle_tagger(bundle: Path) -> TagsArticles:
    """The Tagger of a bundle on one thread."""
    from serving.tagger import Tagger

    return Tagger.from_bundle(bundle, threads=1)


@dataclass(slots=True)
class _Worker:
    """A process at the other end of a channel, and the part that it has in hand."""

    process: SpawnProcess
    channel: Connection
    ready: bool = False
    part: Part | None = None


@dataclass(frozen=True)
class LocalEngine:
    """Worker processes; `make_tagger` is called in each of them and must be picklable."""

    bundle: Path
    options: BatchOptions
    workers: int
    make_tagger: Callable[[Path], TagsArticles] = bundle_tagger

    def run(self, parts: Iterable[Part], beat: Beat) -> Iterator[TaggedPart]:
        """See `Engine.run`. A worker that dies is replaced and its part read again, once."""
        todo = iter(parts)
        following = next(todo, None)
        if following is None:
            return
        pool = [self._start() for _ in range(self.workers)]
        deaths: dict[int, int] = {}
        try:
            while following is not None or any(worker.part for worker in pool):
                for worker in pool:
                    if worker.ready and worker.part is None and following is not None:
                        _give(worker, following)
                        following = next(todo, None)
                for worker, answer in _answers(pool):
                    if isinstance(answer, TaggedPart):
                        worker.part = None
                        if following is not None:  # before the driver is busy with writing
                            _give(worker, following)
                            following = next(todo, None)
                        yield answer
                    elif isinstance(answer, Heard):
                        beat(answer.articles, answer.tokens)
                    elif isinstance(answer, BatchError):
                        raise answer
                    elif answer is None:
                        pool.remove(worker)
                        worker.process.join()
                        worker.channel.close()
                        if (
                            worker.part is not None or not worker.ready
                        ):  # else it died when all was done
                            pool.append(self._replaced(worker, deaths))
        finally:
            for worker in pool:
                worker.process.kill()
            for worker in pool:
                worker.process.join()
                worker.channel.close()

    def _start(self) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_work, args=(theirs, self.bundle, self.options, self.make_tagger), daemon=True
        )
        with _signals_ignored():  # Ctrl-C reaches a whole group of processes; one answers it
            process.start()
        theirs.close()
        return _Worker(process, ours)

    def _replaced(self, worker: _Worker, deaths: dict[int, int]) -> _Worker:
        code = worker.process.exitcode
        if worker.part is None:
            raise BatchError(f"a worker ended before it had work (exit {code}); start again")
        number = worker.part.number
        deaths[number] = deaths.get(number, 0) + 1
        if deaths[number] == _MAX_DEATHS:
            raise BatchError(
                f"part {number}: {_MAX_DEATHS} workers died over it (exit {code}; out of memory?); "
                "start again with fewer --workers or smaller parts"
            )
        new = self._start()
        while not new.ready:
            for _, answer in _answers([new]):
                if isinstance(answer, BatchError):
                    raise answer
                if answer is None:
                    raise BatchError(f"a worker could not start (exit {new.process.exitcode})")
        _give(new, worker.part)
        return new


def _give(worker: _Worker, part: Part) -> None:
    worker.part = part
    # one that died says so at the next wait, and its part is given to another
    with suppress(BrokenPipeError, ConnectionResetError):
        worker.channel.send(part)


def _answers(
    pool: list[_Worker],
) -> Iterator[tuple[_Worker, TaggedPart | Heard | BatchError | None]]:
    """What workers say, one message each of those that speak; None from one that died."""
    by_channel = {worker.channel: worker for worker in pool}
    for channel in wait(list(by_channel)):
        assert isinstance(channel, Connection)
        worker = by_channel[channel]
        try:
            answer = channel.recv()
        except (EOFError, OSError):
            answer = None
        if isinstance(answer, _Ready):
            worker.ready = True
        else:
            yield worker, answer


@contextmanager
def _signals_ignored() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _work(
    channel: Connection,
    bundle: Path,
    options: BatchOptions,
    make_tagger: Callable[[Path], TagsArticles],
) -> None:
    """A worker's life: load the Tagger, then a part after the other until the driver is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    try:
        tagger = make_tagger(bundle)
        channel.send(_Ready())
        while True:
            part = channel.recv()
            channel.send(
                tag_part(part, tagger, options, lambda n, tokens: channel.send(Heard(n, tokens)))
            )
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except Exception as error:
        channel.send(failure(error))
