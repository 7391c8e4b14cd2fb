"""Folders that are whole or not there: made beside their place, then moved."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from annotations.errors import FormatError


@contextmanager
def beside(target: Path) -> Iterator[Path]:
    """A new empty folder beside `target`; what is not moved away by the end is removed."""
    place = target.resolve()
    place.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def refuse_foreign(folder: Path, own: Collection[str]) -> None:
    """Refuse a folder that holds anything but files of these names: it would be lost."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise FormatError(f"{folder}: is a file; give a folder")
    foreign = sorted(path.name for path in folder.iterdir() if path.name not in own)
    if foreign:
        raise FormatError(
            f"{folder}: holds other files ({', '.join(foreign[:4])}); give another folder"
        )
