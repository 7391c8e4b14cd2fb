"""Which engine a job is read with: the one place where it is chosen."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from serving.batch.cluster import RayEngine
from serving.batch.engine import Engine
from serving.batch.errors import UsageError, require
from serving.batch.local import LocalEngine, bundle_tagger
from serving.batch.model import ModelId
from serving.batch.options import BatchOptions
from serving.batch.tagging import TagsArticles
from serving.bundle import DEFAULT_FOLDER, Bundle
from serving.cores import usable_cores

EngineName = Literal["local", "http", "ray"]


@dataclass(frozen=True)
class Wanted:
    """What a caller says of the engine; None is the default of each."""

    name: str = "local"
    workers: int | None = None
    bundle: Path | None = None
    url: str | None = None
    api_key_env: str | None = None  # the name of an environment variable
    ray_address: str | None = None

    def __post_init__(self) -> None:
        if self.name not in get_args(EngineName):
            names = ", ".join(get_args(EngineName))
            raise UsageError(f"--engine {self.name}: no such engine; use {names}")
        if self.name == "http" and self.url is None:
            raise UsageError("--engine http: name the service with --url http://HOST:PORT")
        if self.name == "http" and self.bundle is not None:
            raise UsageError("--bundle: the service of --engine http has its own; leave it out")
        for option, value, name in (
            ("--url", self.url, "http"),
            ("--api-key-env", self.api_key_env, "http"),
            ("--ray-address", self.ray_address, "ray"),
        ):
            if value is not None and self.name != name:
                raise UsageError(f"{option}: only for --engine {name}, got --engine {self.name}")

    @property
    def api_key(self) -> str | None:
        """The key of the service."""
        if self.api_key_env is None:
            return None
        key = os.environ.get(self.api_key_env)
        if not key:
            raise UsageError(f"--api-key-env {self.api_key_env}: this variable is not set")
        return key


@dataclass(frozen=True)
class Chosen:
    """An engine, the model that it reads with, and a Tagger to measure it by.

    `at_once` is how many such Taggers read at the same time, None where only the cluster knows.
    """

    engine: Engine
    model: ModelId
    tagger: Callable[[], AbstractContextManager[TagsArticles]]
    at_once: int | None


def chosen_engine(wanted: Wanted, options: BatchOptions) -> Chosen:
    """The engine that is wanted; a bundle is verified, a service is asked for its model."""
    if wanted.name == "http":
        return _served(wanted, options)
    bundle = Bundle.load(wanted.bundle or DEFAULT_FOLDER)
    at_once: int | None = wanted.workers
    if at_once is None and wanted.ray_address is None:
        at_once = usable_cores()
    if wanted.name == "local":
        assert at_once is not None
        engine: Engine = LocalEngine(bundle.folder, options, at_once)
    else:
        require("ray", of="batch,ray")
        # an actor has a working folder of its own, where a relative path leads elsewhere
        engine = RayEngine(bundle.folder.absolute(), options, at_once, wanted.ray_address)
    return Chosen(
        engine,
        ModelId.of_bundle(bundle),
        lambda: nullcontext(bundle_tagger(bundle.folder)),
        at_once,
    )


def _served(wanted: Wanted, options: BatchOptions) -> Chosen:
    from serving.batch.served import DEFAULT_WORKERS, HttpEngine, Service, service_tagger

    assert wanted.url is not None
    service, workers = Service(wanted.url, wanted.api_key), wanted.workers or DEFAULT_WORKERS
    model = service.model()
    engine = HttpEngine(service, model, options, workers)
    return Chosen(engine, model, lambda: service_tagger(service, model, workers), 1)
