"""Many documents through every format: all come back, and memory does not grow with them."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

import khabar
from annotations.convert import Conversion
from annotations.jsonl import write_documents
from tests.documents import random_document

SMALL = 300
FULL = pytest.param(10_000, marks=pytest.mark.soak)
# A child's peak memory in KiB, told on its last line; getrusage would tell its parent's.
MEASURED = """
import pathlib, sys
sys.argv = ["khabar", *sys.argv[1:]]
import khabar
try:
    khabar.main()
finally:
    status = pathlib.Path("/proc/self/status").read_text()
    print(status.split("VmHWM:")[1].split()[0])
"""


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.markup", "a"])
@pytest.mark.parametrize("count", [SMALL, FULL])
def test_random_documents_survive_each_round_trip(tmp_path: Path, name: str, count: int) -> None:
    rng = random.Random(count)
    found = [random_document(rng, i) for i in range(count)]
    conversion = Conversion()
    assert conversion.write(tmp_path / name, found) == count
    assert list(conversion.read(tmp_path / name)) == found
    lost = {note: n for note, n in conversion.notes.items() if "without an annotation" not in note}
    assert lost == {}


@pytest.mark.parametrize("count", [SMALL, FULL])
def test_conll_is_the_same_after_another_round(tmp_path: Path, count: int) -> None:
    rng = random.Random(count)
    conversion = Conversion()
    conversion.write(tmp_path / "a.conll", (random_document(rng, i) for i in range(count)))
    conversion.write(tmp_path / "b.conll", conversion.read(tmp_path / "a.conll"))
    first, second = ((tmp_path / name).read_bytes() for name in ("a.conll", "b.conll"))
    assert len(first) > 10 * count
    assert [line.split()[0] for line in first.splitlines() if line] == [
        line.split()[0] for line in second.splitlines() if line
    ]


def peak(*words: object) -> int:
    """The peak memory of a command in KiB."""
    command = [sys.executable, "-c", MEASURED, "annotations", *(str(word) for word in words)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(khabar.__file__).parent)
    assert done.returncode == 0 or words[0] == "validate", done.stderr
    return int(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("few", "many"), [(100, 1000), pytest.param(10_000, 100_000, marks=pytest.mark.soak)]
)
def test_converting_and_validating_streams(tmp_path: Path, few: int, many: int) -> None:
    peaks = {}
    for count in (few, many):
        rng = random.Random(7)
        folder = tmp_path / str(count)
        folder.mkdir()
        write_documents(folder / "a.jsonl", (random_document(rng, i) for i in range(count)))
        peaks[count] = [
            peak("convert", folder / "a.jsonl", folder / "b.json"),
            peak("convert", folder / "b.json", folder / "c.jsonl"),
            peak("stats", folder / "c.jsonl"),
            peak("validate", folder / "c.jsonl"),
        ]
        assert (folder / "a.jsonl").read_bytes() == (folder / "c.jsonl").read_bytes()
    sys.stdout.write(f"peak memory in KiB by number of documents: {peaks}\n")
    *flat, validated = zip(peaks[few], peaks[many], strict=True)
    for small, large in flat:
        assert large < 1.25 * small
    assert validated[1] - validated[0] < 2048 + 0.2 * (many - few)  # it remembers every id
