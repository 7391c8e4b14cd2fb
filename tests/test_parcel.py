"""How articles are cut into requests: each once, within the limits, and one that fits in none harms
no other.
"""

from __future__ import annotations

import json
import re
from itertools import pairwise

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from serving.api.response import encode
from serving.client import RequestLimits
from serving.parcel import article_dict, parcels
from serving.prediction import Article, article_problem
from serving.queue import cost_of
from tests.clients import client_of
from tests.scripted import (
    Service,
    fresh_service,  # noqa: F401 - a fixture
    read,
    running_service,  # noqa: F401 - a fixture
)

TEXTS = st.lists(st.text("محمد زار😀\ud800", min_size=1, max_size=60), max_size=30)
LIMITS = st.builds(RequestLimits, st.integers(1, 8), st.integers(60, 600), st.integers(10, 100))
QUICK = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


@QUICK
@given(texts=TEXTS, limits=LIMITS)
@example(texts=["محمد زار محمد " * 3] * 2, limits=RequestLimits(8, 600, 20))
def test_parcels_hold_every_article_once_and_no_more_than_fits(
    texts: list[str], limits: RequestLimits
) -> None:
    made = list(parcels(texts, {"view": "fine"}, limits))
    sent = [json.loads(parcel.body) for parcel in made]
    assert [raw["text"] for request in sent for raw in request["articles"]] == texts
    assert all(request["options"] == {"view": "fine"} for request in sent)
    assert [parcel.first for parcel in made] == [
        sum(len(earlier.articles) for earlier in made[:i]) for i in range(len(made))
    ]
    for parcel in made:
        assert len(parcel.articles) <= limits.articles
        if len(parcel.articles) > 1:
            assert len(parcel.body) <= limits.body_bytes
            assert sum(map(cost_of, parcel.articles)) <= limits.pieces
    for one, other in pairwise(made):  # none was closed too early
        following = other.articles[0]
        assert (
            len(one.articles) == limits.articles
            or sum(map(cost_of, (*one.articles, following))) > limits.pieces
            or len(one.body) + len(encode(article_dict(following))) + 1 > limits.body_bytes
        )


def test_an_article_that_no_request_can_hold_harms_no_other(service: Service) -> None:
    articles = [Article("محمد"), Article("محمد", "a", "ع" * 100), Article("بغداد")]
    with client_of(service, limits=RequestLimits(body_bytes=150)) as client:
        one, other, last = client.tag(articles)
    assert one == read(articles[0]) and last == read(articles[2])
    assert (other.id, other.entities) == ("a", ())
    assert re.match(r"alone it makes a request of \d+ bytes; the limit is 150, ", other.error or "")
    assert sorted(service.texts) == [["بغداد"], ["محمد"]]


def test_an_article_of_which_too_much_is_asked_harms_no_other(service: Service) -> None:
    plain, names = Article("محمد"), tuple(map(str, range(17)))
    asked = [Article("محمد", "a", targets=names), Article("محمد", "b", claims=("ع" * 501,))]
    asked.append(Article("محمد", "c", targets=("auto", "بغداد")))
    with client_of(service) as client:
        one, many, long, both, last = client.tag([plain, *asked, plain])
    assert one == last == read(plain)
    assert (many.id, many.error) == (
        "a",
        "17 targets; the service takes 16, ask in several articles",
    )
    assert long.id == "b" and "claims[0] has 501 code points" in (long.error or "")
    assert both.id == "c" and (both.error or "").startswith("targets: auto asks about the main")
    assert sorted(service.texts) == [["محمد"], ["محمد"]]


def test_an_article_beyond_all_limits_gets_the_words_of_the_service(service: Service) -> None:
    with client_of(service) as client:
        (prediction,) = client.tag(["😀" * 1_100_000])
    assert prediction.error == article_problem(Article("😀" * 1_100_000), 200_000)
    assert service.requests == []
