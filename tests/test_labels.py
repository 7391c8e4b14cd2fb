"""The label schema: 21 fine types, their coarse types and colours, and the coarse view."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import configs
from annotations.errors import ConfigError
from annotations.labels import label_schema
from annotations.schema import Span

# Section 2 of the design, written out.
COARSE = {
    "PERS": "PER",
    "GPE": "LOC", "LOC": "LOC", "FAC": "LOC",
    "ORG": "ORG",
    "NORP": "MISC", "EVENT": "MISC", "PRODUCT": "MISC", "LAW": "MISC", "LANGUAGE": "MISC",
    "WEBSITE": "MISC",
    "OCC": None, "DATE": None, "TIME": None, "CARDINAL": None, "ORDINAL": None, "PERCENT": None,
    "QUANTITY": None, "UNIT": None, "MONEY": None, "CURR": None,
}  # fmt: skip


def test_the_fine_types_are_the_wojood_types_with_the_coarse_types_of_the_design() -> None:
    schema = label_schema()
    assert {name: entity.coarse for name, entity in schema.entities.items()} == COARSE
    assert {name: schema.coarse_of(name) for name in COARSE} == COARSE


def test_topics_stances_and_claims_are_those_of_the_contract() -> None:
    schema = label_schema()
    topics = {"politics", "economy", "sports", "culture", "religion", "technology", "health"}
    assert set(schema.topics) == topics
    assert set(schema.stances) == {"favor", "against", "neutral"}
    assert set(schema.claims) == {"agree", "disagree", "other"}


@pytest.mark.parametrize("label", ["PER", "LOC", "ORG", "MISC"])
def test_a_coarse_type_is_its_own(label: str) -> None:
    assert label_schema().coarse_of(label) == label


@pytest.mark.parametrize("label", ["", "pers", "Politician", "B-PERS"])
def test_an_unknown_label_has_no_coarse_type(label: str) -> None:
    assert label_schema().coarse_of(label) is None


def test_every_type_has_an_arabic_name_and_a_colour() -> None:
    schema = label_schema()
    for entity in (*schema.entities.values(), *schema.coarse.values()):
        assert re.fullmatch(r"[\u0621-\u064a]+( [\u0621-\u064a]+)*", entity.arabic), entity
        assert re.fullmatch(r"#[0-9a-f]{6}", entity.colour), entity
    for names in (schema.topics, schema.stances, schema.claims):
        assert all(re.fullmatch(r"[\u0621-\u064a]+( [\u0621-\u064a]+)*", n) for n in names.values())


@pytest.mark.parametrize(
    ("fine", "coarse"),
    [
        # المتحدث باسم [قوات مكافحة الإرهاب]: an OCC has no coarse type, the ORG inside it counts
        ([(0, 30, "OCC"), (12, 30, "ORG")], [(12, 30, "ORG")]),
        # معركة [تلعفر]: the outermost of nested coarse mentions counts
        ([(6, 11, "GPE"), (0, 11, "EVENT")], [(0, 11, "MISC")]),
        # الفرقة [السابعة]
        ([(0, 14, "ORG"), (7, 14, "ORDINAL")], [(0, 14, "ORG")]),
        ([(0, 6, "GPE"), (7, 12, "FAC")], [(0, 6, "LOC"), (7, 12, "LOC")]),
        ([(0, 6, "DATE"), (7, 12, "Politician")], []),
        ([(0, 5, "MISC"), (6, 9, "PER")], [(0, 5, "MISC"), (6, 9, "PER")]),
        ([], []),
    ],
)  # fmt: skip
def test_of_nested_coarse_mentions_the_outermost_counts(
    fine: list[tuple[int, int, str]], coarse: list[tuple[int, int, str]]
) -> None:
    view = label_schema().coarse_view(tuple(Span(*span) for span in fine))
    assert view == tuple(Span(*span) for span in coarse)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("coarse: PER}", "coarse: PERSON}", "entities.PERS has the unknown coarse type 'PERSON'"),
        ("{arabic: منصب, colour", "{colour", "entities.OCC needs arabic and colour"),
        ("{arabic: مكان,", "{arabic: مكان, icon: pin,", "coarse.LOC needs arabic and colour"),
    ],
)
def test_a_broken_label_file_is_refused_by_section_and_type(
    old: str, new: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = configs.read_text("labels.yaml")
    assert shipped.count(old) == 1
    (tmp_path / "labels.yaml").write_text(shipped.replace(old, new), encoding="utf-8")
    monkeypatch.setattr(configs, "folder", lambda: tmp_path)
    with pytest.raises(ConfigError, match=rf"configs/labels\.yaml: {expected}"):
        label_schema.__wrapped__()
