"""Folders of this machine: what lies below them and what a glob finds there, links followed.

A folder that cannot be listed is an error, so that none is left out in silence.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from fnmatch import translate
from heapq import heapify, heappop, heappush

from serving.batch.errors import UsageError


def below(folders: Iterable[str]) -> Iterator[tuple[str, bool]]:
    """The paths of folders and of all below them, and whether each is a folder. Hidden folders,
    whose name begins with a dot, are only read where they are among `folders`.

    No folder is read twice, by device and inode, and the fewest links lead to it: a circle of links
    ends, and a folder with two names keeps its own.
    """
    waiting = [(int(os.path.islink(folder)), folder) for folder in folders]
    heapify(waiting)
    read: set[tuple[int, int]] = set()
    while waiting:
        links, folder = heappop(waiting)
        if not _is_new(folder, read):
            continue
        yield folder, True
        for entry in _listed(folder):
            if _is_folder(entry):
                if entry.name.startswith("."):
                    continue
                heappush(waiting, (links + entry.is_symlink(), entry.path))
            else:
                yield entry.path, False


def matches(root: str, pattern: str) -> dict[str, bool]:
    """The paths below a folder that a glob matches, and whether each is a folder; `**` is any
    number of folders.
    """
    found = {root or "/": os.path.isdir(root or "/")}
    for part in filter(None, pattern.split("/")):
        folders = [path for path, is_folder in found.items() if is_folder]
        if part == "**":
            found = dict(below(folders))
            continue
        is_match = re.compile(translate(part)).match
        read: set[tuple[int, int]] = set()
        found = {
            entry.path: _is_folder(entry)
            for folder in sorted(folders, key=lambda path: (os.path.islink(path), path))
            if _is_new(folder, read)
            for entry in _listed(folder)
            if is_match(entry.name)
        }
    return found


def is_special(path: str) -> bool:
    """Whether a path leads to a pipe, a socket or a device, whose reading may never end."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _is_new(folder: str, read: set[tuple[int, int]]) -> bool:
    try:
        facts = os.stat(folder)
    except OSError as error:
        raise _cannot_list(folder, error) from None
    identity = facts.st_dev, facts.st_ino
    if identity in read:
        return False
    read.add(identity)
    return True


def _listed(folder: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError as error:
        raise _cannot_list(folder, error) from None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except PermissionError:  # a link that may not be followed: only its name can tell
        return not os.path.splitext(entry.name)[1]
    except OSError:  # a link to itself, say
        return False


def _cannot_list(folder: str, error: OSError) -> UsageError:
    reason = error.strerror or type(error).__name__
    return UsageError(
        f"{folder}: the folder cannot be listed ({reason}); make it readable, or give the folders "
        "to read one by one"
    )
