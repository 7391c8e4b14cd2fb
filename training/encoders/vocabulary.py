"""The vocabulary inside a tokenizer.json, and the same tokenizer with fewer pieces.

Unigram, WordPiece and BPE (of characters or of bytes) are read. A text whose pieces are all kept is
cut in the same places by the smaller tokenizer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from training.encoders.packaged import EncoderError

Json = dict[str, Any]
KINDS = ("Unigram", "WordPiece", "BPE")


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer.json as its JSON says it."""

    spec: Json

    @classmethod
    def read(cls, folder: Path) -> Vocabulary:
        """The vocabulary of a Hugging Face folder; of a kind that can be trimmed."""
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise EncoderError(
                f"{folder} has no tokenizer.json; save its fast tokenizer there with "
                "AutoTokenizer.from_pretrained(...).save_pretrained(...)"
            )
        spec: Json = json.loads(path.read_text(encoding="utf-8"))
        if (kind := spec["model"].get("type")) not in KINDS:
            raise EncoderError(
                f"{path} holds a {kind} model; only {', '.join(KINDS)} vocabularies are trimmed, "
                "so take another encoder or use this one whole"
            )
        return cls(spec)

    @property
    def model(self) -> Json:
        """The part that cuts words into pieces."""
        found: Json = self.spec["model"]
        return found

    @cached_property
    def added(self) -> dict[int, str]:
        """Special pieces and others that were added beside the model, by their id."""
        return {token["id"]: token["content"] for token in self.spec["added_tokens"]}

    @cached_property
    def pieces(self) -> dict[int, str]:
        """Every piece by its id as the file spells it, added ones too."""
        vocab = self.model["vocab"]
        if self.model["type"] == "Unigram":
            own = {i: piece for i, (piece, _) in enumerate(vocab)}
        else:
            own = {i: piece for piece, i in vocab.items()}
        return own | self.added

    @property
    def unknown(self) -> int | None:
        """The id of the piece for what no other covers."""
        if self.model["type"] == "Unigram":
            found: int | None = self.model["unk_id"]
            return found
        name = self.model.get("unk_token")
        return None if name is None else self.model["vocab"].get(name)

    def readable(self, piece: str) -> str | None:
        """A piece as text: "▁" for a space before it, "##" for a word that goes on.

        None for bytes that end within a letter.
        """
        if self._of_bytes:
            table = _byte_letters()
            try:
                text = bytes(table[letter] for letter in piece).decode("utf-8")
            except (KeyError, UnicodeDecodeError):
                return None
            return "▁" + text[1:] if text.startswith(" ") else text
        prefix, suffix = self._affixes
        if prefix and piece.startswith(prefix):
            return "##" + piece.removeprefix(prefix)
        return piece.removesuffix(suffix) or piece

    def kept(self, keep: Callable[[str], bool]) -> list[int]:
        """The ids that stay, ascending: the new id of each is its place in the list.

        Beside the pieces that `keep` accepts as text: added ones, the unknown one, bytes, and in
        BPE whatever stands on the way to a kept piece.
        """
        always = self.always_kept
        chosen = {
            i
            for i, piece in self.pieces.items()
            if i not in always and (text := self.readable(piece)) is not None and keep(text)
        }
        if not chosen:
            raise EncoderError("not one of its pieces is kept; check the keep rule")
        if self.model["type"] == "BPE":
            chosen |= {
                i for piece in map(self.pieces.__getitem__, chosen) for i in self._way(piece)
            }
        return sorted(chosen | always)

    @cached_property
    def always_kept(self) -> set[int]:
        """The ids of added pieces, of the unknown piece and of single bytes."""
        always = set(self.added) | ({self.unknown} - {None})
        if self.model.get("byte_fallback"):
            always |= {i for i, piece in self.pieces.items() if piece.startswith("<0x")}
        if self._of_bytes:
            always |= {i for i, piece in self.pieces.items() if piece in _byte_letters()}
        return always  # type: ignore[return-value]

    def trimmed(self, kept: list[int]) -> Vocabulary:
        """The vocabulary with only these ids, numbered by their place."""
        ids = {old: new for new, old in enumerate(kept)}
        model = dict(self.model)
        if model["type"] == "Unigram":
            model["vocab"] = [entry for i, entry in enumerate(model["vocab"]) if i in ids]
            model["unk_id"] = None if model["unk_id"] is None else ids[model["unk_id"]]
        else:
            model["vocab"] = {piece: ids[i] for piece, i in model["vocab"].items() if i in ids}
        if model["type"] == "BPE":
            model["merges"] = [
                merge
                for merge, parts in zip(model["merges"], self._merges, strict=True)
                if all(piece in model["vocab"] for piece in (*parts, self._joined(*parts)))
            ]
        spec = self.spec | {"model": model}
        spec["added_tokens"] = [t | {"id": ids[t["id"]]} for t in self.spec["added_tokens"]]
        spec["post_processor"] = _renumbered(self.spec.get("post_processor"), ids)
        if padding := self.spec.get("padding"):
            spec["padding"] = padding | {"pad_id": ids[padding["pad_id"]]}
        return Vocabulary(spec)

    def tokenizer(self) -> Tokenizer:
        """The tokenizer without the folder's own padding and truncation."""
        return Tokenizer.from_str(json.dumps(self.spec | {"padding": None, "truncation": None}))

    @cached_property
    def _of_bytes(self) -> bool:
        def steps(step: Json | None) -> Iterator[str]:
            for inner in (step or {}).get("pretokenizers") or ([step] if step else []):
                yield inner["type"]

        return self.model["type"] == "BPE" and "ByteLevel" in steps(self.spec.get("pre_tokenizer"))

    @property
    def _affixes(self) -> tuple[str, str]:
        """What BPE writes before a piece that goes on and after one that ends a word."""
        if self.model["type"] != "BPE":
            return "", ""
        found = (self.model.get("continuing_subword_prefix"), self.model.get("end_of_word_suffix"))
        return found[0] or "", found[1] or ""

    @cached_property
    def _merges(self) -> list[tuple[str, str]]:
        """The pairs that BPE joins, the first first; files write them in two ways."""
        pairs = (m.split(" ") if isinstance(m, str) else m for m in self.model["merges"])
        return [(left, right) for left, right in pairs]

    @cached_property
    def _ranks(self) -> dict[tuple[str, str], int]:
        return {pair: rank for rank, pair in enumerate(self._merges)}

    def _joined(self, left: str, right: str) -> str:
        return left + right.removeprefix(self._affixes[0])

    def _way(self, piece: str) -> Iterator[int]:
        """The ids of the pieces that BPE goes through to make one piece.

        They are the same inside any word whose pieces include it: what joins within the piece
        depends on nothing around it, or the piece would not have come about.
        """
        vocab = self.model["vocab"]
        parts = self._letters(piece)
        yield from (vocab[part] for part in parts if part in vocab)
        while len(parts) > 1:
            ranked = [self._ranks.get(pair, len(self._ranks)) for pair in pairwise(parts)]
            at = min(range(len(ranked)), key=ranked.__getitem__)
            if ranked[at] == len(self._ranks):
                return
            parts[at : at + 2] = [self._joined(*parts[at : at + 2])]
            yield vocab[parts[at]]

    def _letters(self, piece: str) -> list[str]:
        prefix, suffix = self._affixes
        goes_on = bool(prefix) and piece.startswith(prefix)
        ends = bool(suffix) and piece.endswith(suffix)
        letters = list(piece.removeprefix(prefix).removesuffix(suffix))
        letters = [prefix + letter if i or goes_on else letter for i, letter in enumerate(letters)]
        return [*letters[:-1], letters[-1] + suffix] if ends and letters else letters


def _renumbered(processor: Json | None, ids: Mapping[int, int]) -> Json | None:
    """The post-processor with new ids in place of old ones."""
    if processor is None:
        return None
    if "processors" in processor:
        return processor | {"processors": [_renumbered(p, ids) for p in processor["processors"]]}
    if "special_tokens" in processor:
        tokens = {
            name: token | {"ids": [ids[i] for i in token["ids"]]}
            for name, token in processor["special_tokens"].items()
        }
        return processor | {"special_tokens": tokens}
    ends = {end: processor[end] for end in ("sep", "cls") if end in processor}
    return processor | {end: [token, ids[old]] for end, (token, old) in ends.items()}


@cache
def _byte_letters() -> dict[str, int]:
    """The letter that byte-level BPE writes for each byte (GPT-2's table), and the byte of it."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    letters = {chr(byte): byte for byte in shown}
    return letters | {chr(256 + i): byte for i, byte in enumerate(hidden)}
