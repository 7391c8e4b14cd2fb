"""A packed file is read as the plain one, by every reader of lines."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from annotations.conll import read_sentences
from annotations.corpora import read_ans_pairs
from annotations.errors import FormatError
from annotations.jsonl import read_documents
from annotations.textfile import opened_bytes, opened_text

READERS = [
    (read_sentences, "بغداد B-LOC\nهادئة O\n"),
    (read_ans_pairs, "s1,s2,stance\nوصل الوفد,غادر الوفد,disagree\n"),
    (read_documents, '{"id": "1", "text": "بغداد", "entities": []}\n'),
]


@pytest.mark.parametrize(("read", "text"), READERS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_packed_file_reads_as_the_plain_one(
    read: Callable[[Path], Iterator[Any]], text: str, encoding: str, tmp_path: Path
) -> None:
    plain, packed = tmp_path / "gold", tmp_path / "gold.gz"
    plain.write_bytes(text.encode(encoding))
    packed.write_bytes(gzip.compress(text.encode(encoding)))
    found = list(read(packed))
    assert found == list(read(plain)) and len(found) == 1


@pytest.mark.parametrize("opened", [opened_bytes, opened_text])
@pytest.mark.parametrize("content", [b"plain", gzip.compress("خبر\n".encode() * 99)[:-9]])
def test_what_is_no_whole_gzip_file_is_refused(
    opened: Callable[[Path], Any], content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"a\.gz: no whole gzip file"), opened(path) as lines:
        list(lines)


def test_a_reader_may_stop_before_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("خبر\n".encode() * 9000 + b"\xff")
    with opened_text(path) as lines:
        assert next(lines) == "خبر\n"
