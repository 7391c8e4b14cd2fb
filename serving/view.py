"""Tagged articles as one HTML file: the page's own CSS and JS with the data inside.

`khabar tag --html FILE` writes it; `page/page.js` draws it, as it draws the page of the service.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from importlib import resources
from typing import Any

from annotations.labels import EntityType, label_schema
from serving.prediction import Article, Prediction

STYLE_LINK = '<link rel="stylesheet" href="static/page.css">'
SCRIPT_LINK = '<script src="static/page.js" defer></script>'

# A part of index.html that only the service has: the form, the buttons, what they need.
_LIVE = re.compile(r"[ \t]*<!-- live -->.*?<!-- /live -->\n?", re.DOTALL)

# What may not stand in a <script> as it is: `</script` and `<!--` end or bend it, U+2028 and U+2029
# end a line of JavaScript, a lone surrogate has no UTF-8.
_UNSAFE = re.compile("[<>&\u2028\u2029\ud800-\udfff]")


def page_file(name: str) -> str:
    """The text of a file of the page: index.html, page.css or page.js."""
    return (resources.files("serving") / "page" / name).read_text(encoding="utf-8")


def labels_dict() -> dict[str, Any]:
    """All labels with their Arabic names and colours: the answer of `GET /v1/labels`."""
    schema = label_schema()
    return {
        "entities": {name: _type_dict(kind) for name, kind in schema.entities.items()},
        "coarse": {name: _type_dict(kind) for name, kind in schema.coarse.items()},
        "topics": schema.topics,
        "stances": schema.stances,
        "claims": schema.claims,
    }


def html_view(items: Sequence[tuple[Article, Prediction]], model: dict[str, Any]) -> str:
    """One self-contained HTML file of articles and what was read in them.

    It asks nobody for anything, and its own content security policy holds it to that. `model` is
    the answer of `GET /v1/model`: name, version and the heads that are experimental.
    """
    data = {
        "items": [
            {"article": _article_dict(article), "prediction": prediction.to_dict()}
            for article, prediction in items
        ],
        "labels": labels_dict(),
        "model": model,
    }
    style, script = page_file("page.css"), page_file("page.js")
    charset = '<meta charset="utf-8">'
    page = _LIVE.sub("", page_file("index.html"))
    page = _replace(page, charset, f"{charset}\n{_policy(style, script)}")
    page = _replace(page, STYLE_LINK, f"<style>{style}</style>")
    inline = f'<script type="application/json" id="khabar-data">{script_json(data)}</script>\n'
    return _replace(page, SCRIPT_LINK, f"{inline}<script>{script}</script>")


def script_json(value: object) -> str:
    """JSON that can stand in a `<script>` element and be written as UTF-8, whatever its text."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _type_dict(kind: EntityType) -> dict[str, str | None]:
    return {"arabic": kind.arabic, "colour": kind.colour, "coarse": kind.coarse}


def _article_dict(article: Article) -> dict[str, str | None]:
    return {"id": article.id, "title": article.title, "text": article.text}


def _policy(style: str, script: str) -> str:
    """The meta element that lets this style and this script run, and nothing else load."""
    rules = [
        "default-src 'none'",
        f"style-src '{_digest(style)}'",
        f"script-src '{_digest(script)}'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    return f'<meta http-equiv="Content-Security-Policy" content="{"; ".join(rules)}">'


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _replace(page: str, old: str, new: str) -> str:
    assert page.count(old) == 1, f"page/index.html must hold {old!r} once"
    return page.replace(old, new)
