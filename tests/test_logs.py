"""The log: a line a record, with its request, and no way for the words of an article into it."""

from __future__ import annotations

import copy
import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from contextvars import copy_context
from typing import Any

import pytest
from bentoml._internal import log as bentoml_log
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.errors import ConfigError
from serving.keys import Keys
from serving.logs import CONFIGURED, FORMATTERS, REQUEST_ID, configure, fault_places, log_access

SECRET = "نصّ المقال السرّي"
LATIN_SECRET = "the secret article"
ACCESS: dict[str, Any] = {
    "method": "POST", "path": "/v1/tag", "status": 200, "duration_ms": 12.3456, "bytes_in": 900,
    "bytes_out": 1200,
}  # fmt: skip


@pytest.fixture
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Puts back what `configure` changes in a process."""
    for owner, name in (
        (sys, "excepthook"), (sys, "unraisablehook"), (threading, "excepthook"),
        (warnings, "showwarning"),
    ):  # fmt: skip
        monkeypatch.setattr(owner, name, getattr(owner, name))
    for name in ("CLI_LOGGING_CONFIG", "SERVER_LOGGING_CONFIG"):
        monkeypatch.setattr(bentoml_log, name, copy.deepcopy(getattr(bentoml_log, name)))
    loggers = [logging.getLogger(name) for name in CONFIGURED]
    before = [(list(found.handlers), found.level, found.propagate) for found in loggers]
    yield
    for found, (handlers, level, propagate) in zip(loggers, before, strict=True):
        found.handlers[:] = handlers
        found.setLevel(level)
        found.propagate = propagate


@pytest.fixture
def json_lines(restored: None) -> None:
    configure("json")


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """The lines of stderr, each a JSON object of ASCII; nothing is on stdout."""
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.isascii()
    return [json.loads(line) for line in captured.err.splitlines()]


def raised(message: str) -> ValueError:
    try:
        raise ValueError(message)
    except ValueError as error:
        return error


def record_of(name: str, message: object, *args: object, fault: Any = None) -> logging.LogRecord:
    info = (type(fault), fault, fault.__traceback__) if fault is not None else None
    return logging.LogRecord(name, logging.ERROR, "somewhere.py", 7, message, args, info, "read")


def test_a_line_says_when_how_grave_who_and_what(
    json_lines: None, capsys: pytest.CaptureFixture[str]
) -> None:
    logging.getLogger("khabar.service").info("bundle %s is ready", "khabar 7")
    (line,) = lines(capsys)
    assert list(line) == ["time", "level", "logger", "message"]
    assert line["time"].endswith("Z") and line["time"][10] == "T"
    told = (line["level"], line["logger"], line["message"])
    assert told == ("info", "khabar.service", "bundle khabar 7 is ready")


def test_every_line_of_a_request_carries_its_id(
    json_lines: None, capsys: pytest.CaptureFixture[str]
) -> None:
    def serve(request_id: str) -> None:
        REQUEST_ID.set(request_id)
        logging.getLogger("khabar.service").info("read")
        logging.getLogger("uvicorn.error").error("Exception in ASGI application\n")

    for request_id in ("r1", "r2"):
        copy_context().run(serve, request_id)
    logging.getLogger("khabar.service").info("idle")
    assert [line.get("request_id") for line in lines(capsys)] == ["r1", "r1", "r2", "r2", None]


def test_a_thread_that_reads_for_many_names_the_request_itself(
    json_lines: None, capsys: pytest.CaptureFixture[str]
) -> None:
    logging.getLogger("khabar.service").error("not read", extra={"request_id": "r3"})
    logging.getLogger("bentoml.serve").error("a span's number", extra={"request_id": SECRET})
    assert [line.get("request_id") for line in lines(capsys)] == ["r3", None]


def test_an_access_line_holds_numbers_and_names_only(
    json_lines: None, capsys: pytest.CaptureFixture[str]
) -> None:
    log_access(**ACCESS, articles=2, pieces=310, key="desk")
    log_access(**{**ACCESS, "status": 503}, code="draining")
    tagged, refused = lines(capsys)
    expected = {**ACCESS, "duration_ms": 12.3, "articles": 2, "pieces": 310, "key": "desk"}
    assert {name: tagged[name] for name in tagged if name in expected} == expected
    assert "code" not in tagged
    levels = (tagged["level"], refused["level"])
    assert (*levels, refused["code"]) == ("info", "warning", "draining")


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"path": f"/{SECRET}"}, {"path": "?"}),
        ({"path": "/v1/tag?text=secret"}, {"path": "?"}),
        ({"path": "/" + "a" * 200}, {"path": "?"}),
        ({"path": "/static/page.css"}, {"path": "/static/page.css"}),
        ({"method": SECRET}, {"method": "?"}),
    ],
)
def test_a_strange_path_or_method_is_hidden(
    changes: dict[str, str],
    shown: dict[str, str],
    json_lines: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    log_access(**{**ACCESS, **changes})
    (line,) = lines(capsys)
    assert {name: line[name] for name in shown} == shown


@pytest.mark.parametrize(("path", "status"), [("/livez", 200), ("/metrics", 200), ("/readyz", 503)])
def test_a_probe_is_told_when_it_fails(
    path: str, status: int, json_lines: None, capsys: pytest.CaptureFixture[str]
) -> None:
    log_access(**{**ACCESS, "path": path, "status": status})
    assert [line["path"] for line in lines(capsys)] == ([path] if status == 503 else [])


@pytest.mark.parametrize("kind", ["json", "plain"])
@pytest.mark.parametrize(
    ("record", "told"),
    [
        (record_of("uvicorn.error", "Exception in ASGI application\n", fault=raised(SECRET)),
         "Exception in ASGI application"),
        (record_of("uvicorn.access", '%s - "%s %s HTTP/%s" %d', "::1", "GET", f"/?q={SECRET}",
                   "1.1", 200), '<str> - "<str> <str> HTTP/<str>" 200'),
        (record_of("bentoml.serve", "Exception on %s [%s]", f"/{SECRET}", "POST"),
         "Exception on <str> [<str>]"),
        (record_of("bentoml.serve", f"Traceback (most recent call last):\nValueError: {SECRET}"),
         "a traceback, not quoted"),
        (record_of("circus", "error: %s\n%s", raised(SECRET), SECRET), "error: <ValueError>"),
        (record_of("circus", "%d of %s", SECRET, 1), "%d of %s"),
        (record_of("uvicorn.error", raised(SECRET)), "somewhere:7 read"),
        (record_of("asyncio", f"Task exception was never retrieved {SECRET}"), "somewhere:7 read"),
        (record_of("a.library", "cannot read %s", SECRET), "somewhere:7 read"),
        (record_of("khabar.service", "not read", fault=raised(SECRET)), "ValueError at test_logs"),
    ],
)  # fmt: skip
def test_what_others_say_is_told_without_what_they_quote(
    kind: Any, record: logging.LogRecord, told: str
) -> None:
    line = FORMATTERS[kind]().format(record)
    shown = " ".join(map(str, json.loads(line).values())) if kind == "json" else line
    assert told in shown.replace('\\"', '"')
    assert SECRET not in shown and "\n" not in line


@settings(deadline=None)
@given(
    name=st.sampled_from(["uvicorn.error", "bentoml.serve", "asyncio", "root", "circus", ""]),
    before=st.text(),
    args=st.lists(st.none() | st.text() | st.integers() | st.binary(), max_size=3),
    kind=st.sampled_from(["json", "plain"]),
)
def test_no_argument_or_exception_of_others_reaches_a_line(
    name: str, before: str, args: list[object], kind: Any
) -> None:
    quoted = [f"{arg}{LATIN_SECRET}" for arg in args]
    fault = raised(f"{before}{LATIN_SECRET}")
    record = record_of(name, before, *quoted, {"a": LATIN_SECRET}, fault=fault)
    line = FORMATTERS[kind]().format(record)
    assert LATIN_SECRET not in line and len(line.splitlines()) == 1
    assert "ValueError at test_logs.py" in line


def test_an_exception_is_its_type_and_its_places() -> None:
    def inner() -> None:
        raise KeyError(SECRET)

    def outer() -> None:
        inner()

    with pytest.raises(KeyError) as caught:
        outer()
    told = fault_places(caught.value)
    inner_line, outer_line = inner.__code__.co_firstlineno + 1, outer.__code__.co_firstlineno + 1
    assert told.startswith(
        f"KeyError at test_logs.py:{inner_line} inner < test_logs.py:{outer_line} outer < "
    )
    assert fault_places(KeyError(SECRET)) == "KeyError"


def test_what_would_be_printed_as_a_traceback_becomes_a_line(
    json_lines: None, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise ValueError(SECRET)

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    fault = raised(SECRET)
    sys.excepthook(type(fault), fault, fault.__traceback__)
    warnings.showwarning(SECRET, UserWarning, "/a/library.py", 3)
    told = [line["message"] for line in lines(capsys)]
    assert [message.partition(" at ")[0] for message in told] == [
        "a thread ended: ValueError",
        "uncaught: ValueError",
        "UserWarning",
    ]
    assert told[2] == "UserWarning at library.py:3"
    assert not any(SECRET in message for message in told)


def test_an_error_of_ours_that_ends_the_process_is_told_in_its_words(
    json_lines: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        Keys.from_environment(environment={"KHABAR_API_KEYS": "short-key"})
    sys.excepthook(caught.type, caught.value, caught.tb)
    (line,) = lines(capsys)
    assert line["message"] == (
        "uncaught: KHABAR_API_KEYS, entry 1: the key has 9 characters, at least 16 are needed; "
        "make one with `openssl rand -hex 24`"
    )


def test_a_line_that_cannot_be_formatted_says_so_and_quotes_nothing(
    json_lines: None, capsys: pytest.CaptureFixture[str]
) -> None:
    (ours,) = (h for h in logging.getLogger().handlers if type(h).__module__ == "serving.logs")
    ours.handle(record_of("khabar.service", "%d articles", SECRET))
    (line,) = lines(capsys)
    assert line["message"] == "a log line could not be formatted: TypeError"


def test_a_closed_stderr_breaks_nothing(
    json_lines: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        closed = open(sys.executable, encoding="latin-1")  # noqa: SIM115
        closed.close()
        patch.setattr(sys, "stderr", closed)
        logging.getLogger("khabar.service").error("unheard")
    logging.getLogger("khabar.service").error("heard")
    assert [line["message"] for line in lines(capsys)] == ["heard"]


def test_a_plain_line_is_one_line_whatever_is_in_it(
    restored: None, capsys: pytest.CaptureFixture[str]
) -> None:
    configure("plain")
    logging.getLogger("khabar.service").info("a\nb\u202e\x1b[31m")
    log_access(**ACCESS, code="invalid_json")
    spoken, access = capsys.readouterr().err.splitlines()
    assert spoken.endswith("INFO khabar.service a\\u000ab\\u202e\\u001b[31m")
    assert access.endswith(
        "INFO khabar.access request method=POST path=/v1/tag status=200 duration_ms=12.3 "
        "bytes_in=900 bytes_out=1200 code=invalid_json"
    )


def test_the_log_stays_ours_whatever_bentoml_configures_before_and_after(
    restored: None, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("khabar.service", "bentoml.serve", "uvicorn.error", "circus", "asyncio")
    loggers = [logging.getLogger(name) for name in names]
    bentoml_log.configure_server_logging()  # of a worker
    configure("json")
    configure("json")
    bentoml_log.configure_logging()  # of the process above it
    for found in loggers:
        found.error("once")
        found.debug("never")
    assert [line["logger"] for line in lines(capsys)] == list(names)


def test_the_access_lines_of_the_servers_are_not_told(
    json_lines: None, capsys: pytest.CaptureFixture[str]
) -> None:
    logging.getLogger("uvicorn.access").info('"%s"', "GET /")
    logging.getLogger("uvicorn.error").info("Waiting for application startup.")
    assert lines(capsys) == []


def test_a_handler_of_someone_else_stays(restored: None) -> None:
    class Theirs(logging.StreamHandler[Any]):
        """A handler that no one asked to replace."""

    theirs = Theirs()
    logging.getLogger().addHandler(theirs)
    configure("json")
    configure("plain")
    ours = [h for h in logging.getLogger().handlers if type(h).__module__ == "serving.logs"]
    assert theirs in logging.getLogger().handlers and len(ours) == 1
