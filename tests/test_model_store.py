"""Bundles in the model store: verified, stored once, never overwritten."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import bentoml
import pytest
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore

from annotations.hashes import sha256
from serving.bundle import DEFAULT_FOLDER, Bundle, BundleError, Manifest, write_manifest
from serving.model_store import ALIAS, StoreError, bento_bundle, bundle_tag, store_bundle


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Path]:
    """An empty model store."""
    (tmp_path / "models").mkdir()
    BentoMLContainer.model_store.set(ModelStore(tmp_path / "models"))
    yield tmp_path / "models"
    BentoMLContainer.model_store.reset()


@cache
def shipped() -> Manifest:
    return Bundle.load(DEFAULT_FOLDER).manifest


def small_bundle(folder: Path, model: bytes = b"onnx", **change: str) -> Bundle:
    """A bundle whose files are small; the store looks at their hashes alone."""
    folder.mkdir(exist_ok=True)
    (folder / "model.onnx").write_bytes(model)
    (folder / "tokenizer.json").write_text("{}")
    (folder / "names.tsv").write_text("بغداد\t3\n", encoding="utf-8")
    files = {name: sha256(folder / name) for name in ("model.onnx", "tokenizer.json", "names.tsv")}
    write_manifest(folder, shipped().model_copy(update={"files": files, **change}))
    return Bundle.load(folder)


def stored(store: Path) -> list[str]:
    return sorted(f"{path.parent.name}:{path.name}" for path in store.glob("*/*/"))


def test_a_stored_bundle_is_whole_and_holds_nothing_else(store: Path, tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path / "one")
    (tmp_path / "one" / "notes.txt").write_text("not of the bundle")
    tag = store_bundle(bundle)
    folder = Path(bentoml.models.get(tag).path)
    assert Bundle.load(folder).manifest == bundle.manifest
    names = {path.name for path in folder.iterdir()}
    assert names == {"bundle.json", "model.onnx", "tokenizer.json", "names.tsv", "model.yaml"}
    assert bentoml.models.get(tag).info.labels["version"] == bundle.version


def test_the_same_bundle_is_stored_once(store: Path, tmp_path: Path) -> None:
    tag = store_bundle(small_bundle(tmp_path / "one"))
    made = bentoml.models.get(tag).creation_time
    assert store_bundle(small_bundle(tmp_path / "نسخة")) == tag
    assert stored(store) == [str(tag)]
    assert bentoml.models.get(tag).creation_time == made


def test_a_changed_bundle_lies_beside_the_old_one(store: Path, tmp_path: Path) -> None:
    old = store_bundle(small_bundle(tmp_path / "one"))
    new = store_bundle(small_bundle(tmp_path / "two", model=b"onnx, trained again"))
    assert old.name == new.name and stored(store) == sorted([str(old), str(new)])
    assert (Path(bentoml.models.get(old).path) / "model.onnx").read_bytes() == b"onnx"


@pytest.mark.parametrize(
    ("name", "version", "expected"),
    [
        ("khabar-embedded", "0.1.0", "khabar-embedded:0.1.0-"),
        ("Khabar Mix", "1.0+local", "khabar-mix:1.0-local-"),
        ("خبر", "٢", "bundle:bundle-"),
        ("--a__b..", "v1.", "a__b:v1-"),
        ("n" * 99, "9" * 99, "n" * 63 + ":" + "9" * 50 + "-"),
    ],
)
def test_any_name_makes_a_tag(tmp_path: Path, name: str, version: str, expected: str) -> None:
    bundle = small_bundle(tmp_path / "one", name=name, version=version)
    tag = str(bundle_tag(bundle))
    assert tag == expected + sha256(tmp_path / "one" / "bundle.json")[:12]


def test_a_bundle_damaged_on_the_way_is_not_stored(store: Path, tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path / "one")
    (tmp_path / "one" / "model.onnx").write_bytes(b"other")
    with pytest.raises(BundleError, match=r"model\.onnx: sha256 is"):
        store_bundle(bundle)
    assert stored(store) == []


@pytest.mark.parametrize("name", ["model.onnx", "bundle.json", "model.yaml"])
def test_a_damaged_store_is_told_and_left_alone(store: Path, tmp_path: Path, name: str) -> None:
    bundle = small_bundle(tmp_path / "one")
    tag = store_bundle(bundle)
    (Path(bentoml.models.get(tag).path) / name).unlink()
    with pytest.raises(StoreError, match=f"remove it with `bentoml models delete {tag}` and build"):
        store_bundle(bundle)
    assert stored(store) == [str(tag)]


def test_a_bento_knows_its_bundle_by_its_alias(store: Path, tmp_path: Path) -> None:
    tag = store_bundle(small_bundle(tmp_path / "one"))
    other = store_bundle(small_bundle(tmp_path / "two", model=b"another model"))
    models = [SimpleNamespace(tag=other, alias=None), SimpleNamespace(tag=tag, alias=ALIAS)]
    bento = cast(Any, SimpleNamespace(info=SimpleNamespace(models=models)))
    assert bento_bundle(bento) == Path(bentoml.models.get(tag).path)
    assert bento_bundle(None) is None
