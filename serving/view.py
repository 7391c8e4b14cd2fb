"""Tagged articles as one HTML file: the page's own CSS and JS with the data inside.

`khabar tag --html FILE` writes it; the scripts of `page/` draw it, as they draw the page of the
service, which serves them as they are.
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

# The files of the page beside index.html: the service serves each as static/NAME.
MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript"}

# How index.html names its own files; nothing else in it may have an address.
_STYLE_LINK = re.compile(r'<link rel="stylesheet" href="static/([a-z]+\.css)">')
_SCRIPT_LINK = re.compile(r'<script src="static/([a-z]+\.js)"(?: defer)?></script>')
_BEGIN_LINK = '<script src="static/begin.js" defer></script>'  # the script that reads the data

# A part of index.html that only the service has: the form, the buttons, what they need.
_LIVE = re.compile(r"[ \t]*<!-- live -->.*?<!-- /live -->\n?", re.DOTALL)

# What may not stand in a <script> as it is: `</script` and `<!--` end or bend it, U+2028 and U+2029
# end a line of JavaScript, a lone surrogate has no UTF-8.
_UNSAFE = re.compile("[<>&\u2028\u2029\ud800-\udfff]")


def page_file(name: str) -> str:
    """The text of a file of the page, as `index.html`."""
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
    page = _LIVE.sub("", page_file("index.html"))
    styles = [page_file(name) for name in _STYLE_LINK.findall(page)]
    scripts = [page_file(name) for name in _SCRIPT_LINK.findall(page)]
    charset = '<meta charset="utf-8">'
    page = _replace(page, charset, f"{charset}\n{_policy(styles, scripts)}")
    inline = f'<script type="application/json" id="khabar-data">{script_json(data)}</script>\n'
    page = _replace(page, _BEGIN_LINK, inline + _BEGIN_LINK)  # its JSON has no `<`, so no link
    page = _STYLE_LINK.sub(lambda found: f"<style>{page_file(found[1])}</style>", page)
    return _SCRIPT_LINK.sub(lambda found: f"<script>{page_file(found[1])}</script>", page)


def script_json(value: object) -> str:
    """JSON that can stand in a `<script>` element and be written as UTF-8, whatever its text."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _type_dict(kind: EntityType) -> dict[str, str | None]:
    return {"arabic": kind.arabic, "colour": kind.colour, "coarse": kind.coarse}


def _article_dict(article: Article) -> dict[str, str | None]:
    return {"id": article.id, "title": article.title, "text": article.text}


def _policy(styles: Sequence[str], scripts: Sequence[str]) -> str:
    """The meta element that lets these styles and scripts run, and nothing else load."""
    rules = [
        "default-src 'none'",
        f"style-src {_digests(styles)}",
        f"script-src {_digests(scripts)}",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    return f'<meta http-equiv="Content-Security-Policy" content="{"; ".join(rules)}">'


def _digests(texts: Sequence[str]) -> str:
    digests = (hashlib.sha256(text.encode()).digest() for text in texts)
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)


def _replace(page: str, old: str, new: str) -> str:
    assert page.count(old) == 1, f"page/index.html must hold {old!r} once"
    return page.replace(old, new)
