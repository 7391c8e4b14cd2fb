"""The page while an answer is awaited, refused, left or of another model."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser import Door, refusal
from tests.test_page import downloaded, drawn, paste

LATIN_FIRST = "AFP - قال رئيس الوزراء العراقي حيدر العبادي إن القوات دخلت القائم."
ENGLISH = "The minister said so."


def asked(route: Route) -> str:
    """The text of the article that the page asks about."""
    text: str = json.loads(route.request.post_data or "")["articles"][0]["text"]
    return text


@contextmanager
def waiting(door: Door) -> Iterator[tuple[Page, list[Route]]]:
    """The page from its beginning, with the requests for articles, which wait to be answered."""
    held: list[Route] = []
    with door.visit("about:blank") as page:
        page.route("**/v1/tag", lambda route: held.append(route))
        page.goto(door.site)
        yield page, held


def arrived(page: Page, held: list[Route], count: int) -> Route:
    """The last of so many requests."""
    for _ in range(600):
        if len(held) >= count:
            return held[count - 1]
        page.wait_for_timeout(100)
    raise AssertionError(f"{len(held)} requests of {count}")


def ask_about(page: Page, text: str) -> None:
    if page.get_by_role("dialog").is_hidden():
        page.get_by_role("button", name="حلّل مقالًا آخر").click()
    page.get_by_label("نص المقال").fill(text)
    page.get_by_role("button", name="حلّل", exact=True).click()


@pytest.mark.parametrize("status", [200, 503])
def test_a_refused_article_does_not_take_the_first_one_away(door: Door, status: int) -> None:
    with waiting(door) as (page, held):
        seed = arrived(page, held, 1)
        ask_about(page, "محمد")
        arrived(page, held, 2).fulfill(status=503, json=refusal("draining"))
        expect(page.locator("#problem")).to_contain_text("غير جاهزة")
        page.keyboard.press("Escape")
        if status == 200:
            seed.fallback()
            drawn(page)
        else:
            seed.fulfill(status=503, json=refusal("draining"))
            expect(page.locator("#failure")).to_be_visible()
            expect(page.locator(".waiting")).to_have_count(0)


def test_closing_the_dialog_gives_up_what_it_asked(door: Door) -> None:
    with waiting(door) as (page, held):
        arrived(page, held, 1).fallback()
        drawn(page)
        left = threading.Event()
        page.on("requestfailed", lambda request: left.set())
        ask_about(page, "زار محمد القاهرة")
        arrived(page, held, 2)
        page.keyboard.press("Escape")
        for _ in range(100):
            if left.is_set():
                break
            page.wait_for_timeout(50)
        assert left.is_set()  # the service, too, is told
        ask_about(page, LATIN_FIRST)
        arrived(page, held, 3).fallback()
        expect(page.get_by_role("dialog")).to_be_hidden()
        assert page.locator(".text").text_content() == LATIN_FIRST


def test_an_answer_tells_by_what_model_it_is(door: Door, tmp_path: Path) -> None:
    with door.visit() as page:
        drawn(page)
        expect(page.locator("#model")).not_to_contain_text("9.9.9")

        def renewed(route: Route) -> None:
            status, body = door.send("/v1/tag", (route.request.post_data or "").encode())
            answer: dict[str, Any] = json.loads(body)
            answer["model"]["version"] = "9.9.9"
            route.fulfill(status=status, json=answer)

        page.route("**/v1/tag", renewed)
        paste(page, LATIN_FIRST)
        expect(page.locator("#model")).to_contain_text("9.9.9")
        assert json.loads(downloaded(page, "JSON", tmp_path))["model"]["version"] == "9.9.9"


def test_arabic_is_read_from_the_right_whatever_it_begins_with(door: Door) -> None:
    with door.visit() as page:
        drawn(page).get_by_role("button", name="حلّل مقالًا آخر").click()
        field = page.get_by_label("نص المقال")
        expect(field).to_have_attribute("dir", "rtl")
        field.fill(ENGLISH)
        expect(field).to_have_attribute("dir", "ltr")
        page.keyboard.press("Escape")
        paste(page, f"{LATIN_FIRST}\n2017/11/03\n{ENGLISH}")
        sides = page.locator(".text > *").evaluate_all("lines => lines.map((line) => line.dir)")
        assert sides == ["rtl", "rtl", "ltr"]


def test_a_long_target_is_asked_as_it_stands(door: Door) -> None:
    target = " ".join(["ملف إعادة إعمار المدن"] * 12)
    targets: list[str] = []
    with door.visit() as page:
        drawn(page).get_by_text("أضف هدفًا").click()

        def note(route: Route) -> None:
            targets.extend(json.loads(route.request.post_data or "")["articles"][0]["targets"])
            route.fallback()

        page.route("**/v1/tag", note)
        page.get_by_label("اسم أو عبارة").fill(target)
        page.get_by_role("button", name="اسأل").click()
        expect(page.locator(".attitude .about").last).to_have_text(target)
    assert targets == [target] and len(target) > 200


def test_a_title_that_only_begins_as_the_text_does_is_shown(door: Door) -> None:
    with door.visit() as page:
        shown = drawn(page).evaluate(
            """title => ["بغداد (رويترز) - قال", title, `${title}\\nقال`].map((text) => {
              const body = document.createElement("div");
              drawText(body, { title, text }, { text, spans: [], evidence: [] });
              return body.textContent;
            })""",
            "بغداد",
        )
    assert shown == ["بغدادبغداد (رويترز) - قال", "بغداد", "بغدادقال"]


def test_nothing_is_too_dark_to_read_on_paper(door: Door) -> None:
    with door.visit() as page:
        drawn(page).get_by_role("button", name="المظهر الداكن").click()
        page.locator(".names button.name").first.click()
        page.emulate_media(media="print")
        lit = page.locator("mark.entity.lit").first
        channels = re.findall(r"\d+", str(lit.evaluate("m => getComputedStyle(m).backgroundImage")))
        assert sum(map(int, channels[:3])) > 3 * 180
