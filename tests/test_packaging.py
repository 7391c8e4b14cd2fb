"""Bentos: built from an installed khabar, offline; served by BentoML's own command as built."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import serving.packaging
from annotations.seed import seed_text
from serving.bundle import DEFAULT_FOLDER, BundleError
from serving.packaging import PackagingError, _export, build, pinned_requirements
from serving.prediction import Article
from serving.tagger import Tagger

ROOT = Path(__file__).resolve().parent.parent
MARK = "<!-- هذه الصفحة من الحزمة -->"
TAG = "khabar:1.0"
NOT_FETCHING = {"PIP_NO_INDEX": "1", "HTTP_PROXY": "http://127.0.0.1:9"}
NOT_FETCHING |= {"HTTPS_PROXY": "http://127.0.0.1:9", "ALL_PROXY": "http://127.0.0.1:9"}


LOAD_BARE = """
import importlib.metadata, sys
pinned = {line.partition("==")[0] for line in open(sys.argv[1]).read().split()} | {"khabar"}
owners = importlib.metadata.packages_distributions()

class Absent:
    def find_spec(name, path=None, target=None):
        found = {owner.lower().replace("_", "-") for owner in owners.get(name, ())}
        if found and not found & pinned:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent)
import service, serving.tagger
print(serving.tagger.__file__)
"""


def environment(home: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KHABAR_")}
    kept |= {"BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"}
    return kept | {"PYTHONDONTWRITEBYTECODE": "1"} | more  # what runs leaves a Bento as it is


def python(*words: object, cwd: Path, home: Path, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *(str(word) for word in words)]
    env = environment(home, **more)
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages as in site-packages, with no project around them, and a mark in the page."""
    folder = tmp_path_factory.mktemp("site-packages")
    ignore = shutil.ignore_patterns("__pycache__", "default_bundle")
    for room in ("annotations", "configs", "serving", "training"):
        shutil.copytree(ROOT / room, folder / room, ignore=ignore)
    shutil.copyfile(ROOT / "khabar.py", folder / "khabar.py")
    with (folder / "serving" / "page" / "index.html").open("a", encoding="utf-8") as page:
        page.write(MARK)
    return folder


@pytest.fixture(scope="module")
def home(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BENTOML_HOME that holds the Bento of the shipped bundle, built without a network."""
    home = tmp_path_factory.mktemp("bentoml")
    words = ("-m", "khabar", "build", "--bundle", DEFAULT_FOLDER, "--version", "1.0", "--out")
    more = NOT_FETCHING | {"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": ""}
    done = python(*words, "out/khabar.tar", cwd=home, home=home, **more)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{TAG}\n"
    assert done.stderr.endswith(f"exported to {home / 'out' / 'khabar.tar'}\n")
    return home


@pytest.fixture
def bento(home: Path) -> Path:
    return home / "bentos" / "khabar" / "1.0"


@contextmanager
def served(what: str, home: Path, cwd: Path) -> Iterator[str]:
    """The address of `bentoml serve`, once it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    command = [sys.executable, "-m", "bentoml", "serve", what, "--host=127.0.0.1", "--port", port]
    with (cwd / "log").open("w+") as log:
        process = subprocess.Popen(
            command, cwd=cwd, env=environment(home), stdout=log, stderr=log, start_new_session=True
        )
        try:
            address = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + 300
            while not ready(address):
                assert "cannot be loaded" not in Path(log.name).read_text()
                assert process.poll() is None and time.monotonic() < deadline, log.name
                time.sleep(0.2)
            yield address
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(60)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)


def ready(address: str) -> bool:
    try:
        return bool(urlopen(f"{address}/readyz", timeout=5).status == 200)
    except (URLError, OSError):
        return False


