"""A batch job from its input to a finished output; started again it goes on where it was."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from serving.batch.bytestream import Meter
from serving.batch.engine import Engine
from serving.batch.errors import UsageError, require
from serving.batch.formats import read_rows
from serving.batch.manifest import ALL_REJECTS, FORMAT, OVERVIEW, SUMMARY, Manifest
from serving.batch.model import ModelId
from serving.batch.options import BatchOptions
from serving.batch.overview import overview_html
from serving.batch.parts import Part, chosen, cut
from serving.batch.progress import Pace, Progress
from serving.batch.sources import Source, find_sources, fingerprint
from serving.batch.store import LocalStore, Store, open_store
from serving.batch.summary import Summary, summarise
from serving.inputs import left_out_words


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a finished output holds; `parts_read` is how many of its parts this run read."""

    parts: int
    parts_read: int
    articles: int
    rejects: int
    duplicate_ids: int
    first_reject: str | None


@dataclass(frozen=True)
class Job:
    """What is read, with what and where to; `restart` throws an older output of a job away."""

    inputs: Sequence[str]
    output: str
    model: ModelId
    options: BatchOptions
    restart: bool = False

    def key(self, sources: Sequence[Source]) -> dict[str, Any]:
        """What must be the same for a job to go on."""
        return {
            "format": FORMAT,
            "khabar": version("khabar"),
            "bundle": asdict(self.model),
            "options": self.options.key(),
            "input": fingerprint(sources),
        }

    def sources(self, store: Store, left_out: Counter[str]) -> list[Source]:
        """What is read, which may lie around the output but not in it; `left_out` counts files of
        other kinds by suffix.
        """
        found = find_sources(self.inputs, self.options.input_format, store, left_out)
        _require_apart(store, found)
        _require_extras(found, self.options)
        return found

    def run(self, engine: Engine, progress: Progress) -> Outcome:
        """Read what is not done yet and finish the output.

        A stop at any moment, be it by a signal, an error or a power cut, leaves whole parts; the
        next run repeats at most those that were in hand.
        """
        store = open_store(self.output)
        left_out = Counter[str]()
        sources = self.sources(store, left_out)
        pace = Pace(0 if self.options.limit else sum(source.size or 0 for source in sources))
        with store.lock():
            manifest = Manifest.open(store, self.key(sources), self.restart)
            if left_out:
                progress.show("note", pace, message=left_out_words(left_out))
            try:
                read = self._read_parts(manifest, engine, sources, pace, progress)
                outcome = _finish(manifest, pace, read, left_out)
            except BaseException as error:
                progress.show("stopped", pace, error=type(error).__name__)
                raise
            progress.show("done", pace)
            return outcome

    def _read_parts(
        self,
        manifest: Manifest,
        engine: Engine,
        sources: Sequence[Source],
        pace: Pace,
        progress: Progress,
    ) -> int:
        meter = Meter()
        rows = chosen(read_rows(sources, self.options, meter), self.options)
        todo = manifest.remaining(_watched(cut(rows, self.options, meter), manifest, pace))

        def beat(articles: int, tokens: int) -> None:
            pace.articles += articles
            pace.tokens += tokens
            progress.show("beat", pace)

        read = 0
        for tagged in engine.run(todo, beat):
            receipt = manifest.enter(tagged)
            read += 1
            pace.parts += 1
            pace.rejects += receipt.rejects
            pace.bytes_read = max(pace.bytes_read, tagged.bytes_read)
            progress.show("part", pace, part=receipt.part)
        for number in manifest.repeated:
            progress.show(
                "note", pace, message=f"part {number}: files were missing, it was read again"
            )
        return read


def _watched(parts: Iterator[Part], manifest: Manifest, pace: Pace) -> Iterator[Part]:
    """The same parts; those at the beginning that are done already count for no speed."""
    at_the_beginning = True
    for part in parts:
        at_the_beginning &= part.number in manifest.done
        if at_the_beginning:
            pace.began_bytes = pace.bytes_read = part.bytes_read
            pace.began = pace.clock()
        yield part


def _finish(
    manifest: Manifest, pace: Pace, parts_read: int, left_out: Mapping[str, int]
) -> Outcome:
    """Gather the rejects, write the summary, close the manifest."""
    store = manifest.store
    summary = summarise(manifest)
    with store.writing(ALL_REJECTS) as out:
        out.writelines(manifest.rejects())
    if parts_read or not manifest.complete or None in map(store.size, (SUMMARY, OVERVIEW)):
        _write_summary(manifest, summary, pace, left_out)
    manifest.finish()
    first = summary.first_rejects[0] if summary.first_rejects else None
    return Outcome(
        manifest.parts,
        parts_read,
        summary.articles,
        summary.rejects.total(),
        summary.repeated,
        f"{first['source']}:{first['line'] or ''} {first['reason']}" if first else None,
    )


def _write_summary(
    manifest: Manifest, summary: Summary, pace: Pace, left_out: Mapping[str, int]
) -> None:
    """Write the summary for programs and for people; what this run took stands apart in it."""
    run = {"finished": datetime.now(UTC).isoformat(timespec="seconds"), **pace.to_dict()}
    run.pop("seconds_left")
    model = {name: manifest.job["bundle"][name] for name in ("name", "version")}
    found = {"model": model, "parts": manifest.parts, **summary.to_dict()}
    found |= {"left_out": dict(sorted(left_out.items())), "run": run}
    text = json.dumps(found, ensure_ascii=False, indent=1)
    for name, content in ((SUMMARY, text), (OVERVIEW, overview_html(found))):
        manifest.store.write(name, content.encode("utf-8", "backslashreplace"))


def _require_extras(sources: Sequence[Source], options: BatchOptions) -> None:
    """Refuse to begin without what the files need by their names; by content more may show."""
    formats = {source.format for source in sources}
    if "html" in formats:
        require("trafilatura")
    if "parquet" in formats or options.output_format == "parquet":
        require("pyarrow")
    if any(source.path.lower().endswith(".zst") for source in sources):
        require("zstandard")


def _require_apart(store: Store, sources: Sequence[Source]) -> None:
    """Refuse an output whose files would be read as input."""
    if not isinstance(store, LocalStore):
        return
    root = os.path.join(os.path.abspath(store.root), "")
    for source in sources:
        if source.is_local and os.path.abspath(source.path).startswith(root):
            raise UsageError(
                f"{store.name}: the input {source.name} lies in the output; give another output"
            )
