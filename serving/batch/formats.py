"""The rows of a source in each format. What cannot be read becomes a row with a problem."""

from __future__ import annotations

import errno
import json
import re
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, BinaryIO

from annotations.errors import KhabarError
from serving.batch.bytestream import DamagedError, Meter, chunks
from serving.batch.errors import BatchError, UsageError, extra, reason_of
from serving.batch.opened import Opened, lines_of, oversized, require_text
from serving.batch.options import FIELDS, BatchOptions, InputFormat
from serving.batch.rows import MAX_ROW_BYTES, Form, Row
from serving.batch.sources import NOT_STREAMED, PACKED, STANDARD_INPUT, Source
from serving.batch.tables import read_csv, read_tsv
from serving.logs import fault_places

_PARQUET = b"PAR1"
_JSON = re.compile(r"\s*(?:\[\s*)?\{")
# possessive: of many comments each has one reading, not one with each after it
_HTML = re.compile(
    r"(?:\s|<\?xml[^>]*>|<!--.*?-->)*+<(?:!doctype )?html", re.DOTALL | re.IGNORECASE
)
_PARQUET_BATCH = 256  # rows decoded at once
_PARQUET_BUFFER = 1024 * 1024
_NO_FILE = frozenset({errno.ELOOP, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ENXIO})


def read_rows(sources: Sequence[Source], options: BatchOptions, meter: Meter) -> Iterator[Row]:
    """The rows of all sources in their order.

    A file that cannot be opened, or not to its end, is a row of its own with a problem; an error of
    a disk or network stops the job instead, since it may be gone the next time.
    """
    for source in sources:
        before = meter.bytes_read
        try:
            with source.open() as file:
                yield from _rows(source, file, options, meter)
        except DamagedError as error:
            yield Row(source.name, None, b"", problem=(error.code, error.reason))
        except OSError as error:
            if not _is_lasting(error):
                raise _stopped(source, reason_of(error)) from None
            reason = f"cannot be read ({reason_of(error)})"
            yield Row(source.name, None, b"", problem=("unreadable", reason))
        except Exception as error:
            if isinstance(error, KhabarError) or source.is_local:
                raise
            # what a remote filesystem raised, or a fault of ours, whose words may quote an article
            raise _stopped(source, fault_places(error)) from None
        if source.size is not None:
            meter.bytes_read = before + source.size


def _stopped(source: Source, reason: str) -> BatchError:
    return BatchError(
        f"{source.name}: cannot be read on ({reason}); start the same command again to go on"
    )


def _is_lasting(error: OSError) -> bool:
    """Whether the file is what cannot be read: nothing there, a link to itself, a socket."""
    known = FileNotFoundError, PermissionError, IsADirectoryError
    return isinstance(error, known) or error.errno in _NO_FILE


def _rows(source: Source, file: BinaryIO, options: BatchOptions, meter: Meter) -> Iterator[Row]:
    if source.format == "parquet":
        return _parquet(Opened(source, file, iter(()), options))
    raw = chunks(file, meter)
    head = next(raw, b"")
    opened = Opened(source, file, chain([head], raw), options)
    return _READERS[source.format or _sniffed(head, options.encoding)](opened)


def _sniffed(head: bytes, encoding: str) -> InputFormat:
    """The format of what no suffix names, by how it begins."""
    if head.startswith(_PARQUET):
        return "parquet"
    begin = head.decode(encoding, "ignore").removeprefix("\ufeff")
    if _JSON.match(begin):
        return "json"
    return "html" if _HTML.match(begin) else "text"


def _text(opened: Opened) -> Iterator[Row]:
    return _whole(opened, "text", opened.options.encoding)


def _html(opened: Opened) -> Iterator[Row]:
    encoding = opened.options.encoding
    return _whole(opened, "html", None if encoding == "utf-8" else encoding)


def _whole(opened: Opened, form: Form, encoding: str | None) -> Iterator[Row]:
    """A file that is one row."""
    held: list[bytes] = []
    size = 0
    for chunk in opened.raw:
        size += len(chunk)
        if size > MAX_ROW_BYTES:
            held.clear()
        else:
            held.append(chunk)
    if size > MAX_ROW_BYTES:
        yield oversized(opened.name, None, size)
    else:
        yield Row(opened.name, None, b"".join(held), form, encoding)


