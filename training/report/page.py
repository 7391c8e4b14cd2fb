"""The report of a run: one HTML file to read, show and print, and its numbers as JSON."""

from __future__ import annotations

import json as json_format
import logging
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from training.report import analysis, confusion, figures, worst
from training.report.confusion import BOUNDARY, INVENTED, MISSED, Matrix
from training.report.errors_view import marked_sides
from training.report.figures import Figure
from training.report.summary import NOTICE, HeadSummary, Summary, summarise
from training.report.worst import Error
from training.runs import Run

log = logging.getLogger(__name__)
TEMPLATE = Path(__file__).parent / "report.html.j2"
REPORT, NUMBERS = "report.html", "report.json"
KINDS = {
    "nested": "entities that nest",
    "flat": "entities",
    "text": "one label a text",
    "pair": "one label for a text and a target or claim",
}


def write_report(
    run: Path, html: Path | None = None, json: Path | None = None
) -> tuple[Path, Path]:
    """Write the report of a run whose bundle is finished; gives the HTML and the JSON file.

    The development splits are read once more, a minute or two on two cores. The same run gives the
    same bytes.
    """
    opened = Run.open(run)
    page, numbers = html or run / REPORT, json or run / NUMBERS
    summary = summarise(opened)
    text = json_format.dumps(summary.to_dict(), ensure_ascii=False, indent=1)
    for path, content in ((page, report_html(summary)), (numbers, text + "\n")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8", errors="replace")
        log.info("report: %s", path)
    return page, numbers


def report_html(summary: Summary) -> str:
    """The page of a summary: no script, no request, right to left where the text is Arabic."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        two=lambda value: f"{value:.2f}",
        three=lambda value: f"{value:.3f}",
        count=lambda value: f"{value:,}",
        megabytes=lambda value: f"{value / 1e6:.1f} MB",
    )
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        s=summary,
        kinds=KINDS,
        scored=[head for head in summary.heads if head.splits],
        unscored=[head for head in summary.heads if not head.splits],
        splits=[(head, split) for head in summary.heads for split in head.splits],
        curves=_curves(summary),
        figures=figures,
        heat=heat,
        sides=_sides,
        own_scores=own_scores,
        errors=_by_head(summary),
        definitions={
            "confusion": confusion.DEFINITION,
            "seen": analysis.SEEN_DEFINITION,
            "errors": worst.DEFINITION,
        },
        notice=NOTICE,
        recipe=json_format.dumps(summary.recipe, ensure_ascii=False, indent=1),
    )


def _curves(summary: Summary) -> list[Figure]:
    loss = figures.loss_figure(summary)
    return [*([loss] if loss else []), *figures.dev_figures(summary)]


def _by_head(summary: Summary) -> list[tuple[HeadSummary, list[tuple[int, Error]]]]:
    """The errors with their numbers, by head; heads without any are left out."""
    numbered = list(enumerate(summary.errors, 1))
    groups = [
        (head, [(i, error) for i, error in numbered if error.head == head.name])
        for head in summary.heads
    ]
    return [(head, errors) for head, errors in groups if errors]


def _sides(error: Error) -> tuple[Markup, Markup]:
    """The marked passage, gold and predicted; its text is escaped where it is marked."""
    gold, predicted = marked_sides(error)
    return Markup(gold), Markup(predicted)


def heat(matrix: Matrix) -> list[list[dict[str, Any]]]:
    """The cells of a matrix for a table: count, share of the row in percent, right or wrong."""
    rows = []
    for row, counts in zip(matrix.rows, matrix.counts, strict=True):
        total = sum(counts)
        rows.append(
            [
                {
                    "count": count,
                    "share": round(100 * count / total) if total else 0,
                    "kind": "right" if column == row else "wrong",
                    "edge": column in (BOUNDARY, MISSED) or row == INVENTED,
                }
                for column, count in zip(matrix.columns, counts, strict=True)
            ]
        )
    return rows


def own_scores(summary: Summary, corpus: str) -> list[dict[str, Any]]:
    """The development scores of a run on a corpus, to stand above those of others."""
    return [
        {"head": head.name, "split": split.name, "metric": metric, "value": value}
        for head in summary.heads
        for split in head.splits
        if split.corpus == corpus
        for metric, value in (
            ("F1" if head.words else "macro F1", split.value),
            *([] if head.words else [("accuracy", split.scores["accuracy"])]),
        )
    ]
