"""The edge of the service as plain functions: what is taken, what is refused and in which words."""

from __future__ import annotations

import json

import pytest

from serving.http import (
    MESSAGES,
    STATUS,
    RequestError,
    TagRequest,
    answer_bytes,
    check_media_type,
    encode,
    error_response,
    field_path,
    openapi,
    parse_request,
    request_id_of,
)
from serving.prediction import Entity, Prediction

TEXT = "زار محمد بغداد"  # must never come back in a refusal


def article(**fields: object) -> dict[str, object]:
    return {"articles": [{"text": TEXT, **fields}]}


def refusal(body: object) -> RequestError:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(RequestError) as caught:
        parse_request(raw)
    assert TEXT not in caught.value.message
    return caught.value


def test_a_bare_text_is_enough() -> None:
    request = parse_request(json.dumps({"articles": [{"text": TEXT}]}).encode())
    read = request.articles[0].to_article()
    assert (read.text, read.id, read.title, read.targets, read.claims) == (TEXT, None, None, (), ())
    assert request.options.utf16 is False


@pytest.mark.parametrize(
    ("asked", "given"),
    [(None, ()), ([], ()), ("auto", "auto"), (["بغداد", "auto"], ("بغداد", "auto"))],
)
def test_targets_are_none_auto_or_phrases(asked: object, given: object) -> None:
    request = parse_request(json.dumps(article(targets=asked)).encode())
    assert request.articles[0].to_article().targets == given


def test_a_lone_surrogate_passes_for_the_tagger_to_judge() -> None:
    request = parse_request(b'{"articles":[{"text":"a\\ud800","claims":["\\udfff"]}]}')
    read = request.articles[0].to_article()
    assert (read.text, read.claims) == ("a\ud800", ("\udfff",))


def test_of_a_repeated_key_the_last_counts() -> None:
    assert (
        parse_request(b'{"articles":[],"articles":[{"text":"a","text":"b"}]}').articles[0].text
        == "b"
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b'{"articles":[{"text":"\xd8"}]}',
        b"\xef\xbb\xbf{}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"9" * 10_000,
        b'{"articles":[{"text":"a"}],"options":{"min_confidence":NaN}}',
        b'{"articles":[{"text":"a"}],"options":{"min_confidence":-Infinity}}',
        b"{'articles': []}",
        b'{"articles":[{"text":"a\nb"}]}',
    ],
)
def test_what_is_no_json_is_a_400(body: bytes) -> None:
    error = refusal(body)
    assert (error.code, error.field) == ("invalid_json", None)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ([], None),
        (None, None),
        ("text", None),
        ({}, "articles"),
        ({"articles": None}, "articles"),
        ({"articles": {}}, "articles"),
        ({"articles": []}, "articles"),
        ({"articles": [{"text": TEXT}] * 65}, "articles"),
        ({"articles": [{"text": TEXT}, 5]}, "articles[1]"),
        ({"articles": [{"text": TEXT}] * 3 + [{"text": 5}]}, "articles[3].text"),
        ({"articles": [{"text": None}]}, "articles[0].text"),
        ({"articles": [{"title": TEXT}]}, "articles[0].text"),
        (article(id=5), "articles[0].id"),
        (article(title=["x"]), "articles[0].title"),
        (article(lang="ar"), "articles[0].lang"),
        (article(**{TEXT: 1}), "articles[0].?"),
        (article(targets="all"), "articles[0].targets"),
        (article(targets=5), "articles[0].targets"),
        (article(targets=["x"] * 17), "articles[0].targets"),
        (article(targets=["x", 5]), "articles[0].targets[1]"),
        (article(targets=["x", " \t"]), "articles[0].targets[1]"),
        (article(targets=["x" * 501]), "articles[0].targets[0]"),
        (article(claims="x"), "articles[0].claims"),
        (article(claims=[""]), "articles[0].claims[0]"),
        (article(claims=["x"] * 17), "articles[0].claims"),
        (article() | {"options": None}, "options"),
        (article() | {"options": {"utf16": 1}}, "options.utf16"),
        (article() | {"options": {"utf16": "true"}}, "options.utf16"),
        (article() | {"options": {"min_confidence": "0.5"}}, "options.min_confidence"),
        (article() | {"options": {"min_confidence": True}}, "options.min_confidence"),
        (article() | {"options": {"min_confidence": 1.5}}, "options.min_confidence"),
        (article() | {"options": {"min_confidence": -0.1}}, "options.min_confidence"),
        (article() | {"options": {"min_confidence": 10**4000}}, "options.min_confidence"),
        (article() | {"options": {"top": 3}}, "options.top"),
        (article() | {"model": "x"}, "model"),
    ],
)
def test_what_breaks_the_schema_is_a_422_that_names_the_field(body: object, field: str) -> None:
    error = refusal(body)
    assert (error.code, error.field) == ("invalid_request", field)
    assert "is not valid" not in error.message, "a type of error without words of ours"


def test_a_key_of_lone_surrogates_is_refused_without_quoting_it() -> None:
    assert refusal(b'{"articles":[{"text":"a","\\ud800":1}]}').field == "articles[0]"


