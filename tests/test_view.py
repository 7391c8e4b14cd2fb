"""The HTML file of tagged articles: hostile text comes back as it was, and nothing is loaded."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import fields
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from serving.prediction import Article, Attitude, Entity, Labelled, Limits, Prediction
from serving.view import MEDIA_TYPES, html_view, labels_dict, page_file, script_json

MODEL = {"name": "khabar", "version": "1", "experimental": ["stance"]}
FOLDER = Path(__file__).parents[1] / "serving" / "page"
NAMES = [path.name for path in FOLDER.iterdir() if path.suffix in MEDIA_TYPES]
HOSTILE = [
    "</script><script>alert(1)</script>",
    "</SCRIPT  ><img src=x onerror=alert(1)>",
    "<!-- <script> تعليق لم يُغلق",
    "]]> & &lt;b&gt; \"'\\ \\u003c",
    "فيروس 🦠 وعائلة 👨‍👩‍👧 والعلم 🇵🇸",
    "\u202eمقلوب\u202c \u2067معزول\u2069 \u200f\ufeff",
    "سطر\u2028سطر\u2029سطر\r\nسطر\x00\x0b\x7f\x85\ufffe",
    "<!-- live --> نص <!-- /live -->",
]


class Page(HTMLParser):
    """The elements of a page and what stands in its scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.contents: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.contents.append("")

    def handle_data(self, data: str) -> None:
        if self.contents:
            self.contents[-1] += data

    def data(self) -> dict[str, Any]:
        """The embedded JSON."""
        ids = [attrs.get("id") for _, attrs in self.elements]
        data: dict[str, Any] = json.loads(self.contents[ids.index("khabar-data")])
        return data


def prediction_of(text: str) -> Prediction:
    whole = (0, len(text))
    return Prediction(
        id="a",
        entities=(Entity("e1", *whole, text, "ORG", "ORG", 0.9, text, "e1"),),
        topics=(Labelled("politics", 0.9),),
        stances=(Attitude(text, "favor", 0.7, (whole,)),),
        claims=(Attitude(text, "agree", 0.7, (whole,)),),
    )


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_comes_back_as_it_was(text: str) -> None:
    article, prediction = Article(text, id=text, title=text), prediction_of(text)
    page = html_view([(article, prediction)], {**MODEL, "name": text})
    data = Page(page.encode().decode()).data()
    expected = {"id": text, "title": text, "text": text}
    assert data["items"] == [{"article": expected, "prediction": json_of(prediction)}]
    assert data["model"]["name"] == text
    assert data["labels"] == json.loads(json.dumps(labels_dict()))


def json_of(prediction: Prediction) -> dict[str, Any]:
    """The prediction as its JSON says it: lists for tuples."""
    data: dict[str, Any] = json.loads(json.dumps(prediction.to_dict()))
    return data


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_adds_no_element(text: str) -> None:
    plain = html_view([(Article("نص"), prediction_of("نص"))], MODEL)
    hostile = html_view([(Article(text, title=text), prediction_of(text))], MODEL)
    assert Page(hostile).elements == Page(plain).elements


def test_a_lone_surrogate_is_escaped_so_that_the_file_can_be_written() -> None:
    refused = Prediction(id=None, error="text has a lone surrogate")
    page = html_view([(Article("قبل\ud83dبعد"), refused)], MODEL)
    assert Page(page.encode().decode()).data()["items"][0]["article"]["text"] == "قبل\ud83dبعد"


def test_nothing_that_could_end_a_script_or_a_line_is_left_in_the_json() -> None:
    assert not re.search("[<>&\u2028\u2029\r\n\x00]", script_json(HOSTILE))
    assert json.loads(script_json(HOSTILE)) == HOSTILE


def test_the_file_refers_to_nothing_outside_and_has_no_form() -> None:
    page = Page(html_view([(Article("نص"), prediction_of("نص"))], MODEL))
    attributes = [attrs for _, attrs in page.elements]
    references = [attrs[key] or "" for attrs in attributes for key in {"src", "href"} & set(attrs)]
    assert references
    assert all(reference.startswith(("#", "data:")) for reference in references)
    assert not {tag for tag, _ in page.elements} & {"form", "textarea", "dialog", "iframe", "img"}
    for name in NAMES:
        assert not re.search(r"@import|url\(|https?:", page_file(name)), name


def test_several_articles_keep_their_order_and_an_error_its_place() -> None:
    items = [(Article(f"نص {i}", id=str(i)), Prediction(id=str(i))) for i in range(3)]
    items[1] = (items[1][0], Prediction(id="1", error="text is empty"))
    data = Page(html_view(items, MODEL)).data()
    assert [item["article"]["id"] for item in data["items"]] == ["0", "1", "2"]
    assert [item["prediction"]["error"] for item in data["items"]] == [None, "text is empty", None]


def test_the_policy_of_the_file_allows_its_own_styles_and_scripts_only() -> None:
    page = html_view([], MODEL)
    policies = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    inside = re.findall(r"<(?:style|script)>(.*?)</(?:style|script)>", page, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in inside]
    assert len(policies) == 1
    assert policies[0].startswith("default-src 'none'")
    assert re.findall(r"'sha256-([^']+)'", policies[0]) == digests
    assert "unsafe" not in policies[0]


def test_the_file_holds_no_word_of_the_service() -> None:
    page = html_view([], MODEL)
    assert "v1/" not in page and "fetch(" not in page


def test_every_file_of_the_page_is_loaded_once() -> None:
    loaded = re.findall(r'(?:src|href)="static/([^"]+)"', page_file("index.html"))
    assert sorted(loaded) == sorted(NAMES)
    assert {path.name for path in FOLDER.iterdir()} == {"index.html", *NAMES}


def test_the_page_has_no_inline_style_or_handler_and_writes_no_html() -> None:
    for tag, attributes in Page(page_file("index.html")).elements:
        assert not [name for name in attributes if name == "style" or name.startswith("on")], tag
    writers = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|https?:"
    for name in NAMES:
        text = page_file(name)
        assert not re.search(writers, text), name
        assert not re.search(r"</script|<!--|</style", text, re.IGNORECASE), name
        assert name.endswith("css") or text.startswith('"use strict";\n/* '), name


def test_the_page_asks_the_service_for_its_limit() -> None:
    (limit,) = re.findall(r"limits\?\.(\w+)", page_file("live.js"))
    assert limit in {field.name for field in fields(Limits)}
