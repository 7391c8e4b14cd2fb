"""The main text of a web page, without its menus and footers."""

from __future__ import annotations

import codecs
import logging
import re
from dataclasses import dataclass

from serving.batch.errors import extra

_DECLARED = re.compile(
    rb"<(?:meta[^>]{1,200}?charset|\?xml[^>]{1,100}?encoding)=[\"']?([\w-]+)", re.I
)
_HEAD_BYTES = 4096  # where a page says its encoding
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


class PageError(Exception):
    """A page on which the search for its main text fails; says with what kind of error."""


@dataclass(frozen=True, slots=True)
class Page:
    """What an article on a page says; offsets of a prediction are into this text."""

    text: str
    title: str | None


def declared_encoding(raw: bytes) -> str:
    """The encoding of a page: by its byte order mark, else as it declares where that is an encoding
    of text, else UTF-8; nothing is guessed.
    """
    for mark, name in _MARKS.items():
        if raw.startswith(mark):
            return name
    found = _DECLARED.search(raw[:_HEAD_BYTES])
    if found is None:
        return "utf-8"
    try:
        name = found[1].decode("ascii")
        "".encode(name)  # fails for `hex` and `undefined`, which Python also knows
        return codecs.lookup(name).name
    except (LookupError, UnicodeError):
        return "utf-8"


def main_text(html: str) -> Page | None:
    """The article of a page, None where none is found; a PageError where nothing can be told."""
    trafilatura = extra("trafilatura")
    logging.getLogger("trafilatura").setLevel(logging.CRITICAL)  # its warnings may quote the page
    try:
        found = trafilatura.bare_extraction(html, include_comments=False, with_metadata=True)
    except (MemoryError, OSError):
        raise
    except Exception as error:  # of whatever library looked at the page
        raise PageError(type(error).__name__) from None
    if found is None or not found.text or not found.text.strip():
        return None
    return Page(str(found.text), str(found.title) if found.title else None)
