"""Fixtures of the page's tests: Debian's chromium before a real service.

The browser may ask nobody but the service, and a visit ends with a look at what went wrong in it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from tests.served import Served

INSTALL = "KHABAR_INSTALL_BROWSER"  # a test changes no machine unasked
PACKAGES = ("chromium", "fonts-noto-core", "fonts-hosny-amiri")
FONTS = {"Noto Naskh Arabic", "Noto Sans Arabic", "Amiri"}
# A busy machine is slow; nothing waits as long on one that is not.
ANSWER_S = 300
TIMEOUT_MS = 60_000
CALM = {"locale": "ar", "reduced_motion": "reduce", "viewport": {"width": 1280, "height": 900}}
PHONE = {**CALM, "viewport": {"width": 360, "height": 740}, "has_touch": True}

expect.set_options(timeout=TIMEOUT_MS)


def missing_packages() -> list[str]:
    """What of the browser and its Arabic fonts this machine lacks."""
    listed = ""
    if shutil.which("fc-list"):
        found = subprocess.run(["fc-list", ":", "family"], capture_output=True, text=True)
        listed = found.stdout
    lacking = [] if shutil.which("chromium") else ["chromium"]
    return lacking + ([] if all(font in listed for font in FONTS) else list(PACKAGES[1:]))


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """Debian's chromium; where it is missing, installed with apt-get if INSTALL asks for that."""
    lacking = missing_packages()
    if lacking:
        command = f"apt-get install -y --no-install-recommends {' '.join(PACKAGES)}"
        if not os.environ.get(INSTALL) or not shutil.which("apt-get"):
            pytest.skip(f"needs {' '.join(lacking)}; as root: {command}")
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for step in ("apt-get update -q", command):
            done = subprocess.run(step.split(), env=quiet, capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip() or "no reason given").splitlines()[-1]
            pytest.skip(f"needs {' '.join(lacking)}, but `{command}` failed: {last}")
    path = shutil.which("chromium")
    assert path, f"apt-get gave no chromium; look at `apt-get install -y {' '.join(PACKAGES)}`"
    return path


@pytest.fixture(scope="session")
def site(service: Served) -> str:
    """The address of the service."""
    return service.address


@pytest.fixture(scope="module")
def browser(chromium_path: str) -> Iterator[Browser]:
    """One chromium a module: while Playwright runs, no other event loop can in this thread."""
    args = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium_path, args=args)
        yield opened
        opened.close()


class Door:
    """Opens the page of a service: what it asks there is asked once a session, the rest of the
    world never.
    """

    def __init__(self, browser: Browser, site: str, answers: dict[str, tuple[int, bytes]]) -> None:
        self.browser = browser
        self.site = site
        self.answers = answers  # what the service said, by the body it was asked with
        self.key: str | None = None  # that the service is made to ask for
        self.refusals = 0  # of articles that are still to come, as of a service that drains

    @contextmanager
    def visit(self, address: str | None = None, **options: Any) -> Iterator[Page]:
        """The page with the seed article drawn; afterwards: no error, nothing asked elsewhere."""
        faults: list[str] = []
        context = self.browser.new_context(**{**CALM, **options})
        context.set_default_timeout(TIMEOUT_MS)
        context.route("**/*", lambda route: self._pass(route, faults))
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(f"error: {error}"))
        page.on("console", lambda told: self._hear(told.type, told.text, faults))
        try:
            page.goto(address or self.site)
            yield page
            assert not faults, "\n".join(faults)
        finally:
            context.close()

    def _hear(self, kind: str, text: str, faults: list[str]) -> None:
        # chromium tells of every refused request; those we make are no fault of the page
        if kind in ("error", "warning") and not re.search("status of (401|503)", text):
            faults.append(f"console: {text}")

    def _pass(self, route: Route, faults: list[str]) -> None:
        request = route.request
        if not request.url.startswith((f"{self.site}/", "file:", "blob:", "data:")):
            faults.append(f"asked {request.url}")
            return route.abort()
        path = request.url.removeprefix(self.site)
        wanted = f"Bearer {self.key}"
        if self.key and path.startswith("/v1/") and request.headers.get("authorization") != wanted:
            return route.fulfill(status=401, json=refusal("unauthorized"))
        if path != "/v1/tag":
            return route.continue_()
        if self.refusals:
            self.refusals -= 1
            return route.fulfill(status=503, json=refusal("draining"))
        status, body = self._answer(request.post_data or "")
        return route.fulfill(status=status, body=body, content_type="application/json")

    def _answer(self, asked: str) -> tuple[int, bytes]:
        if asked not in self.answers:
            self.answers[asked] = self.send("/v1/tag", asked.encode())
        return self.answers[asked]

    def send(self, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """The status and body of the service's own answer, with no browser between."""
        request = urllib.request.Request(
            f"{self.site}{path}", body, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read()

    def seed(self) -> str:
        """The text of the seed article."""
        text: str = json.loads(self.send("/v1/seed")[1])["text"]
        return text

    def result(self, text: str, targets: Any = "auto") -> dict[str, Any]:
        """The result of an article, in the words in which the page asks for it."""
        article = {"id": "page", "text": text, "targets": targets}
        asked = {"articles": [article], "options": {}}
        body = json.dumps(asked, ensure_ascii=False, separators=(",", ":"))
        result: dict[str, Any] = json.loads(self._answer(body)[1])["results"][0]
        return result


def refusal(code: str) -> dict[str, Any]:
    """The envelope of an error, as the service sends it."""
    return {"error": {"code": code, "message": "no", "field": None, "request_id": "r-1"}}


@pytest.fixture(scope="session")
def answers() -> dict[str, tuple[int, bytes]]:
    """What the service said in this session."""
    return {}


@pytest.fixture
def door(browser: Browser, site: str, answers: dict[str, tuple[int, bytes]]) -> Door:
    """The way into the page; the seed article has been read, so that no visit waits for it."""
    opened = Door(browser, site, answers)
    opened.result(opened.seed())
    return opened