def test_a_million_wrong_items_cost_no_more_than_one() -> None:
    assert refusal(b'{"articles":[' + b"0," * 1_000_000 + b"0]}").field == "articles[0]"


def test_every_message_can_be_filled_in() -> None:
    known = {"limit": 1, "ge": 0, "le": 1, "min_length": 1, "max_length": 1}
    assert all(words.format_map(known) for words in MESSAGES.values())


@pytest.mark.parametrize(
    ("loc", "path"),
    [
        ((), None),
        (("articles", 3, "text"), "articles[3].text"),
        (("articles", 0, "targets", "<phrases>", 2), "articles[0].targets[2]"),
        (("a b",), "?"),
    ],
)
def test_paths_read_as_in_javascript(loc: tuple[str | int, ...], path: str | None) -> None:
    assert field_path(loc) == path


@pytest.mark.parametrize(
    "header",
    ["application/json", "Application/JSON ; charset=UTF-8", 'application/json; charset="utf-8"'],
)
def test_json_in_utf8_is_taken(header: str) -> None:
    check_media_type(header)


@pytest.mark.parametrize(
    "header",
    [None, "", "text/plain", "application/jsonx", "application/json; charset=windows-1256"],
)
def test_another_media_type_is_a_415(header: str | None) -> None:
    with pytest.raises(RequestError, match="Content-Type: application/json") as caught:
        check_media_type(header)
    assert STATUS[caught.value.code] == 415


@pytest.mark.parametrize("header", ["a-1_b.C", "x" * 64])
def test_a_plain_request_id_is_kept(header: str) -> None:
    assert request_id_of(header) == header


@pytest.mark.parametrize("header", ["x" * 65, "a b", "a\n", "رقم", "", None])
def test_another_request_id_is_replaced(header: str | None) -> None:
    assert request_id_of(header) != header
    assert len(request_id_of(header)) == 32


@pytest.mark.parametrize("code", STATUS)
def test_every_code_has_the_one_envelope(code: str) -> None:
    response = error_response(RequestError(code, "words", "articles[0]"), "r1")
    detail = {"code": code, "message": "words", "field": "articles[0]", "request_id": "r1"}
    assert response.status_code == STATUS[code]
    assert json.loads(bytes(response.body)) == {"error": detail}
    assert ("retry-after" in response.headers) is (code == "overloaded")


def entity(name: str, start: int, end: int, confidence: float, mention_of: str) -> Entity:
    return Entity(name, start, end, "x", "PERS", "PER", confidence, "x", mention_of)


def answered(options: dict[str, object], text: str, *entities: Entity) -> list[dict[str, object]]:
    request = TagRequest.model_validate({"articles": [{"text": text}], "options": options})
    body = answer_bytes(request, [Prediction("a", entities)], {"name": "n", "version": "v"})
    return list(json.loads(body)["results"][0]["entities"])


def test_utf16_offsets_are_those_of_a_javascript_string() -> None:
    text = "😀 محمد 👨‍👩‍👧 بغداد"
    places = [(text.index(word), text.index(word) + len(word)) for word in ("محمد", "بغداد", "😀")]
    found = answered({"utf16": True}, text, *(entity("e", *place, 0.9, "e") for place in places))
    units = text.encode("utf-16-le")
    for one, (start, end) in zip(found, places, strict=True):
        first, last = one["utf16"]  # type: ignore[misc]
        assert units[2 * first : 2 * last].decode("utf-16-le") == text[start:end]  # type: ignore[has-type]
    assert all("utf16" not in one for one in answered({}, text, entity("e", 0, 1, 0.9, "e")))


def test_a_dropped_first_mention_hands_over_to_the_first_that_is_kept() -> None:
    places = [("e1", 0.2, "e1"), ("e2", 0.9, "e1"), ("e3", 0.8, "e1"), ("e4", 0.5, "e4")]
    mentions = [entity(name, i, i + 1, sure, of) for i, (name, sure, of) in enumerate(places)]
    found = answered({"min_confidence": 0.5}, "abcd", *mentions)
    assert [(one["id"], one["mention_of"]) for one in found] == [
        ("e2", "e2"),
        ("e3", "e2"),
        ("e4", "e4"),
    ]


def test_arabic_is_sent_as_it_is_and_what_utf8_cannot_hold_is_escaped() -> None:
    assert encode({"text": "خبر"}) == '{"text": "خبر"}'.encode()
    assert json.loads(encode({"id": "خبر\ud800"})) == {"id": "خبر\ud800"}


def test_the_description_holds_the_schema_of_a_request() -> None:
    described = openapi()
    schemas = described["components"]["schemas"]
    assert schemas["ArticleIn"]["required"] == ["text"]
    assert schemas["ArticleIn"]["properties"]["text"]["type"] == "string"
    assert schemas["TagRequest"]["properties"]["articles"]["maxItems"] == 64
    assert "413" in described["paths"]["/v1/tag"]["post"]["responses"]
