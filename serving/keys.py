"""API keys: who may call the service, from the environment or a file that is read again when it
changes.

Of a key only its digest is kept; errors and logs name the place or the name of a key, never the
key itself.
"""

from __future__ import annotations

import hmac
import logging
import math
import os
import re
import stat
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from annotations.errors import ConfigError
from serving.settings import named_place

KEYS_VARIABLE = "KHABAR_API_KEYS"
FILE_VARIABLE = "KHABAR_API_KEYS_FILE"
ANYONE = "anyone"  # the caller of a service without keys
MIN_KEY_CHARACTERS = 16
RETRY_S = 5.0  # between two tries at a file that cannot be used
KEY = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # what fits into an Authorization header
NAME = re.compile(r"[A-Za-z0-9_.-]{1,40}")
HOW = "write keys as KEY or NAME:KEY"

logger = logging.getLogger("khabar.keys")


@dataclass(frozen=True, slots=True)
class Key:
    """A key that is known by its digest."""

    name: str
    digest: bytes = field(repr=False)
    place: str

    @classmethod
    def parse(cls, entry: str, nameless: str, place: str) -> Key:
        """The key of `KEY` or `NAME:KEY`; `nameless` is the name of one that gives none."""
        name, colon, key = entry.rpartition(":")
        name, key = name.strip(), key.strip()
        if not colon:
            name = nameless
        if NAME.fullmatch(name) is None or name == ANYONE:
            raise ConfigError(
                f"{place}: the name before the colon must be 1 to 40 letters, digits, dots, "
                f"hyphens or underscores and not {ANYONE!r}; {HOW}"
            )
        if KEY.fullmatch(key) is None:
            raise ConfigError(
                f"{place}: a key may hold letters, digits and . _ ~ + / - with = at its end; {HOW}"
            )
        if len(key) < MIN_KEY_CHARACTERS:
            raise ConfigError(
                f"{place}: the key has {len(key)} characters, at least {MIN_KEY_CHARACTERS} are "
                "needed; make one with `openssl rand -hex 24`"
            )
        return cls(name, _digest(key), place)


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogatepass")).digest()


def keys_of_list(text: str) -> tuple[Key, ...]:
    """The keys of a list with commas between them."""
    return tuple(
        Key.parse(entry, f"key{i}", f"{KEYS_VARIABLE}, entry {i}")
        for i, entry in enumerate(text.split(","), start=1)
        if entry.strip()
    )


def keys_of_file(path: Path) -> tuple[Key, ...]:
    """The keys of a file, one a line; blank lines and lines that begin with # are left out."""
    try:
        with path.open(encoding="utf-8-sig") as opened:
            lines = [line.strip() for line in opened]
            mode = os.fstat(opened.fileno()).st_mode
    except (OSError, UnicodeDecodeError) as error:
        told = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"{path}: cannot read the API keys: {told}; {HOW}, one a line") from None
    keys = tuple(
        Key.parse(line, f"line{i}", f"{path}, line {i}")
        for i, line in enumerate(lines, start=1)
        if line and not line.startswith("#")
    )
    if not keys:  # never take an empty file for an open service
        raise ConfigError(f"{path} holds no API key; {HOW}, one a line, or unset {FILE_VARIABLE}")
    if mode & stat.S_IROTH:
        logger.warning("%s can be read by all users; chmod 600 it", path)
    return keys


def check_distinct(keys: Iterable[Key]) -> None:
    """Refuse two keys of one name, and one key under two names."""
    names: dict[str, Key] = {}
    digests: dict[bytes, Key] = {}
    for key in keys:
        same_name = names.setdefault(key.name, key)
        same_key = digests.setdefault(key.digest, key)
        for what, earlier in (("key", same_key), ("name", same_name)):
            if earlier is not key:
                raise ConfigError(
                    f"{key.place}: the same {what} as {earlier.place}; take one of them out"
                )


class Keys:
    """The API keys of a service; with none at all it is open to anyone who reaches it."""

    def __init__(self, fixed: tuple[Key, ...] = (), file: Path | None = None) -> None:
        self._fixed = fixed
        self._file = file
        self._stamp = _stamp(file)
        self._retry_at = math.inf  # time.monotonic(); finite while the file cannot be used
        self._told: str | None = None
        self._keys = self._read()

    @classmethod
    def from_environment(
        cls, file: Path | None = None, environment: Mapping[str, str] | None = None
    ) -> Keys:
        """The keys of KHABAR_API_KEYS, and of the file of KHABAR_API_KEYS_FILE or else `file`."""
        variables = os.environ if environment is None else environment
        text = variables.get(KEYS_VARIABLE, "").strip()
        named = named_place(FILE_VARIABLE, variables)
        fixed = keys_of_list(text)
        if text and not fixed:
            raise ConfigError(f"{KEYS_VARIABLE} holds no API key; {HOW}, or unset it")
        return cls(fixed, named or file)

    def __repr__(self) -> str:
        return f"Keys({', '.join(self.names) or 'open to anyone'})"

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the keys, for a log."""
        return tuple(key.name for key in self._keys)

    def allow(self, headers: Mapping[str, str]) -> str | None:
        """The name of the key in `Authorization: Bearer` or `X-API-Key`; None refuses the request.

        `headers` finds a name in lower case. All keys are compared, whichever fits.
        """
        self._refresh()
        if not self._keys:
            return ANYONE
        scheme, _, token = headers.get("authorization", "").strip().partition(" ")
        given = [token.strip()] if scheme.lower() == "bearer" else []
        given.append(headers.get("x-api-key", "").strip())
        allowed = None
        for digest in map(_digest, given):
            for key in self._keys:
                if hmac.compare_digest(key.digest, digest):
                    allowed = key.name
        return allowed

    def _read(self) -> tuple[Key, ...]:
        keys = self._fixed
        if self._file is not None:
            keys = (*keys, *keys_of_file(self._file))
        check_distinct(keys)
        return keys

    def _refresh(self) -> None:
        """Read the file again when it has changed; one that cannot be used changes nothing, and is
        tried again now and then, for what was wrong may pass without a trace on the file.
        """
        stamp = _stamp(self._file)
        if stamp == self._stamp and time.monotonic() < self._retry_at:
            return
        self._stamp = stamp
        try:
            self._keys = self._read()
        except ConfigError as error:
            self._retry_at = time.monotonic() + RETRY_S
            if str(error) != self._told:
                logger.error("the API keys stay as they were: %s", error)
            self._told = str(error)
        else:
            self._retry_at, self._told = math.inf, None
            logger.info("the API keys were read again: %s", ", ".join(self.names))


def _stamp(file: Path | None) -> tuple[int, int, int, int] | None:
    """What changes when a file does; None when there is none."""
    if file is None:
        return None
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino
