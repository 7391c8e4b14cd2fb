"""The seed article and its gold annotation: written down twice, blind, and adjudicated (see
GUIDELINES.md).
"""

from functools import cache
from pathlib import Path

from annotations.errors import FormatError
from annotations.jsonl import read_documents
from annotations.schema import Document

FOLDER = Path(__file__).parent


def seed_text() -> str:
    """The seed article as it is."""
    return (FOLDER / "article.txt").read_bytes().decode("utf-8")


@cache
def seed_document() -> Document:
    """The seed article with its adjudicated gold."""
    (document,) = read_documents(FOLDER / "gold.jsonl")
    if document.text != seed_text():
        raise FormatError(
            f"{FOLDER}: gold.jsonl annotates another text than article.txt; restore both"
        )
    return document


def blind_annotations() -> tuple[Document, Document]:
    """The two independent annotations that were adjudicated."""
    (first,) = read_documents(FOLDER / "annotator-1.jsonl")
    (second,) = read_documents(FOLDER / "annotator-2.jsonl")
    return first, second


def later_annotation() -> Document:
    """A third, blind annotation, made when the guidelines had their present form."""
    (third,) = read_documents(FOLDER / "annotator-3.jsonl")
    return third