@pytest.mark.parametrize("way", ["by its tag", "as in a container"])
def test_a_served_bento_answers_as_the_tagger_does(
    home: Path, tmp_path: Path, default_tagger: Tagger, way: str
) -> None:
    what = TAG
    if way == "as in a container":  # no store there: the exported Bento holds its bundle
        shutil.unpack_archive(home / "out" / "khabar.tar", tmp_path / "bento")
        what, home = str(tmp_path / "bento"), tmp_path / "empty"
        home.mkdir()
    text = seed_text()
    asked = {"articles": [{"id": "a", "text": text, "targets": "auto"}]}
    with served(what, home, tmp_path) as address:
        page = urlopen(address).read().decode()
        body = json.dumps(asked).encode()
        headers = {"Content-Type": "application/json"}
        answer = json.load(urlopen(Request(f"{address}/v1/tag", body, headers)))
    assert page.endswith(MARK)  # the code in the Bento ran, not the khabar that is installed
    (expected,) = default_tagger.tag([Article(text, "a", targets="auto")])
    (result,) = answer["results"]
    assert result["error"] is None and len(expected.entities) > 20
    found = [(e["start"], e["end"], e["label"]) for e in result["entities"]]
    assert found == [(e.start, e.end, e.label) for e in expected.entities]
    assert [s["label"] for s in result["stances"]] == [s.label for s in expected.stances]
    confidences = [e["confidence"] for e in result["entities"]]
    assert confidences == pytest.approx([e.confidence for e in expected.entities], abs=0.01)


def test_a_bento_holds_the_code_that_serves_and_no_more(bento: Path) -> None:
    files = [path.relative_to(bento / "src") for path in (bento / "src").rglob("*")]
    names = {str(path) for path in files}
    assert {path.parts[0] for path in files} == {
        "annotations", "configs", "serving", "service.py", "bentofile.yaml",
    }  # fmt: skip
    assert {"serving/service.py", "serving/page/index.html", "configs/serving.yaml"} <= names
    assert "annotations/seed/article.txt" in names
    assert not [name for name in names if name.endswith(".jsonl")]
    gold = {"annotations/authored", "annotations/ant", "configs/train", "serving/default_bundle"}
    assert not gold & names
    assert not [name for name in names if "__pycache__" in name]
    size = sum(path.stat().st_size for path in bento.rglob("*") if path.is_file())
    assert size < 3_000_000


def test_the_service_loads_with_nothing_but_what_is_pinned(bento: Path, home: Path) -> None:
    pins = bento / "env" / "python" / "requirements.txt"
    done = python("-c", LOAD_BARE, pins, cwd=bento / "src", home=home)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(bento / "src" / "serving" / "tagger.py")
    without = "\n".join(line for line in pins.read_text().split() if "onnxruntime" not in line)
    (home / "fewer.txt").write_text(without)
    done = python("-c", LOAD_BARE, home / "fewer.txt", cwd=bento / "src", home=home)
    assert "ModuleNotFoundError: onnxruntime" in done.stderr


def test_the_pins_are_those_of_the_constraints() -> None:
    constraints = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if not line.startswith("#"):
            name, _, version = line.partition("==")
            constraints[canonicalize_name(name)] = version
    pins = dict(line.split("==") for line in pinned_requirements())
    assert pins.items() <= constraints.items()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    direct = {canonicalize_name(Requirement(line).name) for line in project["dependencies"]}
    assert direct - pins.keys() == {"scikit-learn", "seqeval"}
    assert not {"torch", "transformers", "datasets", "ray", "scipy", "pytest"} & pins.keys()


class Installed:
    """Stands for importlib.metadata: names with what they require, all of version 1."""

    PackageNotFoundError = PackageNotFoundError

    def __init__(self, **requires: list[str]) -> None:
        self.found = {canonicalize_name(name): lines for name, lines in requires.items()}

    def requires(self, name: str) -> list[str] | None:
        self.metadata(name)
        return self.found[canonicalize_name(name)] or None

    def version(self, name: str) -> str:
        self.metadata(name)
        return "1"

    def metadata(self, name: str) -> dict[str, str]:
        if canonicalize_name(name) not in self.found:
            raise PackageNotFoundError(name)
        return {"Name": name}


