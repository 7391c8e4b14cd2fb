"""Folders that are whole or not there, and what belongs to others."""

from pathlib import Path

import pytest

from annotations.errors import FormatError
from training.scratch import beside, refuse_foreign


def test_a_folder_that_is_not_moved_is_gone_and_its_neighbours_stay(tmp_path: Path) -> None:
    neighbour = tmp_path / "out.partial"
    neighbour.mkdir()
    (neighbour / "mine").write_text("precious")
    with pytest.raises(ZeroDivisionError), beside(tmp_path / "out") as made:
        (made / "half").write_text("x")
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.iterdir()] == ["out.partial"]
    assert (neighbour / "mine").read_text() == "precious"


def test_a_folder_that_is_moved_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with beside(Path("deep/out")) as made:
        (made / "whole").write_text("x")
        made.rename(tmp_path / "deep" / "out")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]
    assert (tmp_path / "deep" / "out" / "whole").read_text() == "x"


def test_files_of_others_are_refused_by_name(tmp_path: Path) -> None:
    refuse_foreign(tmp_path / "none", ("a",))
    (tmp_path / "a").write_text("x")
    refuse_foreign(tmp_path, ("a",))
    with pytest.raises(FormatError, match=r"a: is a file; give a folder"):
        refuse_foreign(tmp_path / "a", ())
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(FormatError, match=r"holds other files \(mine\.txt\); give another"):
        refuse_foreign(tmp_path, ("a",))
