"""The entry of a Bento, where it stands as `service.py`: the service of the packages beside it.

`bentoml serve khabar:latest` first takes the tag for a module and imports a khabar that is
installed; the packages that came with it make way here for those that the Bento was built with.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOMS = ("annotations", "configs", "serving")


def make_way() -> None:
    """Forget the rooms that were loaded from elsewhere."""
    for room in ROOMS:
        loaded = getattr(sys.modules.get(room), "__file__", None)
        if loaded is not None and Path(loaded).resolve().parent != HERE / room:
            for name in [n for n in sys.modules if n == room or n.startswith(f"{room}.")]:
                del sys.modules[name]


if __name__ == "service":
    make_way()
    NewsService = importlib.import_module("serving.service").NewsService
