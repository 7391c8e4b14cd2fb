"""A Tagger that knows three names by heart, engines without a model, and a job around them, for
tests of batch jobs.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.batch.options import BatchOptions
from serving.batch.parts import Part
from serving.batch.sinks import jsonl
from serving.batch.tagging import Beat, TaggedPart, TagsArticles, tag_part
from serving.mentions import entity_groups
from serving.prediction import (
    Article,
    Attitude,
    Entity,
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
        found = list(re.finditer("|".join(NAMES), article.text))
        first = {m[0]: f"e{i}" for i, m in reversed([*enumerate(found, 1)])}
        entities = tuple(
            Entity(f"e{i}", m.start(), m.end(), m[0], NAMES[m[0]], None, 0.875, m[0], first[m[0]])
            for i, m in enumerate(found, 1)
        )
        targets = () if article.targets == "auto" else article.targets
        return Prediction(
            article.id,
            entities,
            (Labelled("politics", round(1 / (1 + len(article.text) % 7), 4)),),
            tuple(Attitude(t, "favor", 0.5, ((0, len(article.text)),)) for t in targets),
            tuple(Attitude(c, "agree", 0.5, ()) for c in article.claims),
            entity_groups(entities, len(article.text)),
            len(article.text.split()),
        )


def make_names(bundle: Path, seconds: float = 0) -> NameTagger:
    return NameTagger(seconds)


class DyingTagger(NameTagger):
    """Ends its process the first time that it is asked, and leaves a mark."""

    def __init__(self, mark: Path) -> None:
        super().__init__()
        self.mark = mark

    def tag(
        self, articles: Sequence[Article], max_code_points: int | None = None
    ) -> list[Prediction]:
        if not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().tag(articles)


def make_dying(bundle: Path) -> DyingTagger:
    return DyingTagger(bundle / "died")


@dataclass
class InlineEngine:
    """Reads parts in this process, one after the other, and stops before a part if told so."""

    options: BatchOptions
    stop_before: int | None = None
    error: BaseException = field(default_factory=KeyboardInterrupt)
    tagger: TagsArticles = field(default_factory=lambda: NameTagger())
    seen: list[int] = field(default_factory=list)

    def run(self, parts: Iterable[Part], beat: Beat) -> Iterator[TaggedPart]:
        for part in parts:
            if part.number == self.stop_before:
                raise self.error
            self.seen.append(part.number)
            yield tag_part(part, self.tagger, self.options, beat)


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
    """A progress that remembers what it was told, and how many articles and tokens at the end."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.read = (0, 0)

    def show(self, event: str, pace: Any, **details: Any) -> None:
        self.events.append((event, details))
        self.read = pace.articles, pace.tokens


def told(output: Path) -> tuple[int, int]:
    """The articles and tokens that the results of an output tell."""
    found = results(output)
    return len(found), sum(result["tokens"] for result in found)


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
    from serving.batch.model import ModelId

    asked = BatchOptions(**{"part_rows": 2} | options)
    found = bundle or fake_bundle(Path(str(output).replace("://", "")).with_suffix(".bundle"))
    model = ModelId.of_bundle(found)
    job = Job([str(name) for name in inputs], str(output), model, asked, restart)
    return job.run(engine or InlineEngine(asked), progress or Heard())


def tree(output: Path) -> Mapping[str, bytes]:
    """The files of an output by name; the summary without what a run took, its page checked."""
    from serving.batch.overview import overview_html

    found = {
        p.relative_to(output).as_posix(): p.read_bytes() for p in output.rglob("*") if p.is_file()
    }
    if "summary.json" in found:
        summary = json.loads(found["summary.json"])
        assert found.pop("summary.html").decode() == overview_html(summary)
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
    path.write_bytes(jsonl(rows))
    return path


def start_job(
    given: Path, output: Path, seconds: float, engine: str = "local"
) -> subprocess.Popen[bytes]:
    """`main` in a process of its own."""
    tests = Path(__file__).parent
    code = f"import sys; sys.path[:0] = [{str(tests)!r}]; import batch_tagger as b; b.main()"
    command = [sys.executable, "-c", code, str(given), str(output), str(seconds), engine]
    return subprocess.Popen(command, cwd=tests.parent)


def receipts(output: Path) -> int:
    """How many parts of a running job are done."""
    return len(list((output / "done").glob("part-*"))) if (output / "done").is_dir() else 0


def main() -> None:
    """A job with two workers, to be killed: INPUT OUTPUT SECONDS (that an article takes) ENGINE."""
    from serving.batch.cluster import RayEngine
    from serving.batch.job import Job
    from serving.batch.local import LocalEngine
    from serving.batch.model import ModelId

    given, output, seconds, name = sys.argv[1:]
    options = BatchOptions(part_rows=4)
    bundle = fake_bundle(Path(output).with_suffix(".bundle"))
    make = partial(make_names, seconds=float(seconds))
    engine: Engine = LocalEngine(bundle.folder, options, 2, make)
    if name == "ray":
        import ray

        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
        engine = RayEngine(bundle.folder, options, 2, make_tagger=make)
    Job([given], output, ModelId.of_bundle(bundle), options).run(engine, Heard())
