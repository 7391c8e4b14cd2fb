"""Sources of batch jobs: the files of folders, globs, URLs and standard input, and those that
cannot be read.
"""

from __future__ import annotations

import gzip
import io
import os
import socket
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import fsspec
import pytest
from fsspec.implementations.local import LocalFileOpener
from fsspec.implementations.memory import MemoryFile

from serving.batch.bytestream import Meter
from serving.batch.errors import BatchError, UsageError
from serving.batch.formats import read_rows
from serving.batch.options import BatchOptions
from serving.batch.sources import find_sources
from serving.batch.store import open_store
from serving.prediction import Article
from tests.batch_files import BOTH, JSONL, TEXT, line, parquet, read
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


def test_what_cannot_be_a_file_is_a_reject(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", line())
    (tmp_path / "b.txt").symlink_to("b.txt")
    (tmp_path / "c.txt").symlink_to("a.jsonl/c")
    with socket.socket(socket.AF_UNIX) as listener:
        folder = os.open(tmp_path, os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{folder}/d.txt")  # a path short enough for a socket
        os.close(folder)
        found = read(tmp_path)
    rejects = [("unreadable", f"{name}.txt", None) for name in "bcd"]
    assert found == [Article(TEXT, id="a"), *rejects]


def test_a_file_with_two_names_is_read_once_by_its_own(tmp_path: Path) -> None:
    write(tmp_path / "in" / "b.jsonl", line(None))
    (tmp_path / "in" / "a-latest.jsonl").symlink_to("b.jsonl")
    outside = write(tmp_path / "outside.txt", TEXT)
    for name in ("c.txt", "d.txt"):
        (tmp_path / "in" / name).symlink_to(outside)
    for name in ("in", "in/*", "in/**"):
        assert [a.id for a in read(tmp_path / name)] == ["b.jsonl:1", "c.txt"]


def test_what_two_inputs_name_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "in" / "a.jsonl", line())
    link = tmp_path / "link.jsonl"
    link.symlink_to(path)
    fsspec.filesystem("memory").pipe_file("/twice/a.jsonl", JSONL.encode())
    twice = ("memory://twice", "memory://twice/a.jsonl")
    for names in ((path, path), (path.parent, path), (path, link), ("-", "-"), twice):
        with pytest.raises(UsageError, match="stands twice among the inputs"):
            read(*names)


def test_hidden_folders_are_read_where_they_are_named_alone(tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.jsonl", line())
    write(tmp_path / "in" / ".Trash-1000" / "b.jsonl", line("b"))
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/hidden/a.jsonl", line().encode())
    memory.pipe_file("/hidden/.snapshots/b.jsonl", line("b").encode())
    for name in (tmp_path / "in", tmp_path / "in" / "**", "memory://hidden"):
        assert read(name) == BOTH[:1]
    for name in (tmp_path / "in" / ".Trash-1000", "memory://hidden/.snapshots"):
        assert read(name) == BOTH[1:]


def test_links_to_folders_are_followed_and_a_circle_of_links_ends(tmp_path: Path) -> None:
    write(tmp_path / "real" / "a.txt", "ا")
    write(tmp_path / "in" / "2023" / "b.txt", "ب")
    (tmp_path / "in" / "2024").symlink_to(tmp_path / "real")
    (tmp_path / "in" / "2023" / "up").symlink_to(tmp_path / "in")
    (tmp_path / "real" / "here").symlink_to(".")
    for name in ("", "*", "**", "*/*.txt", "**/*.txt"):
        assert [a.id for a in read(tmp_path / "in" / name)] == ["2023/b.txt", "2024/a.txt"]


def test_a_folder_with_two_names_is_read_once_by_its_own(tmp_path: Path) -> None:
    write(tmp_path / "x" / "2024" / "a.txt", "ا")
    (tmp_path / "x" / "0-latest").symlink_to("2024")
    for name in ("x", "x/*", "x/*/*.txt", "x/**/*.txt"):
        assert [a.id for a in read(tmp_path / name)] == ["2024/a.txt"]


def test_folders_that_a_glob_matches_are_searched_through(tmp_path: Path) -> None:
    write(tmp_path / "2023" / "a.txt", "ا")
    write(tmp_path / "2024" / "in" / "b.txt", "ب")
    write(tmp_path / "2024" / "readme.md", "لا")
    write(tmp_path / "2025.txt", "ج")
    expected = ["2023/a.txt", "2024/in/b.txt", "2025.txt"]
    assert [a.id for a in read(tmp_path / "20*")] == expected
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path), "/globbed", recursive=True)
    assert [a.id for a in read("memory://globbed/20*")] == expected
    expected.insert(2, "2024/readme.md")  # which the glob itself matches
    assert [a.id for a in read("memory://globbed/**")] == expected
    assert [a.id for a in read(tmp_path / "**")] == expected


def test_files_of_other_kinds_are_counted_by_suffix(tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.txt", "ا")
    for name in ("b.PNG", "2024/c.png", "2024/d.docx", "2024/README", ".hidden.png", "out/e.png"):
        write(tmp_path / "in" / name, "لا")
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "in"), "/counted", recursive=True)
    here, there = tmp_path / "in", "memory://counted"
    below_glob = {".png": 1, ".docx": 1, "no suffix": 1}  # b.PNG is read, as the glob matches it
    for folder, name, expected in (
        (here, "", {**below_glob, ".png": 2}),
        (there, "", {**below_glob, ".png": 2}),
        (here, "/*", below_glob),
        (there, "/*", below_glob),
        (here, "/**", {}),
        (here, "/a.txt", {}),
    ):
        left_out = Counter[str]()
        find_sources([f"{folder}{name}"], None, open_store(f"{folder}/out"), left_out)
        assert left_out == expected, name


