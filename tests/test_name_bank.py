"""Banks of names: a source's own, and WikiFANE's under the names of a head."""

from pathlib import Path

from annotations.schema import Document, Span
from training.name_bank import name_bank

FINE = ("PERS", "GPE", "LOC", "ORG", "LANGUAGE", "DATE")
DOCUMENT = Document(
    "d",
    "زار علي بغداد الجمعة",
    entities=(Span(4, 7, "PERS"), Span(8, 13, "GPE"), Span(14, 20, "DATE")),
)


def test_a_source_gives_its_own_names_and_no_dates() -> None:
    assert name_bank([DOCUMENT], (), FINE) == {"PERS": ["علي"], "GPE": ["بغداد"]}


def test_wikifane_adds_persons_and_organisations(data_folder: Path) -> None:
    found = name_bank([DOCUMENT], ("wikifane",), FINE)
    assert set(found) == {"PERS", "GPE", "ORG"} and found["GPE"] == ["بغداد"]
    assert found["PERS"][0] == "علي" and min(len(found["PERS"]), len(found["ORG"])) > 1500
    for surfaces in (found["PERS"][1:], found["ORG"]):
        for surface in surfaces:
            assert surface == " ".join(surface.split()) and not surface.startswith("لل")
            assert all("\u0621" <= sign <= "\u064a" or sign == " " for sign in surface)


def test_a_head_without_a_type_gets_none_of_its_names(data_folder: Path) -> None:
    assert set(name_bank([], ("wikifane",), ("PERS", "LOC"))) == {"PERS"}
