"""The summary of a job as a page."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from batch_tagger import run, write_jsonl

from serving.batch.overview import overview_html

VOID = {"meta", "rect"}
SUMMARY: dict[str, Any] = {
    "model": {"name": "khabar", "version": "1"},
    "parts": 2,
    "articles": 12_345,
    "rejects": {
        "count": 3,
        "by_code": {"not_json": 2, "too_long": 1},
        "first": [{"source": "a<b>.jsonl", "line": 7, "code": "not_json", "reason": "not JSON"}],
    },
    "duplicate_ids": {"count": 1, "first": [{"id": "x&y", "source": "a.txt", "line": None}]},
    "entities": {"GPE": 40, "PERS": 9, "<new>": 1},
    "top_entities": [
        {"name": "بغداد", "label": "GPE", "articles": 20, "mentions": 30},
        {"name": "<script>alert(1)</script>", "label": "GPE", "articles": 5, "mentions": 5},
        {"name": "محمد\ud800", "label": "PERS", "articles": 4, "mentions": 9},
    ],
    "top_entities_exact": True,
    "topics": {"politics": 3, "sports": 1},
    "stances": {"القوات": {"favor": 3, "against": 1, "neutral": 0}},
    "top_targets_exact": True,
    "confidence": {"entities": [0] * 8 + [10, 40], "topics": [0] * 9 + [4], "stances": [0] * 10},
    "run": {
        "finished": "2026-01-01T00:00:00+00:00", "parts": 2, "articles": 12_345, "rejects": 3,
        "articles_per_s": 31.5, "tokens_per_s": 4210.7, "seconds": 392.0,
    },
}  # fmt: skip


class Page(HTMLParser):
    """A page as it is read: every element closed, its texts and attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str | None]] = []
        self.texts: list[str] = []
        self.arabic: list[str] = []  # names in cells that read from right to left
        self.rtl = False
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "td":
            self.rtl = dict(attrs).get("dir") == "rtl"
            self.arabic += [""] * self.rtl

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value) for name, value in attrs]
        self.tags[tag] += 1

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self.rtl and self.open[-2:] == ["td", "bdi"]:
            self.arabic[-1] += data

    def values(self, tag: str, name: str) -> list[str]:
        return [value or "" for t, n, value in self.attributes if (t, n) == (tag, name)]


def test_the_page_tells_what_the_summary_holds() -> None:
    page = Page(overview_html(SUMMARY))
    told = " ".join(page.texts)
    for found in ("12,345", "31.5", "4,211", "كيان جغرافي سياسي", "too_long", "not JSON", "x&y"):
        assert found in told
    assert "a<b>.jsonl:7" in page.texts
    assert "<new>" in page.texts  # a type that this khabar does not know


def test_names_read_from_right_to_left() -> None:
    page = Page(overview_html(SUMMARY))
    assert [name for name in page.arabic if "محمد" in name or "بغداد" in name]
    assert {"سياسة", "القوات", "<script>alert(1)</script>"} <= set(page.arabic)


def test_nothing_of_an_article_is_markup_and_nothing_is_asked_of_others() -> None:
    html = overview_html(SUMMARY)
    page = Page(html)
    assert not page.tags.keys() & {"script", "link", "img", "iframe", "a", "form", "b", "new"}
    assert not {name for _, name, _ in page.attributes} & {"src", "href", "style", "onload"}
    assert "url(" not in html and "@import" not in html and "://" not in html
    (style,) = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    (policy,) = (v for v in page.values("meta", "content") if "default-src" in v)
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'"
    assert "prefers-color-scheme: dark" in style


def test_bars_are_as_long_as_their_counts() -> None:
    html = overview_html(SUMMARY)
    widths = [float(w) for w in re.findall(r'<rect width="([\d.]+)" height="1"/>', html)]
    assert widths[:3] == [100, 25, 100]  # 20 and 5 of GPE, 4 of PERS
    assert re.findall(r'class="(\w+)" x="([\d.]+)" width="([\d.]+)"', html) == [
        ("favor", "0.00", "75.00"), ("neutral", "75.00", "0.00"), ("against", "75.00", "25.00")
    ]  # fmt: skip
    heights = [float(h) for h in re.findall(r'height="([\d.]+)"><title>', html)]
    assert heights == [0] * 8 + [25, 100] + [0] * 9 + [100]  # no stance: no third histogram


@pytest.mark.parametrize("texts", [[], [" "], ["محمد في بغداد"]])
def test_every_job_has_a_page(tmp_path: Path, texts: list[str]) -> None:
    run([write_jsonl(tmp_path / "a.jsonl", texts)], tmp_path / "out")
    found = (tmp_path / "out" / "summary.html").read_text(encoding="utf-8")
    assert found == overview_html(json.loads((tmp_path / "out" / "summary.json").read_bytes()))
    assert ("بغداد" in Page(found).arabic) == (texts == ["محمد في بغداد"])


@pytest.mark.parametrize(("kind", "met"), [("entities", "names"), ("targets", "targets")])
def test_what_was_let_go_of_is_told(kind: str, met: str) -> None:
    note = f"More {met} were met than are counted at once"
    assert note not in overview_html(SUMMARY)
    assert note in overview_html(SUMMARY | {f"top_{kind}_exact": False})
