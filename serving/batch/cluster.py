"""The ray engine: a pool of actors on a Ray cluster, each with a Tagger of one thread.

Actors, and not a Ray Dataset: that wants its blocks known beforehand, or from tasks that it may run
again at will. Our parts come out of one stream, are compared with the manifest on the way, and are
held only while an actor has them.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.batch.errors import BatchError, UsageError, extra, failure
from serving.batch.local import bundle_tagger
from serving.batch.options import BatchOptions
from serving.batch.parts import Part
from serving.batch.tagging import Beat, TaggedPart, TagsArticles, tag_part
from serving.bundle import bundle_digest

_OBJECT_STORE_BYTES = 256 * 1024 * 1024  # of a cluster of our own: a few parts on their way
_RETRIES = 1  # of a part over which an actor died
_RESTARTS = 20  # of an actor, so that one which cannot begin ends the job
_PATIENCE_S = 60  # with a cluster that lets no actor begin, until it is told

logger = logging.getLogger("khabar.batch")


@dataclass(frozen=True)
class RayEngine:
    """Actors on the cluster at an address, or on one of this machine that ends with the job.

    `workers` None is one a core of the cluster. The folder of the bundle must be the same on every
    node, and is compared there; `make_tagger` is called in each actor.
    """

    bundle: Path
    options: BatchOptions
    workers: int | None = None
    address: str | None = None
    make_tagger: Callable[[Path], TagsArticles] = bundle_tagger

    def run(self, parts: Iterable[Part], beat: Beat) -> Iterator[TaggedPart]:
        """See `Engine.run`. A part whose actor died is read again, once.

        An actor gets its first part once it has begun: where the cluster is busy some may never.
        """
        todo = iter(parts)
        following = next(todo, None)
        if following is None:
            return
        with _cluster(self.address, self.workers) as ray:
            beginning = {actor.begin.remote(): actor for actor in self._actors(ray)}
            in_hand: dict[Any, tuple[Any, int]] = {}  # by the promise of an answer
            while in_hand or following is not None:
                promise = _first(ray, [*in_hand, *beginning], begun=bool(in_hand))
                actor, number = in_hand.pop(promise, None) or (beginning.pop(promise), None)
                answer = _answer(ray, promise, number)
                if following is not None:  # before the driver is busy with writing
                    in_hand[actor.tag.remote(following)] = actor, following.number
                    following = next(todo, None)
                del actor  # Ray ends one that nobody holds, and its core is free
                if following is None:
                    beginning.clear()
                if answer is not None:
                    tagged, articles, tokens = answer
                    beat(articles, tokens)
                    yield tagged

    def _actors(self, ray: Any) -> list[Any]:
        cores = int(ray.cluster_resources().get("CPU", 1))
        kind = ray.remote(num_cpus=1, max_restarts=_RESTARTS, max_task_retries=_RETRIES)(Reader)
        told = (self.bundle, bundle_digest(self.bundle), self.options, self.make_tagger)
        return [kind.remote(*told) for _ in range(min(self.workers or cores, cores))]


class Reader:
    """An actor: a Tagger, loaded once. What goes wrong is an answer, since Ray would print it."""

    def __init__(
        self,
        bundle: Path,
        digest: str,
        options: BatchOptions,
        make_tagger: Callable[[Path], TagsArticles],
    ) -> None:
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        self.options = options
        self.tagger: TagsArticles | BatchError
        try:
            self.tagger = make_tagger(bundle)
            if bundle_digest(bundle) != digest:
                told = f"{bundle}: another bundle on this node than where the job was started"
                raise BatchError(f"{told}; copy it to every node")
        except Exception as error:
            self.tagger = failure(error)

    def begin(self) -> BatchError | None:
        """What keeps it from reading; it answers once it has a core and its Tagger is loaded."""
        return self.tagger if isinstance(self.tagger, BatchError) else None

    def tag(self, part: Part) -> tuple[TaggedPart, int, int] | BatchError:
        """A part tagged, and how many articles and tokens were read for it."""
        if isinstance(self.tagger, BatchError):
            return self.tagger
        read = [0, 0]

        def beat(articles: int, tokens: int) -> None:
            read[0] += articles
            read[1] += tokens

        try:
            return tag_part(part, self.tagger, self.options, beat), read[0], read[1]
        except Exception as error:
            return failure(error)


def _first(ray: Any, promises: list[Any], begun: bool) -> Any:
    """The first promise that is kept; when no actor has begun for a while, that is told."""
    kept, _ = ray.wait(promises, num_returns=1, timeout=None if begun else _PATIENCE_S)
    if not kept:
        logger.warning(
            "khabar: no worker could begin within %s s; the job waits for a free core of the "
            "cluster (see `ray status`)",
            _PATIENCE_S,
        )
        kept, _ = ray.wait(promises, num_returns=1, timeout=None)
    return kept[0]


def _answer(ray: Any, promise: Any, number: int | None) -> tuple[TaggedPart, int, int] | None:
    """What an actor answers about a part, or None when it has begun, which is of no part."""
    where = "a worker that had no part yet" if number is None else f"part {number}"
    try:
        answer = ray.get(promise)
    except ray.exceptions.RayActorError:
        if number is None:
            raise BatchError(
                "a worker could not begin (out of memory?); start again with fewer --workers"
            ) from None
        raise BatchError(
            f"{where}: {_RETRIES + 1} workers died over it, or one could not begin again (out of "
            "memory?); start again with fewer --workers or smaller parts"
        ) from None
    except ray.exceptions.RayError as error:
        raise BatchError(f"{where}: Ray lost it ({type(error).__name__}); start again") from None
    if isinstance(answer, BatchError):
        raise answer
    found: tuple[TaggedPart, int, int] | None = answer
    return found


@contextmanager
def _cluster(address: str | None, workers: int | None) -> Iterator[Any]:
    """Ray, connected; it reports to nobody, and leaves our answer to SIGTERM as it was."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray = extra("ray", of="batch,ray")
    own = {
        "num_cpus": workers,
        "include_dashboard": False,
        "object_store_memory": _OBJECT_STORE_BYTES,
    }
    before = signal.getsignal(signal.SIGTERM)
    try:
        try:
            ray.init(
                address or "local",
                log_to_driver=False,
                logging_level=logging.ERROR,
                **({} if address else own),
            )
        except Exception as error:  # Ray raises plain ones; they have seen no article
            if address:
                raise UsageError(f"--ray-address {address}: {error}") from None
            raise BatchError(f"Ray did not start here: {error}; start again") from None
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
        yield ray
    finally:
        ray.shutdown()
