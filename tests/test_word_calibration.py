"""Calibration of a nested head: the chain of its tags first, and what is found under it then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from annotations.schema import Document, Span
from serving.bundle import Bundle, Head
from serving.tagger import Tagger
from tests.table_backend import Ints, TableBackend
from training.export.calibration import calibrate_head, fit_platt
from training.export.transitions import MIN_ENTITIES

NAME = "نومان عبدالزوبعي"
TABLE = {"khabar": {"نومان": ("B-PERS",), "عبدالزوبعي": ("I-PERS",)}}


class DimBackend(TableBackend):
    """Knows where a name begins, and of its next word only that it is none without one: B is a
    little likelier than I. Of other words it is as sure as `outside` says.
    """

    outside = 12.0
    known = 3.0  # of words of a name, against O

    def tag_logits(self, head: Head, ids: Ints, words: list[tuple[int, int, int]]) -> Any:
        """Logits (pieces, width)."""
        found = super().tag_logits(head, ids, words)
        if head.kind != "nested":
            return found
        rows = found.reshape(len(ids), -1, 3)
        is_begin, is_inside = (rows[:, :, i] > 0 for i in (1, 2))
        dim = np.zeros_like(rows)
        dim[:, :, 0] = self.outside
        dim[is_begin] = (0, self.known, self.known - 5)
        dim[is_inside] = (0, self.known, self.known - 0.4)
        return dim.reshape(found.shape)


@pytest.fixture
def bundle(smoke_bundle: Path) -> Bundle:
    return Bundle.load(smoke_bundle)


def tagger_of(bundle: Bundle, **settings: float) -> Tagger:
    backend = DimBackend(bundle.manifest.heads, bundle.text_encoder(), TABLE, {})
    for name, value in settings.items():
        setattr(backend, name, value)
    return Tagger(bundle, backend=backend)


def documents(number: int, text: str, marked: bool = True, name: str = NAME) -> list[Document]:
    """Texts in which the name is one person, or nothing."""
    start = text.index(name)
    spans = (Span(start, start + len(name), "PERS"),) if marked else ()
    return [Document(f"{text}{marked}{i}", text, entities=spans) for i in range(number)]


def surfaces(tagger: Tagger, head: Head, text: str) -> list[str]:
    (found,) = tagger.with_head(head).spans([text], head.name)
    return [text[span.start : span.end] for span, _ in found]


def test_words_of_one_name_are_joined_and_confidence_is_that_of_the_joined_ones(
    bundle: Bundle,
) -> None:
    tagger, head = tagger_of(bundle), bundle.head("khabar")
    text = f"قال {NAME} في بغداد"
    assert surfaces(tagger, head, text) == NAME.split()
    sources = [documents(60, text), documents(20, text, marked=False)]
    found = calibrate_head(tagger, head, sources)
    assert found.transitions is not None
    assert surfaces(tagger, found, text) == [NAME]
    plain = found.model_copy(update={"slope": 1.0, "intercept": 0.0})
    ((_, score),) = tagger.with_head(plain).spans([text], head.name)[0]
    assert (found.slope, found.intercept) == fit_platt([score] * 80, [True] * 60 + [False] * 20)


def test_a_chain_tells_the_beginning_of_a_text_from_what_follows_a_word(bundle: Bundle) -> None:
    """Names of one word that begin their texts say nothing of what follows O."""
    name = NAME.split()[0]
    found = calibrate_head(
        tagger_of(bundle), bundle.head("khabar"), [documents(60, f"{name} قال", name=name)]
    )
    assert found.transitions is not None
    assert found.transitions.begin[1] > found.transitions.begin[0]
    assert found.transitions.after_b[0] > found.transitions.after_b[1]
    assert found.transitions.after_o[1] == 0.0


def test_names_that_a_head_takes_for_nothing_count_for_its_chain(bundle: Bundle) -> None:
    blind = tagger_of(bundle, known=-12.0)
    found = calibrate_head(blind, bundle.head("khabar"), [documents(60, f"قال {NAME} في بغداد")])
    assert found.transitions is not None


@pytest.mark.parametrize(("number", "chained"), [(MIN_ENTITIES - 1, False), (MIN_ENTITIES, True)])
def test_few_names_make_no_chain(bundle: Bundle, number: int, chained: bool) -> None:
    sources = [documents(number - 20, f"قال {NAME} في بغداد"), documents(20, f"زار {NAME} راوة")]
    found = calibrate_head(tagger_of(bundle), bundle.head("khabar"), sources)
    assert (found.transitions is not None) == chained
