"""The tokenizer of a published folder: plain transformers gets the pieces that serving sees.

Serving normalises a text before its tokenizer and frames the pieces itself; here both are written
into the tokenizer.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, normalizers, processors
from transformers import PreTrainedTokenizerFast

from annotations.text import Normalization
from training.encoders.sources import special_pieces

_DIACRITICS = "[\u064b-\u0652\u0670\u06d6-\u06ed\u0610-\u061a]"
# NFKC would add a space to these, which serving takes away
_LONE_DIACRITICS = (
    "\ufc5e\ufc5f\ufc60\ufc61\ufc62\ufc63\ufe70\ufe72\ufe74\ufe76\ufe78\ufe7a\ufe7c\ufe7e"
)
_UNKNOWN, _MASK = ("<unk>", "[UNK]"), ("<mask>", "[MASK]")


def normalizer(rules: Normalization, own: normalizers.Normalizer | None) -> normalizers.Normalizer:
    """The rules of `annotations.text.normalize` before a tokenizer's own normalizer."""

    def replace(pattern: str, by: str) -> normalizers.Normalizer:
        return normalizers.Replace(Regex(pattern), by)

    steps = [replace(c, unicodedata.normalize("NFKC", c).strip()) for c in _LONE_DIACRITICS]
    steps += [normalizers.NFKC()]
    steps += [] if rules.diacritics else [replace(_DIACRITICS, "")]
    steps += [replace("\u0640", ""), replace(r"\p{Cf}", ""), replace(r"[\s\p{Cc}]", " ")]
    steps += [replace("[أإآٱ]", "ا")] if rules.unify_alef else []
    steps += [replace("ى", "ي")] if rules.unify_ya else []
    steps += [replace("ة", "ه")] if rules.unify_ta_marbuta else []
    return normalizers.Sequence([*steps, *([own] if own is not None else [])])


def hub_tokenizer(encoder: Path, rules: Normalization, max_length: int) -> PreTrainedTokenizerFast:
    """The fast tokenizer of an encoder folder with serving's rules and frame.

    It gives no token type ids: khabar's encoders read every piece with type 0. `max_length` is in
    pieces, the frame included.
    """
    path = encoder / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.normalizer = normalizer(rules, tokenizer.normalizer)
    if tokenizer.token_to_id("▁") is not None:
        # pipelines decode words and then their sequence: a decoder that takes the first space away
        # would write the words of a name together
        tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse()])
    special = special_pieces(path)
    begin, end, pad = (str(tokenizer.id_to_token(special[r])) for r in ("begin", "end", "pad"))
    if _pair_ids(tokenizer) != [begin, 0, end, end, 1, end]:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{begin} $A {end}",
            pair=f"{begin} $A {end} {end} $B {end}",
            special_tokens=[(begin, special["begin"]), (end, special["end"])],
        )
    named: dict[str, Any] = {"cls_token": begin, "sep_token": end, "pad_token": pad}
    for role, options in (("unk_token", _UNKNOWN), ("mask_token", _MASK)):
        found = [name for name in options if tokenizer.token_to_id(name) is not None]
        named |= {role: found[0]} if found else {}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=max_length,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
        **named,
    )


def _pair_ids(tokenizer: Tokenizer) -> list[str | int]:
    """How a tokenizer frames a pair: its special pieces, and 0 and 1 for the first and second."""
    encoding = tokenizer.encode("ا", "ب")
    frame: list[str | int] = []
    for token, sequence in zip(encoding.tokens, encoding.sequence_ids, strict=True):
        item = token if sequence is None else sequence
        if not frame or sequence is None or frame[-1] != item:
            frame.append(item)
    return frame
