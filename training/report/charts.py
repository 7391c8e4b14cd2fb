"""Charts as inline SVG: text stays text, colours are variables of the page, the same numbers give
the same bytes.

A chart is 320 units wide, which is a phone's width, so that its letters are never smaller than they
are drawn. Colours are those of Okabe and Ito, told apart by the colour-blind; marks differ in form
too.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextToPath
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from training.report.analysis import Reliability

WIDTH = 320.0  # units; a unit is a point for matplotlib and a pixel at this width on the screen
FONT = 11.0
FEW = 10  # a bin with fewer answers says little: it is drawn hollow, and no line goes through it
_ROW = 19.0
_FIFTHS = (0, 0.2, 0.4, 0.6, 0.8, 1)
# Stand-ins that matplotlib writes and the page's own colours replace, light or dark.
_VARIABLES = {
    "ink": "#010203",
    "muted": "#010204",
    "rule": "#010205",
    "c1": "#010211",
    "c2": "#010212",
    "c3": "#010213",
    "c4": "#010214",
    "c5": "#010215",
    "c6": "#010216",
}
INK, MUTED, RULE = (_VARIABLES[name] for name in ("ink", "muted", "rule"))
SERIES = tuple(_VARIABLES[f"c{i}"] for i in range(1, 7))
MARKERS = ("o", "s", "^", "D", "v", "P")
_DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 2)),
    (0, (1, 1.5)),
    (0, (5, 2, 1, 2)),
    (0, (9, 2)),
    (0, (3, 1, 1, 1, 1, 1)),
)
_RULES = {
    "svg.hashsalt": "khabar",
    "svg.fonttype": "none",
    "font.size": FONT,
    "font.family": "DejaVu Sans",
    "axes.unicode_minus": False,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": RULE,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": INK,
    "grid.color": RULE,
    "axes.axisbelow": True,
    "lines.linewidth": 1.6,
}
_STYLE: list[Any] = ["default", _RULES]  # whatever the reader's own matplotlibrc says


@dataclass(frozen=True, slots=True)
class Line:
    """A curve: a name and its points (x, y)."""

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Row:
    """A row of an interval chart: a score in 0 to 1, its interval, and a note such as its count."""

    label: str
    value: float
    interval: tuple[float, float]
    note: str = ""
    series: int = 0


def curves(name: str, title: str, lines: Sequence[Line], x: str, y: str, log: bool = False) -> str:
    """Lines over steps or epochs, the key below; `log` for losses, else 0 to 1."""
    key = -(-len(lines) // 2) * 17.0
    with style.context(_STYLE):
        figure, axes = _figure(210 + key, left=58 if log else 44, right=10, bottom=44 + key, top=10)
        for i, line in enumerate(lines):
            axes.plot(
                *zip(*line.points, strict=True),
                color=SERIES[i % len(SERIES)],
                linestyle=_DASHES[i % len(_DASHES)],
                marker=MARKERS[i % len(MARKERS)] if len(line.points) <= 12 else None,
                markersize=5,
                label=line.name,
            )
        axes.grid(visible=True, linewidth=0.6)
        axes.set_xlabel(x)
        axes.set_ylabel(y, labelpad=2)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        if log:
            _log_axis(axes, [value for line in lines for _, value in line.points])
        else:
            axes.set_ylim(0, 1)
        figure.legend(
            loc="lower center", ncols=2, frameon=False, handlelength=2.4, borderaxespad=0.2,
            columnspacing=1.2, labelspacing=0.35,
        )  # fmt: skip
        return svg(figure, name, title)


def _log_axis(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic axis with plain numbers: 1, 2 and 5 of each power of ten in its range."""
    axes.set_yscale("log")
    low, high = min(values), max(values)
    ticks = [m * 10.0**p for p in range(-6, 7) for m in (1, 2, 5)]
    shown = [tick for tick in ticks if low / 1.6 <= tick <= high * 1.6]
    axes.yaxis.set_major_locator(FixedLocator(shown))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def intervals(name: str, title: str, rows: Sequence[Row]) -> str:
    """A point and its interval for each row, the label on the left, the score and note on the
    right.
    """
    left = max(_text_width(row.label) for row in rows) + 8
    right = 46 + max(_text_width(row.note) for row in rows)
    with style.context(_STYLE):
        figure, axes = _figure(len(rows) * _ROW + 40, left=left, right=right, bottom=26, top=8)
        for place, row in enumerate(rows):
            colour = SERIES[row.series % len(SERIES)]
            axes.plot(row.interval, (place, place), color=colour, linewidth=2.2)
            axes.plot(
                [row.value], [place], color=colour, marker=MARKERS[row.series % len(MARKERS)],
                markersize=6.5,
            )  # fmt: skip
            _beside(axes, place, 8, f"{row.value:.2f}", INK)
            _beside(axes, place, 40, row.note, MUTED)
        axes.set_xlim(0, 1)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_yticks(range(len(rows)), [row.label for row in rows])
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_locator(FixedLocator([0, 0.5, 1]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.grid(visible=True, axis="x", linewidth=0.6)
        return svg(figure, name, title)


def _text_width(text: str) -> float:
    """How wide a text may be, in units; most fonts are narrower than the one that is measured."""
    if not text:
        return 0.0
    font = FontProperties(family="DejaVu Sans", size=FONT)
    return float(TextToPath().get_text_width_height_descent(text, font, ismath=False)[0])


def _beside(axes: Axes, row: int, units: float, text: str, colour: str) -> None:
    """Text so many units right of the axes, beside a row."""
    place = ("axes fraction", "data")
    axes.annotate(
        text, (1, row), (units, 0), place, "offset points", va="center", color=colour
    )  # fmt: skip


def reliability_diagram(name: str, title: str, before: Reliability, after: Reliability) -> str:
    """How often answers are right by their confidence, before and after, and how many they are."""
    height, low = 352.0, 60.0
    with style.context(_STYLE):
        figure, axes = _figure(height, left=40, right=10, bottom=112, top=10)
        bars = figure.add_axes((40 / WIDTH, low / height, (WIDTH - 50) / WIDTH, 44 / height))
        axes.plot((0, 1), (0, 1), color=MUTED, linewidth=1, linestyle=(0, (2, 2)))
        for i, (found, label) in enumerate(((before, "before"), (after, "after"))):
            if found.bins:
                _draw_bins(axes, bars, found, f"{label}: ECE {found.ece:.3f}", i)
        for part in (axes, bars):
            part.set_xlim(0, 1)
            part.xaxis.set_major_locator(FixedLocator(_FIFTHS))
            part.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_ylim(0, 1)
        axes.yaxis.set_major_locator(FixedLocator(_FIFTHS))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_ylabel("right", labelpad=2)
        axes.grid(visible=True, linewidth=0.6)
        axes.tick_params(labelbottom=False)
        bars.set_xlabel("confidence")
        bars.set_ylabel("count", labelpad=2)
        bars.yaxis.set_major_locator(MaxNLocator(2, integer=True))
        _plain(bars)
        figure.legend(
            loc="lower center", ncols=2, frameon=False, handlelength=2.4, borderaxespad=0.2
        )
        return svg(figure, name, title)


def _draw_bins(axes: Axes, bars: Axes, found: Reliability, label: str, place: int) -> None:
    """The curve of one reliability and its counts; `place` 0 is before, 1 after."""
    series = 1 - place
    look: dict[str, Any] = {
        "color": SERIES[series],
        "marker": MARKERS[series],
        "markersize": 5.5,
        "clip_on": False,
    }
    often = [b for b in found.bins if b.count >= FEW]
    seldom = [b for b in found.bins if b.count < FEW]
    axes.plot(
        [b.confidence for b in often],
        [b.accuracy for b in often],
        linestyle=_DASHES[series],
        label=label,
        **look,
    )
    axes.plot(
        [b.confidence for b in seldom],
        [b.accuracy for b in seldom],
        linestyle="",
        markerfacecolor="none",
        **look,
    )
    bars.bar(
        [b.low + 0.028 + 0.044 * place for b in found.bins],
        [b.count for b in found.bins],
        width=0.04,
        color=SERIES[series],
    )


def _figure(
    height: float, left: float, right: float, bottom: float, top: float
) -> tuple[Figure, Axes]:
    """A figure with axes inside the given margins, in units."""
    figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72)
    figure.patch.set_visible(False)
    size = (WIDTH - left - right) / WIDTH, (height - bottom - top) / height
    axes = figure.add_axes((left / WIDTH, bottom / height, *size))
    _plain(axes)
    return figure, axes


def _plain(axes: Axes) -> None:
    axes.patch.set_visible(False)
    axes.spines[["top", "right"]].set_visible(False)


def svg(figure: Figure, name: str, title: str) -> str:
    """A figure as an inline `<svg>` with a title; all its ids begin with `name`, so that no two
    charts of a page share one.
    """
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None}, transparent=True)
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'\b(id="|xlink:href="#|url\(#)', rf"\g<1>{name}-", text)
    for variable, colour in _VARIABLES.items():
        text = text.replace(colour, f"var(--{variable})")
    box = re.search(r'viewBox="[^"]*"', text)
    assert box is not None
    opening = (
        f'<svg xmlns:xlink="http://www.w3.org/1999/xlink" {box[0]} role="img" '
        f'aria-labelledby="{name}-title"><title id="{name}-title">{escape(title)}</title>'
    )
    text = opening + text[text.index(">") + 1 :]
    return re.sub(r"\n\s*", "\n", text).strip()
