"""A multilingual encoder made small: the vocabulary it needs for one language, and no other change.

From any Hugging Face encoder folder with a Unigram or WordPiece tokenizer.json to another such
folder; a text that used only kept pieces gets the same pieces and the same hidden states.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer

from training.packaged import EncoderError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# The Arabic alphabet with tatweel and diacritics, and the letters Persian and Maghrebi names add.
ARABIC_ALPHABET = frozenset(map(chr, range(0x0621, 0x0653))) | frozenset("ٰٱگپچڤژڭڨڥ")
DIGITS = frozenset("0123456789٠١٢٣٤٥٦٧٨٩۰۱۲۳۴۵۶۷۸۹")
MAX_DIGITS, MAX_LATIN = 4, 3

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Coverage:
    """What a tokenizer makes of the sample texts; words are what whitespace separates."""

    pieces_per_word: float
    unknown_share: float  # of all pieces


@dataclass(frozen=True, slots=True)
class TrimReport:
    """What trimming changed. Coverage is None where no sample texts were given."""

    pieces_before: int
    pieces_after: int
    parameters_before: int
    parameters_after: int
    coverage_before: Coverage | None
    coverage_after: Coverage | None


def arabic_news_piece(piece: str) -> bool:
    """Whether Arabic news needs the piece; a leading "▁" or "##" does not count.

    Kept: pieces of Arabic letters and diacritics, any single letter or mark of the Arabic block,
    numbers up to four digits, Latin pieces up to three letters, punctuation and symbols.
    """
    bare = piece.removeprefix("▁").removeprefix("##") or piece
    if bare == "▁":
        return True
    if len(bare) == 1 and "\u0600" <= bare <= "\u06ff":
        return True
    if DIGITS.issuperset(bare):
        return len(bare) <= MAX_DIGITS
    if bare.isascii() and bare.isalpha():
        return len(bare) <= MAX_LATIN
    return ARABIC_ALPHABET.issuperset(bare) or all(unicodedata.category(c)[0] in "PS" for c in bare)


def trim(
    source: Path, out: Path, keep: Callable[[str], bool], samples: Sequence[str] = ()
) -> TrimReport:
    """Write the encoder in `source` to `out` with only the pieces `keep` accepts.

    Added and special tokens always stay, and pieces keep their order. `keep` sees a piece as the
    vocabulary spells it ("▁من", "##ات"). A head on top of the encoder is left behind.
    """
    from transformers import AutoModel, AutoTokenizer

    if out.resolve() == source.resolve():
        raise EncoderError(f"{out} is also the source; give another folder to write to")
    before = _read_tokenizer(source)
    kept = _kept_ids(before, keep)
    if len(kept) == len(_always_kept(before)):
        raise EncoderError(f"{source}: not one of its pieces is kept; check the keep rule")
    ids = {old: new for new, old in enumerate(kept)}
    after = _trim_tokenizer(before, ids)
    model, loading = AutoModel.from_pretrained(source, output_loading_info=True)
    state = {k: v for k, v in model.state_dict().items() if k not in loading["missing_keys"]}
    parameters_before = sum(weight.numel() for weight in state.values())
    state = _trim_model(model, state, kept, source)
    model.save_pretrained(out, state_dict=state)
    _write_tokenizer(after, AutoTokenizer.from_pretrained(source), out)
    return TrimReport(
        pieces_before=len(_pieces(before)),
        pieces_after=len(kept),
        parameters_before=parameters_before,
        parameters_after=sum(weight.numel() for weight in state.values()),
        coverage_before=_coverage(before, samples),
        coverage_after=_coverage(after, samples),
    )


def _read_tokenizer(source: Path) -> Json:
    path = source / "tokenizer.json"
    if not path.is_file():
        raise EncoderError(
            f"{source} has no tokenizer.json; save its fast tokenizer there with "
            "AutoTokenizer.from_pretrained(...).save_pretrained(...)"
        )
    spec: Json = json.loads(path.read_text(encoding="utf-8"))
    if (kind := spec["model"].get("type")) not in ("Unigram", "WordPiece"):
        raise EncoderError(
            f"{path} holds a {kind} model; only Unigram and WordPiece vocabularies are trimmed, "
            "so take another encoder or use this one whole"
        )
    return spec


def _pieces(spec: Json) -> dict[int, str]:
    """Every piece by its id, added tokens too."""
    vocab = spec["model"]["vocab"]
    if spec["model"]["type"] == "Unigram":
        pieces = {i: piece for i, (piece, _) in enumerate(vocab)}
    else:
        pieces = {i: piece for piece, i in vocab.items()}
    return pieces | {token["id"]: token["content"] for token in spec["added_tokens"]}


def _always_kept(spec: Json) -> set[int]:
    """The ids of added tokens, of the unknown piece and of byte pieces."""
    model = spec["model"]
    always = {token["id"] for token in spec["added_tokens"]}
    if model["type"] == "WordPiece":
        return always | {model["vocab"][model["unk_token"]]}
    if model["unk_id"] is not None:
        always.add(model["unk_id"])
    if model.get("byte_fallback"):
        always |= {i for i, (piece, _) in enumerate(model["vocab"]) if piece.startswith("<0x")}
    return always


def _kept_ids(spec: Json, keep: Callable[[str], bool]) -> list[int]:
    """The old ids that stay, in order: the new id of each is its place in the list."""
    always = _always_kept(spec)
    return sorted(i for i, piece in _pieces(spec).items() if i in always or keep(piece))


def _trim_tokenizer(spec: Json, ids: Mapping[int, int]) -> Json:
    """The tokenizer with only the pieces in `ids`, which maps old ids to new ones."""
    model = dict(spec["model"])
    if model["type"] == "Unigram":
        model["vocab"] = [entry for i, entry in enumerate(model["vocab"]) if i in ids]
        model["unk_id"] = None if model["unk_id"] is None else ids[model["unk_id"]]
    else:
        model["vocab"] = {piece: ids[i] for piece, i in model["vocab"].items() if i in ids}
    trimmed = spec | {"model": model}
    trimmed["added_tokens"] = [token | {"id": ids[token["id"]]} for token in spec["added_tokens"]]
    trimmed["post_processor"] = _remap_processor(spec.get("post_processor"), ids)
    if padding := spec.get("padding"):
        trimmed["padding"] = padding | {"pad_id": ids[padding["pad_id"]]}
    return trimmed


def _remap_processor(processor: Json | None, ids: Mapping[int, int]) -> Json | None:
    """The post-processor with new ids in place of old ones."""
    if processor is None:
        return None
    if "processors" in processor:
        return processor | {
            "processors": [_remap_processor(p, ids) for p in processor["processors"]]
        }
    if "special_tokens" in processor:
        tokens = {
            name: token | {"ids": [ids[i] for i in token["ids"]]}
            for name, token in processor["special_tokens"].items()
        }
        return processor | {"special_tokens": tokens}
    ends = {end: processor[end] for end in ("sep", "cls") if end in processor}
    return processor | {end: [token, ids[old]] for end, (token, old) in ends.items()}


def _trim_model(
    model: PreTrainedModel, state: Mapping[str, Any], kept: Sequence[int], source: Path
) -> Json:
    """The weights with word embeddings (kept, hidden); the model's config is changed to fit."""
    embeddings: Any = model.get_input_embeddings().weight
    if kept[-1] >= len(embeddings):
        raise EncoderError(
            f"{source}: tokenizer.json has id {kept[-1]} but the model embeds {len(embeddings)} "
            "pieces; the two do not belong together"
        )
    ids = {old: new for new, old in enumerate(kept)}
    config = model.config
    specials: Json = {k: v for k, v in config.to_dict().items() if k.endswith("_token_id")}
    pad: Any = specials.get("pad_token_id")
    positions = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    if getattr(positions, "padding_idx", None) is not None and ids.get(pad) != pad:
        raise EncoderError(
            f"{source}: its positions count from the id of the padding piece, which would move "
            f"from {pad} to {ids.get(pad)}; keep the pieces before it"
        )
    for name, old in specials.items():
        if isinstance(old, int):
            setattr(config, name, ids.get(old))
    config.vocab_size = len(kept)
    tables = [name for name, weight in state.items() if weight.data_ptr() == embeddings.data_ptr()]
    return {**state, **{name: state[name][list(kept)].clone() for name in tables}}


