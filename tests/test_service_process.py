"""The service in real processes over loopback: signals, kills, slow and endless clients, too many
of them.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from serving.bundle import DEFAULT_FOLDER, MODEL
from tests.served import Served, served
from tests.waiting import wait_until

SECRET = "سرّ"
ARTICLE = f"أعلنت وزارة الصحة في عمان يوم الأحد خطة جديدة {SECRET} لدعم المستشفيات. " * 40
FRIEND = "https://newsroom.example"
# its own, smaller limits than the service of the other tests has, and a page of another site
LIMITS = f"""
body_timeout_s: 2
max_waiting_pieces: 2000
batch_pieces: 1000
logs: json
cors_origins: [{FRIEND}]
"""
WAIT_S = 60
CHUNK = b"10000\r\n" + b"x" * 65536 + b"\r\n"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    own = folder / "own.yaml"
    own.write_text(LIMITS)
    with served(folder, KHABAR_SETTINGS=str(own)) as opened:
        yield opened
        assert SECRET not in opened.told() and "Traceback" not in opened.told()


@pytest.mark.parametrize(("origin", "allowed"), [(FRIEND, FRIEND), ("https://other.example", None)])
def test_the_page_of_a_named_site_alone_may_call(
    service: Served, origin: str, allowed: str | None
) -> None:
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    connection = service.connect()
    try:
        for method, path, extra in (
            ("OPTIONS", "/v1/tag", asked | {"Access-Control-Request-Headers": "x-api-key"}),
            ("GET", "/v1/model", {"Origin": origin}),
            ("POST", "/v1/tag", {"Origin": origin, "Content-Type": "application/json"}),
        ):
            connection.request(method, path, b"{" if method == "POST" else None, extra)
            answer = connection.getresponse()
            answer.read()
            assert answer.getheader("Access-Control-Allow-Origin") == allowed, method
            assert answer.getheader("Access-Control-Allow-Credentials") is None
            if method == "OPTIONS" and allowed:
                assert answer.status == 200
                assert "x-api-key" in answer.headers["Access-Control-Allow-Headers"].lower()
            if method == "POST" and allowed:  # also of a refusal, so that the page can read why
                assert answer.status == 400
                assert "Retry-After" in answer.headers["Access-Control-Expose-Headers"]
    finally:
        connection.close()


def test_more_requests_than_it_can_take_end_in_an_answer_or_a_refusal(service: Served) -> None:
    with ThreadPoolExecutor(24) as callers:
        answers = list(callers.map(lambda i: service.tag(f"{i} {ARTICLE}"), range(48)))
        health = [service.request("GET", "/livez", timeout_s=5)[0] for _ in range(3)]
    assert health == [200] * 3
    statuses = [status for status, _ in answers]
    assert set(statuses) == {200, 429}
    for status, answer in answers:
        if status == 200:
            assert answer["results"][0]["error"] is None
        else:
            assert answer["error"]["code"] == "overloaded"
    assert service.tag("محمد")[0] == 200


def test_clients_that_never_finish_hold_up_nobody(service: Served) -> None:
    request = b"POST /v1/tag HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    half = request + b"Content-Length: 100\r\n\r\n{"
    slow = [socket.create_connection(("127.0.0.1", service.port), 30) for _ in range(60)]
    try:
        for i, connection in enumerate(slow):
            connection.sendall(half if i % 2 else request)
        assert service.request("GET", "/readyz", timeout_s=10)[0] == 200
        assert service.tag("دخلت القوات مدينة القائم.")[0] == 200
        answered = [connection.recv(100) for connection in slow[1::2]]  # those with a body
        assert {line.split()[1] for line in answered} == {b"408"}
    finally:
        for connection in slow:
            connection.close()


def send_endless_body(service: Served, megabytes: int) -> bytes:
    """The status of the answer to a body of that size in chunks; empty when the sender is cut
    off.
    """
    with socket.create_connection(("127.0.0.1", service.port), 60) as connection:
        connection.sendall(
            b"POST /v1/tag HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        try:
            for _ in range(megabytes * 16):
                connection.sendall(CHUNK)
            connection.sendall(b"0\r\n\r\n")
        except OSError:  # cut off: the answer may be there to be read
            pass
        try:
            return connection.recv(100).split()[1]
        except (OSError, IndexError):
            return b""


@pytest.mark.parametrize("megabytes", [40, pytest.param(1024, marks=pytest.mark.soak)])
def test_an_endless_body_is_refused_and_not_kept(service: Served, megabytes: int) -> None:
    (worker,) = service.workers()
    before = worker.memory_info().rss
    assert send_endless_body(service, megabytes) in (b"413", b"")
    assert worker.memory_info().rss - before < 32 << 20
    assert service.is_ready()


def test_a_killed_worker_is_replaced(service: Served) -> None:
    (worker,) = service.workers()
    waiting = threading.Thread(target=quietly, args=(service,))
    waiting.start()
    time.sleep(0.05)
    worker.kill()
    worker.wait(10)
    waiting.join(60)
    assert not waiting.is_alive()  # its caller is not left waiting
    service.wait_until_ready()
    assert [other.pid for other in service.workers()] != [worker.pid]
    assert service.tag("محمد")[0] == 200


def quietly(service: Served) -> None:
    with contextlib.suppress(OSError, http.client.HTTPException):
        service.tag(ARTICLE)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_under_load_loses_nothing_that_was_accepted(
    tmp_path: Path, number: signal.Signals
) -> None:
    with served(tmp_path, KHABAR_SETTINGS=own_settings(tmp_path)) as service:
        with ThreadPoolExecutor(9) as callers:
            accepted = [callers.submit(service.tag, f"{i} {ARTICLE}") for i in range(8)]
            wait_until(lambda: waiting_articles(service) >= 1)
            os.kill(service.process.pid, number)
            late = callers.submit(refusal_while_stopping, service)
            for future in accepted:
                status, answer = future.result(120)
                assert status == 200 or answer["error"]["code"] == "draining"
            assert any(future.result()[0] == 200 for future in accepted)
            assert late.result(60) in ("draining", "closed")
        assert service.process.wait(60) == 0


def waiting_articles(service: Served) -> float:
    """How many articles are in the queue, by its metrics."""
    figures = service.request("GET", "/metrics")[2].decode()
    found = re.search(r"^khabar_waiting_articles(?:{.*})? (\S+)$", figures, re.MULTILINE)
    return float(found[1]) if found else 0.0


def own_settings(folder: Path) -> str:
    own = folder / "own.yaml"
    own.write_text("batch_pieces: 500\nmax_waiting_pieces: 100000\n")
    return str(own)


def refusal_while_stopping(service: Served) -> str:
    """What a newcomer is told once the service is stopping."""
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        try:
            status, answer = service.tag("محمد")
        except (OSError, http.client.HTTPException):
            return "closed"
        if status != 200:
            return str(answer["error"]["code"])
    return "served on"


def test_a_damaged_bundle_is_told_and_nothing_starts(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(DEFAULT_FOLDER, bundle)
    with (bundle / MODEL).open("r+b") as model:
        model.seek(1000)
        model.write(b"damaged")
    command = [sys.executable, "-m", "khabar", "serve", "--port", "1", "--bundle", str(bundle)]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert MODEL in done.stderr and "Traceback" not in done.stderr
