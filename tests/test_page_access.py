"""The page for everyone: keyboard, screen reader, light, dark, a phone; and when it is refused."""

from __future__ import annotations

import re
import urllib.request
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser import PHONE, Door

LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": PHONE,
}
WHERE = """() => {
  const at = document.activeElement;
  const words = at.ariaLabel || at.labels?.[0]?.textContent || at.textContent;
  const box = at.getBoundingClientRect();
  return { tag: at.tagName, words: words.trim(), seen: box.width > 0 && box.height > 0 };
}"""


def drawn(page: Page) -> Page:
    """The page once its article has been read."""
    expect(page.locator(".downloads")).to_be_visible()
    return page


def serious(page: Page) -> list[str]:
    """What axe-core finds that keeps someone from reading."""
    found = Axe().run(page).response["violations"]
    return [
        f"{violation['id']}: {node['target']}: {node['failureSummary']}"
        for violation in found
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]


@pytest.mark.parametrize("look", LOOKS)
def test_axe_finds_nothing_serious(door: Door, look: str) -> None:
    with door.visit(bypass_csp=True, **LOOKS[look]) as page:
        drawn(page).get_by_label("أدنى ثقة").fill("90")
        page.locator(".attitude > button").first.click()
        page.get_by_text("أضف هدفًا").click()
        page.locator(".names .name").first.click()
        assert not serious(page)
        page.get_by_role("button", name="حلّل مقالًا آخر").click()
        page.get_by_text("أهداف ومقولة").click()
        page.get_by_role("button", name="حلّل", exact=True).click()  # and is told of the empty text
        assert not serious(page)


def test_dark_and_light_are_the_systems_until_the_reader_chooses(door: Door) -> None:
    with door.visit(color_scheme="dark") as page:
        toggle = drawn(page).get_by_role("button", name="المظهر الداكن")
        expect(toggle).to_have_attribute("aria-pressed", "true")
        dark = brightness(page)
        page.emulate_media(color_scheme="light")
        expect(toggle).to_have_attribute("aria-pressed", "false")
        light = brightness(page)
        assert dark < 80 < 200 < light
        toggle.click()
        assert brightness(page) == dark
        page.reload()
        assert brightness(drawn(page)) == dark  # remembered
        page.get_by_role("button", name="المظهر الداكن").click()
        assert brightness(page) == light


def brightness(page: Page) -> float:
    colour = page.locator("body").evaluate("b => getComputedStyle(b).backgroundColor")
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3


def test_the_choice_holds_where_nothing_can_be_remembered(door: Door) -> None:
    with door.visit(color_scheme="light") as page:
        page.add_init_script(
            "Object.defineProperty(window, 'localStorage', { get() { throw new Error('no'); } })"
        )
        page.reload()
        drawn(page).get_by_role("button", name="المظهر الداكن").click()
        assert brightness(page) < 80


def test_a_phone_scrolls_one_way_only(door: Door) -> None:
    with door.visit(**PHONE) as page:
        assert width(drawn(page)) == 360
        page.get_by_role("button", name="كل الأسماء").click()
        page.get_by_role("button", name="الأنواع في النص").click()
        page.locator(".attitude > button").first.click()
        page.get_by_text("أضف هدفًا").click()
        assert width(page) == 360
        expect(page.locator(".bar")).to_be_in_viewport(ratio=1)
        page.get_by_role("button", name="حلّل مقالًا آخر").click()
        assert width(page) == 360
        expect(page.get_by_role("button", name="حلّل", exact=True)).to_be_in_viewport()


def width(page: Page) -> int:
    return int(page.evaluate("document.documentElement.scrollWidth"))


