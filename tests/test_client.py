"""The client against a service that misbehaves on script, over real connections."""

from __future__ import annotations

import json
import logging
import pickle
import re
import socket
import struct
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count, islice, pairwise
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import serving.client
from annotations.schema import Document
from serving.api.response import encode
from serving.client import ClientError, KhabarClient, RequestLimits
from serving.parcel import article_dict, parcels
from serving.prediction import (
    Article,
    Attitude,
    Entity,
    EntityGroup,
    Labelled,
    Prediction,
    article_problem,
)
from serving.queue import cost_of
from serving.tagger import Tagger
from tests.gated import gated

SECRET = "سرّ"
KEY = "k" * 20
ONE = RequestLimits(articles=1)
Behaviour = Callable[["Handler", Any], None]


def read(article: Article) -> Prediction:
    """A full answer made of the first word and of what is asked."""
    if problem := article_problem(article):
        return Prediction(article.id, error=problem)
    word = article.text.split()[0]
    start = article.text.index(word)
    targets = [word] if article.targets == "auto" else article.targets
    return Prediction(
        article.id,
        (Entity("e1", start, start + len(word), word, "PERS", "PER", 0.9, word, "e1"),),
        (Labelled("politics" if article.title else "sports", 0.75),),
        tuple(Attitude(target, "favor", 0.5, ((0, 4), (5, 9))) for target in targets),
        tuple(Attitude(claim, "agree", 0.25, ()) for claim in article.claims),
        (EntityGroup("e1", word, "PERS", "PER", ("e1",), 0.9, 1.0),),
        len(article.text.split()),
    )


def article_of(raw: dict[str, Any]) -> Article:
    targets = raw.get("targets") or ()
    return Article(
        raw["text"],
        raw.get("id"),
        raw.get("title"),
        targets if targets == "auto" else tuple(targets),
        tuple(raw.get("claims") or ()),
    )


