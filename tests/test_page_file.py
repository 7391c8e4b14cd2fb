"""A file of `khabar tag --html` in a browser: the same page with no service behind it."""

from __future__ import annotations

import json
from pathlib import Path

from playwright.sync_api import expect

from serving.mentions import entity_groups
from serving.prediction import Article, Attitude, Entity, Labelled, Prediction
from serving.view import html_view
from tests.browser import Door

MODEL = {"name": "khabar", "version": "1", "experimental": ["stance"]}
TEXT = "🦠 أيّد رئيس بلدية القدس محمد العلي الخطة.\n<script>alert(1)</script> ورفضها محمد."


def entity(
    name: str, words: str, label: str, confidence: float, owner: str, after: int = 0
) -> Entity:
    start = TEXT.index(words, after)
    end = start + len(words)
    return Entity(name, start, end, words, label, None, confidence, words, owner)


ENTITIES = (
    entity("e1", "رئيس بلدية القدس", "OCC", 0.8, "e1"),
    entity("e2", "القدس", "GPE", 0.9, "e2"),
    entity("e3", "محمد العلي", "PERS", 0.95, "e3"),
    entity("e4", "محمد", "PERS", 0.6, "e3", after=TEXT.index("ورفضها")),
)
READ = Prediction(
    "a",
    ENTITIES,
    topics=(Labelled("politics", 0.9),),
    stances=(Attitude("محمد العلي", "favor", 0.7, ((2, TEXT.index("\n")),)),),
    groups=entity_groups(ENTITIES, len(TEXT)),
)


def written(folder: Path, *items: tuple[Article, Prediction]) -> str:
    path = folder / "news.html"
    path.write_text(html_view(items, MODEL), encoding="utf-8")
    return path.as_uri()


def test_a_file_draws_filters_and_downloads_on_its_own(door: Door, tmp_path: Path) -> None:
    with door.visit(written(tmp_path, (Article(TEXT, id="a"), READ))) as page:
        expect(page.locator(".text")).to_have_text(TEXT.replace("\n", ""))
        assert page.locator("mark.entity").all_text_contents() == [e.text for e in ENTITIES]
        assert page.locator("mark.entity mark.entity").text_content() == "القدس"
        assert not page.get_by_text("أضف هدفًا").count()  # nobody could answer
        page.get_by_label("أدنى ثقة").fill("70")
        expect(page.locator(".names td.count")).to_have_text(["1", "1"])
        with page.expect_download() as download:
            page.get_by_role("button", name="تنزيل بصيغة JSON").click()
        download.value.save_as(tmp_path / "a.json")
        page.get_by_role("button", name="المظهر الداكن").click()
        expect(page.locator(":root")).to_have_attribute("data-theme", "dark")
    data = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert [e["id"] for e in data["result"]["entities"]] == ["e1", "e2", "e3"]
    assert all(TEXT[e["start"] : e["end"]] == e["text"] for e in data["result"]["entities"])


def test_a_hidden_first_mention_hands_its_name_over(door: Door, tmp_path: Path) -> None:
    with door.visit(written(tmp_path, (Article(TEXT, id="a"), READ))) as page:
        shown = page.evaluate(
            """() => {
              const { prediction } = JSON.parse(byId("khabar-data").textContent).items[0];
              return shownOf(prediction, { passes: (entity) => entity.id !== "e3" });
            }"""
        )
    assert [(e["id"], e["mention_of"]) for e in shown["entities"]] == [
        ("e1", "e1"),
        ("e2", "e2"),
        ("e4", "e4"),
    ]
    assert {group["id"]: group["mentions"] for group in shown["groups"]} == {
        "e2": ["e2"],
        "e4": ["e4"],
    }


def test_several_articles_are_a_shelf_and_an_error_is_told(door: Door, tmp_path: Path) -> None:
    unread = Article("نص آخر", id="b"), Prediction("b", error="text is empty")
    with door.visit(written(tmp_path, (Article(TEXT, id="a"), READ), unread)) as page:
        expect(page.locator(".shelf > li")).to_have_count(2)
        expect(page.locator(".shelf mark.entity")).to_have_count(4)
        page.locator(".shelf summary", has_text="نص آخر").click()
        expect(page.locator(".shelf > li").last.locator(".failure")).to_contain_text("النص فارغ")


def test_all_names_of_all_articles_are_on_paper(door: Door, tmp_path: Path) -> None:
    text = " ثم ".join(f"محمد{letter}" for letter in "ابتثجحخدذرزسشص")
    starts = [i for i in range(len(text)) if text.startswith("محمد", i)]
    names = tuple(
        Entity(
            f"e{i}", at, at + 5, text[at : at + 5], "PERS", None, 0.9, text[at : at + 5], f"e{i}"
        )
        for i, at in enumerate(starts)
    )
    read = Prediction("a", names, groups=entity_groups(names, len(text)))
    with door.visit(written(tmp_path, *[(Article(text, id="a"), read)] * 2)) as page:
        expect(page.locator(".shelf > li")).to_have_count(2)
        page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        for article in page.locator(".shelf > li").all():
            expect(article.locator(".names tbody tr")).to_have_count(len(names))
