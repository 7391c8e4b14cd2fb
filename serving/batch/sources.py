"""Sources: the files of an input, found by path, glob, folder or URL, in a fixed order."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from annotations.errors import KhabarError
from serving.batch.errors import UsageError, extra, reason_of
from serving.batch.folders import below, is_special, matches
from serving.batch.options import InputFormat
from serving.batch.store import LocalStore, RemoteStore, Store
from serving.inputs import kind_of, standard_input

STANDARD_INPUT = "-"
NOT_STREAMED = "standard input: Parquet needs a file, which can be read in any order"
PACKED = (".gz", ".zst")
LeaveOut = Callable[[str], None]  # told of each file of another kind
_FORMATS: dict[str, InputFormat] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".txt": "text",
    ".html": "html",
    ".htm": "html",
}


@dataclass(frozen=True, slots=True)
class Source:
    """A file of the input; `name` is what the output calls it. It says nothing of the machine,
    unless two of an input would have the same: then names are whole paths.

    `format` None is found out by content, `size` None (bytes) is not known.
    """

    name: str
    path: str
    format: InputFormat | None
    size: int | None
    filesystem: Any = None

    @property
    def is_local(self) -> bool:
        """Whether it is a file of this machine."""
        return self.filesystem is not None and _is_local(self.filesystem)

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """The file's bytes as they lie there."""
        if self.path == STANDARD_INPUT:
            yield standard_input().buffer
            return
        if self.is_local and is_special(self.path):
            raise OSError(errno.ENXIO, "a pipe, a socket or a device, which may never end")
        with self.filesystem.open(self.path, "rb") as file:
            yield file


def find_sources(
    names: Sequence[str],
    given: InputFormat | None,
    output: Store | None = None,
    left_out: Counter[str] | None = None,
) -> list[Source]:
    """The sources of all inputs, those of a folder or glob sorted by path; folders are searched
    through for files of known kinds, and what they hold of the output is left out. A file that two
    inputs name is refused, so that no article is read twice. `left_out` counts what is of other
    kinds, by suffix.
    """
    others = Counter[str]() if left_out is None else left_out
    found = [source for name in names for source in _of_name(name, given, output, others)]
    if len(names) > 1:
        _require_each_once(found)
    called = [source.name for source in found]
    if len(set(called)) == len(called):
        return found
    return [Source(_printable(s.path), s.path, s.format, s.size, s.filesystem) for s in found]


def _require_each_once(sources: Sequence[Source]) -> None:
    seen: set[tuple[str, str]] = set()
    real_path = _real_paths()
    for source in sources:
        place = real_path(source.path) if source.is_local else source.path
        identity = (type(source.filesystem).__name__, place)
        if identity in seen:
            raise UsageError(
                f"{source.name}: the file stands twice among the inputs; name it, or the folder "
                "that holds it, once"
            )
        seen.add(identity)


def fingerprint(sources: Sequence[Source]) -> dict[str, Any]:
    """Names and sizes of the sources, by which a change of the input is seen at once.

    It is only the first look: each part's own digest is over all of its rows, and is compared when
    a job goes on.
    """
    found = blake2b(digest_size=16)
    for source in sources:
        found.update(f"{source.name}\0{source.size}\0".encode())
    return {"files": len(sources), "digest": found.hexdigest()}


def _of_name(
    name: str, given: InputFormat | None, output: Store | None, left_out: Counter[str]
) -> list[Source]:
    if not name:
        raise UsageError("an input is an empty name; give a file, a folder, a glob or a URL")
    if name == STANDARD_INPUT:
        if given == "parquet":
            raise UsageError(NOT_STREAMED)
        standard_input()
        return [Source("stdin", STANDARD_INPUT, given, None)]
    try:
        filesystem, path = extra("fsspec.core").url_to_fs(name)
    except (ImportError, ValueError) as error:
        raise UsageError(f"{name}: {error}") from None
    try:
        return _found(name, filesystem, path, given, output, left_out)
    except Exception as error:
        if isinstance(error, KhabarError) or _is_local(filesystem):
            raise
        raise _unreadable(name, error) from None


def _found(
    name: str,
    filesystem: Any,
    path: str,
    given: InputFormat | None,
    output: Store | None,
    left_out: Counter[str],
) -> list[Source]:
    """The sources of an input by its path on a filesystem."""
    is_output = _below_output(filesystem, output)

    def leave_out(place: str) -> None:
        if not is_output(os.path.dirname(place)):
            left_out[kind_of(place)] += 1

    if any(sign in path for sign in "*?[") and not filesystem.exists(path):
        fixed = path[: min(path.find(sign) for sign in "*?[" if sign in path)]
        root = fixed.rpartition("/")[0]
        found = _globbed(filesystem, root, path, leave_out)
    elif filesystem.isdir(path):
        root = path
        found = _walked(filesystem, [path], leave_out)
    else:
        return [_of_file(name, filesystem, path, given)]
    if _is_local(filesystem):
        found = _each_once(found)
    if not is_output(root or "/"):
        found = {p: size for p, size in found.items() if not is_output(os.path.dirname(p))}
    if not found:
        kinds = " ".join(_FORMATS)
        raise UsageError(f"{name}: no input file; in a folder these are read: {kinds} (.gz, .zst)")
    return [
        Source(_relative(place, root), place, given or _format(place), size, filesystem)
        for place, size in sorted(found.items())
    ]


