"""A Tagger that knows three names by heart, engines without a model, and a job around them, for
tests of batch jobs.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.batch.options import BatchOptions
from serving.batch.parts import Part
from serving.batch.tagging import Beat, TaggedPart, tag_part
from serving.prediction import (
    Article,
    Attitude,
    Entity,
    EntityGroup,
    Labelled,
    Prediction,
    article_problem,
)

if TYPE_CHECKING:  # the workers of a test load this module, and need no more than a tagger
    from serving.batch.engine import Engine
    from serving.batch.job import Outcome

NAMES = {"بغداد": "GPE", "محمد": "PERS", "القوات": "ORG"}
POISON, DEADLY = "سم", "مميت"  # words over which this tagger fails, or its process dies


class NameTagger:
    """Finds the three names; an article that holds a poison word makes the whole call fail."""

    def __init__(self, seconds: float = 0) -> None:
        self.seconds = seconds

    def tag(
        self, articles: Sequence[Article], max_code_points: int | None = None
    ) -> list[Prediction]:
        return [self._one(article) for article in articles]

    def _one(self, article: Article) -> Prediction:
        time.sleep(self.seconds)
        if DEADLY in article.text:
            os.kill(os.getpid(), signal.SIGKILL)
        if POISON in article.text:
            raise IndexError(article.text)
        problem = article_problem(article)
        if problem is not None:
            return Prediction(article.id, error=problem)
        entities = tuple(
            Entity(f"e{i}", m.start(), m.end(), m[0], NAMES[m[0]], None, 0.875, m[0], f"e{i}")
            for i, m in enumerate(re.finditer("|".join(NAMES), article.text), 1)
        )
        groups = tuple(
            EntityGroup(
                f"g{i}", name, NAMES[name], None,
                tuple(e.id for e in entities if e.text == name), 0.875, 0.5,
            )
            for i, name in enumerate(sorted({e.text for e in entities}))
        )  # fmt: skip
        targets = () if article.targets == "auto" else article.targets
        return Prediction(
            article.id,
            entities,
            (Labelled("politics", round(1 / (1 + len(article.text) % 7), 4)),),
            tuple(Attitude(t, "favor", 0.5, ((0, len(article.text)),)) for t in targets),
            tuple(Attitude(c, "agree", 0.5, ()) for c in article.claims),
            groups,
        )


def make_names(bundle: Path, seconds: float = 0) -> NameTagger:
    return NameTagger(seconds)


@dataclass
class InlineEngine:
    """Reads parts in this process, one after the other, and stops before a part if told so."""

    options: BatchOptions
    stop_before: int | None = None
    error: BaseException = field(default_factory=KeyboardInterrupt)
    seen: list[int] = field(default_factory=list)

    def run(self, parts: Iterable[Part], beat: Beat) -> Iterator[TaggedPart]:
        for part in parts:
            if part.number == self.stop_before:
                raise self.error
            self.seen.append(part.number)
            yield tag_part(part, NameTagger(), self.options, beat)


@dataclass(frozen=True)
class FakeBundle:
    """What a job looks at of a bundle."""

    folder: Path
    name: str = "اسماء"
    version: str = "1"


def fake_bundle(folder: Path, content: str = "{}") -> Any:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bundle.json").write_text(content, encoding="utf-8")
    return FakeBundle(folder)


class Heard:
    """A progress that remembers what it was told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def show(self, event: str, pace: Any, **details: Any) -> None:
        self.events.append((event, details))


def run(
    inputs: Sequence[object],
    output: object,
    engine: Engine | None = None,
    bundle: Any = None,
    restart: bool = False,
    progress: Any = None,
    **options: Any,
) -> Outcome:
    """Run a job with the tagger of names; its bundle lies beside the output."""
    from serving.batch.job import Job

    asked = BatchOptions(**{"part_rows": 2} | options)
    found = bundle or fake_bundle(Path(str(output).replace("://", "")).with_suffix(".bundle"))
    job = Job([str(name) for name in inputs], str(output), found, asked, restart)
    return job.run(engine or InlineEngine(asked), progress or Heard())


def tree(output: Path) -> Mapping[str, bytes]:
    """The files of an output by name; the summary without what a run took."""
    found = {
        p.relative_to(output).as_posix(): p.read_bytes() for p in output.rglob("*") if p.is_file()
    }
    if "summary.json" in found:
        summary = json.loads(found["summary.json"])
        del summary["run"]
        found["summary.json"] = json.dumps(summary, ensure_ascii=False).encode()
    return found


def results(output: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for path in sorted((output / "parts").iterdir())
        for line in path.read_text(encoding="utf-8").splitlines()
    ]


def rejects(output: Path) -> list[dict[str, Any]]:
    lines = (output / "rejects.jsonl").read_bytes().splitlines()
    return [json.loads(line) for line in lines]


def write_jsonl(path: Path, texts: Sequence[str], **fields: object) -> Path:
    rows = [{"id": f"a{i}", "text": text} | fields for i, text in enumerate(texts)]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_bytes(lines.encode())
    return path


def main() -> None:
    """A job with worker processes, to be killed: INPUT OUTPUT SECONDS (that an article takes)."""
    from serving.batch.job import Job
    from serving.batch.local import LocalEngine

    given, output, seconds = sys.argv[1:]
    options = BatchOptions(part_rows=4)
    bundle = fake_bundle(Path(output).with_suffix(".bundle"))
    make = partial(make_names, seconds=float(seconds))
    job = Job([given], output, bundle, options)
    job.run(LocalEngine(bundle.folder, options, 2, make), Heard())