def _jsonl(opened: Opened) -> Iterator[Row]:
    """A row a line; blank lines hold none."""
    found, encoding = lines_of(opened)
    for line in found:
        if line.data is None:
            yield oversized(opened.name, line.number, line.size)
        elif line.data.strip():
            yield Row(opened.name, line.number, line.data, encoding=encoding)


def _json(opened: Opened) -> Iterator[Row]:
    """A row a line, or one object over several lines, known by how its first line ends or its
    second begins.
    """
    encoding = opened.options.encoding
    raw, begin = _begun(opened.raw, encoding)
    if begin.startswith("["):
        raise DamagedError(
            "not_object",
            "a JSON array; write one object a line, as .jsonl, or name its --format",
        )
    first, _, then = begin.partition("\n")
    opened = replace(opened, raw=raw)
    if then.strip() and (
        first.rstrip().endswith(("{", "[", ",", ":")) or then.lstrip()[0] in ",:]}"
    ):
        return _whole(opened, "json", encoding)
    return _jsonl(opened)


def _parquet(opened: Opened) -> Iterator[Row]:
    """The rows of a Parquet file, each as JSON of the mapped columns; row 1 is the first."""
    if opened.source.path == STANDARD_INPUT:
        raise UsageError(NOT_STREAMED)
    opened.file.seek(0)
    arrow = extra("pyarrow")
    try:
        file = extra("pyarrow.parquet").ParquetFile(opened.file, buffer_size=_PARQUET_BUFFER)
        names = file.schema_arrow.names
        require_text(opened, names)
        wanted = [c for c in map(opened.options.column, FIELDS) if c in names]
        number = 0
        for batch in file.iter_batches(_PARQUET_BATCH, columns=wanted, use_threads=False):
            for i in range(batch.num_rows):
                number += 1
                yield _parquet_row(opened.name, number, batch.slice(i, 1))
    except (arrow.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk or network, not the file
        packed = opened.source.path.endswith(PACKED)
        cure = "; it packs its own columns, unpack the file" if packed else ""
        raise DamagedError("damaged", f"not Parquet ({type(error).__name__}){cure}") from None


def _parquet_row(name: str, number: int, row: Any) -> Row:
    try:
        (found,) = row.to_pylist()
        return Row(name, number, json.dumps(found, ensure_ascii=False, default=_plain).encode())
    except UnicodeError:
        return Row(name, number, b"", problem=("encoding", "a string that is not UTF-8"))
    except (ArithmeticError, LookupError, ValueError) as error:  # a date of year 10000, say
        reason = f"a value that cannot be read ({type(error).__name__}); convert its column to text"
        return Row(name, number, b"", problem=("type", reason))


def _plain(value: object) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _begun(raw: Iterator[bytes], encoding: str) -> tuple[Iterator[bytes], str]:
    """The same chunks, and their text as far as the one in which something follows its first line;
    where they break off before that, so do the chunks that are given back.
    """
    decoder = getincrementaldecoder(encoding)("ignore")
    held: list[bytes] = []
    pieces: list[str] = []
    size, has_line = 0, False
    try:
        for chunk in raw:
            held.append(chunk)
            size += len(chunk)
            piece = decoder.decode(chunk)
            if not pieces:
                piece = piece.removeprefix("\ufeff").lstrip()
            if piece:
                pieces.append(piece)
            after = piece if has_line else piece.partition("\n")[2]
            has_line = has_line or "\n" in piece
            if after.strip() or size >= MAX_ROW_BYTES:
                break
    except DamagedError as error:
        raw = _broken_off(error)
    return chain(held, raw), "".join(pieces)


def _broken_off(error: DamagedError) -> Iterator[bytes]:
    yield from ()
    raise error


_READERS: dict[InputFormat, Callable[[Opened], Iterator[Row]]] = {
    "jsonl": _jsonl,
    "json": _json,
    "csv": read_csv,
    "tsv": read_tsv,
    "parquet": _parquet,
    "text": _text,
    "html": _html,
}
