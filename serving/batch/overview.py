"""The summary of a finished job as one HTML page for people; it asks nobody for anything."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from typing import Any

from annotations.labels import label_schema

_NAMES_OF_A_TYPE = 10
_KINDS = ("entities", "topics", "stances")
_STANCES = ("favor", "neutral", "against")
Counts = Mapping[str, int]
Summary = Mapping[str, Any]


def overview_html(summary: Summary) -> str:
    """The page of a summary, the JSON object of `summary.json`; nothing else is looked at."""
    style = (resources.files("serving.batch") / "overview.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'"
    sections = (
        _entities(summary),
        _topics(summary["topics"]),
        _stances(summary),
        _confidence(summary["confidence"]),
        _rejects(summary["rejects"]),
        _duplicates(summary["duplicate_ids"]),
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>khabar batch: {summary["articles"]:,} articles</title>
<style>{style}</style>
</head>
<body>
{_header(summary)}
<main>
{"".join(section for section in sections if section)}</main>
</body>
</html>
"""


def _header(summary: Summary) -> str:
    model, run = summary["model"], summary["run"]
    figures = {
        "articles": f"{summary['articles']:,}",
        "rejects": f"{summary['rejects']['count']:,}",
        "parts": f"{summary['parts']:,}",
        "entities": f"{sum(summary['entities'].values()):,}",
    }
    if run["articles"]:  # a run that only went on to the end has no speed
        figures["articles/s"] = f"{run['articles_per_s']:,.1f}"
        figures["tokens/s"] = f"{run['tokens_per_s']:,.0f}"
    shown = "".join(
        f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in figures.items()
    )
    took = f"the last run read {run['articles']:,} articles in {run['seconds']:,.0f} s"
    return (
        "<header>\n<h1>Batch summary</h1>\n"
        f"<p>{_name(model['name'])} {_name(model['version'])}, finished "
        f"{escape(run['finished'])}; {took}</p>\n"
        f'<dl class="figures">{shown}</dl>\n</header>'
    )


def _section(title: str, body: str, note: str = "") -> str:
    told = f'<p class="note">{note}</p>\n' if note else ""
    return f"<section>\n<h2>{title}</h2>\n{told}{body}\n</section>\n"


def _entities(summary: Summary) -> str:
    """A card a type with its most named entities."""
    types = label_schema().entities | label_schema().coarse
    cards = []
    for label, count in summary["entities"].items():
        names = [entity for entity in summary["top_entities"] if entity["label"] == label]
        rows = [(entity["name"], entity["articles"]) for entity in names[:_NAMES_OF_A_TYPE]]
        arabic = f" {_arabic(types[label].arabic)}" if label in types else ""
        head = f'<h3><span>{escape(label)}{arabic}</span><span class="count">{count:,}</span></h3>'
        cards.append(f'<div class="card">{head}{_bars(rows)}</div>\n')
    if not cards:
        return ""
    note = "Behind a type its mentions, behind a name the articles that name it."
    if not summary["top_entities_exact"]:
        note += " More names were met than are counted at once: rare ones may be missing."
    return _section("Entities", f'<div class="cards">\n{"".join(cards)}</div>', note)


def _topics(topics: Counts) -> str:
    arabic = label_schema().topics
    rows = [(arabic.get(label, label), count) for label, count in topics.items()]
    return _section("Topics", f'<div class="card">{_bars(rows)}</div>') if rows else ""


def _stances(summary: Summary) -> str:
    """A stacked bar a target, the most asked first."""
    stances: Mapping[str, Counts] = summary["stances"]
    if not stances:
        return ""
    key = "".join(
        f'<span><svg viewBox="0 0 1 1" aria-hidden="true"><rect class="{label}" width="1" '
        f'height="1"/></svg>{label} {_arabic(label_schema().stances[label])}</span>'
        for label in _STANCES
    )
    heads = "".join(f'<th class="number">{label}</th>' for label in _STANCES)
    rows = "".join(_stance_row(target, counts) for target, counts in stances.items())
    table = f"<table><tr><td></td><td></td>{heads}</tr>{rows}</table>"
    note = "Articles by what they feel toward a target."
    if not summary["top_targets_exact"]:
        note += " More targets were met than are counted at once: rare ones may be missing."
    body = f'<div class="card"><div class="key">{key}</div>{table}</div>'
    return _section("Stance toward the top targets", body, note)


