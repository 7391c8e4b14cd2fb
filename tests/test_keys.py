"""API keys: who is let in, what is refused at the start, and that a key is told nowhere."""

from __future__ import annotations

import logging
import os
import time
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.datastructures import Headers

from annotations.errors import ConfigError
from serving import keys as keys_module
from serving.keys import ANYONE, FILE_VARIABLE, KEYS_VARIABLE, Keys

ALPHA = "alpha-0123456789abcdef"
BETA = "beta.0123456789/ABCDEF+w=="
BOTH = {KEYS_VARIABLE: f"desk:{ALPHA}, archive:{BETA}"}


def headers(**values: str) -> Headers:
    return Headers({name.replace("_", "-"): value for name, value in values.items()})


def write(path: Path, text: str) -> Path:
    """Replace a file as an operator does who wants no reader to see half of it."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text, encoding="utf-8")
    fresh.chmod(0o600)
    return fresh.replace(path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "keys.txt", f"# the desk\n\ndesk:{ALPHA}\n{BETA}\n")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"authorization": f"Bearer {ALPHA}"}, "desk"),
        ({"authorization": f"bearer  {BETA} "}, "archive"),
        ({"x_api_key": BETA}, "archive"),
        ({"authorization": "Basic YTpi", "x_api_key": ALPHA}, "desk"),
        ({}, None),
        ({"authorization": ALPHA}, None),
        ({"authorization": f"Basic {ALPHA}"}, None),
        ({"authorization": "Bearer"}, None),
        ({"x_api_key": ALPHA[:-1]}, None),
        ({"x_api_key": ALPHA.upper()}, None),
        ({"x_api_key": f"desk:{ALPHA}"}, None),
        ({"x_api_key": f"{ALPHA},{BETA}"}, None),
    ],
)
def test_a_key_is_taken_from_either_header(given: dict[str, str], expected: str | None) -> None:
    assert Keys.from_environment(environment=BOTH).allow(headers(**given)) == expected


@pytest.mark.parametrize("environment", [{}, {KEYS_VARIABLE: " ", FILE_VARIABLE: ""}])
def test_a_service_without_keys_is_open(environment: dict[str, str]) -> None:
    keys = Keys.from_environment(environment=environment)
    assert keys.allow(headers()) == keys.allow(headers(x_api_key="x")) == ANYONE


def test_keys_without_names_are_named_by_their_place(file: Path) -> None:
    environment = {KEYS_VARIABLE: "gamma-0123456789abcdef", FILE_VARIABLE: str(file)}
    keys = Keys.from_environment(environment=environment)
    assert keys.names == ("key1", "desk", "line4")
    assert keys.allow(headers(x_api_key=BETA)) == "line4"


def test_the_file_of_the_environment_is_taken_rather_than_that_of_the_settings(
    file: Path, tmp_path: Path
) -> None:
    missing = tmp_path / "missing.txt"
    assert len(Keys.from_environment(missing, {FILE_VARIABLE: str(file)}).names) == 2
    assert len(Keys.from_environment(file, {}).names) == 2


@settings(deadline=None)
@given(text=st.text(), raw=st.binary())
def test_no_header_whatever_its_bytes_is_let_in_or_breaks(text: str, raw: bytes) -> None:
    keys = Keys.from_environment(environment=BOTH)
    assert keys.allow({"authorization": f"Bearer {text}", "x-api-key": text}) is None
    on_the_wire = Headers(raw=[(b"authorization", b"Bearer " + raw), (b"x-api-key", raw)])
    assert keys.allow(on_the_wire) is None


@settings(deadline=None)
@given(key=st.from_regex(r"[A-Za-z0-9._~+/-]{16,64}={0,2}", fullmatch=True))
def test_every_well_formed_key_opens_and_its_beginning_does_not(key: str) -> None:
    keys = Keys.from_environment(environment={KEYS_VARIABLE: f"it:{key}"})
    assert keys.allow(headers(authorization=f"Bearer {key}")) == "it"
    assert keys.allow(headers(x_api_key=key[:-1])) is None
    assert key not in repr(keys)


def test_all_keys_are_compared_whichever_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(ours: bytes, theirs: bytes) -> bool:
        compared.append((ours, theirs))
        return ours == theirs

    keys = Keys.from_environment(environment=BOTH)
    monkeypatch.setattr(keys_module.hmac, "compare_digest", compare)
    assert keys.allow(headers(authorization=f"Bearer {ALPHA}")) == "desk"
    digests = [sha256(key.encode()).digest() for key in (ALPHA, BETA)]
    assert [pair for pair in compared if pair[1] == digests[0]] == [
        (digests[0], digests[0]),
        (digests[1], digests[0]),
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("short:tiny-secret", "entry 1: the key has 11 characters"),
        (f"{ALPHA},another-secr", "entry 2: the key has 12 characters"),
        (f"desk:{ALPHA},desk:{BETA}", "entry 2: the same name as .*entry 1"),
        (f"desk:{ALPHA},archive:{ALPHA}", "entry 2: the same key as .*entry 1"),
        (f"a name:{ALPHA}", "entry 1: the name before the colon"),
        (f":{ALPHA}", "entry 1: the name before the colon"),
        (f"anyone:{ALPHA}", "not 'anyone'"),
        (f"desk:{ALPHA}:{ALPHA}", "entry 1: the name before the colon"),
        ("desk:مفتاح-سري-طويل-جدا", "entry 1: a key may hold"),
        ("desk:secret with blanks in it", "entry 1: a key may hold"),
        (" , ,", "holds no API key"),
    ],
)
def test_a_bad_list_is_refused_by_its_place_and_never_quoted(text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as refused:
        Keys.from_environment(environment={KEYS_VARIABLE: text})
    said = str(refused.value)
    assert KEYS_VARIABLE in said
    secrets = [entry.rpartition(":")[2].strip() for entry in text.split(",")]
    assert not any(secret and secret in said for secret in secrets)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"# nobody yet\n", "holds no API key"),
        (b"desk:tiny-secret\n", "line 1: the key has 11 characters"),
        (f"{ALPHA}\n# again\n{ALPHA}\n".encode(), "line 3: the same key as .*line 1"),
        (b"desk:\xff" + ALPHA.encode(), "not UTF-8"),
    ],
)
def test_a_bad_file_is_refused_by_its_line_and_never_quoted(
    tmp_path: Path, content: bytes, told: str
) -> None:
    path = tmp_path / "keys.txt"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=told) as refused:
        Keys.from_environment(path, {})
    assert str(path) in str(refused.value)
    assert ALPHA not in str(refused.value) and "tiny-secret" not in str(refused.value)


def test_a_missing_file_is_refused_and_not_an_open_service(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.txt: cannot read the API keys: No such file"):
        Keys.from_environment(environment={FILE_VARIABLE: str(tmp_path / "none.txt")})


def test_a_file_written_on_another_system_is_read(tmp_path: Path) -> None:
    path = tmp_path / "keys.txt"
    path.write_bytes(b"\xef\xbb\xbf" + f"desk:{ALPHA}\r\n".encode())
    assert Keys.from_environment(path, {}).allow(headers(x_api_key=ALPHA)) == "desk"


def test_a_changed_file_changes_the_keys_of_a_running_service(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys = Keys.from_environment(file, {})
    with caplog.at_level(logging.INFO, "khabar.keys"):
        write(file, f"archive:{BETA}\n")
        assert keys.allow(headers(x_api_key=ALPHA)) is None
    assert keys.allow(headers(x_api_key=BETA)) == "archive"
    assert "archive" in caplog.text and BETA not in caplog.text


@pytest.mark.parametrize("content", ["", "desk:tiny-secret\n", None])
def test_a_file_that_turns_bad_leaves_the_keys_and_is_told_once(
    file: Path, content: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    keys = Keys.from_environment(file, {})
    if content is None:
        file.unlink()
    else:
        write(file, content)
    for _ in range(3):
        assert keys.allow(headers(x_api_key=ALPHA)) == "desk"
        assert keys.allow(headers()) is None
    assert caplog.text.count("the API keys stay as they were") == 1
    assert "tiny-secret" not in caplog.text
    write(file, f"mended:{ALPHA}\n")
    assert keys.allow(headers(x_api_key=ALPHA)) == "mended"


def test_a_file_that_could_not_be_read_for_a_while_is_read_when_it_can(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of the file need change: a disk that was gone comes back."""
    keys, reading = Keys.from_environment(file, {}), keys_module.keys_of_file
    write(file, f"archive:{BETA}\n")
    with monkeypatch.context() as broken:
        broken.setattr(keys_module, "keys_of_file", lambda path: reading(path / "gone"))
        assert keys.allow(headers(x_api_key=ALPHA)) == "desk"
    assert keys.allow(headers(x_api_key=BETA)) == "line4"  # not with every request
    later = time.monotonic() + keys_module.RETRY_S
    monkeypatch.setattr(keys_module.time, "monotonic", lambda: later)
    assert keys.allow(headers(x_api_key=BETA)) == "archive"