def _each_once(found: dict[str, int | None]) -> dict[str, int | None]:
    """Files without the links to others of them; of several links to one file the first stays."""
    links = sorted(path for path in found if os.path.islink(path))
    real_path = _real_paths()
    read = set(map(real_path, found.keys() - set(links))) if links else set()
    left_out = set()
    for path in links:
        target = real_path(path)
        if target in read:
            left_out.add(path)
        read.add(target)
    return {path: size for path, size in found.items() if path not in left_out}


def _real_paths() -> Callable[[str], str]:
    """What tells the path of a file without links, by resolving each folder once."""
    of_folder = cache(os.path.realpath)

    def real_path(path: str) -> str:
        if os.path.islink(path):
            return os.path.realpath(path)
        folder, name = os.path.split(path)
        return os.path.join(of_folder(folder), name)

    return real_path


def _globbed(filesystem: Any, root: str, path: str, leave_out: LeaveOut) -> dict[str, int | None]:
    """The files that a glob matches and the inputs in the folders that it matches, with sizes."""
    if _is_local(filesystem):
        found = matches(root, path[len(root) :])
        files = {place: _size(place) for place, is_folder in found.items() if not is_folder}
        folders = [place for place, is_folder in found.items() if is_folder]
    else:
        listed = filesystem.glob(path, detail=True).items()
        files = {p: info.get("size") for p, info in listed if info["type"] != "directory"}
        folders = _outermost(p.rstrip("/") for p, info in listed if info["type"] == "directory")

    def leave_out_unmatched(place: str) -> None:
        if place not in files:
            leave_out(place)

    return files | _walked(filesystem, folders, leave_out_unmatched)


def _walked(filesystem: Any, folders: Sequence[str], leave_out: LeaveOut) -> dict[str, int | None]:
    """The inputs below folders with their sizes, those in hidden folders left out; of a million no
    more is held than that.
    """
    if _is_local(filesystem):
        paths = (path for path, is_folder in below(folders) if not is_folder)
        return {path: _size(path) for path in _inputs(paths, leave_out)}
    sizes = {
        place: info.get("size")
        for folder in folders
        for place, info in filesystem.find(folder, detail=True).items()
        if not _is_hidden(place, folder)
    }
    return {place: sizes[place] for place in _inputs(sizes, leave_out)}


def _inputs(paths: Iterable[str], leave_out: LeaveOut) -> Iterator[str]:
    """The files of known kinds that are not hidden; `leave_out` is told of those of others."""
    for path in paths:
        if PurePosixPath(path).name.startswith("."):
            continue
        if _format(path) is not None:
            yield path
        else:
            leave_out(path)


def _outermost(folders: Iterable[str]) -> list[str]:
    """Those that lie in no other one."""
    found: list[str] = []
    for folder in sorted(folders, key=lambda path: path.split("/")):
        if not found or not _lies_in(folder, found[-1]):
            found.append(folder)
    return found


def _size(path: str) -> int | None:
    try:
        return os.stat(path).st_size
    except OSError:  # a link to nowhere, say: reading it will tell
        return None


def _below_output(filesystem: Any, output: Store | None) -> Callable[[str], bool]:
    """Whether a folder is that of the output or lies in it, by whatever links it is reached."""
    if isinstance(output, LocalStore) and _is_local(filesystem):
        root = os.path.realpath(output.root)
        return cache(lambda folder: _lies_in(os.path.realpath(folder), root))
    if isinstance(output, RemoteStore) and output.filesystem == filesystem:
        return lambda folder: _lies_in(folder.lstrip("/"), output.root.lstrip("/"))
    return lambda folder: False


def _lies_in(path: str, folder: str) -> bool:
    return f"{path}/".startswith(f"{folder.rstrip('/')}/")


def _is_local(filesystem: Any) -> bool:
    return "file" in filesystem.protocol


def _is_hidden(path: str, folder: str) -> bool:
    """Whether a folder between a path and the folder that was searched is hidden."""
    between = path.lstrip("/").removeprefix(folder.strip("/")).split("/")[:-1]
    return any(part.startswith(".") for part in between)


def _of_file(name: str, filesystem: Any, path: str, given: InputFormat | None) -> Source:
    if _is_local(filesystem) and is_special(path):
        raise UsageError(f"{name}: is a pipe or a device; write it to standard input and give -")
    try:
        info = filesystem.info(path)
        with filesystem.open(path, "rb"):
            pass
    except OSError as error:
        raise _unreadable(name, error) from None
    name = _printable(PurePosixPath(path).name)
    return Source(name, path, given or _format(path), info.get("size"), filesystem)


def _unreadable(name: str, error: Exception) -> UsageError:
    return UsageError(f"{name}: cannot be read ({reason_of(error)}); give a file or folder")


def _format(path: str) -> InputFormat | None:
    name = PurePosixPath(path.lower())
    return _FORMATS.get(PurePosixPath(name.stem).suffix if name.suffix in PACKED else name.suffix)


def _relative(path: str, root: str) -> str:
    return _printable(os.path.relpath(path, root).replace(os.sep, "/"))


def _printable(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
