"""A real `khabar serve` in processes of its own, for tests of its signals and its sockets."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

READY_S = 120  # a busy machine loads the model slowly
STOP_S = 30
JSON = {"Content-Type": "application/json"}


@dataclass
class Served:
    """A running service; its supervisor is a child of the test, its workers are children of it."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def address(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self.port}"

    def connect(self, timeout_s: float = 60) -> http.client.HTTPConnection:
        """A new connection."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)

    def request(
        self, method: str, path: str, body: bytes | None = None, timeout_s: float = 60
    ) -> tuple[int, dict[str, str], bytes]:
        """The status, headers and body of an answer, over a connection of its own."""
        connection = self.connect(timeout_s)
        try:
            connection.request(method, path, body, JSON if body is not None else {})
            answer = connection.getresponse()
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, headers, answer.read()
        finally:
            connection.close()

    def tag(self, *texts: str, timeout_s: float = 120) -> tuple[int, dict[str, Any]]:
        """The status and JSON of `POST /v1/tag`."""
        body = json.dumps({"articles": [{"text": text} for text in texts]}).encode()
        status, _, answer = self.request("POST", "/v1/tag", body, timeout_s)
        return status, json.loads(answer)

    def workers(self) -> list[psutil.Process]:
        """The processes that answer, without the one that tracks Python's shared resources."""
        children = psutil.Process(self.process.pid).children()
        return [child for child in children if "_bentoml_impl" in " ".join(child.cmdline())]

    def is_ready(self) -> bool:
        """Whether /readyz says yes."""
        try:
            return self.request("GET", "/readyz", timeout_s=5)[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def wait_until_ready(self) -> None:
        """Return when it is ready; fail with the end of the log when it ends or never is."""
        end = time.monotonic() + READY_S
        while time.monotonic() < end and self.process.poll() is None:
            if self.is_ready():
                return
            time.sleep(0.1)
        raise AssertionError(f"khabar serve did not start:\n{self.told()[-3000:]}")

    def told(self) -> str:
        """What it wrote to stderr."""
        return self.log.read_text(errors="replace")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def served(folder: Path, *arguments: str, **environment: str) -> Iterator[Served]:
    """`khabar serve` with the shipped bundle on a free port, ended with the block."""
    port = free_port()
    log = folder / "serve.log"
    env = {name: value for name, value in os.environ.items() if not name.startswith("KHABAR_")}
    env["BENTOML_HOME"] = str(folder / "bentoml")
    command = [sys.executable, "-m", "khabar", "serve", "--port", str(port), *arguments]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=Path(__file__).parents[1], env=env | environment, stdout=out, stderr=out
        )
    service = Served(process, port, log)
    try:
        service.wait_until_ready()
        yield service
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a service and its workers, which have sessions of their own."""
    if process.poll() is not None:
        return
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    process.send_signal(signal.SIGTERM)
    for left in psutil.wait_procs(family, timeout=STOP_S)[1]:
        left.kill()
    process.wait()


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`khabar serve` as it ships, up for the whole session."""
    with served(tmp_path_factory.mktemp("service")) as opened:
        yield opened