def good(request: Any) -> dict[str, Any]:
    results = [read(article_of(raw)).to_dict() for raw in request["articles"]]
    return {"results": results, "model": {"name": "fake", "version": "7"}}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self.take(None)

    def do_POST(self) -> None:
        self.take(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def take(self, request: Any) -> None:
        service = cast(Service, self.server)
        with service.lock:
            service.requests.append((self.path, dict(self.headers), request))
            behave = service.script.popleft() if service.script else service.usual
            service.in_flight += 1
            service.most = max(service.most, service.in_flight)
        service.came.release()
        try:
            behave(self, request)
        finally:
            with service.lock:
                service.in_flight -= 1

    def reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Service(ThreadingHTTPServer):
    """Follows its script, and then answers as usual; remembers what it was asked."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.forget()

    def forget(self) -> None:
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.script: deque[Behaviour] = deque()
        self.usual: Behaviour = answer
        self.in_flight = self.most = 0
        self.came = threading.Semaphore(0)

    def handle_error(self, *_: object) -> None:
        pass  # a connection that was reset on script

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def texts(self) -> list[list[str]]:
        """The texts of each request."""
        return [[raw["text"] for raw in request["articles"]] for _, _, request in self.requests]


def answer(handler: Handler, request: Any) -> None:
    handler.reply(200, json.dumps(good(request) if request else {"name": "fake"}).encode())


def changed(change: Callable[[dict[str, Any]], object]) -> Behaviour:
    """An answer that was good until a change was made."""

    def behave(handler: Handler, request: Any) -> None:
        made = good(request)
        change(made)
        handler.reply(200, json.dumps(made).encode())

    return behave


def says(status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> Behaviour:
    return lambda handler, _: handler.reply(status, body, headers)


def refuses(status: int, code: str, field: str | None = None, **headers: str) -> Behaviour:
    told = {"code": code, "message": f"{field} is wrong", "field": field, "request_id": "r"}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return says(status, json.dumps({"error": told}).encode(), named)


def reset(handler: Handler, _: Any) -> None:
    """Cut the connection with a reset."""
    linger = struct.pack("ii", 1, 0)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    handler.connection.close()
    handler.close_connection = True


@pytest.fixture(scope="module")
def running() -> Iterator[Service]:
    with Service() as opened:
        thread = threading.Thread(target=opened.serve_forever, args=(0.02,))
        thread.start()
        yield opened
        opened.shutdown()
        thread.join()


@pytest.fixture
def service(running: Service) -> Service:
    running.forget()
    return running


class Clock:
    """Remembers how long it was asked to wait, and waits not at all."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)


def client_of(service: Service, clock: Clock | None = None, **more: Any) -> KhabarClient:
    """A client whose waits take no time and are as long as they can be."""
    sleep = (clock or Clock()).sleep
    longest = {"jitter": lambda _, most: most, "sleep": sleep}
    return KhabarClient(service.url, verify=False, **longest, **more)


ARTICLES = [
    "زارَ محمدٌ بغداد",
    Document("d1", "القـــاهرة ١٢ و13 😀"),
    Article("وبالبوكمال", "a1", "عنوان", ("الجيش", "أمير"), ("عاد الهدوء",)),
    Article("فاز الأهلي", "", targets="auto"),
    Article("نص \x00 \u202e فيه علامات", id="a\ud800"),
    "a\ud83d",
    " ",
]


def test_the_client_answers_as_the_tagger_does(service: Service) -> None:
    with client_of(service, limits=RequestLimits(pieces=4096)) as client:
        predictions = client.tag(ARTICLES)
    assert predictions == [read(Article.of(article)) for article in ARTICLES]
    assert [prediction.error is None for prediction in predictions] == [True] * 5 + [False] * 2
    assert len(service.requests) == 1


def test_an_answer_may_hold_more_than_a_prediction_and_leave_coarse_out(service: Service) -> None:
    def fine(made: dict[str, Any]) -> None:
        (result,) = made["results"]
        result["sentences"] = [[0, 4]]
        result["entities"][0]["utf16"] = [0, 4]
        del result["entities"][0]["coarse"], result["groups"][0]["coarse"]

    service.script.append(changed(fine))
    with client_of(service) as client:
        (prediction,) = client.tag(["بغداد"], {"view": "fine", "labels": ["PERS"]})
    assert (prediction.entities[0].label, prediction.entities[0].coarse) == ("PERS", None)
    assert prediction.groups[0].coarse is None
    assert service.requests[0][2]["options"] == {"view": "fine", "labels": ["PERS"]}


TEXTS = st.lists(st.text("محمد زار😀\ud800", min_size=1, max_size=60), max_size=30)
LIMITS = st.builds(RequestLimits, st.integers(1, 8), st.integers(60, 600), st.integers(10, 100))
QUICK = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


@QUICK
@given(texts=TEXTS, limits=LIMITS)
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


TRANSIENT = st.sampled_from([refuses(429, "overloaded"), refuses(503, "loading"), reset, None])


@QUICK
@given(
    n=st.integers(0, 40),
    size=st.integers(1, 7),
    concurrency=st.integers(1, 5),
    script=st.lists(TRANSIENT, max_size=8),
)
def test_order_is_kept_and_nothing_is_lost_or_answered_twice(
    running: Service, n: int, size: int, concurrency: int, script: list[Behaviour | None]
) -> None:
    running.forget()
    answered: Counter[str] = Counter()

    def counted(handler: Handler, request: Any) -> None:
        with running.lock:
            answered.update(raw["text"] for raw in request["articles"])
        answer(handler, request)

    running.usual = counted
    running.script.extend(behave or counted for behave in script)
    texts = [f"خبر{i} اليوم" for i in range(n)]
    limits = RequestLimits(articles=size)
    with client_of(running, concurrency=concurrency, retries=8, limits=limits) as client:
        predictions = client.tag(texts)
    assert predictions == [read(Article(text)) for text in texts]
    assert answered == Counter(texts)
    assert running.most <= concurrency


def test_as_many_requests_as_allowed_are_in_flight_for_all_threads_together(
    service: Service,
) -> None:
    together = threading.Barrier(3)

    def meeting(handler: Handler, request: Any) -> None:
        together.wait(20)  # broken, and an error, unless three come at once
        answer(handler, request)

    service.usual = meeting
    found: dict[str, list[Prediction]] = {}
    with client_of(service, concurrency=3, limits=ONE) as client:

        def work(name: str) -> None:
            found[name] = client.tag([f"{name}{i}" for i in range(6)])

        callers = [threading.Thread(target=work, args=(name,)) for name in ("أ", "ب", "ج")]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    assert service.most == 3
    for name, predictions in found.items():
        assert [p.entities[0].text for p in predictions] == [f"{name}{i}" for i in range(6)]
    assert len(found) == 3


def test_a_client_that_is_told_to_stop_sends_less_and_then_more(service: Service) -> None:
    """Fewer are in flight once some were refused, and in the end as many as are allowed."""
    full = threading.Event()

    def crowded(handler: Handler, request: Any) -> None:
        if not full.is_set() and service.in_flight > 2:
            SOON(handler, request)
            return
        time.sleep(0.02)
        answer(handler, request)

    service.usual = crowded
    texts = [f"خبر{i}" for i in range(400)]
    with client_of(service, Clock(), concurrency=8, limits=ONE, retries=30) as client:
        client.tag(texts[:200])
        refused = len(service.requests) - 200
        assert 0 < refused < 100
        full.set()
        service.most = 0
        assert [p.error for p in client.tag(texts)] == [None] * 400
    assert service.most == 8
    assert len(service.requests) == 600 + refused


@pytest.mark.parametrize(("concurrency", "size"), [(1, 1), (2, 3), (4, 2)])
def test_the_source_is_never_read_far_ahead(service: Service, concurrency: int, size: int) -> None:
    given = 0
    hold = threading.Event()

    def endless() -> Iterator[str]:
        nonlocal given
        for i in count():
            given += 1
            yield f"خبر{i}"

    def held(handler: Handler, request: Any) -> None:
        hold.wait(20)
        answer(handler, request)

    service.usual = held
    with client_of(service, concurrency=concurrency, limits=RequestLimits(size)) as client:
        stream = client.tag_stream(endless())
        assert given == 0
        reader = threading.Thread(target=next, args=(stream,))
        reader.start()
        while given < 2 * concurrency * size:
            assert reader.is_alive()
            time.sleep(0.005)
        time.sleep(0.05)  # in which it would read on, if it could
        assert given == 2 * concurrency * size
        hold.set()
        reader.join()
        for taken, prediction in enumerate(islice(stream, 20), 1):
            assert prediction.entities[0].text == f"خبر{taken}"
            assert given - taken <= 2 * concurrency * size
        stream.close()


def test_what_is_done_comes_before_the_source_is_read_on(service: Service) -> None:
    given = 0

    def slow() -> Iterator[str]:
        nonlocal given
        for _ in range(100):
            given += 1
            yield "خبر"
            time.sleep(0.05)

    with client_of(service, concurrency=50, limits=ONE) as client:
        stream = client.tag_stream(slow())
        next(stream)
        assert given < 100
        stream.close()


OVERLOADED = refuses(429, "overloaded", Retry_After="3")
LOADING = refuses(503, "loading", Retry_After="9999")
STOPPING = refuses(503, "draining", Retry_After="3")
SOON = refuses(429, "overloaded", Retry_After="1", Retry_After_Ms="125")
INTERNAL = refuses(500, "internal")
LATE = refuses(504, "timeout")


@pytest.mark.parametrize(
    ("script", "waits"),
    [
        ([OVERLOADED], [3 + 0.5]),
        ([OVERLOADED, OVERLOADED, OVERLOADED], [3 + 0.5, 3 + 1, 3 + 2]),
        ([LOADING], [60 + 0.5]),
        ([SOON, SOON, SOON], [0.125 + 0.125, 0.125 + 0.25, 0.125 + 0.5]),
        ([refuses(429, "overloaded", Retry_After="1", Retry_After_Ms="1.5")], [1 + 0.5]),
        ([refuses(429, "overloaded", Retry_After="soon")], [0.5]),
        ([refuses(429, "overloaded", Retry_After="-5")], [0.5]),
        ([refuses(429, "overloaded", Retry_After="١")], [0.5]),
        ([says(502, b"<html>")], [0.5]),
        ([says(503)], [0.5]),
        ([reset, reset], [0.5, 1]),
        ([INTERNAL], [0.5]),
        ([LATE], [0.5]),
        ([INTERNAL, OVERLOADED, reset], [0.5, 3 + 1, 2]),
        ([reset] * 8, [0.5, 1, 2, 4, 8, 16, 20, 20]),
    ],
)
def test_what_passes_is_tried_again_after_longer_and_longer_waits(
    service: Service, script: list[Behaviour], waits: list[float]
) -> None:
    service.script.extend(script)
    clock = Clock()
    with client_of(service, clock, retries=8) as client:
        assert client.tag(["محمد"]) == [read(Article("محمد"))]
    assert clock.waits == waits
    assert service.texts == [["محمد"]] * (len(script) + 1)


def test_waits_are_drawn_from_nothing_to_the_most(service: Service) -> None:
    drawn: list[tuple[float, float]] = []

    def draw(least: float, most: float) -> float:
        drawn.append((least, most))
        return most / 4

    service.script.extend([reset, OVERLOADED])
    clock = Clock()
    with KhabarClient(service.url, jitter=draw, sleep=clock.sleep) as client:
        client.tag(["محمد"])
    assert drawn == [(0.0, 0.5), (0.0, 1.0)]
    assert clock.waits == [0.125, 3 + 0.25]


@pytest.mark.parametrize(
    ("script", "code", "status", "tries"),
    [
        ([OVERLOADED] * 9, "overloaded", 429, 3),
        ([LOADING] * 9, "loading", 503, 3),
        ([reset] * 9, "connection", None, 3),
        ([INTERNAL] * 9, "internal", 500, 2),
        ([LATE, INTERNAL, answer], "internal", 500, 2),
        ([INTERNAL, OVERLOADED, LATE], "timeout", 504, 3),
        ([refuses(400, "invalid_json")], "invalid_json", 400, 1),
        ([refuses(401, "unauthorized")], "unauthorized", 401, 1),
        ([refuses(404, "not_found")], "not_found", 404, 1),
        ([refuses(408, "slow_body", Retry_After="1")], "slow_body", 408, 1),
        ([refuses(413, "body_too_large")], "body_too_large", 413, 1),
        ([refuses(422, "invalid_request")], "invalid_request", 422, 1),
        ([says(302, b"", {"Location": "/v1/tag"})], "unexpected_status", 302, 1),
        ([says(404, b"<html>")], "unexpected_status", 404, 1),
        ([says(400, b'{"error":"no"}')], "unexpected_status", 400, 1),
        ([says(400, b"[" * 100_000)], "unexpected_status", 400, 1),
        ([says(204)], "unexpected_status", 204, 1),
    ],
)
def test_after_the_last_try_the_error_tells_what_it_was(
    service: Service, script: list[Behaviour], code: str, status: int | None, tries: int
) -> None:
    service.script.extend(script)
    clock = Clock()
    with client_of(service, clock, retries=2) as client, pytest.raises(ClientError) as failed:
        client.tag(["محمد"])
    error = failed.value
    assert (error.code, error.status) == (code, status)
    assert (len(service.requests), len(clock.waits)) == (tries, tries - 1)
    assert error.request_id == service.requests[-1][1]["X-Request-ID"]
    assert str(error).startswith("articles[0:1]: ") and cast(str, error.request_id) in str(error)


def test_an_answer_that_takes_too_long_is_asked_for_once_more(service: Service) -> None:
    over = threading.Event()
    service.usual = lambda *_: over.wait(20)
    words = r"no answer within 0\.1 s; send less"
    client = client_of(service, timeout_s=0.1)
    with client, pytest.raises(ClientError, match=words) as failed:
        client.tag(["محمد"])
    over.set()
    assert (failed.value.code, failed.value.status) == ("timeout", None)
    assert len(service.requests) == 2


def test_a_service_that_is_not_there_is_told_with_its_address() -> None:
    with socket.socket() as unheard:  # bound, and does not listen
        unheard.bind(("127.0.0.1", 0))
        port = unheard.getsockname()[1]
        clock = Clock()
        url = f"http://127.0.0.1:{port}"
        with KhabarClient(url, retries=2, sleep=clock.sleep) as client:
            assert not client.ready()
            words = rf"127\.0\.0\.1:{port}/? cannot be reached .* is the service running"
            with pytest.raises(ClientError, match=words):
                client.tag(["محمد"])
            with pytest.raises(ClientError, match="cannot be reached"):
                client.model()
            with pytest.raises(ClientError, match=r"not ready within 0 s: .*cannot be reached"):
                client.wait_until_ready(0)
    assert len(clock.waits) == 4


def swap_ids(made: dict[str, Any]) -> None:
    one, other = made["results"]
    one["id"], other["id"] = other["id"], one["id"]


def first(made: dict[str, Any]) -> dict[str, Any]:
    return cast(dict[str, Any], made["results"][0])


@pytest.mark.parametrize(
    ("behave", "words"),
    [
        (says(200, b"<html>"), "no JSON object"),
        (says(200, b"\xff\xfe\xfa"), "no JSON object"),
        (says(200, b"[" * 100_000), "no JSON object"),
        (says(200, b"[]"), "no JSON object"),
        (says(200, b"{}"), "no results for 2 articles"),
        (changed(lambda made: made["results"].pop()), "1 results for 2 articles"),
        (changed(lambda made: made["results"].append({})), "3 results for 2 articles"),
        (changed(swap_ids), r"result of articles\[0\] has not the id"),
        (
            changed(lambda made: made["results"].reverse()),
            r"result of articles\[0\] has not the id",
        ),
        (
            changed(lambda made: made["results"].__setitem__(1, 7)),
            r"result of articles\[1\] needs id, ",
        ),
        (changed(lambda made: first(made).pop("topics")), r"result of articles\[0\] needs id, "),
        (changed(lambda made: first(made).update(topics={})), r"no valid topics"),
        (changed(lambda made: first(made).update(entities=[3])), r"no valid entities\.0\.id"),
        (changed(lambda made: first(made).update(entities=None)), r"no valid entities"),
        (
            changed(lambda made: first(made)["entities"][0].update(start=1)),
            r"another text .* at entities\.0",
        ),
        (
            changed(lambda made: first(made)["entities"][0].update(start=-9)),
            r"another text .* at entities\.0",
        ),
        (
            changed(lambda made: first(made)["entities"][0].update(end=99)),
            r"another text .* at entities\.0",
        ),
        (
            changed(lambda made: first(made)["entities"][0].update(confidence="high")),
            r"no valid entities\.0\.confidence",
        ),
        (
            changed(lambda made: first(made).update(stances=[{"label": "favor"}])),
            r"no valid stances\.0\.about",
        ),
    ],
)
def test_an_answer_that_cannot_be_true_is_an_error(
    service: Service, behave: Behaviour, words: str
) -> None:
    service.script.append(behave)
    articles = [Article(f"{SECRET} في بغداد", "a"), Article("محمد", "b")]
    with client_of(service) as client, pytest.raises(ClientError, match=words) as failed:
        client.tag(articles)
    assert (failed.value.code, failed.value.status) == ("bad_answer", 200)
    assert len(service.requests) == 1
    assert SECRET not in str(failed.value) + repr(failed.value)


def test_articles_in_an_error_are_counted_in_the_whole_input(service: Service) -> None:
    refused = refuses(422, "invalid_request", "articles[1].targets[0]")
    service.script.extend([answer, answer, refused])
    got = []
    client = client_of(service, concurrency=1, limits=RequestLimits(articles=3))
    with client, pytest.raises(ClientError) as failed:
        for prediction in client.tag_stream(f"خبر{i}" for i in range(20)):
            got.append(prediction.entities[0].text)
    assert got == [f"خبر{i}" for i in range(6)]  # all that precedes the error
    assert failed.value.field == "articles[7].targets[0]"
    assert failed.value.message == "articles[6:9]: articles[7].targets[0] is wrong"


def test_nothing_of_an_article_is_logged_or_told(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    def echoing(handler: Handler, request: Any) -> None:
        handler.wfile.write(f"{SECRET} HTTP\r\n\r\n".encode())
        handler.close_connection = True

    service.script.extend([OVERLOADED, echoing, answer, INTERNAL, INTERNAL])
    with caplog.at_level(logging.DEBUG), client_of(service) as client:
        client.tag([SECRET])
        with pytest.raises(ClientError) as failed:
            client.tag(Article(SECRET, "a", SECRET, (SECRET,), (SECRET,)) for _ in range(2))
    told = [record.getMessage() for record in caplog.records if record.name.startswith("khabar")]
    assert [re.sub(r"[0-9a-f]{32}", "…", line) for line in told] == [
        "request ….1: overloaded; again in 3.5 s",
        "request ….2: connection; again in 1.0 s",
        "request ….1: internal; again in 0.5 s",
    ]
    assert SECRET not in caplog.text + str(failed.value) + repr(failed.value)
    (parcel,) = parcels([SECRET], {}, ONE)
    assert repr(parcel) == "Parcel(articles[0:1])"


def test_an_error_can_go_to_another_process() -> None:
    error = ClientError("overloaded", "m", 429, "r.1", "articles[3].text", 2.5)
    copy = pickle.loads(pickle.dumps(error))
    assert vars(copy) == vars(error) and str(copy) == str(error)
    assert str(error) == "m (overloaded, status 429, request r.1)"


def test_each_request_has_an_id_of_its_own_and_each_try_its_number(service: Service) -> None:
    service.script.extend([reset, reset])
    with client_of(service, concurrency=1, limits=ONE) as client:
        client.tag(["محمد", "بغداد"])
    ids = [headers["X-Request-ID"] for _, headers, _ in service.requests]
    assert all(re.fullmatch(r"[0-9a-f]{32}\.[0-9]", request_id) for request_id in ids)
    names, tries = zip(*(request_id.split(".") for request_id in ids), strict=True)
    assert tries == ("1", "2", "3", "1")
    assert len(set(names[:3])) == 1 and names[3] != names[0]


def test_the_key_is_sent_and_the_environment_is_not_asked(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with client_of(service, api_key="k-1") as client, client_of(service) as nameless:
        client.tag(["محمد"])
        nameless.tag(["محمد"])
    (_, headers, _), (_, others, _) = service.requests
    assert headers["Authorization"] == "Bearer k-1"
    assert headers["Content-Type"] == "application/json"
    assert "Authorization" not in others
    client = client_of(service, trust_env=True, retries=0)
    with client, pytest.raises(ClientError, match="cannot be reached"):
        client.tag(["محمد"])


def test_a_service_below_a_path_is_found(service: Service) -> None:
    with KhabarClient(f"{service.url}/news/") as client:
        client.tag(["محمد"])
        client.model()
    assert [path for path, _, _ in service.requests] == ["/news/v1/tag", "/news/v1/model"]


def test_the_client_waits_until_the_service_is_ready(service: Service) -> None:
    service.script.extend([reset, refuses(503, "loading"), says(200)])
    clock = Clock()
    with client_of(service, clock) as client:
        client.wait_until_ready(600)
        assert clock.waits == [0.5, 0.5]
        assert client.ready()
        service.script.extend([refuses(503, "draining"), refuses(503, "loading", "it")])
        assert not client.ready()
        with pytest.raises(ClientError, match="not ready within 0 s: it is wrong") as failed:
            client.wait_until_ready(0)
    assert (failed.value.code, failed.value.status) == ("not_ready", 503)
    assert {path for path, _, _ in service.requests} == {"/readyz"}


def test_the_model_is_told_after_the_same_tries(service: Service) -> None:
    service.script.append(OVERLOADED)
    with client_of(service) as client:
        assert client.model() == {"name": "fake"}


def test_answers_of_another_model_are_refused_when_one_is_asked_for(service: Service) -> None:
    with client_of(service, model_version="7") as client:
        client.tag(["محمد"])
    client = client_of(service, model_version="8")
    with client, pytest.raises(ClientError, match="not of version 8, which") as failed:
        client.tag(["محمد"])
    assert failed.value.code == "other_model"


def test_an_article_that_no_request_can_hold_harms_no_other(service: Service) -> None:
    articles = [Article("محمد"), Article("محمد", "a", "ع" * 100), Article("بغداد")]
    with client_of(service, limits=RequestLimits(body_bytes=150)) as client:
        one, other, last = client.tag(articles)
    assert one == read(articles[0]) and last == read(articles[2])
    assert (other.id, other.entities) == ("a", ())
    assert re.match(r"alone it makes a request of \d+ bytes; the limit is 150, ", other.error or "")
    assert sorted(service.texts) == [["بغداد"], ["محمد"]]


def test_an_article_beyond_all_limits_gets_the_words_of_the_service(service: Service) -> None:
    with client_of(service) as client:
        (prediction,) = client.tag(["😀" * 1_100_000])
    assert prediction.error == article_problem(Article("😀" * 1_100_000), 200_000)
    assert service.requests == []


def test_closing_ends_every_wait(service: Service) -> None:
    service.usual = LOADING
    client = KhabarClient(service.url)
    ended: list[str] = []

    def work() -> None:
        try:
            client.tag(["محمد"])
        except ClientError as error:
            ended.append(error.code)

    caller = threading.Thread(target=work)
    caller.start()
    assert service.came.acquire(timeout=20)
    closer = threading.Thread(target=client.close)
    closer.start()
    closer.join(20)
    caller.join(20)
    assert ended == ["closed"]
    with pytest.raises(ClientError, match="open another one"):
        client.tag(["محمد"])
    with pytest.raises(ClientError, match="open another one"):
        client.ready()
    client.close()


def test_who_leaves_a_stream_leaves_no_requests_behind(service: Service) -> None:
    begun, over, together = threading.Event(), threading.Event(), threading.Barrier(2)

    def late(handler: Handler, request: Any) -> None:
        if request["articles"][0]["text"] == "خبر0":
            begun.wait(20)
            answer(handler, request)
        else:
            begun.set()
            over.wait(20)
            STOPPING(handler, request)

    def meeting(handler: Handler, request: Any) -> None:
        if request["articles"][0]["text"].startswith("خبر"):  # sent before its reader left
            STOPPING(handler, request)
            return
        together.wait(20)  # both threads of the client are free again
        answer(handler, request)

    service.usual = late
    with client_of(service, concurrency=2, limits=ONE) as client:
        for _ in client.tag_stream(f"خبر{i}" for i in count()):
            break
        service.usual = meeting
        over.set()
        client.tag(["بغداد", "محمد"])
    sent = Counter(text for (text,) in service.texts)
    assert sent.keys() <= {"خبر0", "خبر1", "خبر2", "بغداد", "محمد"}
    assert set(sent.values()) == {1}  # what was in flight was not sent again


def test_the_fault_of_a_source_is_its_own(service: Service) -> None:
    def broken() -> Iterator[str]:
        yield "محمد"
        raise OSError("the disk is gone")

    with client_of(service) as client, pytest.raises(OSError, match="the disk is gone"):
        client.tag(broken())


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"base_url": "localhost:3000"}, "base_url must be like http://host:3000"),
        ({"base_url": "ftp://host"}, "base_url must be"),
        ({"base_url": "http://"}, "base_url must be"),
        ({"base_url": "http://h:port"}, "base_url must be"),
        ({"base_url": f"http://me:{SECRET}@host"}, "without user, password"),
        ({"api_key": f"{SECRET}"}, "api_key must be visible ASCII"),
        ({"api_key": "a\nb"}, "api_key must be visible ASCII"),
        ({"api_key": ""}, "api_key must be visible ASCII"),
        ({"timeout_s": 0}, r"got 0, 16 and 10"),
        ({"concurrency": 0}, r"got 330\.0, 0 and 10"),
        ({"retries": -1}, r"got 330\.0, 16 and -1"),
    ],
)
def test_a_client_that_could_not_work_is_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ClientError, match=words) as failed:
        KhabarClient(**{"base_url": "http://127.0.0.1", **wrong})
    assert failed.value.code == "invalid_client"
    assert SECRET not in str(failed.value)


