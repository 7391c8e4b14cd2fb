"""The body of a request: what is taken, what is refused and in which words."""

from __future__ import annotations

import json
import re

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotations.labels import label_schema
from serving.api.errors import RequestError
from serving.api.schema import (
    MAX_LABELS,
    MESSAGES,
    NOT_BLANK,
    TagRequest,
    field_path,
    parse_request,
    view_labels,
)
from serving.prediction import MAX_ARTICLES, MAX_ASKED

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
    [(None, ()), ([], ()), ("auto", "auto"), (["auto"], "auto"), (["بغداد"], ("بغداد",))],
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
        b"[" * 5_000,
        b'{"a":' * 2_000,
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
        (article(targets=["x", "auto"]), "articles[0].targets"),
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
        (article() | {"options": {"sentences": "no"}}, "options.sentences"),
        (article() | {"options": {"view": "nested"}}, "options.view"),
        (article() | {"options": {"view": None}}, "options.view"),
        (article() | {"options": {"view": 5}}, "options.view"),
        (article() | {"options": {"labels": "PERS"}}, "options.labels"),
        (article() | {"options": {"labels": {"PERS": 1}}}, "options.labels"),
        (article() | {"options": {"labels": ["PERS", 5]}}, "options.labels[1]"),
        (article() | {"options": {"labels": ["PERS", "pers"]}}, "options.labels[1]"),
        (article() | {"options": {"labels": [TEXT]}}, "options.labels[0]"),
        (article() | {"options": {"labels": ["PERS"] * 65}}, "options.labels"),
        (article() | {"options": {"labels": ["X"], "view": "x"}}, "options.view"),
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


def test_of_many_wrong_items_the_first_is_told() -> None:
    assert refusal(b'{"articles":[' + b"0," * 3_000 + b"0]}").field == "articles[0]"


@pytest.mark.parametrize(
    ("view", "label"), [("both", "PERSON"), ("fine", "PER"), ("coarse", "PERS"), ("coarse", "DATE")]
)
def test_an_unknown_label_is_answered_with_those_of_the_view(view: str, label: str) -> None:
    error = refusal(article() | {"options": {"view": view, "labels": [label]}})
    words, listed = error.message.split("; use ")
    assert words == f"options.labels[0] is no label of view {view}"
    fine, coarse = set(label_schema().entities), set(label_schema().coarse)
    known = {"both": fine | coarse, "fine": fine, "coarse": coarse}[view]
    assert set(listed.split(", ")) == known


@pytest.mark.parametrize("view", ["both", "fine", "coarse"])
def test_every_label_of_a_view_is_taken(view: str) -> None:
    labels = list(view_labels(view))  # type: ignore[arg-type]
    body = article() | {"options": {"labels": labels, "view": view}}  # labels may come first
    assert parse_request(json.dumps(body).encode()).options.labels == labels


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("view", "all", "must be 'both', 'fine' or 'coarse'"),
        ("utf16", "yes", "must be true or false"),
        ("min_confidence", 2, "must be at most 1"),
        ("labels", {}, "must be a list"),
    ],
)
def test_a_refusal_says_what_would_do(field: str, value: object, words: str) -> None:
    error = refusal(article() | {"options": {field: value}})
    assert error.message == f"options.{field} {words}"


def test_wrong_targets_are_told_all_that_would_do() -> None:
    words = 'articles[0].targets must be "auto", a list of strings or null'
    assert refusal(article(targets="all")).message == words


def test_automatic_targets_stand_alone() -> None:
    words = 'articles[0].targets holds "auto" beside others; ask about the main actors or about'
    assert refusal(article(targets=["auto", "بغداد"])).message.startswith(words)


def test_every_message_can_be_filled_in() -> None:
    known = {"limit": 1, "ge": 0, "le": 1, "min_length": 1, "max_length": 1}
    known |= {"expected": "'a'", "view": "fine", "known": "PERS"}  # type: ignore[dict-item]
    assert all(words.format_map(known) for words in MESSAGES.values())


def test_the_pattern_of_a_phrase_takes_for_blank_what_python_does() -> None:
    everything = "".join(chr(i) for i in range(0x110000) if not 0xD800 <= i < 0xE000)
    blanks = "".join(character for character in everything if character.isspace())
    assert re.sub(NOT_BLANK, "", everything) == blanks


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


PUBLISHED = jsonschema_rs.validator_for(TagRequest.model_json_schema())
LIKELY = st.sampled_from(
    [
        "auto",
        "both",
        "fine",
        "coarse",
        "PERS",
        "PER",
        "",
        " ",
        "\u2003",
        "x" * 501,
        "خبر",
        0,
        1,
        0.5,
    ]
) | st.sampled_from([None, True, False, -1, 1.5, [], {}])
MANY = LIKELY | st.lists(LIKELY, max_size=3) | st.lists(LIKELY, min_size=17, max_size=17)
LIKELY_OPTIONS = st.fixed_dictionaries(
    {}, optional={key: MANY for key in ["view", "labels", "min_confidence", "utf16", "sentences"]}
)
LIKELY_ARTICLE = st.fixed_dictionaries(
    {"text": LIKELY}, optional={key: MANY for key in ["id", "title", "targets", "claims", "lang"]}
)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    article=LIKELY_ARTICLE | st.just({"text": "خبر"}), options=LIKELY_OPTIONS | st.just({}) | MANY
)
def test_the_schema_that_is_published_is_the_one_that_is_applied(
    article: dict[str, object], options: object
) -> None:
    body = {"articles": [article], "options": options}
    try:
        parse_request(json.dumps(body).encode())
        taken = True
    except RequestError:
        taken = False
    assert PUBLISHED.is_valid(body) is taken


def test_the_largest_request_is_taken() -> None:
    phrases = ["عبارة"] * MAX_ASKED
    text = 'قال "نعم", \\ [ثم] {ذهب}\\"\n' * 150  # what strings hold is not counted
    largest = {"text": text, "id": "{", "title": ",", "targets": phrases, "claims": phrases}
    labels = [*view_labels("both")] * 9
    options = {"view": "both", "labels": labels[:MAX_LABELS], "min_confidence": 0, "utf16": True}
    body = {"articles": [largest] * MAX_ARTICLES, "options": {**options, "sentences": True}}
    assert len(parse_request(json.dumps(body).encode()).articles) == MAX_ARTICLES


@pytest.mark.parametrize("junk", ["[],", "{},", '"",', "1,", '"a":1,', r'"\"'])
def test_a_body_of_junk_is_refused_before_it_is_made_into_objects(
    junk: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json, "loads", lambda *_, **__: pytest.fail("read whole"))
    body = f'{{"articles":[{junk * (4_000_000 // len(junk))}]}}'.encode()
    with pytest.raises(RequestError, match="more values than any request has") as refused:
        parse_request(body)
    assert refused.value.status == 422
