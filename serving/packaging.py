"""The packaging: a bundle and the code that reads it become a Bento, to serve or to containerize.

It works from an installed khabar as well as from its sources, and fetches nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Any

os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")  # read when a Bento is built

import bentoml
import yaml
from bentoml.exceptions import NotFound
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from annotations.errors import KhabarError
from serving.bundle import CARD, Bundle
from serving.entry import ROOMS
from serving.model_store import ALIAS, store_bundle

SERVICE = "service:NewsService"
PYTHON = "3.11"
LEFT_OUT = (  # gold, recipes and the bundle that is in the model store
    "annotations/ant",
    "annotations/authored",
    "annotations/seed/*.jsonl",
    "configs/adapt",
    "configs/data",
    "configs/train",
    "serving/default_bundle",
)
NOT_SERVED = frozenset({"scikit-learn", "seqeval"})  # they score, and training/ is not in a Bento
TRAINS = frozenset({"torch", "transformers", "datasets", "ray"})
STAND_INS = {"onnxruntime": "onnxruntime-gpu"}  # either gives the same module
BENTOFILE = "bentofile.yaml"


class PackagingError(KhabarError):
    """A Bento that cannot be built."""


@dataclass(frozen=True, slots=True)
class Built:
    """A Bento in BentoML's store: its tag, folder, bundle's tag, and the file it went to."""

    tag: str
    folder: Path
    bundle: str
    file: Path | None = None


def build(
    bundle: Path, name: str = "khabar", version: str | None = None, out: Path | None = None
) -> Built:
    """A new Bento of a bundle's folder; `out` is a file (or a folder for one) to export it to."""
    checked = Bundle.load(bundle)
    tag = _free_tag(name, version)
    packages = pinned_requirements()
    model = store_bundle(checked)
    with tempfile.TemporaryDirectory(prefix="khabar-build-") as folder:
        _copy_rooms(Path(folder))
        config = _bentofile(checked, model, packages)
        (Path(folder) / BENTOFILE).write_text(yaml.safe_dump(config), encoding="utf-8")
        _run_build(Path(folder), tag)
    bento = bentoml.get(tag)
    file = None if out is None else _export(bento, out)
    return Built(str(tag), Path(bento.path), str(model), file)


def _bentofile(bundle: Bundle, model: bentoml.Tag, packages: list[str]) -> dict[str, Any]:
    card = bundle.folder / CARD
    return {
        "service": SERVICE,
        "description": card.read_text(encoding="utf-8") if card.is_file() else bundle.name,
        "labels": {"bundle": str(model)},
        "include": ["service.py", *(f"{room}/" for room in ROOMS)],
        "models": [{"tag": str(model), "alias": ALIAS}],
        "python": {"packages": packages, "lock_packages": False},
        "docker": {"python_version": PYTHON, "env": {"BENTOML_DO_NOT_TRACK": "True"}},
    }


def _run_build(folder: Path, tag: bentoml.Tag) -> None:
    """Let BentoML build in a process of its own, which imports the service from the folder."""
    command = [sys.executable, "-m", "bentoml", "build", "--bentofile", BENTOFILE, "--output=tag"]
    command += ["--name", tag.name, "--version", str(tag.version)]
    # the Dockerfile of BentoML's images asks for uv at once, and fetches it where it is missing
    environment = os.environ | {"BENTOML_ENABLE_FEATURES": "no_image"}
    environment |= {"PYTHONDONTWRITEBYTECODE": "1"}  # what it imports there goes into the Bento
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        told = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise PackagingError(f"{tag} cannot be built: {told[-1]}")


def _free_tag(name: str, version: str | None) -> bentoml.Tag:
    """The tag of a Bento to be; one that is taken is an error."""
    try:
        tag = bentoml.Tag(name, version)
        taken = version is not None and tag in [bento.tag for bento in bentoml.list(tag.name)]
    except ValueError as error:
        raise PackagingError(f"{error}; give another --name or --version") from None
    except NotFound:
        taken = False
    if taken:
        raise PackagingError(
            f"{tag} is in the Bento store already; give another --version, or remove it with "
            f"`bentoml delete {tag}`"
        )
    return tag if version is not None else tag.make_new_version()


def _copy_rooms(folder: Path) -> None:
    """The packages that serve, without what only training needs, and the entry beside them."""
    for room in ROOMS:
        source = _folder_of(room)

        def left_out(inside: str, names: list[str], above: Path = source.parent) -> list[str]:
            below = Path(inside).relative_to(above)
            return [
                name
                for name in names
                if name == "__pycache__" or any(map((below / name).match, LEFT_OUT))
            ]

        shutil.copytree(source, folder / room, ignore=left_out)
    shutil.copyfile(folder / "serving" / "entry.py", folder / "service.py")


def _folder_of(room: str) -> Path:
    spec = util.find_spec(room)
    assert spec is not None and spec.origin is not None, f"{room} is a package of khabar"
    return Path(spec.origin).parent


def _export(bento: bentoml.Bento, out: Path) -> Path:
    """The file that a Bento went to, its bundle inside."""
    out = out.absolute()  # BentoML looks for a relative path at the root of the disk
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        return Path(bento.export(str(out)))
    except OSError as error:
        raise PackagingError(
            f"{out}: cannot be written ({error.strerror or error}); {bento.tag} is in the Bento "
            f"store, write it to another place with `bentoml export {bento.tag} FILE`"
        ) from None


def pinned_requirements() -> list[str]:
    """`name==version` of all that the service needs, the versions as they are installed here."""
    versions: dict[str, str] = {}
    seen: set[str] = set()
    waiting = [
        requirement
        for requirement in _requirements(_installed_name("khabar"))
        if canonicalize_name(requirement.name) not in NOT_SERVED
    ]
    while waiting:
        requirement = waiting.pop()
        name = _installed_name(requirement.name)
        versions[name] = metadata.version(name)
        for extra in ("", *requirement.extras):
            if f"{name}[{extra}]" not in seen:
                seen.add(f"{name}[{extra}]")
                waiting += _requirements(name, extra)
    assert not TRAINS & versions.keys(), "the runtime dependencies need nothing of training"
    return [f"{name}=={version}" for name, version in sorted(versions.items())]


def _requirements(distribution: str, extra: str = "") -> list[Requirement]:
    """What a distribution needs on this machine, by itself or for one of its extras."""
    found = [Requirement(line) for line in metadata.requires(distribution) or []]
    return [r for r in found if r.marker is None or r.marker.evaluate({"extra": extra})]


def _installed_name(name: str) -> str:
    """The name of an installed distribution, or of the one that stands in for it."""
    name = canonicalize_name(name)
    for candidate in (name, STAND_INS.get(name, name)):
        try:
            return canonicalize_name(metadata.metadata(candidate)["Name"])
        except metadata.PackageNotFoundError:
            continue
    raise PackagingError(
        f"{name} is not installed; install khabar with pip, `khabar build` reads the versions to "
        "pin from what is installed"
    )
