"""The arrows of the house point one way: annotations <- serving <- training."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = {"torch", "transformers", "datasets", "ray"}
ROOMS = ("annotations", "serving", "training", "configs")
MODULES = sorted(
    (path for room in ROOMS for path in (ROOT / room).rglob("*.py")), key=lambda path: str(path)
)


def imports(tree: ast.AST, everywhere: bool) -> Iterator[str]:
    """The modules that are imported; inside functions too, or only when the module is loaded."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name the room they come from"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            if everywhere:
                yield from imports(node, everywhere)
        elif everywhere or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from imports(node, everywhere)


def rooms(source: str, everywhere: bool = True) -> set[str]:
    """The first names of all that a source imports."""
    return {name.split(".")[0] for name in imports(ast.parse(source), everywhere)}


def of(room: str) -> list[Path]:
    found = [path for path in MODULES if path.relative_to(ROOT).parts[0] == room]
    assert found, f"no module in {room}/"
    return found


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize(
    ("source", "everywhere", "loaded"),
    [
        ("import torch.nn as nn", {"torch"}, {"torch"}),
        ("from serving.api.response import encode", {"serving"}, {"serving"}),
        ("def f():\n    import ray", {"ray"}, set()),
        ("class A:\n    async def f(self):\n        from ray import data", {"ray"}, set()),
        ("class A:\n    import ray", {"ray"}, {"ray"}),
        ("try:\n    import torch\nexcept ImportError:\n    pass", {"torch"}, {"torch"}),
        ("if TYPE_CHECKING:\n    import torch", {"torch"}, set()),
        ("from __future__ import annotations", {"__future__"}, {"__future__"}),
    ],
)
def test_no_import_escapes_this_test(source: str, everywhere: set[str], loaded: set[str]) -> None:
    assert rooms(source) == everywhere
    assert rooms(source, everywhere=False) == loaded


@pytest.mark.parametrize("path", of("annotations"), ids=name)
def test_annotations_know_nothing_of_serving_and_training(path: Path) -> None:
    assert not rooms(path.read_text(encoding="utf-8")) & {"serving", "training", "khabar"}


@pytest.mark.parametrize("path", of("serving"), ids=name)
def test_serving_knows_nothing_of_training(path: Path) -> None:
    assert not rooms(path.read_text(encoding="utf-8")) & {"training", "khabar"}


@pytest.mark.parametrize("path", of("training"), ids=name)
def test_training_does_not_call_the_door(path: Path) -> None:
    assert "khabar" not in rooms(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", of("configs"), ids=name)
def test_configs_are_data_and_know_no_room(path: Path) -> None:
    assert not rooms(path.read_text(encoding="utf-8")) & {"annotations", "serving", "training"}


@pytest.mark.parametrize("path", [*of("annotations"), *of("serving"), ROOT / "khabar.py"], ids=name)
def test_nothing_heavy_is_loaded_with_a_module(path: Path) -> None:
    assert not rooms(path.read_text(encoding="utf-8"), everywhere=False) & HEAVY


def test_the_door_opens_its_rooms_lazily() -> None:
    heavy = HEAVY | {"numpy", "onnxruntime", "bentoml", "tokenizers", "sklearn", "matplotlib"}
    code = f"import sys, khabar; print(*({heavy!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("path", [*MODULES, ROOT / "khabar.py"], ids=name)
def test_a_module_is_one_noun_and_not_too_long(path: Path) -> None:
    assert path.stem not in ("utils", "util", "common", "helpers", "misc")
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 350


@pytest.mark.parametrize(
    "modules", ["serving.tagger, serving.service", "khabar", "annotations.seed"]
)
def test_serving_runs_without_what_training_needs(modules: str) -> None:
    code = f"import sys, {modules}; print(*({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""