def test_a_file_whose_rights_were_put_right_is_read_again(file: Path) -> None:
    keys, good = Keys.from_environment(file, {}), f"archive:{BETA}\n"
    write(file, "!" * len(good))
    assert keys.allow(headers(x_api_key=ALPHA)) == "desk"
    before = file.stat()
    file.write_text(good)  # of the same size, and of the same time below
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.chmod(file, 0o640)
    assert keys.allow(headers(x_api_key=BETA)) == "archive"


def test_an_unchanged_file_is_not_read_again(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = Keys.from_environment(file, {})
    monkeypatch.setattr(keys_module, "keys_of_file", lambda path: pytest.fail("read again"))
    assert keys.allow(headers(x_api_key=ALPHA)) == "desk"


@pytest.mark.parametrize(("mode", "warned"), [(0o644, True), (0o640, False), (0o600, False)])
def test_a_file_that_all_can_read_is_warned_of(
    file: Path, mode: int, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    os.chmod(file, mode)
    Keys.from_environment(file, {})
    assert ("chmod 600" in caplog.text) == warned


def test_no_key_is_in_a_repr(file: Path) -> None:
    keys = Keys.from_environment(file, {})
    assert repr(keys) == "Keys(desk, line4)"
    told = repr(keys_module.keys_of_file(file)) + repr(Keys())
    assert ALPHA not in told and repr(sha256(ALPHA.encode()).digest()) not in told
