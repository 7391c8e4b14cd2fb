"""The report of a run: one file that holds all it shows, says what is missing, and lets no text
out of its bounds.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import configs
from annotations.catalogue import catalogue
from annotations.errors import ConfigError
from annotations.jsonl import write_documents
from annotations.schema import Span
from annotations.seed import seed_document
from tests.html_page import Page
from tests.report_items import recipe_of
from training.recipe import rescore
from training.report.analysis import Score
from training.report.errors_view import marked_sides
from training.report.figures import label_figure, source_figure
from training.report.page import heat, report_html, write_report
from training.report.published import published_scores
from training.report.summary import NOTICE, Summary, curves_by_head, summarise
from training.report.worst import Error
from training.runs import Run, RunError


@pytest.fixture(scope="module")
def scored_run(smoke_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The smoke run as if its recipe had the news written for khabar and a user's own file too,
    with the scores of these.
    """
    folder = tmp_path_factory.mktemp("scored")
    run = Path(shutil.copytree(smoke_run, folder / "run"))
    own = folder / "mine.jsonl"
    write_documents(own, [seed_document()])
    pairs = [
        ("authored", "khabar"),
        (str(own), "khabar"),
        ("authored-topics", "topic"),
        ("authored-claims", "claim"),
        ("authored-stances", "stance"),
    ]
    for path, place in (
        (run / "recipe.json", []),
        (run / "bundle/bundle.json", ["training", "recipe"]),
    ):
        data = json.loads(path.read_text(encoding="utf-8"))
        recipe = data
        for key in place:
            recipe = recipe[key]
        recipe["sources"] += [{"corpus": corpus, "head": head} for corpus, head in pairs]
        path.write_text(json.dumps(data), encoding="utf-8")
    rescore(run / "bundle")
    yield run


@pytest.fixture(scope="module")
def summary(scored_run: Path) -> Summary:
    return summarise(Run.open(scored_run))


@pytest.fixture(scope="module")
def page(summary: Summary) -> Page:
    return Page(report_html(summary))


def test_a_run_without_development_splits_is_reported_too(smoke_run: Path, tmp_path: Path) -> None:
    html, numbers = write_report(smoke_run, tmp_path / "new" / "r.html", tmp_path / "r.json")
    page, found = Page(html.read_text(encoding="utf-8")), json.loads(numbers.read_text("utf-8"))
    assert "No development split for khabar, anercorp, topic, claim, stance" in page.words
    assert "Training loss" in page.words
    assert NOTICE not in page.words  # no text of a split is in it
    assert [head["splits"] for head in found["heads"]] == [[]] * 5
    assert found["errors"] == []
    assert found["history"] == Run.open(smoke_run).history()
    assert found["fingerprints"] == json.loads((smoke_run / "data.json").read_text("utf-8"))
    links = [a["href"] for a in page.all("a")]
    assert {str(link)[1:] for link in links} <= {a.get("id") for _, a in page.tags}


def test_the_report_stands_in_the_run_unless_told_otherwise(
    smoke_run: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(smoke_run, tmp_path / "run"))
    assert write_report(run) == (run / "report.html", run / "report.json")
    first = (run / "report.html").read_bytes(), (run / "report.json").read_bytes()
    write_report(run)
    assert ((run / "report.html").read_bytes(), (run / "report.json").read_bytes()) == first


def test_an_old_run_without_a_history_says_so(smoke_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(smoke_run, tmp_path / "run"))
    (run / "history.json").unlink()
    (run / "data.json").unlink()
    html, _ = write_report(run)
    words = Page(html.read_text(encoding="utf-8")).words
    assert "This run has none (history.json: missing" in words
    assert "The examples of this run have no fingerprints" in words