def test_the_keyboard_comes_to_everything_and_is_never_trapped(door: Door) -> None:
    with door.visit() as page:
        drawn(page)
        steps = []
        for _ in range(120):
            page.keyboard.press("Tab")
            at = page.evaluate(WHERE)
            if at["tag"] == "BODY":
                break
            assert at["seen"] and at["words"], at
            steps.append((at["tag"], at["words"]))
        tags = [tag for tag, _ in steps]
        words = " ".join(words for _, words in steps)
        assert steps[0] == ("A", "إلى المقال")
        assert tags.count("MARK") == 1  # one stop for all marks
        assert "INPUT" in tags and "SUMMARY" in tags
        for name in (
            "المظهر الداكن",
            "حلّل مقالًا آخر",
            "منظمة",
            "أدنى ثقة",
            "مرات وروده",
            "JSON",
            "CSV",
        ):
            assert name in words


def test_arrows_walk_from_mark_to_mark(door: Door) -> None:
    with door.visit() as page:
        marks = drawn(page).locator("mark.entity")
        marks.first.focus()
        for key, at in [
            ("ArrowLeft", 1),
            ("ArrowLeft", 2),
            ("ArrowRight", 1),
            ("End", -1),
            ("Home", 0),
        ]:
            page.keyboard.press(key)
            expect(marks.nth(at)).to_be_focused()
        expect(page.locator("mark[tabindex='0']")).to_have_count(1)


def test_a_key_is_asked_for_in_plain_arabic_and_kept_nowhere(door: Door) -> None:
    door.key = "k-1"
    with door.visit() as page:
        expect(page.get_by_role("alert").first).to_contain_text("هذه الخدمة تطلب مفتاحًا")
        for key, words in [("مفتاح", "رموز لا تكون"), ("k-2", "لم تقبل الخدمة هذا المفتاح")]:
            page.get_by_label("مفتاح الخدمة").fill(key)
            page.get_by_role("button", name="ادخل").click()
            expect(page.locator("#failure")).to_contain_text(words)
        page.get_by_label("مفتاح الخدمة").fill(door.key)
        page.get_by_label("مفتاح الخدمة").press("Enter")
        expect(drawn(page).locator("#failure")).to_be_hidden()
        kept = page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie])")
        assert door.key not in kept and door.key not in page.content()


def test_a_refusal_is_told_and_asked_again(door: Door) -> None:
    door.refusals = 2
    with door.visit() as page:
        failure = page.locator("#failure")
        expect(failure).to_contain_text("الخدمة غير جاهزة الآن")
        assert "request_id: r-1" in (failure.text_content() or "")
        expect(page.locator(".text")).to_contain_text("تضييق الخناق")  # the text stays
        failure.get_by_role("button", name="أعد المحاولة").click()
        expect(failure).to_contain_text("الخدمة غير جاهزة الآن")
        failure.get_by_role("button", name="أعد المحاولة").click()
        expect(drawn(page).locator("#failure")).to_be_hidden()


def test_a_refused_target_leaves_the_article_as_it_was(door: Door) -> None:
    with door.visit() as page:
        cards = drawn(page).locator(".attitude").count()
        door.refusals = 1
        page.get_by_text("أضف هدفًا").click()
        page.get_by_label("اسم أو عبارة").fill("البرلمان")
        page.get_by_role("button", name="اسأل").click()
        expect(page.locator("#target-problem")).to_contain_text("الخدمة غير جاهزة الآن")
        expect(page.get_by_label("اسم أو عبارة")).to_have_value("البرلمان")
        assert page.locator(".attitude").count() == cards


def test_the_service_lets_the_page_load_its_own_and_nothing_else(site: str) -> None:
    with urllib.request.urlopen(site) as answer:
        policy = answer.headers["content-security-policy"]
        html = answer.read().decode()
    assert "default-src 'none'" in policy and "script-src 'self'" in policy
    assert "unsafe" not in policy and "*" not in policy
    for name in re.findall(r'(?:src|href)="(static/[^"]+)"', html):
        with urllib.request.urlopen(f"{site}/{name}") as answer:
            assert answer.status == 200, name
