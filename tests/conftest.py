"""Shared parts of the tests: a tiny bundle made by the real recipe, once a session, and a random
backend.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from serving.bundle import DEFAULT_FOLDER, Bundle, Head
from serving.runtime import Floats, Ints
from serving.tagger import Tagger
from tests.browser import answers, browser, chromium_path, door, site  # noqa: F401 - fixtures
from tests.fake_tagger import FakeTagger
from tests.served import service  # noqa: F401 - a fixture
from tests.table_backend import knowing  # noqa: F401 - a fixture

if TYPE_CHECKING:
    from starlette.testclient import TestClient

os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models train faster on one thread


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of the corpora; tests that need them say so and skip where it is not there."""
    folder = os.environ.get("KHABAR_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs the corpora: set KHABAR_DATA to their folder")
    return Path(folder)


@pytest.fixture(scope="session")
def smoke_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of configs/train/smoke.yaml: the whole way, the seed on a random encoder."""
    import configs
    from training.recipe import run_recipe
    from training.settings import load_recipe

    run = tmp_path_factory.mktemp("smoke")
    run_recipe(load_recipe(configs.folder() / "train" / "smoke.yaml"), run)
    return run


@pytest.fixture(scope="session")
def smoke_bundle(smoke_run: Path) -> Path:
    """The bundle of the smoke run."""
    return smoke_run / "bundle"


@pytest.fixture(scope="session")
def smoke_fp32(smoke_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The graph of the smoke run in fp32."""
    from tests.framed_rows import PAD
    from training.export.onnx_export import export_fp32
    from training.runs import Run

    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    export_fp32(Run.open(smoke_run).model(), path, PAD)
    return path


@pytest.fixture(scope="session")
def default_tagger() -> Tagger:
    """The Tagger of the shipped bundle."""
    return Tagger.default()


@pytest.fixture(scope="session")
def tagger() -> FakeTagger:
    """The tagger behind `client`."""
    return FakeTagger()


@pytest.fixture(scope="session")
def client(tagger: FakeTagger) -> Iterator[TestClient]:
    """The service as a worker runs it, in this process, up for the whole session."""
    from tests.worker import worker  # BentoML, which few tests need

    with worker(tagger) as opened:
        yield opened


class RandomBackend:
    """Scores drawn by a seed, so that entities of every kind and nesting appear on any text."""

    def __init__(self, heads: tuple[Head, ...], seed: int = 0) -> None:
        self.heads = heads
        self.random = np.random.default_rng(seed)

    def run(self, ids: Ints, mask: Ints, segments: Ints) -> dict[str, Floats]:
        """Logits of every head in the shapes of the runtime."""
        return {
            head.name: self.random.normal(
                size=(*ids.shape, head.width)
                if head.kind in ("nested", "flat")
                else (len(ids), head.width)
            ).astype(np.float32)
            for head in self.heads
        }


@pytest.fixture
def random_tagger() -> Iterator[Tagger]:
    """A Tagger with the shipped tokenizer and heads whose scores are random."""
    bundle = Bundle.load(DEFAULT_FOLDER)
    yield Tagger(bundle, backend=RandomBackend(bundle.manifest.heads))