def test_a_run_without_a_bundle_cannot_be_reported(smoke_run: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_bytes((smoke_run / "recipe.json").read_bytes())
    with pytest.raises(RunError, match="no bundle yet"):
        write_report(tmp_path)


def test_the_numbers_are_those_of_the_bundle(scored_run: Path, summary: Summary) -> None:
    rows = json.loads((scored_run / "bundle/bundle.json").read_text(encoding="utf-8"))["scores"]
    splits = {(h.name, s.name): s for h in summary.heads for s in h.splits}
    assert len(splits) == len(rows) == 4
    for row in rows:
        split = splits[row["head"], row["split"]]
        assert split.value == split.recounted == row.get("f1", row.get("macro_f1"))
        assert split.complete
        assert split.after.ece == row["ece"]
    found = json.loads(json.dumps(summary.to_dict()))
    shown = {h["name"]: [s["scores"] for s in h["splits"]] for h in found["heads"]}
    assert [row for rows in shown.values() for row in rows] == rows_by_head(rows, shown)
    assert found["notice"] == NOTICE


def rows_by_head(rows: list[dict[str, Any]], heads: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for head in heads for row in rows if row["head"] == head]


def test_sizes_are_those_of_the_files(scored_run: Path, summary: Summary) -> None:
    assert summary.bundle_bytes == sum(
        path.stat().st_size for path in (scored_run / "bundle").iterdir()
    )
    model = Run.open(scored_run).model()
    assert summary.parameters == sum(weights.numel() for weights in model.parameters())


def test_the_page_needs_no_script_and_asks_nobody(summary: Summary, page: Page) -> None:
    html = report_html(summary)
    assert not page.all("script")
    assert {"src", "srcset", "data", "action"}.isdisjoint(
        name for tag, attributes in page.tags for name in attributes if tag != "meta"
    )
    assert set(re.findall(r"https?://[^\s\"'<]+", html)) <= {"http://www.w3.org/1999/xlink"}
    assert "url(" not in re.sub(r"url\(#[\w-]+\)", "", html)
    policy = next(m["content"] for m in page.all("meta") if "http-equiv" in m)
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"


def test_ids_are_single_and_links_lead_somewhere(page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {str(a["href"])[1:] for a in page.all("a")} <= set(ids)


def test_every_chart_has_a_caption_and_every_table_headers(page: Page) -> None:
    names = [tag for tag, _ in page.tags]
    assert names.count("figure") == names.count("figcaption") == names.count("svg") > 10
    assert all(svg["role"] == "img" for svg in page.all("svg"))
    assert names.count("table") == names.count("thead") > 5
    assert all(th.get("scope") in ("row", "col") for th in page.all("th"))
    wide = [div for div in page.all("div") if "scroll" in str(div.get("class")).split()]
    assert len(wide) == names.count("table")  # each scrolls in a box of its own
    assert all(div.get("aria-label") for div in wide)


def test_all_parts_are_there_and_the_foot_warns(page: Page) -> None:
    for words in (
        "F1 by label", "Confusion", "Reliability", "By length", "By source",
        "Seen and unseen entities", "The worst 50 errors", "sha256", NOTICE,
    ):  # fmt: skip
        assert words in page.words
    assert "No development split for anercorp" in page.words
    assert len(page.all("article")) == 4 + 50  # the cards of the heads, and the errors


def test_errors_are_right_to_left(page: Page) -> None:
    texts = [div for div in page.all("div") if div.get("class") == "text"]
    assert len(texts) >= 50
    assert all((div["dir"], div["lang"]) == ("rtl", "ar") for div in texts)
    assert page.all("mark")


def test_each_side_marks_its_own_and_outlines_what_the_other_lacks() -> None:
    text = "زار بغداد ودمشق"
    both = Span(11, 15, "GPE")
    gold, predicted = (Span(4, 9, "GPE"), both), (Span(4, 9, "ORG"), both)
    error = Error(
        "khabar", "s", "d", "type", "GPE", "ORG", 0.9, None, "بغداد", text, gold, predicted
    )
    sides = [Page(side) for side in marked_sides(error)]
    marks = [[(m["data-type"], m.get("class")) for m in side.all("mark")] for side in sides]
    assert marks == [[("GPE", "only"), ("GPE", None)], [("ORG", "only"), ("GPE", None)]]
    assert ["".join(side.text) for side in sides] == [text, text]


HOSTILE = '</div><script>alert("x")</script> & <em>بغداد</em> \ud800'


def test_text_cannot_become_markup(summary: Summary, tmp_path: Path) -> None:
    start = HOSTILE.index("بغداد")
    spans = (Span(start, start + 5, "GPE"),)
    entity = Error(
        "khabar", HOSTILE, HOSTILE, "missed", "GPE", None, None, None, HOSTILE, HOSTILE, spans
    )
    label = replace(entity, head="topic", outcome="label", predicted="<em>", about=HOSTILE)
    html = report_html(replace(summary, name=HOSTILE, errors=[entity, label]))
    page = Page(html)
    assert not page.all("script")
    assert not page.all("em")
    assert page.words.count('<script>alert("x")</script>') >= 6
    html.encode("utf-8", errors="replace").decode("utf-8")


def test_published_scores_stand_beside_as_another_split(summary: Summary) -> None:
    published = published_scores(["anercorp", "khaleej"])
    assert {score.corpus for score in published} == {"anercorp", "khaleej"}
    words = Page(report_html(replace(summary, published=published))).words
    assert words.count("(another split)") == len(published)
    assert "CAMeLBERT-MSA entity F1 0.824" in words


def test_every_published_score_cites_and_is_of_a_known_corpus() -> None:
    scores = published_scores(catalogue())
    raw = (configs.folder() / "published.yaml").read_text(encoding="utf-8")
    assert len(scores) == raw.count("- corpus:") > 0
    assert all("20" in s.citation or "project" in s.citation for s in scores)


def test_an_unknown_key_among_published_scores_is_named(tmp_path: Path) -> None:
    path = tmp_path / "published.yaml"
    path.write_text(
        "scores:\n- {corpus: ans, system: s, metric: F1, valu: 0.5, split: t, citation: c}\n"
    )
    with pytest.raises(ConfigError, match=r"published.yaml: .*valu\b"):
        published_scores(["ans"], path)


def test_the_cost_of_int8_is_told_where_it_was_measured(summary: Summary) -> None:
    row = {
        "head": "khabar", "split": "authored news dev", "metric": "f1",
        "fp32": 0.5, "int8": 0.48, "loss": 0.02, "interval": [-0.01, 0.05],
    }  # fmt: skip
    words = Page(report_html(replace(summary, quantisation=[row]))).words
    assert "khabar authored news dev F1 0.500 0.480 0.020 -0.010 to 0.050" in words
    assert "was not measured" in Page(report_html(replace(summary, quantisation=[]))).words


def test_development_curves_are_drawn_by_head(summary: Summary) -> None:
    history = [
        *summary.history,
        *({"step": 7 * e, "epoch": e, "dev": {
            "khabar/authored": 0.1 * e, "topic/authored-topics": 0.3, "helper/authored": 0.9,
          }} for e in (1, 2, 3)),
    ]  # fmt: skip
    words = Page(report_html(replace(summary, history=history))).words
    assert "khabar on development data" in words
    assert "authored ends at 0.30, best 0.30" in words
    assert "topic on development data" in words
    assert "claim on development data" not in words


@pytest.mark.parametrize("f1", [0.5, 0.504])
def test_where_all_score_alike_none_is_best(summary: Summary, f1: float) -> None:
    head = next(head for head in summary.heads if head.splits)
    alike = {"support": 20, "interval": (0.4, 0.6)}
    labels = {"per_label": {"a": alike | {"f1": 0.5}, "b": alike | {"f1": f1}}}
    sources = [Score(name, 20, 20, value, (0.4, 0.6)) for name, value in (("x", 0.5), ("y", f1))]
    split = replace(head.splits[0], scores=labels, sources=sources)
    assert "best" not in label_figure(head, split).caption
    figure = source_figure(replace(head, splits=[split]))
    assert figure is not None and "Best" not in figure.caption


def test_old_curves_are_those_of_the_one_head_that_judges_their_corpus() -> None:
    recipe = recipe_of(("authored", "khabar"), ("wojood", "khabar"), ("authored", "helper"))
    old = {"epoch": 1, "dev": {"authored": 0.4, "wojood": 0.5}}
    new = {"epoch": 2, "dev": {"khabar/authored": 0.6, "helper/authored": 0.7}}
    loss = {"epoch": 2, "loss": 0.1}
    assert curves_by_head([old, loss, new], recipe) == [
        {"epoch": 1, "dev": {"khabar/wojood": 0.5}}, loss, new
    ]  # fmt: skip


def test_a_bundle_beside_another_recipe_is_told_without_what_is_not_its_own(
    smoke_run: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(smoke_run, tmp_path / "run"))
    begun = json.loads((run / "recipe.json").read_text(encoding="utf-8"))
    free = begun | {"evaluation": {"curve_items": 7}}
    (run / "recipe.json").write_text(json.dumps(free), encoding="utf-8")
    alike = summarise(Run.open(run))
    assert alike.mixed is None and alike.history and alike.fingerprints
    (run / "recipe.json").write_text(json.dumps(free | {"seed": 99}), encoding="utf-8")
    mixed = summarise(Run.open(run))
    assert mixed.recipe == begun and mixed.seed == begun["seed"] != 99
    assert (mixed.history, mixed.fingerprints, mixed.parameters) == ([], {}, None)
    words = Page(report_html(mixed)).words
    assert (
        "another recipe than recipe.json, which differs in seed; this report is of the bundle"
        in words
    )
    assert "those in its folder are of another recipe" in words


def test_damaged_fingerprints_are_named(smoke_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(smoke_run, tmp_path / "run"))
    (run / "data.json").write_text("{", encoding="utf-8")
    with pytest.raises(RunError, match=r"data\.json: damaged"):
        summarise(Run.open(run))


def test_a_matrix_shades_by_the_share_of_its_row(summary: Summary) -> None:
    matrix = next(head.matrix for head in summary.heads if head.name == "khabar")
    assert matrix is not None
    for cells, counts in zip(heat(matrix), matrix.counts, strict=True):
        assert [cell["count"] for cell in cells] == list(counts)
        for cell in cells:
            assert cell["share"] == round(100 * cell["count"] / max(sum(counts), 1))
