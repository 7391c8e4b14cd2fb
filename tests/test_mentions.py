"""Mentions to entities: where a name begins, its plain form, and which mentions name one thing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.clitics import NameLexicon
from annotations.labels import label_schema
from serving.mentions import (
    Mention,
    clitic_cutter,
    entity_groups,
    link_mentions,
    salient_targets,
)
from serving.prediction import Entity, EntityGroup

LEXICON = NameLexicon(
    {"لبنان": 374, "البوكمال": 9, "بغداد": 120, "باريس": 60, "وليد": 20, "سوريا": 90}
)
Found = list[tuple[str, str]]  # surfaces in the order of the text, and their labels


def link(text: str, found: Found) -> tuple[Entity, ...]:
    """The entities of a text in which each surface is looked for after the last one."""
    mentions, start = [], 0
    for surface, label in found:
        start = text.index(surface, start)
        mentions.append(Mention(start, start + len(surface), label, 0.9))
        start += len(surface)
    return link_mentions(text, mentions, label_schema(), LEXICON)


def owners(text: str, found: Found) -> list[str]:
    return [entity.mention_of for entity in link(text, found)]


@pytest.mark.parametrize(
    ("text", "found", "expected"),
    [
        (  # short forms of a person: last name, first name, a middle part
            "قال حيدر جواد العبادي إن العبادي زار حيدر وجواد العبادي",
            [
                ("حيدر جواد العبادي", "PERS"),
                ("العبادي", "PERS"),
                ("حيدر", "PERS"),
                ("جواد العبادي", "PERS"),
            ],
            ["e1", "e1", "e1", "e1"],
        ),
        (  # the short form may come first
            "عاد العبادي. وحيدر العبادي رئيس الوزراء",
            [("العبادي", "PERS"), ("حيدر العبادي", "PERS")],
            ["e2", "e2"],
        ),
        (  # a shared part does not make two people one
            "التقى بشار الأسد حافظ الأسد",
            [("بشار الأسد", "PERS"), ("حافظ الأسد", "PERS")],
            ["e1", "e2"],
        ),
        (  # the same name behind clitics and in other spellings
            "دخلت البوكمال ثم وبالبوكمال وللبوكمال والبوكمـــال والبُوكَمَال",
            [("البوكمال", "GPE")] * 2
            + [("لبوكمال", "GPE"), ("البوكمـــال", "GPE"), ("البُوكَمَال", "GPE")],
            ["e1"] * 5,
        ),
        (
            "إيران وايران وأيران",
            [("إيران", "GPE"), ("ايران", "GPE"), ("أيران", "GPE")],
            ["e1"] * 3,
        ),
        ("مدينة القائم ثم القائم", [("مدينة القائم", "GPE"), ("القائم", "GPE")], ["e1", "e1"]),
        (  # a governorate is not its city
            "محافظة حمص ومدينة حمص وحمص",
            [("محافظة حمص", "GPE"), ("مدينة حمص", "GPE"), ("حمص", "GPE")],
            ["e1", "e2", "e2"],
        ),
        ("مطار بغداد وبغداد", [("مطار بغداد", "FAC"), ("بغداد", "FAC")], ["e1", "e2"]),
        (  # one name, two kinds of thing
            "فاز العراق على أرض العراق",
            [("العراق", "ORG"), ("العراق", "GPE")],
            ["e1", "e2"],
        ),
        (  # numbers and dates name nothing: the second 2017 may be another day's
            "عام 2017 وفي 2017 ثلاثة وثلاثة",
            [("2017", "DATE"), ("2017", "DATE"), ("ثلاثة", "CARDINAL"), ("ثلاثة", "CARDINAL")],
            ["e1", "e2", "e3", "e4"],
        ),
        (  # short forms of short forms all belong to the longest
            "جبهة تحرير شعب مصر ثم تحرير شعب مصر ثم شعب مصر ثم مصر",
            [
                ("جبهة تحرير شعب مصر", "ORG"),
                ("تحرير شعب مصر", "ORG"),
                ("شعب مصر", "ORG"),
                ("مصر", "ORG"),
            ],
            ["e1", "e1", "e1", "e1"],
        ),
        (  # whichever comes first
            "مصر ثم شعب مصر ثم تحرير شعب مصر ثم جبهة تحرير شعب مصر",
            [
                ("مصر", "ORG"),
                ("شعب مصر", "ORG"),
                ("تحرير شعب مصر", "ORG"),
                ("جبهة تحرير شعب مصر", "ORG"),
            ],
            ["e4", "e4", "e4", "e4"],
        ),
        (  # the coarse labels of foreign checkpoints name things too
            "قال حيدر العبادي إن العبادي زار حمص وحمص في 2017 و2017",
            [("حيدر العبادي", "PER"), ("العبادي", "PER"), ("حمص", "MISC"), ("حمص", "MISC")],
            ["e1", "e1", "e3", "e3"],
        ),
        ("", [], []),
    ],
)
def test_mentions_of_one_thing_belong_together(
    text: str, found: Found, expected: list[str]
) -> None:
    assert owners(text, found) == expected


CHAIN = ["جبهة", "تحرير", "شعب", "مصر", "الحرة", "محافظة", "حمص"]
NAMES = st.one_of(  # any words, or ever shorter forms of one name
    st.lists(st.sampled_from(["محمد", "علي", "حسن", "سوريا", "محافظة"]), min_size=1, max_size=9),
    st.integers(0, 6).map(lambda first: CHAIN[first:]),
)


@settings(max_examples=200, deadline=None)
@given(
    found=st.lists(
        st.tuples(NAMES.map(" ".join), st.sampled_from(["PERS", "ORG", "GPE", "DATE"])), max_size=8
    )
)
def test_what_a_mention_belongs_to_belongs_to_itself(found: Found) -> None:
    text = " . ".join(surface for surface, _ in found)
    places = [sum(len(other) + 3 for other, _ in found[:i]) for i in range(len(found))]
    mentions = [
        Mention(start, start + len(surface), label, 0.5)
        for start, (surface, label) in zip(places, found, strict=True)
    ]
    entities = {e.id: e for e in link_mentions(text, mentions, label_schema(), LEXICON)}
    assert list(entities) == [f"e{i + 1}" for i in range(len(found))]
    for entity in entities.values():
        owner = entities[entity.mention_of]
        assert owner.mention_of == owner.id
        assert owner.label == entity.label
        assert len(owner.normalized.split()) >= len(entity.normalized.split())


@pytest.mark.parametrize(
    ("text", "surface", "expected"),
    [
        ("وبالبوكمال", "البوكمال", "البوكمال"),
        ("في القُـوّات العِراقيّة", "القُـوّات العِراقيّة", "القوات العراقية"),
        ("قرب \u202bدير  الزور\u202c", "دير  الزور", "دير الزور"),
        ("ﺍﻟﻌﺮﺍﻕ", "ﺍﻟﻌﺮﺍﻕ", "العراق"),
        ("للبوكمال", "لبوكمال", "البوكمال"),  # ل + ال are written لل
        ("لِلبوكمال", "لبوكمال", "البوكمال"),
        ("للقوات العراقية", "لقوات العراقية", "القوات العراقية"),
        ("وللبوكمال", "لبوكمال", "البوكمال"),
        ("زار لبنان", "لبنان", "لبنان"),
        ("ولبنان", "لبنان", "لبنان"),
        ("للبنان", "لبنان", "لبنان"),  # a name of its own: nobody is called البنان
        ("وللبنان الشقيق", "لبنان الشقيق", "لبنان الشقيق"),
        ("إلى", "إلى", "إلى"),  # spelling stays; only what a reader may leave out goes
    ],
)
def test_the_plain_form_of_a_mention(text: str, surface: str, expected: str) -> None:
    (entity,) = link(text, [(surface, "GPE")])
    assert entity.normalized == expected
    assert entity.text == surface


def test_an_entity_carries_what_was_found() -> None:
    text = "زار محمد علي بغداد"
    mentions = [Mention(4, 12, "PERS", 0.987654), Mention(13, 18, "GPE", 0.5)]
    first, second = link_mentions(text, mentions, label_schema(), LEXICON)
    assert first == Entity("e1", 4, 12, "محمد علي", "PERS", "PER", 0.9877, "محمد علي", "e1")
    assert (second.coarse, second.label) == ("LOC", "GPE")
    assert (
        link_mentions(text, [Mention(0, 3, "DATE", 0.5)], label_schema(), LEXICON)[0].coarse is None
    )


@pytest.mark.parametrize(
    ("text", "word", "name"),
    [
        ("وبالبوكمال", "وبالبوكمال", "البوكمال"),
        ("وبغداد", "وبغداد", "بغداد"),
        ("بغداد", "بغداد", "بغداد"),  # its ب is its own
        ("باريس", "باريس", "باريس"),
        ("وليد", "وليد", "وليد"),
        ("للبنان", "للبنان", "لبنان"),
        ("للبوكمال", "للبوكمال", "لبوكمال"),
        ("وَبـــِبَغْدَاد", "وَبـــِبَغْدَاد", "بَغْدَاد"),  # marks and tatweel go with the clitic
        ("ﻭﺑﺎﻟﺒﻮﻛﻤﺎﻝ", "ﻭﺑﺎﻟﺒﻮﻛﻤﺎﻝ", "ﺎﻟﺒﻮﻛﻤﺎﻝ"),
        ("زار بكفريا ثم كفريا وكفريا", "بكفريا", "كفريا"),  # it stands free elsewhere
        ("بكفريا وبكفريا", "بكفريا", "بكفريا"),
        ("و2017", "و2017", "2017"),
        ("😀", "😀", "😀"),
    ],
)
def test_a_name_begins_after_its_clitics(text: str, word: str, name: str) -> None:
    start = text.index(word)
    begin = clitic_cutter(text, LEXICON)((start, start + len(word)))
    assert text[begin : start + len(word)] == name


def entity(number: int, name: str, label: str, start: int, of: int, confidence: float) -> Entity:
    return Entity(
        f"e{number}", start, start + len(name), name, label, None, confidence, name, f"e{of}"
    )


def test_the_targets_are_the_actors_a_text_turns_on() -> None:
    entities = [
        entity(1, "العراق", "GPE", 0, 1, 0.99),  # a place is no actor
        entity(2, "العبادي", "PERS", 10, 3, 0.6),
        entity(3, "حيدر العبادي", "PERS", 20, 3, 0.6),
        entity(4, "الجيش", "ORG", 30, 4, 0.9),
        entity(5, "السوريين", "NORP", 40, 5, 0.5),
        entity(6, "2017", "DATE", 50, 6, 1.0),
    ]
    # two mentions weigh more than one; a group goes by its longest name
    assert salient_targets(entities, 100, bool) == ["حيدر العبادي", "الجيش", "السوريين"]


def test_among_equals_the_first_met_comes_first_and_five_are_enough() -> None:
    names = ["داعش", "الناتو", "حماس", "الفاو", "حزب الله", "فتح", "يونيسف"]
    entities = [entity(i, name, "ORG", 10 * i, i, 0.8) for i, name in enumerate(names, 1)]
    assert salient_targets(entities, 100, bool) == names[:5]
    assert salient_targets(entities[::-1], 100, bool) == names[:5]


def test_a_text_without_actors_has_no_targets() -> None:
    assert salient_targets([], 0, bool) == []
    assert salient_targets([entity(1, "حمص", "GPE", 0, 1, 0.9)], 10, bool) == []


def test_an_actor_of_a_coarse_head_is_a_target_too() -> None:
    assert salient_targets([entity(1, "العبادي", "PER", 0, 1, 0.9)], 10, bool) == ["العبادي"]


def test_a_group_is_a_name_with_its_mentions_and_its_share_of_the_naming() -> None:
    entities = [
        entity(1, "العبادي", "PERS", 0, 2, 0.5),  # at the start: weighs twice its confidence
        entity(2, "حيدر العبادي", "PERS", 50, 2, 0.8),  # in the middle: one and a half
        entity(3, "2017", "DATE", 60, 3, 1.0),  # names nothing
        entity(4, "حمص", "GPE", 80, 4, 1.0),  # 1.2
    ]
    assert entity_groups(entities, 100) == (
        EntityGroup("e2", "حيدر العبادي", "PERS", None, ("e1", "e2"), 0.8, round(2.2 / 3.4, 6)),
        EntityGroup("e4", "حمص", "GPE", None, ("e4",), 1.0, round(1.2 / 3.4, 6)),
    )


@pytest.mark.parametrize(("early", "late", "first"), [(0.6, 0.9, "e2"), (0.6, 0.7, "e1")])
def test_an_early_mention_weighs_more_but_not_more_than_twice(
    early: float, late: float, first: str
) -> None:
    entities = [entity(1, "حمص", "GPE", 0, 1, early), entity(2, "حلب", "GPE", 60, 2, late)]
    assert entity_groups(entities, 100)[0].id == first


def test_names_that_are_sure_to_be_none_share_alike() -> None:
    entities = [entity(i, "حمص", "GPE", i, i, 0.0) for i in range(1, 5)]
    groups = entity_groups(entities, 10)
    assert [(group.id, group.salience) for group in groups] == [
        (f"e{i}", 0.25) for i in range(1, 5)
    ]


def test_a_text_without_names_has_no_groups() -> None:
    assert entity_groups([], 0) == ()
    assert entity_groups([entity(1, "2017", "DATE", 0, 1, 0.9)], 10) == ()


@settings(max_examples=100, deadline=None)
@given(
    found=st.lists(
        st.tuples(
            st.sampled_from(["PERS", "ORG", "GPE", "DATE"]), st.integers(0, 9), st.floats(0, 1)
        ),
        max_size=12,
    )
)
def test_the_targets_are_the_first_groups_of_actors(found: list[tuple[str, int, float]]) -> None:
    owners: dict[tuple[str, int], int] = {}
    entities = [
        entity(i, f"اسم{name}", label, i, owners.setdefault((label, name), i), confidence)
        for i, (label, name, confidence) in enumerate(found, 1)
    ]
    groups = entity_groups(entities, 20)
    actors = [group.name for group in groups if group.label in ("PERS", "ORG")]
    assert salient_targets(entities, 20, bool) == actors[:5]
    assert [g.salience for g in groups] == sorted((g.salience for g in groups), reverse=True)
