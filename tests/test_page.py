"""The page of the service in a browser: what it shows of an article, and what a reader can ask."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from serving.prediction import MAX_CODE_POINTS
from tests.browser import Door

PASTED = "🦠 قال مُحَمَّد بن سلمان، وليّ العهد، إنّ الســعودية تدعم فلسطين.\n<img src=x onerror=alert(1)>"
MARKS = """marks => marks.reduce((found, mark) => {
  found[mark.dataset.entity] = (found[mark.dataset.entity] ?? "") + mark.textContent;
  return found;
}, {})"""


def marked(page: Page, which: str = "") -> dict[str, str]:
    """The texts of the marks by the ids of their entities; a cut mark counts as one."""
    found: dict[str, str] = page.locator(f"mark.entity{which}").evaluate_all(MARKS)
    return found


def drawn(page: Page) -> Page:
    """The page once its article has been read."""
    expect(page.locator(".downloads")).to_be_visible()
    return page


def slide(page: Page, share: float) -> None:
    page.get_by_label("أدنى ثقة").fill(str(round(share * 100)))


def texts(page: Page, selector: str) -> list[str]:
    return [text.strip() for text in page.locator(selector).all_inner_texts()]


def sure(result: dict[str, Any], least: float) -> list[dict[str, Any]]:
    return [entity for entity in result["entities"] if entity["confidence"] >= least]


def test_the_seed_article_is_there_with_all_that_was_read(door: Door) -> None:
    text = door.seed()
    result = door.result(text)
    with door.visit() as page:
        drawn(page)
        shown = page.locator(".text").text_content() or ""
        assert shown == re.sub(r"\n\s*", "", text)
        assert marked(page) == {entity["id"]: entity["text"] for entity in result["entities"]}
        assert page.locator(".topic strong").first.inner_text() == "سياسة"
        assert texts(page, ".attitude .about") == [s["target"] for s in result["stances"]]
        page.get_by_role("button", name="كل الأسماء").click()
        rows = [[*group.values()] for group in table(page)]
        groups = [[g["name"], len(g["mentions"])] for g in result["groups"]]
        assert sorted(row[:2] for row in rows) == sorted(groups)


def table(page: Page) -> list[dict[str, Any]]:
    """The index of names as it is shown: name, count, salience in percent."""
    rows = page.locator(".names tbody tr").evaluate_all(
        "rows => rows.map((row) => [...row.cells].map((cell) => cell.textContent))"
    )
    return [
        {"name": name, "count": int(count), "salience": int(share.rstrip("%"))}
        for name, _, count, share in rows
    ]


@pytest.mark.parametrize("way", ["hover", "focus"])
def test_a_mark_tells_its_confidence_and_normalized_form(door: Door, way: str) -> None:
    entity = door.result(door.seed())["entities"][2]
    with door.visit() as page:
        mark = drawn(page).locator(f"mark[data-entity={entity['id']}]").first
        mark.hover() if way == "hover" else mark.focus()
        tip = page.get_by_role("tooltip")
        # halves go up, as the page rounds; Python would take 0.985 to 98
        expect(tip).to_contain_text(f"{math.floor(entity['confidence'] * 100 + 0.5)}%")
        expect(tip).to_contain_text(entity["normalized"])
        expect(mark).to_have_attribute("aria-describedby", "tip")
        page.keyboard.press("Escape")
        expect(tip).to_be_hidden()


def test_a_nested_name_is_seen_within_the_other(door: Door) -> None:
    with door.visit() as page:
        inner = drawn(page).locator("mark.entity mark.entity").first
        outer = page.locator("mark.entity:has(mark.entity)").first
        assert (inner.text_content() or "") in (outer.text_content() or "")
        below = [
            float(mark.evaluate("m => m.style.getPropertyValue('--level')"))
            for mark in (inner, outer)
        ]
        assert below[0] < below[1]
        bottoms = [
            mark.evaluate("m => m.getBoundingClientRect().bottom") for mark in (inner, outer)
        ]
        assert bottoms[0] < bottoms[1]  # each has its own line under the words
        inner.hover()
        expect(page.get_by_role("tooltip")).to_contain_text("ضمن")


def test_types_are_hidden_and_shown(door: Door) -> None:
    entities = door.result(door.seed())["entities"]
    kept = {entity["id"] for entity in entities if entity["label"] != "GPE"}
    with door.visit() as page:
        button = drawn(page).locator(".legend [data-label=GPE]")
        assert button.locator(".count").inner_text() == str(len(entities) - len(kept))
        button.click()
        assert set(marked(page, ":not(.off)")) == kept
        assert "كيان جغرافي سياسي" not in texts(page, ".names tbody .tag")
        expect(page.locator(".heading output")).to_have_text(f"{len(kept)} من {len(entities)}")
        button.click()
        assert not marked(page, ".off")
        page.get_by_role("button", name="إخفاء الكل").click()
        assert not marked(page, ":not(.off)")
        expect(page.locator(".names tbody")).to_have_text("لا أسماء تظهر الآن.")


def test_the_slider_hides_what_is_less_sure_and_the_counts_follow(door: Door) -> None:
    result = door.result(door.seed())
    kept = {entity["id"]: entity for entity in sure(result, 0.9)}
    assert 0 < len(kept) < len(result["entities"])
    with door.visit() as page:
        slide(drawn(page), 0.9)
        assert set(marked(page, ":not(.off)")) == set(kept)
        expect(page.get_by_label("أدنى ثقة")).to_have_attribute("aria-valuetext", "90%")
        counts = {
            b.get_attribute("data-label"): b.locator(".count").inner_text()
            for b in page.locator(".legend button").all()
        }
        labels = [entity["label"] for entity in kept.values()]
        assert counts == {label: str(labels.count(label or "")) for label in counts}
        named = [(g["name"], sum(m in kept for m in g["mentions"])) for g in result["groups"]]
        shown = page.locator(".names .more")
        if shown.is_visible():
            shown.click()
        assert sorted((row["name"], row["count"]) for row in table(page)) == sorted(
            (n, c) for n, c in named if c
        )
        slide(page, 0)
        assert not marked(page, ".off")


def test_the_index_of_names_is_sorted_by_what_is_pressed(door: Door) -> None:
    with door.visit() as page:
        drawn(page).get_by_role("button", name="كل الأسماء").click()
        assert [row["salience"] for row in table(page)] == sorted(
            (row["salience"] for row in table(page)), reverse=True
        )
        by_count = page.get_by_role("columnheader", name="مرات وروده")
        by_count.get_by_role("button").click()
        expect(by_count).to_have_attribute("aria-sort", "descending")
        counts = [row["count"] for row in table(page)]
        assert counts == sorted(counts, reverse=True)
        by_count.get_by_role("button").click()
        expect(by_count).to_have_attribute("aria-sort", "ascending")
        assert [row["count"] for row in table(page)] == sorted(counts)
        page.get_by_role("columnheader", name="الاسم").get_by_role("button").click()
        assert table(page)[0]["name"].startswith("ا") or table(page)[0]["name"].startswith("أ")


def test_pressing_a_name_goes_through_its_mentions(door: Door) -> None:
    group = door.result(door.seed())["groups"][0]
    with door.visit() as page:
        name = drawn(page).locator(".names .name").first
        assert name.inner_text() == group["name"]
        for mention in [*group["mentions"], group["mentions"][0]]:
            name.press("Enter")
            assert set(marked(page, ".now")) == {mention}
            expect(page.locator("mark.now").first).to_be_in_viewport()
        assert set(marked(page, ".lit")) == set(group["mentions"])
        page.get_by_role("button", name="السابق").click()
        assert set(marked(page, ".now")) == {group["mentions"][-1]}
        page.keyboard.press("Escape")
        assert not marked(page, ".lit")
        expect(name).to_be_focused()


def lit(page: Page) -> str:
    """The text that is lit as evidence, without its white space."""
    return "".join("".join(page.locator(".evidence-part.lit").all_text_contents()).split())


def evidence(text: str, stance: dict[str, Any]) -> str:
    said = {i for start, end in stance["evidence"] for i in range(start, end)}  # they may overlap
    return "".join("".join(text[i] for i in sorted(said)).split())


def test_a_stance_shows_its_sentences_in_the_text(door: Door) -> None:
    text = door.seed()
    stance = next(s for s in door.result(text)["stances"] if s["evidence"])
    with door.visit() as page:
        card = drawn(page).locator(".attitude", has_text=stance["target"]).first  # others quote it
        card.get_by_role("button").first.click()
        assert lit(page) == evidence(text, stance)
        quotes = card.locator(".quote")
        expect(quotes).to_have_count(len(stance["evidence"]))
        quotes.last.click()
        expect(page.locator(".evidence-part.lit").last).to_be_in_viewport()
        page.get_by_role("button", name="إطفاء").click()
        assert not lit(page)


def test_a_target_of_ones_own_joins_the_others(door: Door) -> None:
    text, target = door.seed(), "الدواعش"
    before = [stance["target"] for stance in door.result(text)["stances"]]
    own = door.result(text, [target])["stances"][0]
    with door.visit() as page:
        drawn(page).locator(".legend [data-label=DATE]").click()
        page.get_by_text("أضف هدفًا").click()
        field = page.get_by_label("اسم أو عبارة")
        expect(field).to_be_focused()
        field.fill(f" {target} ")
        field.press("Enter")
        expect(page.locator(".attitude .about")).to_have_text([*before, target])
        assert page.locator(".attitude").last.get_attribute("data-label") == own["label"]
        assert lit(page) == evidence(text, own)
        expect(page.locator(".attitude > button").last).to_be_focused()
        expect(page.get_by_role("status").first).to_contain_text(target)
        assert marked(page, "[data-label=DATE].off")  # the reader's filter stays
        page.get_by_text("أضف هدفًا").click()
        page.get_by_label("اسم أو عبارة").fill(target)
        page.get_by_role("button", name="اسأل").click()
        expect(page.locator(".attitude")).to_have_count(len(before) + 1)  # asked once is enough
        page.get_by_label("اسم أو عبارة").fill(" ")
        page.get_by_role("button", name="اسأل").click()
        expect(page.locator("#target-problem")).to_contain_text("اكتب من تسأل")


def paste(page: Page, text: str, targets: str = "", claim: str = "") -> None:
    page.get_by_role("button", name="حلّل مقالًا آخر").click()
    page.get_by_label("نص المقال").fill(text)
    if targets or claim:
        page.get_by_text("أهداف ومقولة").click()
        page.get_by_label("الموقف من").fill(targets)
        page.get_by_label("مقولة").fill(claim)
    page.get_by_role("button", name="حلّل", exact=True).click()
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_a_pasted_article_is_read_and_the_first_comes_back(door: Door) -> None:
    result = door.result(PASTED, ["فلسطين"])
    with door.visit() as page:
        seed = marked(drawn(page))
        paste(page, PASTED, "فلسطين", "السعودية تدعم فلسطين")
        assert page.locator(".text").text_content() == PASTED.replace("\n", "")
        assert marked(page) == {entity["id"]: entity["text"] for entity in result["entities"]}
        assert not page.locator(".text img").count()  # hostile text stays text
        assert texts(page, ".attitude .about") == ["فلسطين", "السعودية تدعم فلسطين"]
        page.get_by_role("button", name="المقال الأول").click()
        assert marked(page) == seed


def test_an_empty_text_is_told_in_the_dialog(door: Door) -> None:
    with door.visit() as page:
        drawn(page).get_by_role("button", name="حلّل مقالًا آخر").click()
        page.get_by_role("button", name="حلّل", exact=True).click()
        expect(page.locator("#problem")).to_contain_text("النص فارغ")
        expect(page.get_by_label("نص المقال")).to_be_focused()
        page.keyboard.press("Escape")
        expect(page.get_by_role("button", name="حلّل مقالًا آخر")).to_be_focused()


def test_a_text_over_the_limit_of_the_service_is_told_before_it_is_sent(door: Door) -> None:
    sent: list[str] = []
    with door.visit() as page:
        drawn(page).get_by_role("button", name="حلّل مقالًا آخر").click()
        page.on("request", lambda request: sent.append(request.url))
        page.get_by_label("نص المقال").fill("ا" * (MAX_CODE_POINTS + 1))
        expect(page.locator("#count")).to_contain_text(" من ")
        page.get_by_role("button", name="حلّل", exact=True).click()
        expect(page.locator("#problem")).to_contain_text("أطول من الحد")
    assert sent == []


def downloaded(page: Page, kind: str, folder: Path) -> bytes:
    with page.expect_download() as download:
        page.get_by_role("button", name=f"تنزيل بصيغة {kind}").click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path.read_bytes()


def test_what_is_shown_is_downloaded_as_json(door: Door, tmp_path: Path) -> None:
    with door.visit() as page:
        paste(drawn(page), PASTED, "فلسطين")
        slide(page, 0.6)
        data = json.loads(downloaded(page, "JSON", tmp_path))
    result = door.result(PASTED, ["فلسطين"])
    text, shown = data["article"]["text"], data["result"]
    assert text == PASTED
    assert [e["id"] for e in shown["entities"]] == [e["id"] for e in sure(result, 0.6)]
    assert all(text[e["start"] : e["end"]] == e["text"] for e in shown["entities"])
    ids = {entity["id"] for entity in shown["entities"]}
    assert {entity["mention_of"] for entity in shown["entities"]} <= ids
    assert {mention for group in shown["groups"] for mention in group["mentions"]} <= ids
    assert shown["stances"] == result["stances"]


def test_what_is_shown_is_downloaded_as_csv(door: Door, tmp_path: Path) -> None:
    text = door.seed()
    result = door.result(text)
    with door.visit() as page:
        drawn(page).locator(".legend [data-label=ORG]").click()
        content = downloaded(page, "CSV", tmp_path)
    assert content.startswith(b"\xef\xbb\xbf")  # a spreadsheet then reads UTF-8
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    entities = [row for row in rows if row["kind"] == "entity"]
    assert [row["id"] for row in entities] == [
        e["id"] for e in result["entities"] if e["label"] != "ORG"
    ]
    placed = [row for row in rows if row["start"]]
    assert all(text[int(row["start"]) : int(row["end"])] == row["text"] for row in placed)
    stances = [row["about"] for row in rows if row["kind"] == "stance"]
    assert stances == [s["target"] for s in result["stances"] for _ in s["evidence"] or [None]]


CELLS = {
    "=1+1": "'=1+1",
    "+966": "'+966",
    "-5": "'-5",
    "@SUM(A1)": "'@SUM(A1)",
    "\tنص": "'\tنص",
    "＝1": "'＝1",
    'قال "نعم", ثم': '"قال ""نعم"", ثم"',
    "سطر\nسطر": '"سطر\nسطر"',
    "القدس": "القدس",
}


def test_no_cell_is_a_formula(door: Door) -> None:
    with door.visit() as page:
        assert page.evaluate("values => values.map(csvCell)", [*CELLS]) == [*CELLS.values()]
        assert page.evaluate("csvCell(-5)") == "-5"  # a number of ours is one