def _write_tokenizer(spec: Json, original: PreTrainedTokenizerBase, out: Path) -> None:
    """tokenizer.json as it is, and a config that makes transformers read it as it is."""
    names = {k: v for k, v in original.special_tokens_map.items() if isinstance(v, str)}
    settings = names | {
        # A model's own class would build the tokenizer anew by its own rules.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": original.model_max_length,
        "model_input_names": original.model_input_names,
        "clean_up_tokenization_spaces": False,
    }
    for name, values in (("tokenizer.json", spec), ("tokenizer_config.json", settings)):
        text = json.dumps(values, ensure_ascii=False, indent=2) + "\n"
        (out / name).write_text(text, encoding="utf-8")


def _coverage(spec: Json, samples: Sequence[str]) -> Coverage | None:
    words = sum(len(text.split()) for text in samples)
    if not words:
        return None
    # A folder's own padding or truncation would change the counts.
    tokenizer = Tokenizer.from_str(json.dumps(spec | {"padding": None, "truncation": None}))
    model = spec["model"]
    unknown = model.get("unk_id")
    if model["type"] == "WordPiece":
        unknown = model["vocab"][model["unk_token"]]
    encoded = tokenizer.encode_batch(list(samples), add_special_tokens=False)
    pieces = [i for encoding in encoded for i in encoding.ids]
    return Coverage(len(pieces) / words, pieces.count(unknown) / max(len(pieces), 1))
