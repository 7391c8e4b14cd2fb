"""Charts: well-formed, the same each time, readable, and in the colours of the page."""

from __future__ import annotations

import random
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable

import pytest
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextToPath

from training.report import charts
from training.report.analysis import reliability_of
from training.report.charts import FONT, WIDTH, Line, Row

SVG = "{http://www.w3.org/2000/svg}"


def curves(name: str = "a") -> str:
    lines = [
        Line(head, tuple((step, 3 / (step + i + 1)) for step in range(0, 2000, 25)))
        for i, head in enumerate(["khabar", "anercorp", "topic", "claim", "stance"])
    ]
    return charts.curves(name, "Loss & more", lines, "step", "loss", log=True)


def intervals(name: str = "b") -> str:
    rows = [
        Row(label, value, (max(value - 0.2, 0), min(value + 0.2, 1)), f"n {1000 * i}", i)
        for i, (label, value) in enumerate(
            [("LANGUAGE", 0.0), ("CARDINAL", 1.0), ("authored unseen", 0.5), ("GPE", 0.93)]
        )
    ]
    return charts.intervals(name, "F1 by label", rows)


def diagram(name: str = "c") -> str:
    rng = random.Random(0)
    before = reliability_of([(c := rng.random(), rng.random() < c / 2) for _ in range(300)])
    return charts.reliability_diagram(name, "Reliability", before, reliability_of([(0.95, True)]))


Draw = Callable[..., str]
ALL = pytest.mark.parametrize("draw", [curves, intervals, diagram])


def parsed(svg: str) -> ET.Element:
    """The tree of an inline SVG, in its namespace."""
    return ET.fromstring(svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


@ALL
def test_the_same_numbers_give_the_same_bytes(draw: Draw) -> None:
    assert draw() == draw()
    assert not re.search(r"20\d\d-\d\d|matplotlib\.org|<metadata|<!--", draw())


@ALL
def test_a_chart_is_an_image_with_a_title(draw: Draw) -> None:
    root = parsed(draw())
    title = root.find(f"{SVG}title")
    assert root.get("role") == "img"
    assert title is not None
    assert title.text
    assert root.get("aria-labelledby") == title.get("id")
    assert root.get("width") is None  # it takes the width it is given


@ALL
def test_what_is_written_stays_text_of_a_readable_size(draw: Draw) -> None:
    texts = parsed(draw()).findall(f".//{SVG}text")
    assert len(texts) > 5
    sizes = [float(size) for size in re.findall(r"font-size: ([\d.]+)px", draw())]
    assert min(sizes) >= 10.5  # at 320 units, the width of a phone


@ALL
def test_no_text_stands_outside_the_chart(draw: Draw) -> None:
    root = parsed(draw())
    height = float(str(root.get("viewBox")).split()[3])
    for text in root.findall(f".//{SVG}text"):
        style = str(text.get("style"))
        x, y = _place(text)
        font = FontProperties(family="DejaVu Sans", size=FONT)
        words = "".join(text.itertext())
        width = TextToPath().get_text_width_height_descent(words, font, ismath=False)[0]
        if "rotate(-90" in str(text.get("transform")):
            assert FONT * 0.7 <= x <= WIDTH, words
            continue
        left = {"middle": x - width / 2, "end": x - width}.get(_anchor(style), x)
        assert -0.5 <= left <= left + width <= WIDTH + 0.5, words
        assert 0 <= y <= height, words


def _anchor(style: str) -> str:
    found = re.search(r"text-anchor: (\w+)", style)
    return found[1] if found else "start"


def _place(text: ET.Element) -> tuple[float, float]:
    """Where a text begins, from its x and y or its translation."""
    moved = re.search(r"translate\(([-\d.]+) ([-\d.]+)\)", str(text.get("transform")))
    if moved:
        return float(moved[1]), float(moved[2])
    return float(str(text.get("x"))), float(str(text.get("y")))


@ALL
def test_colours_are_those_of_the_page(draw: Draw) -> None:
    svg = draw()
    assert "var(--c1)" in svg
    assert "var(--rule)" in svg
    assert not re.search(r"#0102\d\d|#[1-9a-f][0-9a-f]{5}\b", svg)


def test_two_charts_of_a_page_share_no_id() -> None:
    pages = [intervals("one"), intervals("two")]
    ids = [set(re.findall(r'\bid="([^"]+)"', page)) for page in pages]
    assert ids[0]
    assert not ids[0] & ids[1]
    for page, known in zip(pages, ids, strict=True):
        used = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', page)
        assert used
        assert {a or b for a, b in used} <= known


def test_titles_and_labels_are_escaped() -> None:
    svg = charts.intervals("x", 'a <b> & "c"', [Row("<i>", 0.5, (0.4, 0.6), "&")])
    assert parsed(svg).findtext(f"{SVG}title") == 'a <b> & "c"'
    assert "<i>" not in svg


def test_bins_with_few_answers_are_hollow() -> None:
    few, many = (reliability_of([(0.55, True)] * n) for n in (charts.FEW - 1, charts.FEW))
    hollow = [charts.reliability_diagram("r", "r", found, found) for found in (few, many)]
    assert "fill-opacity: 0" in hollow[0] or "fill: none" in _markers(hollow[0])
    assert "fill: none" not in _markers(hollow[1])


def _markers(svg: str) -> str:
    """The styles of what is placed by reference: the marks of a line."""
    return " ".join(re.findall(r"<use [^>]*>|<defs>.*?</defs>", svg, flags=re.DOTALL))
