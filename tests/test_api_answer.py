"""What the options make of a prediction: views, filters, groups and offsets of both kinds."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings

from annotations.labels import label_schema
from annotations.schema import Span
from serving.api.answer import answer_bytes, kept_entities, result_dict
from serving.api.schema import Options, TagRequest
from serving.prediction import Attitude, Entity, Prediction
from tests.random_predictions import Read, options, read_texts

THOROUGH = settings(max_examples=150, deadline=None)
NAMES = set(label_schema().entities) - {
    *("OCC", "DATE", "TIME", "CARDINAL", "ORDINAL", "PERCENT", "QUANTITY", "UNIT", "MONEY", "CURR")
}


def entity(name: str, place: tuple[int, int], label: str = "PERS", **more: Any) -> Entity:
    fields = {"text": "x", "confidence": 0.9, "normalized": name, "mention_of": name, **more}
    coarse = label_schema().coarse_of(label)
    return Entity(id=name, start=place[0], end=place[1], label=label, coarse=coarse, **fields)


def shown(text: str, *entities: Entity, **asked: object) -> dict[str, Any]:
    return result_dict(text, Prediction("a", entities), Options.model_validate(asked))


def ids(result: dict[str, Any]) -> list[str]:
    return [found["id"] for found in result["entities"]]


NESTED = (  # جامعة بغداد في بغداد يوم الأحد
    entity("e1", (0, 11), "ORG"),
    entity("e2", (6, 11), "GPE", confidence=0.4),
    entity("e3", (15, 20), "GPE", mention_of="e2"),
    entity("e4", (21, 30), "DATE"),
)
TEXT = "جامعة بغداد في بغداد يوم الأحد"


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, [("ORG", "ORG"), ("GPE", "LOC"), ("GPE", "LOC"), ("DATE", None)]),
        ({"view": "fine"}, [("ORG", "-"), ("GPE", "-"), ("GPE", "-"), ("DATE", "-")]),
        ({"view": "coarse"}, [("ORG", "ORG"), ("LOC", "LOC")]),
        ({"labels": ["GPE", "DATE"]}, [("GPE", "LOC"), ("GPE", "LOC"), ("DATE", None)]),
        ({"labels": ["LOC"]}, [("GPE", "LOC"), ("GPE", "LOC")]),  # in both, by the coarse label
        ({"labels": ["LOC"], "view": "fine"}, []),  # a natural place, and there is none
        ({"labels": ["LOC"], "view": "coarse"}, [("LOC", "LOC")]),  # what lies in ORG stays there
        ({"labels": []}, []),
        ({"labels": None, "min_confidence": 0.5, "view": "fine"}, ["ORG", "GPE", "DATE"]),
    ],
)
def test_a_view_and_its_labels(asked: dict[str, object], expected: list[Any]) -> None:
    found = shown(TEXT, *NESTED, **asked)["entities"]
    pairs = [(one["label"], one.get("coarse", "-")) for one in found]
    assert pairs == [one if isinstance(one, tuple) else (one, "-") for one in expected]


def test_a_name_of_a_view_is_handed_on_with_its_group() -> None:
    result = shown(TEXT, *NESTED, view="coarse")
    assert [(e["id"], e["mention_of"]) for e in result["entities"]] == [("e1", "e1"), ("e3", "e3")]
    assert [(g["id"], g["label"], g["mentions"]) for g in result["groups"]] == [
        ("e1", "ORG", ["e1"]),
        ("e3", "LOC", ["e3"]),
    ]


def test_a_dropped_first_mention_hands_over_to_the_first_that_is_kept() -> None:
    places = [("e1", 0.2, "e1"), ("e2", 0.9, "e1"), ("e3", 0.8, "e1"), ("e4", 0.5, "e4")]
    mentions = [
        entity(name, (i, i + 1), confidence=sure, mention_of=of)
        for i, (name, sure, of) in enumerate(places)
    ]
    result = shown("abcd", *mentions, min_confidence=0.5)
    assert [(one["id"], one["mention_of"]) for one in result["entities"]] == [
        ("e2", "e2"),
        ("e3", "e2"),
        ("e4", "e4"),
    ]
    assert [group["mentions"] for group in result["groups"]] == [["e2", "e3"], ["e4"]]


def test_utf16_offsets_are_those_of_a_javascript_string() -> None:
    text = "😀 محمد 👨‍👩‍👧 بغداد. نعم"
    places = [(text.index(word), text.index(word) + len(word)) for word in ("محمد", "بغداد", "😀")]
    found = [entity(f"e{i}", place) for i, place in enumerate(places)]
    prediction = Prediction("a", tuple(found), stances=(Attitude("x", "favor", 1, (places[1],)),))
    result = result_dict(text, prediction, Options(utf16=True, sentences=True))
    assert [one["utf16"] for one in result["entities"]] == [[3, 7], [17, 22], [0, 2]]
    assert result["stances"][0]["evidence_utf16"] == [[17, 22]]
    assert (result["sentences"], result["sentences_utf16"]) == (
        [[0, 19], [20, 23]],
        [[0, 23], [24, 27]],
    )


def test_what_was_not_read_has_no_sentences() -> None:
    refused = Prediction("a", error="text has a lone surrogate")
    result = result_dict("a\ud800. b", refused, Options(sentences=True, utf16=True))
    assert (result["sentences"], result["sentences_utf16"], result["entities"]) == ([], [], [])


def test_nothing_is_added_that_was_not_asked_for() -> None:
    result = result_dict(TEXT, Prediction("a", NESTED), Options())
    assert list(result) == [
        "id",
        "entities",
        "groups",
        "topics",
        "stances",
        "claims",
        "tokens",
        "error",
    ]
    assert not any("utf16" in one for one in result["entities"])


def test_an_answer_has_a_result_an_article_in_their_order() -> None:
    request = TagRequest.model_validate({"articles": [{"text": "ab"}, {"text": "cd"}]})
    predictions = [Prediction("1", (entity("e1", (0, 2)),)), Prediction("2", error="no")]
    answer = json.loads(answer_bytes(request, predictions, {"name": "n", "version": "v"}))
    assert [result["id"] for result in answer["results"]] == ["1", "2"]
    assert answer["model"] == {"name": "n", "version": "v"}
    with pytest.raises(ValueError, match="shorter"):
        answer_bytes(request, predictions[:1], {})


# ------------------------------------------------------------- of any prediction and any options


@THOROUGH
@given(read=read_texts(), asked=options())
def test_every_range_holds_its_words_in_both_units(read: Read, asked: Options) -> None:
    result = result_dict(read.text, read.prediction, asked)
    units = read.text.encode("utf-16-le")
    pairs = [((e["start"], e["end"]), e.get("utf16")) for e in result["entities"]]
    for attitude in result["stances"] + result["claims"]:
        others = attitude.get("evidence_utf16", [None] * len(attitude["evidence"]))
        pairs += zip(attitude["evidence"], others, strict=True)
    if asked.sentences:
        others = result.get("sentences_utf16", [None] * len(result["sentences"]))
        pairs += zip(result["sentences"], others, strict=True)
    for (start, end), other in pairs:
        assert (other is not None) is asked.utf16
        if other is not None:
            words = units[2 * other[0] : 2 * other[1]].decode("utf-16-le")
            assert words == read.text[start:end]
    assert all(read.text[e["start"] : e["end"]] == e["text"] for e in result["entities"])


@THOROUGH
@given(read=read_texts(), asked=options())
def test_the_options_keep_what_a_slow_reading_of_them_keeps(read: Read, asked: Options) -> None:
    entities = read.prediction.entities
    if asked.view == "coarse":
        spans = tuple(Span(e.start, e.end, e.label) for e in entities)
        seen = [(s.start, s.end, s.label) for s in label_schema().coarse_view(spans)]
    else:
        seen = [(e.start, e.end, e.label) for e in entities]
    kept = kept_entities(entities, asked)
    unfiltered = kept_entities(entities, Options(view=asked.view))
    assert [(e.start, e.end, e.label) for e in unfiltered] == seen
    for one in unfiltered:
        names = {one.label, one.coarse} if asked.view == "both" else {one.label}
        fits = asked.labels is None or bool(names & set(asked.labels))
        assert (one.id in {e.id for e in kept}) is (fits and one.confidence >= asked.min_confidence)
    assert [e.id for e in kept] == [e.id for e in unfiltered if e.id in {k.id for k in kept}]


@THOROUGH
@given(read=read_texts(), asked=options())
def test_mentions_stay_together_and_belong_to_one_of_them(read: Read, asked: Options) -> None:
    before = {e.id: e.mention_of for e in read.prediction.entities}
    kept = {e.id: e.mention_of for e in kept_entities(read.prediction.entities, asked)}
    for one, owner in kept.items():
        assert kept[owner] == owner
        assert owner == before[one] or before[one] not in kept
        assert all((kept[other] == owner) is (before[other] == before[one]) for other in kept)


@THOROUGH
@given(read=read_texts(), asked=options())
def test_groups_part_the_names_and_share_out_the_salience(read: Read, asked: Options) -> None:
    result = result_dict(read.text, read.prediction, asked)
    fine = {e.id: e.label for e in read.prediction.entities}
    names = {e["id"]: e for e in result["entities"] if fine[e["id"]] in NAMES}
    mentioned = [one for group in result["groups"] for one in group["mentions"]]
    assert sorted(mentioned) == sorted(names)
    weights = []
    for group in result["groups"]:
        found = [names[one] for one in group["mentions"]]
        assert {one["mention_of"] for one in found} == {group["id"]}
        assert {one["label"] for one in found} == {group["label"]}
        assert {one.get("coarse") for one in found} == {group.get("coarse")}
        assert group["confidence"] == max(one["confidence"] for one in found)
        assert group["name"] in {one["normalized"] for one in found}
        assert len(group["name"]) == max(len(one["normalized"]) for one in found)
        early = [1 - one["start"] / len(read.text) for one in found]
        weights.append(sum(o["confidence"] * (1 + e) for o, e in zip(found, early, strict=True)))
    salience = [group["salience"] for group in result["groups"]]
    whole = sum(weights)
    equal = [1 / max(len(weights), 1)] * len(weights)  # of names that are sure to be none
    assert salience == pytest.approx([w / whole for w in weights] if whole else equal, abs=1e-6)
    assert salience == sorted(salience, reverse=True)
    assert not salience or sum(salience) == pytest.approx(1, abs=1e-5)


@THOROUGH
@given(read=read_texts())
def test_without_options_the_answer_is_the_prediction(read: Read) -> None:
    assert result_dict(read.text, read.prediction, Options()) == read.prediction.to_dict()


@THOROUGH
@given(read=read_texts())
def test_the_fine_view_is_the_whole_one_without_coarse(read: Read) -> None:
    whole = result_dict(read.text, read.prediction, Options())
    for labelled in whole["entities"] + whole["groups"]:
        del labelled["coarse"]
    assert result_dict(read.text, read.prediction, Options(view="fine")) == whole
