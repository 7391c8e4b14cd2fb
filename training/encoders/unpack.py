"""From a bundle back to a Hugging Face folder with its heads, so that training can go on from it.

The weights are those that the bundle computes with: of an int8 bundle they are what rounding left.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import save_file
from transformers import AutoConfig, AutoModel, PreTrainedConfig

from annotations.seed import seed_text
from serving.bundle import MODEL, TOKENIZER, Bundle, Manifest
from serving.encoding import PAIR_FRAME
from serving.runtime import OnnxBackend, padded
from training.encoders.onnx_weights import (
    Floats,
    UnpackError,
    WeightReader,
    attribute,
    named_weights,
)
from training.encoders.sources import load_encoder
from training.encoders.trained import load_heads, write_heads
from training.lineage import Lineage
from training.model import MultiHeadModel
from training.scratch import beside

log = logging.getLogger(__name__)
EXACT = 1e-3  # mean difference of logits to a graph that does not round
NOISE, SLACK = 0.15, 0.02  # to one that does: share of their spread, and in logits
_LAYER = re.compile(r"encoder\.layer\.(\d+)\.")
_POOLERLESS = ("bert", "roberta", "xlm-roberta")


def encoder_from_bundle(bundle: Path, out: Path) -> Path:
    """Write the encoder of a bundle and its heads to `out`; returns it.

    The rebuilt model is run beside the bundle's own on the seed article, and refused when their
    logits differ by more than rounding explains.
    """
    loaded = Bundle.load(bundle)
    if out.exists() and any(out.iterdir()):
        raise UnpackError(f"{out} is not empty; give a new folder to write to")
    reader = WeightReader(bundle / MODEL)
    weights = named_weights(reader)
    encoder = _below(weights, "model.encoder.")
    config = _config(loaded.manifest, reader, encoder)
    _check_complete(config, encoder, bundle)
    with beside(out) as partial:
        config.save_pretrained(partial)
        _save(encoder, partial / "model.safetensors")
        shutil.copy(bundle / TOKENIZER, partial)
        _write_tokenizer_config(loaded.manifest, config, partial)
        heads = _below(weights, "model.heads.")
        write_heads(
            partial,
            loaded.manifest.heads,
            {name: torch.from_numpy(np.ascontiguousarray(w)) for name, w in heads.items()},
            _about(loaded.manifest),
        )
        rounds = any("QuantizeLinear" in kind for kind in reader.operators)
        _compare(loaded, partial, exact=not rounds)
        place = out.resolve()
        if place.exists():
            place.rmdir()
        partial.rename(place)
    return out


def _below(weights: dict[str, Floats], prefix: str) -> dict[str, Floats]:
    """The weights whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)}


def _save(weights: dict[str, Floats], path: Path) -> None:
    tensors = {name: np.ascontiguousarray(array) for name, array in weights.items()}
    save_file(tensors, path, metadata={"format": "pt"})


def _config(
    manifest: Manifest, reader: WeightReader, weights: dict[str, Floats]
) -> PreTrainedConfig:
    """The encoder's config: as the bundle says it, else read off a BERT's weights and graph."""
    stated = manifest.training.get("encoder_config")
    if stated:
        values = dict(stated)
        return AutoConfig.for_model(values.pop("model_type"), **values)
    words = weights.get("embeddings.word_embeddings.weight")
    types = weights.get("embeddings.token_type_embeddings.weight")
    layers = {int(found[1]) for name in weights if (found := _LAYER.match(name))}
    inner = weights.get("encoder.layer.0.intermediate.dense.weight")
    if words is None or types is None or inner is None or "CumSum" in reader.operators:
        raise UnpackError(
            f"{reader.path}: the bundle does not state its encoder's config, and only a BERT's can "
            "be read off the graph; export the bundle again"
        )
    norm = next(node for node in reader.graph.nodes if node.op_type == "LayerNormalization")
    if "Erf" not in reader.operators and "Gelu" not in reader.operators:
        raise UnpackError(f"{reader.path}: its activation is not gelu; export the bundle again")
    return AutoConfig.for_model(
        "bert",
        architectures=["BertModel"],
        dtype="float32",
        vocab_size=len(words),
        hidden_size=words.shape[1],
        num_hidden_layers=len(layers),
        num_attention_heads=words.shape[1] // _head_size(reader),
        intermediate_size=len(inner),
        max_position_embeddings=len(weights["embeddings.position_embeddings.weight"]),
        type_vocab_size=len(types),
        layer_norm_eps=attribute(norm, "epsilon", 1e-5),
        pad_token_id=manifest.special.pad,
    )


def _head_size(reader: WeightReader) -> int:
    """The width of an attention head: the last number in the shape that queries are given."""
    constants = reader.graph.constants
    query = next(name for name in constants if name.endswith("layer.0.attention.self.query.bias"))
    (added,) = reader.consumers(query)
    for node in reader.consumers(added.output[0]):
        if node.op_type == "Reshape":
            shape = reader.constant(node.input[1])
            if shape is None:
                shape = reader.constant(reader.producer[node.input[1]].input[-1])
            if shape is not None and int(shape[-1]) > 0:
                return int(shape[-1])
    raise UnpackError(
        f"{reader.path}: the shape of its queries does not show how many attention heads there "
        "are; export the bundle again"
    )