def _stance_row(target: str, counts: Counts) -> str:
    total = max(sum(counts.values()), 1)
    bar, start = "", 0.0
    for label in _STANCES:
        width = 100 * counts[label] / total
        bar += f'<rect class="{label}" x="{start:.2f}" width="{width:.2f}" height="1"/>'
        start += width
    numbers = "".join(f'<td class="number">{counts[label]:,}</td>' for label in _STANCES)
    return f'<tr>{_name_cell(target)}<td class="bar">{_svg(bar, 100)}</td>{numbers}</tr>'


def _confidence(confidence: Mapping[str, Sequence[int]]) -> str:
    """A histogram for each kind of answer."""
    cards = []
    for kind in _KINDS:
        bins = confidence[kind]
        if not any(bins):
            continue
        width = 100 / len(bins)
        columns = "".join(
            f'<rect x="{i * width + 0.5:.2f}" y="{100 - height:.2f}" width="{width - 1:.2f}" '
            f'height="{height:.2f}"><title>{i / len(bins):.1f} to {(i + 1) / len(bins):.1f}: '
            f"{count:,}</title></rect>"
            for i, count in enumerate(bins)
            for height in [100 * count / max(bins)]
        )
        head = f'<h3><span>{kind}</span><span class="count">{sum(bins):,}</span></h3>'
        axis = '<div class="axis"><span>0</span><span>0.5</span><span>1</span></div>'
        cards.append(f'<div class="card">{head}{_svg(columns, 100, "columns")}{axis}</div>\n')
    body = f'<div class="cards">\n{"".join(cards)}</div>'
    return _section("Confidence", body) if cards else ""


def _rejects(rejects: Mapping[str, Any]) -> str:
    if not rejects["count"]:
        return ""
    codes = "".join(
        f'<tr><td>{escape(code)}</td><td class="number">{count:,}</td></tr>'
        for code, count in rejects["by_code"].items()
    )
    first = "".join(
        f"<tr><td>{_place(reject)}</td><td>{_name(reject['reason'])}</td></tr>"
        for reject in rejects["first"]
    )
    body = (
        f'<div class="cards"><div class="card"><table>{codes}</table></div></div>\n'
        f'<p class="note">The first of them; all are in rejects.jsonl.</p>\n'
        f'<div class="card"><table>{first}</table></div>'
    )
    return _section("Rejects", body)


def _duplicates(duplicates: Mapping[str, Any]) -> str:
    if not duplicates["count"]:
        return ""
    rows = "".join(
        f"<tr><td>{_place(found)}</td><td>{_name(found['id'])}</td></tr>"
        for found in duplicates["first"]
    )
    note = f"{duplicates['count']:,} articles have the id of an earlier one; the first of them:"
    return _section("Repeated ids", f'<div class="card"><table>{rows}</table></div>', note)


def _bars(rows: Sequence[tuple[str, int]]) -> str:
    """A table of names with their counts, drawn against the largest."""
    most = max((count for _, count in rows), default=1)
    cells = (
        f'<tr>{_name_cell(name)}<td class="bar">'
        f'{_svg(f"""<rect width="{100 * count / most:.2f}" height="1"/>""", 100)}</td>'
        f'<td class="number">{count:,}</td></tr>'
        for name, count in rows
    )
    return f"<table>{''.join(cells)}</table>"


def _svg(inside: str, width: int, kind: str = "") -> str:
    height = 100 if kind else 1
    named = f' class="{kind}"' if kind else ""
    box = f'viewBox="0 0 {width} {height}" preserveAspectRatio="none"'
    return f'<svg{named} {box} aria-hidden="true">{inside}</svg>'


def _name_cell(name: str) -> str:
    return f'<td lang="ar" dir="rtl">{_name(name)}</td>'


def _arabic(name: str) -> str:
    return f'<bdi lang="ar">{escape(name)}</bdi>'


def _name(text: str) -> str:
    return f"<bdi>{escape(text)}</bdi>"


def _place(found: Mapping[str, Any]) -> str:
    line = "" if found["line"] is None else f":{found['line']}"
    return f'<bdi dir="ltr">{escape(found["source"])}{line}</bdi>'
