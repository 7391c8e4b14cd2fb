"""The runtime: the device that was asked for, or an error; and memory that does not grow."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

from annotations.errors import KhabarError
from serving.bundle import DEFAULT_FOLDER, MODEL, Bundle, BundleError, Head
from serving.runtime import DeviceError, OnnxBackend

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
PATH = DEFAULT_FOLDER / MODEL


@pytest.fixture
def heads() -> tuple[Head, ...]:
    return Bundle.load(DEFAULT_FOLDER).manifest.heads


class FakeSession:
    """A session that reports the providers it was made with, or others."""

    made: list[dict[str, Any]]
    found: list[str] | None
    heads: tuple[Head, ...]

    def __init__(self, path: str, options: onnxruntime.SessionOptions, **given: Any) -> None:
        self.made.append(given)
        self.providers = self.found or given["providers"]

    def get_providers(self) -> list[str]:
        return self.providers

    def get_outputs(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name=h.name, shape=["batch", h.width]) for h in self.heads]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, heads: tuple[Head, ...]) -> type[FakeSession]:
    """An onnxruntime-gpu whose sessions are fake."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(onnxruntime, "InferenceSession", FakeSession)
    monkeypatch.setattr(FakeSession, "made", [], raising=False)
    monkeypatch.setattr(FakeSession, "found", None, raising=False)
    monkeypatch.setattr(FakeSession, "heads", heads, raising=False)
    return FakeSession


def test_cuda_without_its_provider_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, heads: tuple[Head, ...]
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])
    with pytest.raises(DeviceError, match="install onnxruntime-gpu in place of") as caught:
        OnnxBackend(PATH, heads, device="cuda")
    assert isinstance(caught.value, KhabarError)
    assert f"needs {CUDA}, this onnxruntime has {CPU};" in str(caught.value)


def test_cuda_is_asked_first_and_the_cpu_takes_what_it_cannot(
    gpu: type[FakeSession], heads: tuple[Head, ...]
) -> None:
    OnnxBackend(PATH, heads, device="cuda")
    OnnxBackend(PATH, heads)
    assert [given["providers"] for given in gpu.made] == [[CUDA, CPU], [CPU]]
    assert {given["enable_fallback"] for given in gpu.made} == {0}


def test_a_session_that_went_to_the_cpu_is_refused(
    gpu: type[FakeSession], heads: tuple[Head, ...]
) -> None:
    gpu.found = [CPU]
    with pytest.raises(
        DeviceError, match=rf"'cuda' cannot be used: it runs on {CPU}; .*nvidia-smi"
    ):
        OnnxBackend(PATH, heads, device="cuda")


@pytest.mark.filterwarnings("ignore:Specified provider:UserWarning")
def test_the_real_runtime_does_not_go_to_the_cpu_unseen(
    monkeypatch: pytest.MonkeyPatch, heads: tuple[Head, ...]
) -> None:
    if CUDA in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    with pytest.raises(DeviceError, match="cannot be used: it runs on"):
        OnnxBackend(PATH, heads, device="cuda")


def test_a_gpu_that_fails_is_told_in_one_line(
    gpu: type[FakeSession], heads: tuple[Head, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA failure 35: driver too old\n ; GPU=0 ; file=a.cc")

    monkeypatch.setattr(onnxruntime, "InferenceSession", broken)
    with pytest.raises(DeviceError, match=r"failure 35: driver too old; see that `nvidia-smi`"):
        OnnxBackend(PATH, heads, device="cuda")
    with pytest.raises(RuntimeError, match="driver too old"):
        OnnxBackend(PATH, heads)


def test_a_head_of_another_width_is_refused(heads: tuple[Head, ...]) -> None:
    wider = heads[0].model_copy(update={"labels": (*heads[0].labels, "NEW")})
    with pytest.raises(BundleError, match=f"head '{wider.name}' needs {wider.width} numbers, the"):
        OnnxBackend(PATH, (wider,))


def test_no_plan_of_memory_is_kept_for_each_shape(heads: tuple[Head, ...]) -> None:
    backend = OnnxBackend(PATH, heads, threads=1)
    assert not backend.session.get_session_options().enable_mem_pattern
    one = np.ones((1, 5), np.int64)
    assert backend.run(one, one, one * 0)[heads[0].name].shape[:2] == (1, 5)
