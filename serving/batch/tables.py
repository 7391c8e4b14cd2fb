"""The rows of CSV and TSV.

A quote that is not closed, or closed inside of a cell, makes a reject: what a lenient reader would
make of the row is another text.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Sequence

from serving.batch.bytestream import DamagedError, Line
from serving.batch.opened import Opened, lines_of, oversized, require_text
from serving.batch.rows import MAX_ROW_BYTES, Row

_COLUMN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,39}")  # and not the text of an article


def read_csv(opened: Opened) -> Iterator[Row]:
    """A row a record, cells parted by commas; see `_table`."""
    return _table(opened, ",")


def read_tsv(opened: Opened) -> Iterator[Row]:
    """The same, cells parted by tabs."""
    return _table(opened, "\t")


def _table(opened: Opened, delimiter: str) -> Iterator[Row]:
    """The rows of a table; each is JSON by the names in its first row."""
    before = csv.field_size_limit(MAX_ROW_BYTES)  # of the whole process
    try:
        yield from _rows_of_table(opened, delimiter)
    finally:
        csv.field_size_limit(before)


def _rows_of_table(opened: Opened, delimiter: str) -> Iterator[Row]:
    found, encoding = lines_of(opened)
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
        except DamagedError:
            if taken:
                place = f"the file breaks off inside of the row from line {taken[0].number}"
                yield _table_problem(opened.name, taken, f"{place}; a quote may be open")
            raise
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
        if not _is_well_quoted(taken, delimiter, encoding):
            cure = "double the quotes of a quoted cell, and quote a cell that begins with one"
            reason = (
                f"a quote that is opened takes in line {taken[0].number} to line "
                f"{taken[-1].number}, and is closed inside of a cell; {cure}"
                if len(taken) > 1
                else f"a quote is closed inside of a cell; {cure}"
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
    if any(line.data is None for line in taken) or not any(
        b'"' in line.data for line in taken if line.data
    ):
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
        return oversized(name, taken[0].number, sum(line.size for line in taken))
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


def _require_header(opened: Opened, cells: Sequence[str]) -> None:
    """Refuse a first row that names no text; it may be an article, which is not quoted then."""
    wanted = opened.options.column("text")
    if wanted not in cells and not all(map(_COLUMN_NAME.fullmatch, cells)):
        raise DamagedError(
            "no_text",
            f"no column {wanted!r} among the {len(cells)} of the first line; is it a header? If "
            "so, map it with --column text=NAME, else add one",
        )
    require_text(opened, cells)
