"""How the service starts: its settings, its address, what it refuses to start with."""

from __future__ import annotations

import json
import os
import socket
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml.serving import ensure_prometheus_dir

from annotations.errors import ConfigError
from serving import service
from serving.bundle import BundleError
from serving.cores import usable_cores
from serving.keys import FILE_VARIABLE as KEYS_FILE
from serving.keys import Keys
from serving.prediction import MAX_BODY_BYTES, MAX_CODE_POINTS
from serving.settings import (
    BUNDLE_VARIABLE,
    MAX_READING_THREADS,
    SETTINGS_VARIABLE,
    bundle_folder,
    read_settings,
    serve_settings,
)
from tests.served import free_port


def test_the_shipped_settings_are_the_limits_of_the_contract() -> None:
    shipped = serve_settings()
    assert shipped.host == "127.0.0.1"
    assert shipped.max_code_points == MAX_CODE_POINTS
    assert shipped.max_body_bytes == MAX_BODY_BYTES


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prot: 3000", "serving.yaml: .*host"),
        ("{", "serving.yaml is not YAML"),
        ("- port: 3000", "serving.yaml holds a YAML list; write KEY: VALUE lines"),
        ("3000", "serving.yaml holds a YAML int; write KEY: VALUE lines"),
        ("", "serving.yaml: host: Field required"),
        ("port: '3000'", "serving.yaml"),
    ],
)
def test_wrong_settings_name_the_file_and_the_key(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_settings(text, "serving.yaml")


def test_an_unknown_setting_is_named() -> None:
    text = "\n".join(f"{name}: {json.dumps(value)}" for name, value in serve_settings())
    assert read_settings(text, "serving.yaml") == serve_settings()
    with pytest.raises(ConfigError, match=r"serving.yaml: unknown key 'prot'; use host,"):
        read_settings(text + "\nprot: 1", "serving.yaml")


def test_a_file_of_ones_own_replaces_what_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own.yaml"
    monkeypatch.setenv(SETTINGS_VARIABLE, str(own))
    serve_settings.cache_clear()
    try:
        with pytest.raises(ConfigError, match=f"{own}: cannot be read"):
            serve_settings()
        own.write_text("port: 4000")
        assert (serve_settings().port, serve_settings().host) == (4000, "127.0.0.1")
        for nothing in ("", "# port: 4000\n"):
            serve_settings.cache_clear()
            own.write_text(nothing)
            assert serve_settings().port == 3000
    finally:
        serve_settings.cache_clear()


@pytest.mark.parametrize(
    ("cores", "workers", "threads", "device", "reading"),
    [
        (2, 1, 0, "cpu", 2),
        (16, 1, 0, "cpu", MAX_READING_THREADS),
        (16, 4, 0, "cpu", 4),
        (2, 4, 0, "cpu", 1),
        (16, 1, 3, "cpu", 3),
        (16, 1, 0, "cuda", 2),
        (16, 1, 5, "cuda", 5),
    ],
)
def test_a_worker_reads_with_its_share_of_the_cores(
    monkeypatch: pytest.MonkeyPatch,
    cores: int,
    workers: int,
    threads: int,
    device: str,
    reading: int,
) -> None:
    monkeypatch.setattr("serving.settings.usable_cores", lambda: cores)
    changed = {"workers": workers, "threads": threads, "device": device}
    assert serve_settings().model_copy(update=changed).reading_threads == reading


def test_cores_are_those_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    assert usable_cores() == len(os.sched_getaffinity(0))
    monkeypatch.delattr(os, "sched_getaffinity")
    assert usable_cores() == os.cpu_count()


def test_a_taken_port_is_told_with_the_way_out() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = cast(int, taken.getsockname()[1])
        with pytest.raises(service.ServeError, match=f"port {port}: .* --port"):
            service.free_address("127.0.0.1", port)


def test_a_free_address_is_numeric() -> None:
    assert service.free_address("127.0.0.1", 0) == "127.0.0.1"


def test_the_address_is_told_once_the_service_is_ready(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Ready(threading.Thread):
        def __init__(self) -> None:
            super().__init__(daemon=True)
            self.listening = socket.create_server(("127.0.0.1", 0))

        def run(self) -> None:
            for status in ("503 Wait", "200 OK"):
                connection, _ = self.listening.accept()
                connection.recv(1000)
                connection.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
                connection.close()

    server = Ready()
    server.start()
    port = server.listening.getsockname()[1]
    service.announce("0.0.0.0", port)
    assert capsys.readouterr().err == f"khabar: http://127.0.0.1:{port}\n"
    server.listening.close()


def test_the_workers_start_beside_our_packages_and_find_what_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(KEYS_FILE, "keys.txt")
    monkeypatch.setenv(BUNDLE_VARIABLE, "")
    monkeypatch.setenv("BENTOML_HOME", "~/bentos")
    server = SimpleNamespace()
    service.leave_folder(server)
    assert (Path(server.working_dir) / "serving" / "service.py").samefile(service.__file__)
    assert os.environ[KEYS_FILE] == str(tmp_path / "keys.txt")
    assert (os.environ[BUNDLE_VARIABLE], os.environ["BENTOML_HOME"]) == ("", "~/bentos")


@pytest.mark.parametrize("variable", [SETTINGS_VARIABLE, BUNDLE_VARIABLE, KEYS_FILE])
def test_a_relative_path_that_leads_nowhere_is_told_with_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(variable, "own/place")
    read = {
        SETTINGS_VARIABLE: serve_settings.__wrapped__,
        BUNDLE_VARIABLE: bundle_folder,
        KEYS_FILE: Keys.from_environment,
    }[variable]
    with pytest.raises(ConfigError, match=f"^{variable}: no own/place in {tmp_path}; give the who"):
        read()


def test_an_account_without_a_home_is_told_of_bentoml_home(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def get() -> str:
        raise FileNotFoundError(2, "No such file or directory", "/nonexistent")

    monkeypatch.setattr(BentoMLContainer, "bentoml_home", SimpleNamespace(get=get))
    words = r"^/nonexistent: No such file or directory; .* BENTOML_HOME names another"
    with pytest.raises(service.ServeError, match=words):
        service.serve()


def test_a_folder_that_is_no_bundle_is_told_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(BUNDLE_VARIABLE, "")
    assert bundle_folder() is None
    with pytest.raises(BundleError, match=r"no bundle\.json"):
        service.serve(bundle=tmp_path)
    assert bundle_folder() == tmp_path.resolve()


def test_services_of_one_user_keep_their_metrics_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = []
    BentoMLContainer.prometheus_multiproc_dir.set(str(tmp_path))  # that of the user

    def start(**_: object) -> None:
        folders.append(Path(ensure_prometheus_dir()))  # as BentoML does when it starts
        (folders[-1] / "counter_1.db").touch()
        if len(folders) == 1:
            service.serve(port=free_port())
        assert (folders[0] / "counter_1.db").exists()

    monkeypatch.setenv(BUNDLE_VARIABLE, "")
    monkeypatch.setattr(service, "announce", lambda *_: None)
    monkeypatch.setattr("serving.logs.configure", lambda _: None)
    monkeypatch.setattr(service.NewsService, "serve_http", start)
    service.serve(port=free_port())
    BentoMLContainer.prometheus_multiproc_dir.reset()
    assert folders[0] != folders[1] and not any(folder.exists() for folder in folders)
