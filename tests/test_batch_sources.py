"""Sources of batch jobs: the files of folders, globs, URLs and standard input, and those that
cannot be read.
"""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import fsspec
import pytest

from serving.batch.bytestream import Meter
from serving.batch.errors import UsageError
from serving.batch.formats import read_rows
from serving.batch.options import BatchOptions
from serving.batch.sources import find_sources
from serving.prediction import Article
from tests.batch_files import BOTH, JSONL, TEXT, line, read
from tests.files import write


def test_a_folder_is_searched_through_in_order(tmp_path: Path) -> None:
    write(tmp_path / "2024" / "b.txt", "ب")
    write(tmp_path / "2023" / "c.txt", "ج")
    write(tmp_path / "a.jsonl", line())
    write(tmp_path / "readme.md", "لا")
    write(tmp_path / ".hidden.txt", "لا")
    found = read(tmp_path)
    assert found == [
        Article("ج", id="2023/c.txt"),
        Article("ب", id="2024/b.txt"),
        Article(TEXT, id="a"),
    ]


def test_globs_name_files_below_their_fixed_part(tmp_path: Path) -> None:
    write(tmp_path / "x" / "a.txt", "ا")
    write(tmp_path / "y" / "a.txt", "ب")
    write(tmp_path / "y" / "b.md", "لا")
    assert [a.id for a in read(tmp_path / "*" / "*.txt")] == ["x/a.txt", "y/a.txt"]


def test_urls_are_read() -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/urls/a.jsonl.gz", gzip.compress(JSONL.encode()))
    assert read("memory://urls/a.jsonl.gz") == read("memory://urls") == BOTH


@pytest.mark.parametrize("content", [JSONL.encode(), gzip.compress(JSONL.encode())])
def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert read("-") == BOTH


def test_an_unreadable_file_in_a_folder_is_a_reject(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.txt", "ا")
    gone = write(tmp_path / "b.txt", "ب")
    write(tmp_path / "c.txt", "ج")
    sources = find_sources([str(tmp_path)], None)
    gone.unlink()
    rows = list(read_rows(sources, BatchOptions(), Meter()))
    assert [(r.source, r.problem and r.problem[0]) for r in rows] == [
        ("a.txt", None),
        ("b.txt", "unreadable"),
        ("c.txt", None),
    ]


def test_links_are_followed_and_one_to_nowhere_is_a_reject(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside.txt", TEXT)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").symlink_to(outside)
    (tmp_path / "in" / "b.txt").symlink_to(tmp_path / "nowhere.txt")
    assert read(tmp_path / "in") == [Article(TEXT, id="a.txt"), ("unreadable", "b.txt", None)]


def test_a_missing_input_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"b\.jsonl: cannot be read \(No such file"):
        read(tmp_path / "b.jsonl")
    with pytest.raises(UsageError, match="no input file"):
        read(tmp_path)
    with pytest.raises(UsageError, match="no input file"):
        read(tmp_path / "*.txt")
    with pytest.raises(UsageError, match="Protocol not known: nowhere"):
        read("nowhere://a")