@pytest.mark.parametrize("name", ["", "*", "20*", "20*/*.txt", "**/*.txt"])
def test_a_folder_that_cannot_be_listed_stops_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    write(tmp_path / "2023" / "a.txt", "ا")
    write(tmp_path / "2024" / "b.txt", "ب")
    listed = os.scandir

    def scandir(folder: Any) -> Any:
        if str(folder).endswith("2024"):
            raise PermissionError(13, "Permission denied")
        return listed(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(UsageError, match=r"2024: the folder cannot be listed \(Permission denied"):
        read(tmp_path / name)


def test_a_missing_input_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"b\.jsonl: cannot be read \(No such file"):
        read(tmp_path / "b.jsonl")
    with pytest.raises(UsageError, match="no input file"):
        read(tmp_path)
    with pytest.raises(UsageError, match="no input file"):
        read(tmp_path / "*.txt")
    with pytest.raises(UsageError, match="Protocol not known: nowhere"):
        read("nowhere://a")


class LoginMissingError(Exception):
    """As the libraries behind a URL raise it, which is no OSError."""


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (OSError(111, "Connect call failed"), r"\(Connect call failed\)"),
        (LoginMissingError("no login\nat all"), r"\(LoginMissingError: no login\)"),
    ],
)
@pytest.mark.parametrize(
    ("place", "method"), [("a.jsonl", "isdir"), ("*.jsonl", "glob"), ("", "find")]
)
def test_a_url_that_cannot_be_reached_is_refused(
    monkeypatch: pytest.MonkeyPatch, fault: Exception, words: str, place: str, method: str
) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/unreached/a.jsonl", JSONL.encode())
    monkeypatch.setattr(type(memory), method, failing(fault))
    with pytest.raises(UsageError, match=f"memory://unreached/.*: cannot be read {words}"):
        read(f"memory://unreached/{place}")


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_an_error_of_the_disk_stops_the_job_and_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = write(tmp_path / name, parquet([{"text": TEXT}]))
    monkeypatch.setattr(LocalFileOpener, "read", failing(OSError(5, "Input/output error")))
    words = rf"^{name}: cannot be read on \(Input/output error\); start the same command again"
    with pytest.raises(BatchError, match=words):
        read(path)


def test_an_error_behind_a_url_stops_the_job_without_its_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/broken/a.jsonl", JSONL.encode())
    monkeypatch.setattr(MemoryFile, "read", failing(LoginMissingError(TEXT)))
    with pytest.raises(BatchError, match=r"^a\.jsonl: cannot be read on \(LoginMissing") as caught:
        read("memory://broken/a.jsonl")
    assert TEXT not in str(caught.value)


def failing(fault: Exception) -> Any:
    def fail(*arguments: object, **options: object) -> Any:
        raise fault

    return fail


def test_a_pipe_is_a_reject_in_a_folder_and_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", line())
    os.mkfifo(tmp_path / "p.txt")
    assert read(tmp_path) == [Article(TEXT, id="a"), ("unreadable", "p.txt", None)]
    with pytest.raises(UsageError, match=r"p\.txt: is a pipe or a device; write it to standard"):
        read(tmp_path / "p.txt")


def test_an_empty_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="an input is an empty name"):
        find_sources([""], None)
    with pytest.raises(UsageError, match="the output is an empty name"):
        open_store("")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (f"[{line()}, {line()}]", [("not_object", "a", None)]),
        ("<!-- c -->\n<?xml version='1.0'?>\n<html><body><p>" + TEXT, [TEXT]),
        ("[قال] سالم", ["[قال] سالم"]),
    ],
)
def test_what_no_suffix_names_is_told_by_its_content(
    tmp_path: Path, content: str, expected: list[Any]
) -> None:
    found = read(write(tmp_path / "a", content))
    assert [f.text if isinstance(f, Article) else f for f in found] == expected


def test_content_is_told_in_the_encoding_of_the_job(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(f"{line('a')}\n{line('b')}\n".encode("utf-16"))
    assert [a.id for a in read(path, encoding="utf-16")] == ["a", "b"]
    assert BatchOptions(encoding="UTF8") == BatchOptions(encoding="utf-8")


def test_an_object_over_several_lines_is_one_row_however_it_is_laid_out(tmp_path: Path) -> None:
    long = TEXT + " نص" * 20_000
    for text, layout in (
        (long, f'{{"id": "a",\n "text": "{long}"}}'),
        (long, f'{{"text": "{long}",\n "id": "a"}}'),
        (TEXT, f'{{"id": "a"\n, "text": "{TEXT}"\n}}\n'),
    ):
        assert read(write(tmp_path / "a.json", layout)) == [Article(text, id="a")]
    packed = tmp_path / "b.json.gz"
    packed.write_bytes(gzip.compress(b"{") + gzip.compress(f'\n"text": "{TEXT}"}}'.encode()))
    assert [a.text for a in read(packed)] == [TEXT]


def test_a_long_first_line_of_json_that_breaks_off_is_kept(tmp_path: Path) -> None:
    text = " ".join(map(str, Random(0).sample(range(10**9), 20_000)))
    path = tmp_path / "a.json.gz"
    path.write_bytes(gzip.compress(line(text=text).encode())[:-20])
    row, last = read_rows(find_sources([str(path)], None), BatchOptions(), Meter())
    assert len(row.raw) > 100_000 and line(text=text).encode().startswith(row.raw)
    assert last.problem is not None and "compressed data ends early" in last.problem[1]


def test_many_comments_before_what_is_no_html_take_no_time(tmp_path: Path) -> None:
    text = "<!--a-->" * 200 + TEXT
    assert [a.text for a in read(write(tmp_path / "a", text))] == [text]