def _check_complete(config: PreTrainedConfig, weights: dict[str, Floats], bundle: Path) -> None:
    extra = {"add_pooling_layer": False} if config.model_type in _POOLERLESS else {}
    with torch.device("meta"):
        expected = AutoModel.from_config(config, **extra).state_dict()
    lacking = sorted(expected.keys() - weights.keys())
    if lacking:
        raise UnpackError(
            f"{bundle / MODEL}: {len(lacking)} of the encoder's {len(expected)} weights are not "
            f"found in it, such as {lacking[0]}; take a bundle of another quantisation"
        )
    for name, weight in expected.items():
        if tuple(weight.shape) != weights[name].shape:
            raise UnpackError(
                f"{bundle / MODEL}: {name} is {weights[name].shape}, its config wants "
                f"{tuple(weight.shape)}; export the bundle again"
            )
    for name in weights.keys() - expected.keys():
        del weights[name]


def _write_tokenizer_config(manifest: Manifest, config: PreTrainedConfig, folder: Path) -> None:
    added = json.loads((folder / TOKENIZER).read_text(encoding="utf-8"))["added_tokens"]
    names = {token["id"]: token["content"] for token in added}
    special = manifest.special
    begin, end, pad = (names.get(i) for i in (special.begin, special.end, special.pad))
    roles: dict[str, Any] = {"bos_token": begin, "cls_token": begin, "pad_token": pad}
    roles |= {"eos_token": end, "sep_token": end}
    for role, options in (
        ("unk_token", ("<unk>", "[UNK]")),
        ("mask_token", ("<mask>", "[MASK]")),
    ):
        roles[role] = next((name for name in options if name in names.values()), None)
    settings = {role: name for role, name in roles.items() if name is not None}
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    settings["model_max_length"] = config.max_position_embeddings
    settings["clean_up_tokenization_spaces"] = False
    text = json.dumps(settings, ensure_ascii=False, indent=2) + "\n"
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")


def _about(manifest: Manifest) -> dict[str, Any]:
    """Which bundle it was, where it came from, and the rules under which it reads."""
    return {
        "bundle": {"name": manifest.name, "version": manifest.version},
        **Lineage.of_bundle(manifest).to_dict(),
        **manifest.model_dump(mode="json", include={"normalization", "window", "pair_max_pieces"}),
    }


def _compare(bundle: Bundle, folder: Path, exact: bool) -> None:
    """Refuse a folder whose model does not say what the bundle says of the seed article."""
    heads = bundle.manifest.heads
    model = MultiHeadModel(load_encoder(folder), heads, 0.0, {}).eval()
    missing = {head.name for head in heads} - set(load_heads(model, folder))
    if missing:
        raise UnpackError(f"{bundle.folder / MODEL}: no weights of head {', '.join(missing)}")
    inputs = _sample(bundle)
    with torch.no_grad():
        logits = model.logits(*(torch.from_numpy(part) for part in inputs))
    expected = OnnxBackend(bundle.folder / MODEL, heads).run(*inputs)
    read = inputs[1].astype(bool)
    for head, rebuilt in zip(heads, logits, strict=True):
        wanted, found = expected[head.name], rebuilt.numpy()
        if found.ndim == 3:
            wanted, found = wanted[read], found[read]
        gap = np.abs(wanted - found)
        log.info("head %s: logits differ by %.3f, at most %.3f", head.name, gap.mean(), gap.max())
        allowed = EXACT if exact else NOISE * wanted.std() + SLACK
        if not gap.mean() <= allowed:
            raise UnpackError(
                f"{bundle.folder / MODEL}: rebuilt, head {head.name} differs from it by "
                f"{gap.mean():.3f} on the seed article where logits spread by {wanted.std():.3f}; "
                "the graph is not understood, export the bundle again"
            )


def _sample(bundle: Bundle) -> tuple[npt.NDArray[np.int64], ...]:
    """Windows of the seed article and a pair from it as three inputs, each (rows, pieces)."""
    encoder = bundle.text_encoder()
    encoded = encoder.encode(seed_text())
    framed = [encoder.frame(encoded.pieces[w.start : w.end]) for w in encoded.windows[:3]]
    room = min(bundle.manifest.pair_max_pieces, bundle.manifest.window.size)
    passage = encoded.pieces[12 : room - PAIR_FRAME]
    framed.append(encoder.frame_pair(encoded.pieces[:12], passage, room))
    ids = padded([ids for ids, _ in framed], encoder.special.pad)
    segments = padded([part for _, part in framed], 0)
    mask = padded([np.ones(len(ids), dtype=np.int64) for ids, _ in framed], 0)
    return ids, mask, segments
