"""What the README shows is run as it stands there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import typer

import khabar
from annotations.markup import parse_markup
from tests.served import Served

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_example_runs_and_prints_the_entities(
    capsys: pytest.CaptureFixture[str],
) -> None:
    snippet, _ = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(snippet, "README.md", "exec"), {})
    assert "القائم" in capsys.readouterr().out


def test_the_example_of_the_client_prints_the_entities(
    service: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    _, snippet = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    snippet = snippet.replace("http://127.0.0.1:3000", service.address)
    exec(compile(snippet, "README.md", "exec"), {})
    assert capsys.readouterr().out.splitlines() == [
        "[('سامح شكري', 'PERS'), ('بغداد', 'GPE')]",
        "[('الأهلي', 'ORG'), ('القاهرة', 'GPE')]",
    ]


def test_the_markup_example_is_read() -> None:
    (example,) = re.findall(r"```\n(@ id: .*?)```", README, re.DOTALL)
    (document,) = parse_markup(example.split("\n"), "README.md")
    assert [span.label for span in document.entities or ()] == ["OCC", "GPE"]
    assert document.stances and document.stances[0].evidence


def test_the_curl_example_sends_a_request_that_the_service_takes() -> None:
    from serving.api.schema import parse_request

    (body,) = re.findall(r"-d '(.*?)'\n", README, re.DOTALL)
    request = parse_request(body.encode())
    assert [article.id for article in request.articles] == ["a1"]


def test_every_khabar_command_of_the_readme_exists_and_takes_its_options() -> None:
    blocks = re.findall(r"^ *```(\w*)\n(.*?)^ *```", README, re.DOTALL | re.MULTILINE)
    shown = "\n".join(block for language, block in blocks if not language)
    lines = re.findall(r"(?:^|[;&{|]) *(khabar [a-z][^;&|#}\n]*)", shown, re.MULTILINE)
    commands = [line.split("  ")[0] for line in lines]
    assert "khabar train configs/train/shipped-20.yaml" in commands  # of the indented list of steps
    commands += re.findall(r"`(khabar [a-z].*?)`", README)
    assert len(commands) > 50
    for command in commands:
        words = command.split()[1:]
        found: Any = typer.main.get_command(khabar.app)
        while words and hasattr(found, "commands"):
            found = found.commands.get(words.pop(0))
        assert found is not None, command
        known = {name for parameter in found.params for name in parameter.opts}
        assert set(re.findall(r"--[a-z][\w-]*", " ".join(words))) <= known, command


def test_the_scores_of_the_readme_are_those_of_the_shipped_bundle() -> None:
    from serving.bundle import DEFAULT_FOLDER
    from training.export.card import score_table

    scores = json.loads((DEFAULT_FOLDER / "bundle.json").read_text(encoding="utf-8"))["scores"]
    assert score_table(scores) in README