def test_the_example_of_the_module_runs(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = re.findall(r"\n\n((?:    .*\n|\n)+)", serving.client.__doc__ or "")
    code = re.sub("^    ", "", example, flags=re.MULTILINE)
    assert "http://127.0.0.1:3000" in code
    exec(code.replace("http://127.0.0.1:3000", service.url), {})
    assert capsys.readouterr().out == "[('زار', 'PERS')]\n[('فاز', 'PERS')]\n"


@pytest.fixture
def khabar(default_tagger: Tagger, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of our own app with the shipped model, which wants the key KEY."""
    monkeypatch.setenv("KHABAR_API_KEYS", KEY)
    here = SimpleNamespace(bundle=default_tagger.bundle, tag=default_tagger.tag, problem=None)
    with gated(here) as address:
        yield address


def test_the_service_answers_through_the_client_as_the_tagger_does_here(
    khabar: str, default_tagger: Tagger
) -> None:
    articles = [
        Article("زار الرئيس محمد مرسي بغداد، وبالبوكمال عاد الهدوء.", "a1", targets="auto"),
        Article("a\ud800", "a\ud800"),
        Article("فاز الأهلي على الزمالك في القاهرة 😀.", claims=("فاز الزمالك",)),
    ]
    with KhabarClient(khabar) as nameless, pytest.raises(ClientError, match="unauthorized, status"):
        nameless.tag(["محمد"])
    with KhabarClient(khabar, KEY, limits=ONE, concurrency=1) as client:
        client.wait_until_ready(120)
        predictions = client.tag(articles)
        assert client.model()["version"] == default_tagger.bundle.version
        with pytest.raises(
            ClientError, match=r"articles\[0:1\]: .*articles\[0\]\.claims"
        ) as failed:
            client.tag([Article("محمد", claims=(" ",))])
    assert predictions == default_tagger.tag(articles)
    assert predictions[0].entities and predictions[0].groups
    assert (failed.value.code, failed.value.status) == ("invalid_request", 422)
