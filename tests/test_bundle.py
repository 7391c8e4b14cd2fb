"""Bundles: what is whole is read, everything else is refused in words that say what to do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from annotations.errors import KhabarError
from annotations.hashes import sha256
from serving.bundle import FORMAT, Bundle, BundleError, Head, write_manifest
from serving.tagger import Tagger


@pytest.fixture
def copy(smoke_bundle: Path, tmp_path: Path) -> Path:
    """A bundle to break."""
    return Path(shutil.copytree(smoke_bundle, tmp_path / "bundle"))


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "bundle.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    change(manifest)
    path.write_text(json.dumps(manifest), encoding="utf-8")


def refusal(folder: Path) -> str:
    with pytest.raises(BundleError) as caught:
        Tagger.from_bundle(folder)
    assert isinstance(caught.value, KhabarError)  # one line for a user, no traceback
    assert str(folder) in str(caught.value)
    return str(caught.value)


def test_a_whole_bundle_is_read(smoke_bundle: Path) -> None:
    bundle = Bundle.load(smoke_bundle)
    assert (bundle.name, bundle.version) == ("khabar-smoke", "0.0.1")
    assert bundle.head("khabar").kind == "nested"
    assert set(bundle.manifest.files) >= {"model.onnx", "tokenizer.json", "names.tsv"}
    assert Tagger.from_bundle(smoke_bundle).tag(["زار محمد بغداد"])[0].error is None


def test_every_file_of_a_bundle_is_under_its_hash(smoke_bundle: Path) -> None:
    files = {path.name for path in smoke_bundle.iterdir()} - {"bundle.json"}
    manifest = json.loads((smoke_bundle / "bundle.json").read_text(encoding="utf-8"))
    assert {name: sha256(smoke_bundle / name) for name in files} == manifest["files"]


def test_a_bundle_can_be_moved(copy: Path, tmp_path: Path) -> None:
    moved = copy.rename(tmp_path / "نموذج ثان")
    assert Tagger.from_bundle(moved).bundle.name == "khabar-smoke"


@pytest.mark.parametrize("name", ["لا شيء", "empty", "a_file"])
def test_what_is_no_bundle_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a_file").write_text("{}")
    assert "no bundle.json; give the folder of a bundle" in refusal(tmp_path / name)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "names.tsv", "MODEL_CARD.md"])
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    assert f"{name} is missing; copy the whole bundle" in refusal(copy)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "names.tsv", "MODEL_CARD.md"])
def test_one_damaged_byte_is_found(copy: Path, name: str) -> None:
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    assert f"{name}: sha256 is" in refusal(copy)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"null", b'{"format": "one"}'])
def test_a_manifest_that_is_no_manifest_is_refused(copy: Path, content: bytes) -> None:
    (copy / "bundle.json").write_bytes(content)
    assert "export the bundle again" in refusal(copy)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda manifest: manifest.update(colour="red"), "colour"),
        (lambda manifest: manifest["heads"][0].update(threshold=0.5), "heads.0.threshold"),
        (lambda manifest: manifest["heads"][0].update(kind="tree"), "heads.0.kind"),
        (lambda manifest: manifest["window"].update(stride=4), "stride"),
        (lambda manifest: manifest["special"].update(mask=4), "mask"),
        (lambda manifest: manifest["special"].pop("pad"), "pad"),
        (lambda manifest: manifest["normalization"].update(lowercase=True), "lowercase"),
        (lambda manifest: manifest.pop("version"), "version"),
        (lambda manifest: manifest["heads"][0].update(slope=float("nan")), "heads.0.slope"),
        (lambda manifest: manifest["heads"][0].update(temperature=1e999), "heads.0.temperature"),
        (
            lambda manifest: manifest["heads"].append(manifest["heads"][0]),
            "two heads have one name",
        ),
        (lambda manifest: manifest["window"].update(size=40, overlap_tokens=32), "got overlap 32"),
    ],
)
def test_an_unknown_or_missing_key_is_named(
    copy: Path, change: Callable[[dict[str, Any]], object], words: str
) -> None:
    edit(copy, change)
    message = refusal(copy)
    assert words in message and "export the bundle again" in message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 4}, "format 4, this khabar reads 1, 2 and 3; install a newer khabar"),
        ({"format": 4, "shards": 4}, "format 4, this khabar reads 1, 2 and 3; install a newer"),
        ({"format": 0}, "format 0, this khabar reads 1, 2 and 3; export the bundle again"),
    ],
)
def test_another_format_is_said_to_be_one(copy: Path, change: dict[str, int], words: str) -> None:
    edit(copy, lambda manifest: manifest.update(change))
    assert words in refusal(copy)


@pytest.mark.parametrize("older", [1, 2])
def test_a_bundle_of_an_older_format_is_read(copy: Path, older: int) -> None:
    def as_before(manifest: dict[str, Any]) -> None:
        manifest["format"] = older
        for head in manifest["heads"]:
            head.pop("mirrored")
            if older == 1:
                head.pop("biases")
                (head["transitions"] or {}).pop("quiet", None)

    edit(copy, as_before)
    for head in Bundle.load(copy).manifest.heads:
        assert not head.mirrored
        assert older == 2 or head.biases == ()
        assert head.transitions is None or head.transitions.quiet == 0.999


def test_what_was_read_in_an_older_format_is_written_in_todays(copy: Path) -> None:
    edit(copy, lambda manifest: manifest.update(format=2))
    write_manifest(copy, Bundle.load(copy).manifest)
    assert json.loads((copy / "bundle.json").read_text(encoding="utf-8"))["format"] == FORMAT


def test_a_stance_head_is_not_mirrored(copy: Path) -> None:
    def mirror(manifest: dict[str, Any]) -> None:
        for head in manifest["heads"]:
            head["mirrored"] = head["name"] == "stance"

    edit(copy, mirror)
    assert "only a pair head of unit sentence, of claims" in refusal(copy)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "names.tsv"])
def test_a_manifest_must_vouch_for_what_is_read(copy: Path, name: str) -> None:
    edit(copy, lambda manifest: manifest["files"].pop(name))
    (copy / name).write_bytes(b"anything")
    assert f"no sha256 of {name}" in refusal(copy)


def test_a_head_that_does_not_fit_the_model_is_refused(copy: Path) -> None:
    edit(copy, lambda manifest: manifest["heads"][0]["labels"].pop())
    assert "head 'khabar' needs 60 numbers, the model gives 63" in refusal(copy)


def test_a_head_that_the_model_does_not_have_is_refused(copy: Path) -> None:
    edit(copy, lambda manifest: manifest["heads"][0].update(name="wojood"))
    assert "head 'wojood' needs 63 numbers, the model gives none" in refusal(copy)


def test_a_head_is_asked_for_by_name(smoke_bundle: Path) -> None:
    with pytest.raises(
        BundleError, match=r"no head 'mood'; this bundle has khabar, anercorp, topi"
    ):
        Bundle.load(smoke_bundle).head("mood")


@pytest.mark.parametrize(
    ("kind", "labels", "width"),
    [("nested", 21, 63), ("flat", 4, 9), ("text", 7, 7), ("pair", 3, 3)],
)
def test_a_head_is_as_wide_as_its_kind_needs(kind: Any, labels: int, width: int) -> None:
    names = tuple(f"L{i}" for i in range(labels))
    assert Head(name="x", kind=kind, labels=names).width == width


def test_the_tags_of_a_flat_head() -> None:
    head = Head(name="anercorp", kind="flat", labels=("PERS", "LOC"))
    assert head.tags == ("O", "B-PERS", "I-PERS", "B-LOC", "I-LOC")


def test_the_summary_is_json_that_a_client_may_read(smoke_bundle: Path) -> None:
    summary = json.loads(json.dumps(Bundle.load(smoke_bundle).summary()))
    assert (summary["name"], summary["version"]) == ("khabar-smoke", "0.0.1")
    assert summary["heads"]["claim"] == {"kind": "pair", "labels": ["agree", "disagree", "other"]}
    assert "khabar" not in summary["experimental"] and "topic" in summary["experimental"]