@pytest.mark.parametrize(
    ("installed", "expected"),
    [
        (Installed(khabar=["b>=1", 'pytest; extra == "dev"'], b=[]), "b"),
        (Installed(khabar=["Py.YAML", "scikit-learn", "seqeval"], Py_YAML=[]), "py-yaml"),
        (Installed(khabar=["b"], b=["c"], c=["b", 'w; sys_platform == "win32"']), "b c"),
        (
            Installed(khabar=["b[x]", "d"], b=['c; extra == "x"', 'z; extra == "y"'], c=[], d=[]),
            "b c d",
        ),
        (Installed(khabar=["b", "d"], b=['c; extra == "x"'], d=["b[x]"], c=[]), "b c d"),
        (Installed(khabar=["onnxruntime>=1.24"], onnxruntime_gpu=["b"], b=[]), "b onnxruntime-gpu"),
    ],
)
def test_what_is_needed_is_followed_through_extras_and_markers(
    installed: Installed, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving.packaging, "metadata", installed)
    assert pinned_requirements() == [f"{name}==1" for name in expected.split()]


@pytest.mark.parametrize(
    ("installed", "missing"), [(Installed(), "khabar"), (Installed(khabar=["b"], b=["c"]), "c")]
)
def test_what_is_not_installed_cannot_be_pinned(
    installed: Installed, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving.packaging, "metadata", installed)
    with pytest.raises(
        PackagingError, match=rf"^{missing} is not installed; install khabar with pip"
    ):
        pinned_requirements()


def test_bentoml_makes_an_image_of_it(bento: Path, home: Path, tmp_path: Path) -> None:
    code = f"import bentoml; bentoml.container.get_containerfile({TAG!r}, 'Dockerfile')"
    done = python("-c", code, cwd=tmp_path, home=home, **NOT_FETCHING)
    assert done.returncode == 0, done.stderr
    for dockerfile in (tmp_path / "Dockerfile", bento / "env" / "docker" / "Dockerfile"):
        lines = dockerfile.read_text().splitlines()
        assert [line for line in lines if line.startswith("FROM")] == [
            "FROM python:3.11-slim as base-container"
        ]
        assert "ARG BENTOML_DO_NOT_TRACK=True" in lines and "USER bentoml" in lines
        assert any(line.endswith("env/python/install.sh") for line in lines)
    assert not (bento / "env" / "python" / "requirements.lock.txt").exists()


def test_a_bento_tells_what_it_is_and_not_where_it_was_made(bento: Path, site: Path) -> None:
    info = yaml.safe_load((bento / "bento.yaml").read_text(encoding="utf-8"))
    (model,) = info["models"]
    assert re.fullmatch(r"khabar-embedded:[0-9.]+-[0-9a-f]{12}", model["tag"])
    assert info["labels"]["bundle"] == model["tag"]
    assert (bento / "README.md").read_bytes() == (DEFAULT_FOLDER / "MODEL_CARD.md").read_bytes()
    for path in bento.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert str(ROOT).encode() not in data and str(site).encode() not in data, path


def test_a_bento_is_not_overwritten(bento: Path, home: Path, site: Path) -> None:
    before = (bento / "bento.yaml").read_bytes()
    words = ("-m", "khabar", "build", "--bundle", DEFAULT_FOLDER, "--version", "1.0")
    done = python(*words, cwd=home, home=home, PYTHONPATH=str(site))
    assert done.returncode == 1
    assert done.stderr.startswith("khabar: khabar:1.0 is in the Bento store already; give another")
    assert (bento / "bento.yaml").read_bytes() == before


def test_a_bento_that_cannot_be_exported_says_how_to_export_it(tmp_path: Path) -> None:
    class Stored:
        tag = TAG

        def export(self, path: str) -> str:
            raise PermissionError(13, "Permission denied", path)

    (tmp_path / "file").touch()
    words = rf"cannot be written \({{}}\); {TAG} is in the Bento store.*`bentoml export {TAG} FILE`"
    for out, why in (("khabar.bento", "Permission denied"), ("file/khabar.bento", "File exists")):
        with pytest.raises(PackagingError, match=words.format(why)):
            _export(Stored(), tmp_path / out)  # type: ignore[arg-type]


def test_what_cannot_be_a_tag_or_a_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PackagingError, match=r"خبر is not a valid BentoML tag.*another --name"):
        build(DEFAULT_FOLDER, name="خبر")
    with pytest.raises(BundleError, match=r"no bundle\.json"):
        build(tmp_path)
