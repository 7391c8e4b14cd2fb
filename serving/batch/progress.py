"""Progress, seen from outside: a bar on a terminal, else a line now and then, or JSON for a log."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TextIO

from serving.batch.errors import extra

_EVERY_S = 30.0  # a line of plain progress


@dataclass
class Pace:
    """How far a run is and how fast; what was done before it counts for the way, not for the speed.

    Bytes are those of the inputs as they lie on disk; a total of 0 is not known.
    """

    total_bytes: int = 0
    clock: Callable[[], float] = time.monotonic
    articles: int = 0
    tokens: int = 0
    rejects: int = 0
    parts: int = 0
    bytes_read: int = 0
    began_bytes: int = 0
    began: float = field(init=False)

    def __post_init__(self) -> None:
        self.began = self.clock()

    @property
    def seconds(self) -> float:
        """How long the run has taken."""
        return max(self.clock() - self.began, 1e-9)

    @property
    def seconds_left(self) -> float | None:
        """An estimate by the bytes; None where it cannot be given."""
        read = self.bytes_read - self.began_bytes
        if not self.total_bytes or read <= 0:
            return None
        return max(self.total_bytes - self.bytes_read, 0) / read * self.seconds

    def to_dict(self) -> dict[str, Any]:
        """The numbers of the run, ready for JSON."""
        left = self.seconds_left
        return {
            "parts": self.parts,
            "articles": self.articles,
            "rejects": self.rejects,
            "articles_per_s": round(self.articles / self.seconds, 2),
            "tokens_per_s": round(self.tokens / self.seconds, 1),
            "seconds": round(self.seconds, 1),
            "seconds_left": None if left is None else round(left),
        }

    def to_text(self) -> str:
        """The numbers of the run for people."""
        seen = self.to_dict()
        left = "" if seen["seconds_left"] is None else f", {_spoken(seen['seconds_left'])} left"
        return (
            f"{self.articles} articles, {seen['articles_per_s']:.1f}/s, "
            f"{seen['tokens_per_s']:.0f} tokens/s, {self.rejects} rejects{left}"
        )


class Progress(Protocol):
    """Who is told how a job goes on; `event` is part, note, done or stopped."""

    def show(self, event: str, pace: Pace, **details: Any) -> None:
        """Tell it."""
        ...


class JsonProgress:
    """A JSON object a line."""

    def __init__(self, out: TextIO) -> None:
        self.out = out

    def show(self, event: str, pace: Pace, **details: Any) -> None:
        """See `Progress.show`; single articles are not told."""
        if event == "beat":
            return
        line = {"event": event, **details, **pace.to_dict()}
        self.out.write(json.dumps(line, ensure_ascii=True) + "\n")
        self.out.flush()


class PlainProgress:
    """A line every half minute, and notes."""

    def __init__(self, out: TextIO, every_s: float = _EVERY_S) -> None:
        self.out, self.every_s, self.last = out, every_s, 0.0

    def show(self, event: str, pace: Pace, **details: Any) -> None:
        """See `Progress.show`."""
        if event == "note":
            self.out.write(f"khabar: {details['message']}\n")
        elif event in ("beat", "part") and pace.seconds - self.last > self.every_s:
            self.last = pace.seconds
            self.out.write(pace.to_text() + "\n")
        self.out.flush()


class BarProgress:
    """A bar on a terminal."""

    def __init__(self, out: TextIO) -> None:
        self.bar = extra("tqdm").tqdm(
            total=1.0, file=out, bar_format="{percentage:3.0f}%|{bar}| {desc}", leave=False
        )

    def show(self, event: str, pace: Pace, **details: Any) -> None:
        """See `Progress.show`."""
        if event == "note":
            self.bar.write(f"khabar: {details['message']}", file=self.bar.fp)
        elif event in ("done", "stopped"):
            self.bar.close()
        else:
            self.bar.n = min(pace.bytes_read / pace.total_bytes, 1.0) if pace.total_bytes else 0.0
            self.bar.set_description_str(pace.to_text())


def progress_to(out: TextIO | None, json_logs: bool) -> Progress:
    """The progress that fits where it goes; None, a closed standard error, shows nothing."""
    out = out or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 as long as the process
    if json_logs:
        return JsonProgress(out)
    return BarProgress(out) if out.isatty() else PlainProgress(out)


def _spoken(seconds: int) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes}:{rest:02}"
