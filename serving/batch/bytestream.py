"""The bytes of an input in chunks, decompressed and cut into lines, in little memory."""

from __future__ import annotations

import codecs
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, BinaryIO, Protocol

from serving.batch.errors import extra

_CHUNK = 16 * 1024  # what a packed one unpacks to is held at once
_GZIP = b"\x1f\x8b"
_ZSTANDARD = re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18")  # a frame, or one to skip
_ZSTANDARD_WINDOW = 1 << 31  # bytes: the largest there is; it is only held where a frame has it


class DamagedError(Exception):
    """Bytes that cannot be read on: a code for counting and words."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


@dataclass
class Meter:
    """How many bytes of the inputs were read, as they lie on disk; a chunk counts when it is done
    with, so that a small file is not read whole with its first rows.
    """

    bytes_read: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """A line without its end; `data` is None where it is longer than what is read, and `whole`
    false where its end was lost with the rest of the file.
    """

    number: int
    data: bytes | None
    size: int
    whole: bool = True


class _Unpacker(Protocol):
    eof: bool
    unused_data: bytes

    def decompress(self, data: bytes, /) -> bytes: ...


def chunks(file: BinaryIO, meter: Meter) -> Iterator[bytes]:
    """The bytes of a file, gzip and Zstandard unpacked whatever the file's name."""
    head = file.read(_CHUNK)
    raw = _read(file, head, meter)
    if head.startswith(_GZIP):
        return _unpacked(raw, _gzip, zlib.error)
    if _ZSTANDARD.match(head):
        zstandard = extra("zstandard")
        unpacker = zstandard.ZstdDecompressor(max_window_size=_ZSTANDARD_WINDOW)
        return _unpacked(raw, unpacker.decompressobj, zstandard.ZstdError)
    return raw


def _gzip() -> Any:
    return zlib.decompressobj(wbits=31)


def _read(file: BinaryIO, head: bytes, meter: Meter) -> Iterator[bytes]:
    while head:
        yield head
        meter.bytes_read += len(head)
        head = file.read(_CHUNK)


def _unpacked(
    raw: Iterable[bytes], new_unpacker: Callable[[], _Unpacker], damage: type[Exception]
) -> Iterator[bytes]:
    """Members or frames that follow each other are one stream; an unpacker raises `damage`."""
    unpacker: _Unpacker | None = None
    for chunk in raw:
        while chunk:
            if unpacker is None:
                chunk = chunk.lstrip(b"\0")  # tar and tape pad with zeros
                if not chunk:
                    break
                unpacker = new_unpacker()
            try:
                found = unpacker.decompress(chunk)
            except damage:
                raise DamagedError(
                    "damaged", "the compressed data is damaged from here on"
                ) from None
            if found:
                yield found
            chunk = unpacker.unused_data if unpacker.eof else b""
            if unpacker.eof:
                unpacker = None
    if unpacker is not None:
        raise DamagedError("truncated", "the compressed data ends early; the rest is lost")


def recoded(raw: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """The same text in UTF-8, for encodings whose lines do not end with one byte.

    A surrogate without its pair stays one, which is not UTF-8 and so a fault of its own line; what
    cannot be read at all ends the text there.
    """
    decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
    for chunk in chain(raw, [b""]):
        before = decoder.getstate()
        try:
            found = decoder.decode(chunk, final=not chunk)
        except UnicodeError as error:
            if isinstance(error, UnicodeDecodeError):
                held = len(error.object) - len(chunk)  # bytes that the decoder kept from before
                decoder.setstate(before)
                good = decoder.decode(chunk[: max(error.start - held, 0)])
                yield good.encode("utf-8", "surrogatepass")
            raise DamagedError("encoding", f"not {encoding} from here on") from None
        yield found.encode("utf-8", "surrogatepass")


def lines(raw: Iterable[bytes], max_bytes: int) -> Iterator[Line]:
    """The lines of a stream; the bytes of one longer than `max_bytes` are passed over."""
    number, size = 1, 0
    held: list[bytes] = []
    damage: DamagedError | None = None
    try:
        for chunk in raw:
            *ended, rest = chunk.split(b"\n")
            for piece in ended:
                size += len(piece)
                held.append(piece)
                yield Line(number, b"".join(held) if size <= max_bytes else None, size)
                number, size = number + 1, 0
                held.clear()
            size += len(rest)
            held.append(rest)
            if size > max_bytes:
                held.clear()
    except DamagedError as error:
        damage = error
    if size:
        yield Line(number, b"".join(held) if size <= max_bytes else None, size, damage is None)
    if damage is not None:
        raise damage
