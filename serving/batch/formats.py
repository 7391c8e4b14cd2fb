"""The rows of a source in each format. What cannot be read becomes a row with a problem."""

from __future__ import annotations

import csv
import errno
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, BinaryIO

from annotations.errors import KhabarError
from serving.batch.bytestream import DamagedError, Line, Meter, chunks, lines, recoded
from serving.batch.errors import BatchError, UsageError, extra, reason_of
from serving.batch.options import FIELDS, BatchOptions, InputFormat
from serving.batch.rows import MAX_ROW_BYTES, Form, Row
from serving.batch.sources import STANDARD_INPUT, Source
from serving.logs import fault_places

_PARQUET = b"PAR1"
_UTF8_MARK, _UTF16_MARKS = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")
_COLUMN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,39}")  # and not the text of an article
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


@dataclass(frozen=True, slots=True)
class _Opened:
    source: Source
    file: BinaryIO
    raw: Iterator[bytes]
    options: BatchOptions

    @property
    def name(self) -> str:
        return self.source.name


def _rows(source: Source, file: BinaryIO, options: BatchOptions, meter: Meter) -> Iterator[Row]:
    if source.format == "parquet":
        return _parquet(_Opened(source, file, iter(()), options))
    raw = chunks(file, meter)
    head = next(raw, b"")
    opened = _Opened(source, file, chain([head], raw), options)
    return _READERS[source.format or _sniffed(head)](opened)


def _sniffed(head: bytes) -> InputFormat:
    if head.startswith(_PARQUET):
        return "parquet"
    begin = head.removeprefix(_UTF8_MARK).lstrip()[:64].lower()
    if begin.startswith(b"{"):
        return "json"
    return "html" if begin.startswith((b"<!doctype html", b"<html")) else "text"


def _text(opened: _Opened) -> Iterator[Row]:
    return _whole(opened, "text", opened.options.encoding)


def _html(opened: _Opened) -> Iterator[Row]:
    encoding = opened.options.encoding
    return _whole(opened, "html", None if encoding == "utf-8" else encoding)


def _whole(opened: _Opened, form: Form, encoding: str | None) -> Iterator[Row]:
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
        yield _oversized(opened.name, None, size)
    else:
        yield Row(opened.name, None, b"".join(held), form, encoding)


def _lines(opened: _Opened) -> tuple[Iterator[Line], str]:
    """The lines of a text file and their encoding."""
    encoding = opened.options.encoding
    raw: Iterable[bytes] = opened.raw
    if "\n".encode(encoding) != b"\n":
        raw, encoding = recoded(raw, encoding), "utf-8"
    head = next(iter_raw := iter(raw), b"")
    if encoding == "utf-8" and head.startswith(_UTF16_MARKS):
        raise DamagedError(
            "encoding", "UTF-16 by its first bytes; convert the file or name --encoding utf-16"
        )
    return lines(chain([head.removeprefix(_UTF8_MARK)], iter_raw), MAX_ROW_BYTES), encoding


def _jsonl(opened: _Opened) -> Iterator[Row]:
    """A row a line; blank lines hold none."""
    found, encoding = _lines(opened)
    for line in found:
        if line.data is None:
            yield _oversized(opened.name, line.number, line.size)
        elif line.data.strip():
            yield Row(opened.name, line.number, line.data, encoding=encoding)


def _json(opened: _Opened) -> Iterator[Row]:
    """A row a line, or one object over several lines, known by how its first line ends."""
    head, encoding = next(opened.raw, b""), opened.options.encoding
    begin = head.decode(encoding, "ignore").removeprefix("\ufeff").lstrip()
    if begin.startswith("["):
        raise DamagedError(
            "not_object",
            "a JSON array; write one object a line, as .jsonl, or name its --format",
        )
    first, line_end, _ = begin.partition("\n")
    opened = replace(opened, raw=chain([head], opened.raw))
    if line_end and first.rstrip().endswith(("{", "[", ",", ":")):
        return _whole(opened, "json", encoding)
    return _jsonl(opened)


def _csv(opened: _Opened) -> Iterator[Row]:
    return _table(opened, ",")


def _tsv(opened: _Opened) -> Iterator[Row]:
    return _table(opened, "\t")


def _table(opened: _Opened, delimiter: str) -> Iterator[Row]:
    """The rows of a table; each is JSON by the names in its first row."""
    before = csv.field_size_limit(MAX_ROW_BYTES)  # of the whole process
    try:
        yield from _rows_of_table(opened, delimiter)
    finally:
        csv.field_size_limit(before)


