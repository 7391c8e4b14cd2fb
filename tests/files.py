"""Files that tests make."""

from __future__ import annotations

import gzip
from pathlib import Path


def write(path: Path, content: bytes | str) -> Path:
    """A file of bytes as they are, or of text, packed where its name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        content = content.encode()
        content = gzip.compress(content) if path.suffix == ".gz" else content
    path.write_bytes(content)
    return path
