"""The store: the output, a folder or a URL, whose files are written whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from serving.batch.errors import BatchError, UsageError, extra, reason_of


class Store(Protocol):
    """Files by their names below the output."""

    @property
    def name(self) -> str:
        """The output as it was given."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Write a file at once; after it returns the file survives a power cut."""
        ...

    def writing(self, name: str) -> Any:
        """A context with a new file to write to bit by bit, there only when it ends well."""
        ...

    def read(self, name: str) -> bytes:
        """The bytes of a file; FileNotFoundError where there is none."""
        ...

    def size(self, name: str) -> int | None:
        """The bytes that a file has, None where there is none."""
        ...

    def names(self, folder: str = "") -> list[str]:
        """The names of all whole files below a folder, sorted."""
        ...

    def delete(self, name: str) -> None:
        """Delete a file that may be there."""
        ...

    def lock(self) -> Any:
        """A context in which no other job writes here."""
        ...


def open_store(output: str) -> Store:
    """The store of a folder or of a URL that fsspec knows."""
    if not output:
        raise UsageError("the output is an empty name; give a folder or a URL")
    if "://" not in output:
        return LocalStore(Path(output))
    try:
        filesystem, root = extra("fsspec.core").url_to_fs(output)
    except (ImportError, ValueError) as error:
        raise UsageError(f"{output}: {error}") from None
    protocol = filesystem.protocol
    if "file" in ((protocol,) if isinstance(protocol, str) else protocol):
        return LocalStore(Path(root))
    return RemoteStore(output, filesystem, root.rstrip("/"))


class LocalStore:
    """A folder of this machine: a temporary name, fsync, rename, and fsync of the folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def name(self) -> str:
        """See `Store.name`."""
        return str(self.root)

    def write(self, name: str, data: bytes) -> None:
        """See `Store.write`."""
        with self.writing(name) as file:
            file.write(data)

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """See `Store.writing`."""
        path = self.root / name
        partial = path.with_name(f".{path.name}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
            _sync_folder(path.parent)
        except BaseException as error:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise _failed(f"{self.root}/{name}", error) from None
            raise

    def read(self, name: str) -> bytes:
        """See `Store.read`."""
        try:
            return (self.root / name).read_bytes()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _failed(f"{self.root}/{name}", error) from None

    def size(self, name: str) -> int | None:
        """See `Store.size`."""
        try:
            return (self.root / name).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def names(self, folder: str = "") -> list[str]:
        """See `Store.names`."""
        found = (self.root / folder).rglob("*")
        files = (path for path in found if path.is_file() and not _is_partial(path.name))
        return sorted(path.relative_to(self.root).as_posix() for path in files)

    def delete(self, name: str) -> None:
        """See `Store.delete`."""
        (self.root / name).unlink(missing_ok=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """See `Store.lock`; a job that was killed holds it no longer."""
        import fcntl

        try:
            self.root.mkdir(parents=True, exist_ok=True)
            folder = os.open(self.root, os.O_RDONLY)
        except (FileExistsError, NotADirectoryError) as error:
            raise UsageError(f"{self.root}: {error.strerror}; give a folder") from None
        except OSError as error:
            raise _failed(str(self.root), error) from None
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise UsageError(
                f"{self.root}: another job writes here; wait for its end or stop it"
            ) from None
        finally:
            os.close(folder)


class RemoteStore:
    """A place behind fsspec, where a put is atomic or is repeated since no receipt follows it."""

    def __init__(self, name: str, filesystem: Any, root: str) -> None:
        self.name = name
        self.filesystem = filesystem
        self.root = root

    def write(self, name: str, data: bytes) -> None:
        """See `Store.write`."""
        with self._failing_at(name):
            self.filesystem.makedirs(f"{self.root}/{name}".rpartition("/")[0], exist_ok=True)
            self.filesystem.pipe_file(f"{self.root}/{name}", data)

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """See `Store.writing`."""
        path = f"{self.root}/{name}"
        try:
            with self.filesystem.open(path, "wb") as file:
                yield file
        except BaseException as error:
            with suppress(Exception):  # half of it is there: an fsspec file is put when it closes
                self.filesystem.rm_file(path)
            if isinstance(error, OSError):
                raise _failed(f"{self.name}/{name}", error) from None
            raise

    def read(self, name: str) -> bytes:
        """See `Store.read`."""
        with self._failing_at(name, FileNotFoundError):
            data: bytes = self.filesystem.cat_file(f"{self.root}/{name}")
            return data

    def size(self, name: str) -> int | None:
        """See `Store.size`."""
        try:
            with self._failing_at(name, FileNotFoundError):
                return int(self.filesystem.size(f"{self.root}/{name}"))
        except FileNotFoundError:
            return None

    def names(self, folder: str = "") -> list[str]:
        """See `Store.names`."""
        begin = len(self.root.lstrip("/")) + 1
        with self._failing_at(folder):
            found = self.filesystem.find(f"{self.root}/{folder}".rstrip("/"))
        return sorted(path.lstrip("/")[begin:] for path in found)

    def delete(self, name: str) -> None:
        """See `Store.delete`."""
        if self.size(name) is not None:
            with self._failing_at(name):
                self.filesystem.rm_file(f"{self.root}/{name}")

    @contextmanager
    def _failing_at(self, name: str, *answered: type[Exception]) -> Iterator[None]:
        """Whatever the filesystem raises becomes an error that names the file, but for what the
        caller has an answer to.
        """
        try:
            yield
        except answered:
            raise
        except Exception as error:  # a missing login, say, is no OSError
            raise _failed(f"{self.name}/{name}".rstrip("/"), error) from None

    @contextmanager
    def lock(self) -> Iterator[None]:
        """See `Store.lock`; here nothing can hold one, two jobs at once repeat work."""
        yield


def _is_partial(name: str) -> bool:
    return name.startswith(".") and name.endswith(".partial")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _failed(where: str, error: Exception) -> BatchError:
    reason = reason_of(error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return BatchError(f"{where}: {reason}; free some space and start the same command again")
    return BatchError(f"{where}: {reason}; mend this or give another output")
