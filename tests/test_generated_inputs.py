"""Generated requests from their bytes to the answer: nothing falls over, every offset is exact."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.api.answer import answer_bytes
from serving.api.errors import STATUS, RequestError
from serving.api.schema import parse_request
from serving.tagger import Tagger

SIZES = [150, pytest.param(20_000, marks=pytest.mark.soak)]
SPOKEN = "زار الرئيس محمد مرسي وبالبوكمال القوات العراقية مدينة القائم رويترز الأهلي فوز قال لن"
STRANGE = "UN ٢٠٢٣ 12 ٪ « » . ؟ … ـــ مُحَمَّدٌ ﷺ é 😀 لا\u0653 e\u0301 👨\u200d👩\u200d👧"
BLANK = ("\n", "\n\n", "\t", "\u200f", "\u200d", "\u00a0", "\ufeff", "\x00", "\u202e", "\ud800")
WORDS = [*SPOKEN.split(), *STRANGE.split(), *BLANK]
NEWS = st.lists(st.sampled_from(WORDS), max_size=40).flatmap(
    lambda words: st.sampled_from(["", " ", "  "]).map(lambda blank: blank.join(words))
)
TEXT = st.one_of(NEWS, st.text(max_size=60))
ARTICLE = st.fixed_dictionaries(
    {"text": TEXT},
    optional={
        "id": st.text(max_size=5),
        "title": TEXT,
        "targets": st.one_of(st.just("auto"), st.lists(TEXT, max_size=2)),
        "claims": st.lists(TEXT, max_size=2),
    },
)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "view": st.sampled_from(["fine", "coarse", "both"]),
        "labels": st.lists(st.sampled_from(["PERS", "GPE", "ORG", "LOC"]), max_size=2),
        "min_confidence": st.floats(0, 1),
        "utf16": st.booleans(),
        "sentences": st.booleans(),
    },
)
REQUEST = st.fixed_dictionaries(
    {"articles": st.lists(ARTICLE, max_size=3)}, optional={"options": OPTIONS}
)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


def calm(examples: int) -> settings:
    return settings(
        max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )


@pytest.mark.parametrize("examples", SIZES)
def test_whatever_comes_is_a_request_or_a_refusal(examples: int) -> None:
    @calm(examples)
    @given(request=JSON | REQUEST, cut=st.integers(0, 400), noise=st.binary(max_size=4))
    def check(request: Any, cut: int, noise: bytes) -> None:
        body = json.dumps(request).encode()
        for raw in (body, body[:cut] + noise + body[cut:], body[:cut], noise):
            try:
                parse_request(raw)
            except RequestError as refusal:
                assert STATUS[refusal.code] in (400, 422)

    check()


def places(ranges: list[list[int]], text: str) -> list[str]:
    """What stands at ranges, each of which must be one."""
    assert all(0 <= start < end <= len(text) for start, end in ranges)
    return [text[start:end] for start, end in ranges]


@pytest.mark.parametrize("examples", SIZES)
def test_whatever_is_read_has_exact_offsets(examples: int, default_tagger: Tagger) -> None:
    @calm(examples)
    @given(asked=REQUEST)
    def check(asked: Any) -> None:
        try:
            request = parse_request(json.dumps(asked).encode())
        except RequestError:
            return
        articles = [article.to_article() for article in request.articles]
        answer = json.loads(answer_bytes(request, default_tagger.tag(articles), {}))
        assert len(answer["results"]) == len(articles)
        for article, result in zip(articles, answer["results"], strict=True):
            assert result["id"] == article.id
            for entity in result["entities"]:
                (found,) = places([[entity["start"], entity["end"]]], article.text)
                assert found == entity["text"]
                assert 0 <= entity["confidence"] <= 1
                if request.options.utf16:
                    start, end = entity["utf16"]
                    units = article.text.encode("utf-16-le", "surrogatepass")
                    assert units[2 * start : 2 * end].decode("utf-16-le") == found
            for attitude in (*result["stances"], *result["claims"]):
                places(attitude["evidence"], article.text)
            if request.options.sentences:
                places(result["sentences"], article.text)

    check()
