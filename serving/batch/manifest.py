"""The manifest: which job an output belongs to, and which of its parts are done.

While a job runs, each part that is written leaves a receipt, a small file of its own under `done/`.
At the end all receipts go into `manifest.json`, in order, and `done/` is empty again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any

from serving.batch.errors import BatchError, UsageError
from serving.batch.parts import Part
from serving.batch.sinks import ENTITIES, REJECTS, RESULTS, decode_results
from serving.batch.store import Store
from serving.batch.tagging import TaggedPart

FORMAT = 2  # of the files of an output: 2 has the tokens of each article
MANIFEST, ALL_REJECTS, DONE = "manifest.json", "rejects.jsonl", "done"
SUMMARY, OVERVIEW = "summary.json", "summary.html"
_OURS = (RESULTS, ENTITIES, REJECTS, DONE)
_PART = re.compile(r"part-\d{5,}\.(?:jsonl|parquet|json)")


@dataclass(frozen=True, slots=True)
class Receipt:
    """A part that is done; `input` is the digest of its rows, `files` maps names to size and
    sha256.
    """

    part: int
    input: str
    rows: int
    articles: int
    rejects: int
    files: Mapping[str, tuple[int, str]]

    @classmethod
    def of(cls, tagged: TaggedPart) -> Receipt:
        """The receipt of a part that was written."""
        files = {
            name: (len(data), hashlib.sha256(data).hexdigest())
            for name, data in tagged.files.items()
        }
        return cls(
            tagged.number, tagged.digest, tagged.rows, tagged.articles, tagged.rejects, files
        )


class Manifest:
    """What is done of a job in a store."""

    def __init__(
        self,
        store: Store,
        job: Mapping[str, Any],
        done: dict[int, Receipt],
        complete: bool = False,
    ) -> None:
        self.store, self.job, self.done = store, job, done
        self.complete = complete  # an earlier run came to its end
        self.parts = 0  # how many the input has, as far as it was read
        self.repeated: list[int] = []  # parts whose files were lost after they had been done

    @classmethod
    def open(cls, store: Store, job: Mapping[str, Any], restart: bool = False) -> Manifest:
        """The manifest of a job, new or gone on with; an output of another job is refused."""
        job = json.loads(json.dumps(job))
        begun = store.size(MANIFEST) is not None
        if not (_is_ours(store) if begun else not store.names()):
            raise UsageError(
                f"{store.name}: holds files that no batch job wrote; give a new or empty folder"
            )
        if restart and begun:
            _clear(store)
        if restart or not begun:
            manifest = cls(store, job, {})
            manifest._write(complete=False)
            return manifest
        manifest = cls._written(store)
        _require_same(store.name, manifest.job, job)
        return manifest

    @classmethod
    def finished(cls, store: Store) -> Manifest:
        """The manifest of a job that came to its end."""
        if store.size(MANIFEST) is None:
            raise UsageError(f"{store.name}: no {MANIFEST}; give the output of `khabar batch`")
        manifest = cls._written(store)
        if not manifest.complete or store.names(DONE):
            raise UsageError(
                f"{store.name}: its job is not done; start the same command again to go on"
            )
        return manifest

    @classmethod
    def _written(cls, store: Store) -> Manifest:
        """The manifest and the receipts that lie in a store."""
        try:
            found = json.loads(store.read(MANIFEST))
            receipts = [_receipt(row) for row in found["parts"] or ()]
            receipts += _receipts(store)
            done = {receipt.part: receipt for receipt in receipts}
            return cls(store, dict(found["job"]), done, bool(found["complete"]))
        except (ValueError, TypeError, KeyError, AttributeError):
            raise UsageError(
                f"{store.name}/{MANIFEST}: damaged; begin anew with --restart"
            ) from None

    def remaining(self, parts: Iterable[Part]) -> Iterator[Part]:
        """The parts that are still to be read; those that are done must have the same rows."""
        for part in parts:
            self.parts = part.number + 1
            receipt = self.done.get(part.number)
            if receipt is None:
                yield part
                continue
            if receipt.input != part.digest:
                raise _changed(self.store.name, f"part {part.number} has other rows than before")
            if any(self.store.size(name) != size for name, (size, _) in receipt.files.items()):
                self.repeated.append(part.number)
                yield part
        if self.done and max(self.done) >= self.parts:
            raise _changed(self.store.name, "it has fewer rows than before")

    def enter(self, tagged: TaggedPart) -> Receipt:
        """Write the files of a part, then its receipt."""
        for name, data in tagged.files.items():
            self.store.write(name, data)
        receipt = Receipt.of(tagged)
        self.store.write(f"{DONE}/part-{receipt.part:05}.json", _json(asdict(receipt)))
        self.done[receipt.part] = receipt
        return receipt

    def finish(self) -> None:
        """Put all receipts into the manifest itself."""
        assert sorted(self.done) == list(range(self.parts)), "a part is not done"
        self._write(complete=True)
        for name in self.store.names(DONE):
            self.store.delete(name)

    def read(self, receipt: Receipt, folder: str) -> bytes | None:
        """The file of a part in a folder, as it was written; None when the part has none there."""
        for name, (_, expected) in receipt.files.items():
            if name.startswith(f"{folder}/"):
                try:
                    data = self.store.read(name)
                except FileNotFoundError:
                    data = b""
                if hashlib.sha256(data).hexdigest() != expected:
                    raise BatchError(
                        f"{self.store.name}/{name}: lost or changed after it was "
                        "written; delete it and start the same command again"
                    )
                return data
        return None

    def results(self) -> Iterator[dict[str, Any]]:
        """The results of all parts, in the order of the input."""
        suffix = self.job["options"]["output_format"]
        for receipt in self.in_order():
            yield from decode_results(self.read(receipt, RESULTS) or b"", suffix)

    def rejects(self) -> Iterator[bytes]:
        """The rejects of all parts as lines, in the order of the input."""
        for receipt in self.in_order():
            yield from (self.read(receipt, REJECTS) or b"").splitlines(keepends=True)

    def in_order(self) -> list[Receipt]:
        """The receipts of all parts that are done."""
        return [self.done[number] for number in sorted(self.done)]

    def _write(self, complete: bool) -> None:
        parts = [asdict(receipt) for receipt in self.in_order()] if complete else None
        found = {"format": FORMAT, "job": self.job, "complete": complete, "parts": parts}
        self.store.write(MANIFEST, _json(found))


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1).encode("utf-8", "backslashreplace")


def _receipt(row: dict[str, Any]) -> Receipt:
    return Receipt(**{**row, "files": {name: tuple(file) for name, file in row["files"].items()}})


def _receipts(store: Store) -> Iterator[Receipt]:
    for name in store.names(DONE):
        try:
            yield _receipt(json.loads(store.read(name)))
        except (ValueError, TypeError, KeyError, AttributeError):
            continue  # half of a receipt is none: its part is read again


def _is_ours(store: Store) -> bool:
    """Whether a manifest is that of a batch job, be it a damaged one: JSON of another program is
    not.
    """
    try:
        found = json.loads(store.read(MANIFEST))
    except ValueError:
        return True
    if not isinstance(found, dict) or not isinstance(job := found.get("job"), dict):
        return False
    return {"format", "complete", "parts"} <= found.keys() and {"input", "options"} <= job.keys()


def _clear(store: Store) -> None:
    """Delete what a batch job wrote, the manifest last: without it the rest belongs to nobody."""
    for folder in _OURS:
        for name in store.names(folder):
            if _PART.fullmatch(PurePosixPath(name).name):
                store.delete(name)
    for name in (OVERVIEW, SUMMARY, ALL_REJECTS, MANIFEST):
        store.delete(name)


def _flat(value: Any, name: str = "") -> dict[str, str]:
    if isinstance(value, dict) and value:
        pairs = ((f"{name}.{key}" if name else key, found) for key, found in value.items())
        return {path: leaf for key, found in pairs for path, leaf in _flat(found, key).items()}
    return {name: json.dumps(value, ensure_ascii=False)}


def _require_same(where: str, before: Any, now: Mapping[str, Any]) -> None:
    old, new = _flat(before), _flat(dict(now))
    changes = [
        f"{name} was {old.get(name, 'not set')}, now is {new.get(name, 'not set')}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]
    if changes:
        raise UsageError(
            f"{where}: begun by another job ({'; '.join(changes)}); give the same input, bundle "
            "and options to go on, another output, or --restart to begin anew"
        )


def _changed(where: str, what: str) -> UsageError:
    return UsageError(
        f"{where}: the input changed since this job began ({what}); give the same input to go on, "
        "another output, or --restart to begin anew"
    )