def _rows_of_table(opened: _Opened, delimiter: str) -> Iterator[Row]:
    found, encoding = _lines(opened)
    taken: list[Line] = []
    at_end = False

    def texts() -> Iterator[str]:
        nonlocal at_end
        for line in found:
            taken.append(line)
            yield _text_of(line, encoding)
        at_end = True

    reader = csv.reader(texts(), delimiter=delimiter)
    header: list[str] | None = None
    while True:
        taken.clear()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield _table_problem(opened.name, taken, f"not a row of CSV ({error})")
            continue
        if at_end:  # a row ends with its last line, unless a quote is open
            yield _table_problem(
                opened.name,
                taken,
                f"a quote is never closed: the row goes from line {taken[0].number} to the end of "
                f"the file, line {taken[-1].number}; close the quote",
            )
            return
        if not cells and all(line.data is not None for line in taken):
            continue  # a blank line
        if header is None:
            header = cells
            _require_header(opened, header)
            continue
        if len(taken) > 1 and not _is_well_quoted(taken, delimiter, encoding):
            reason = (
                f"a quote that is opened takes in line {taken[0].number} to line "
                f"{taken[-1].number}, and is closed inside of a cell; double the quotes of a "
                "quoted cell, and quote a cell that begins with one"
            )
            yield _table_problem(opened.name, taken, reason)
            continue
        yield _table_row(opened.name, taken, header, cells, encoding)


def _text_of(line: Line, encoding: str) -> str:
    return (line.data or b"").decode(encoding, "surrogateescape") + "\n"


def _is_well_quoted(taken: Sequence[Line], delimiter: str, encoding: str) -> bool:
    """Whether the lines of a row hang together by quotes that enclose whole cells: a stray quote
    would take in the rows up to the next one. What is longer than what is read says nothing.
    """
    if any(line.data is None for line in taken):
        return True
    texts = (_text_of(line, encoding) for line in taken)
    try:
        next(csv.reader(texts, delimiter=delimiter, strict=True))
    except csv.Error:
        return False
    return True


def _table_row(
    name: str, taken: Sequence[Line], header: list[str], cells: list[str], encoding: str
) -> Row:
    if any(line.data is None for line in taken):
        return _oversized(name, taken[0].number, sum(line.size for line in taken))
    if not all(line.whole for line in taken):
        return _table_problem(name, taken, "the file ends inside of this row")
    if len(cells) != len(header):
        return _table_problem(name, taken, f"{len(cells)} cells, the header has {len(header)}")
    try:
        raw = json.dumps(dict(zip(header, cells, strict=True)), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return _table_problem(name, taken, f"not {encoding}; convert the file", "encoding")
    return Row(name, taken[0].number, raw)


def _table_problem(name: str, taken: Sequence[Line], reason: str, code: str = "not_csv") -> Row:
    raw = b"\n".join(line.data or b"" for line in taken)
    return Row(name, taken[0].number if taken else None, raw, problem=(code, reason))


def _require_header(opened: _Opened, cells: Sequence[str]) -> None:
    """Refuse a first row that names no text; it may be an article, which is not quoted then."""
    wanted = opened.options.column("text")
    if wanted not in cells and not all(map(_COLUMN_NAME.fullmatch, cells)):
        raise DamagedError(
            "no_text",
            f"no column {wanted!r} among the {len(cells)} of the first line; is it a header? If "
            "so, map it with --column text=NAME, else add one",
        )
    _require_text(opened, cells)


def _require_text(opened: _Opened, columns: Sequence[str]) -> None:
    wanted = opened.options.column("text")
    if wanted not in columns:
        raise DamagedError(
            "no_text",
            f"no column {wanted!r}, only {', '.join(columns)}; map it with --column text=NAME",
        )
    for name in map(opened.options.column, FIELDS):
        if columns.count(name) > 1:
            raise DamagedError(
                "columns",
                f"{columns.count(name)} columns are named {name!r}; rename all but the one to read",
            )


def _parquet(opened: _Opened) -> Iterator[Row]:
    """The rows of a Parquet file, each as JSON of the mapped columns; row 1 is the first."""
    if opened.source.path == STANDARD_INPUT:
        raise UsageError("standard input: Parquet needs a file, which can be read in any order")
    opened.file.seek(0)
    arrow = extra("pyarrow")
    try:
        file = extra("pyarrow.parquet").ParquetFile(opened.file, buffer_size=_PARQUET_BUFFER)
        names = file.schema_arrow.names
        _require_text(opened, names)
        wanted = [c for c in map(opened.options.column, FIELDS) if c in names]
        number = 0
        for batch in file.iter_batches(_PARQUET_BATCH, columns=wanted, use_threads=False):
            for i in range(batch.num_rows):
                number += 1
                yield _parquet_row(opened.name, number, batch.slice(i, 1))
    except (arrow.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk or network, not the file
        raise DamagedError("damaged", f"not Parquet ({type(error).__name__})") from None


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


def _oversized(name: str, line: int | None, size: int) -> Row:
    reason = f"the row has {size} bytes, the limit is {MAX_ROW_BYTES}; it is left in the input"
    return Row(name, line, b"", problem=("oversized", reason))


_READERS: dict[InputFormat, Callable[[_Opened], Iterator[Row]]] = {
    "jsonl": _jsonl,
    "json": _json,
    "csv": _csv,
    "tsv": _tsv,
    "parquet": _parquet,
    "text": _text,
    "html": _html,
}
