"""A multilingual encoder made small: the vocabulary it needs for one language, and no other change.

From any Hugging Face encoder folder with a Unigram, WordPiece or BPE tokenizer.json to another such
folder; a text that used only kept pieces gets the same pieces and the same hidden states.
"""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.encoders.coverage import Coverage, Cut, WordChange, changes, cut
from training.encoders.packaged import EncoderError
from training.encoders.vocabulary import Json, Vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# The Arabic alphabet with tatweel and diacritics, and the letters Persian and Maghrebi names add.
ARABIC_ALPHABET = frozenset(map(chr, range(0x0621, 0x0653))) | frozenset("ٰٱگپچڤژڭڨڥ")
DIGITS = frozenset("0123456789٠١٢٣٤٥٦٧٨٩۰۱۲۳۴۵۶۷۸۹")
MAX_DIGITS, MAX_LATIN = 4, 3


@dataclass(frozen=True, slots=True)
class TrimReport:
    """What trimming changed. Coverage is None where no sample texts were given.

    `classes` counts the kept pieces by what they are made of, `used` those of them that occur in
    the samples; bytes are of the weights as they are stored.
    """

    pieces_before: int
    pieces_after: int
    parameters_before: int
    parameters_after: int
    bytes_before: int
    bytes_after: int
    classes: dict[str, int]
    kept_as_seen: int  # pieces that only the samples asked for
    coverage_before: Coverage | None
    coverage_after: Coverage | None
    changed: tuple[WordChange, ...] = ()
    used: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> Json:
        """The report as JSON; shares and rates are written out."""
        row = asdict(self)
        for name in ("coverage_before", "coverage_after"):
            coverage: Coverage | None = getattr(self, name)
            if coverage is not None:
                row[name] |= {
                    "pieces_per_word": round(coverage.pieces_per_word, 4),
                    "whole_share": round(coverage.whole_share, 4),
                    "unknown_share": round(coverage.unknown_share, 6),
                }
        return row

    def __str__(self) -> str:
        """The report as a table for people."""
        before, after = self.coverage_before, self.coverage_after
        rows = [
            ("pieces", f"{self.pieces_before:,}", f"{self.pieces_after:,}"),
            ("parameters", f"{self.parameters_before:,}", f"{self.parameters_after:,}"),
            ("MB", f"{self.bytes_before / 1e6:,.1f}", f"{self.bytes_after / 1e6:,.1f}"),
        ]
        if before and after:
            rows += [
                (
                    "pieces per word",
                    f"{before.pieces_per_word:.3f}",
                    f"{after.pieces_per_word:.3f}",
                ),
                ("words in one piece", f"{before.whole_share:.1%}", f"{after.whole_share:.1%}"),
                ("unknown pieces", f"{before.unknown:,}", f"{after.unknown:,}"),
            ]
        lines = [f"{'':<20}{'before':>14}{'after':>14}"]
        lines += [f"{name:<20}{left:>14}{right:>14}" for name, left, right in rows]
        kinds = ", ".join(
            f"{kind} {count:,}" + (f" ({self.used.get(kind, 0):,})" if before else "")
            for kind, count in self.classes.items()
        )
        lines.append(f"kept{' (used by the sample)' if before else ''}: {kinds}")
        if self.kept_as_seen:
            lines.append(f"kept only because the samples use them: {self.kept_as_seen:,}")
        if before:
            lines.append(f"sample: {before.words:,} words; most changed (times: before > after):")
            lines += [
                f"  {c.count:>4}  {' '.join(c.before)}  >  {' '.join(c.after)}"
                for c in self.changed
            ] or ["  none"]
        return "\n".join(lines)


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


def piece_class(piece: str | None) -> str:
    """What a piece is made of: Arabic, digits, Latin, punctuation or other."""
    bare = (piece or "").removeprefix("▁").removeprefix("##")
    letters = {unicodedata.name(c, "").split(" ")[0] for c in bare if c.isalpha()}
    if letters:
        return "Arabic" if letters == {"ARABIC"} else "Latin" if letters == {"LATIN"} else "other"
    if bare.isdecimal():
        return "digits"
    if bare and all("\u0600" <= c <= "\u06ff" for c in bare if not c.isspace()):
        return "Arabic"
    plain = all(unicodedata.category(c)[0] in "PS" for c in bare)
    return "punctuation" if piece and plain else "other"


def trim(
    source: Path,
    out: Path,
    keep: Callable[[str], bool],
    samples: Sequence[str] = (),
    keep_seen: int | None = None,
) -> TrimReport:
    """Write the encoder in `source` to `out` with only the pieces `keep` accepts.

    Added and special tokens always stay, and pieces keep their order. `keep` sees a piece as text
    ("▁من", "##ات"); with `keep_seen` also the pieces stay that the samples use so many times. A
    head on top of the encoder is left behind.
    """
    from transformers import AutoModel, AutoTokenizer

    if out.resolve() == source.resolve():
        raise EncoderError(f"{out} is also the source; give another folder to write to")
    before = Vocabulary.read(source)
    cut_before = cut(before, samples)
    try:
        kept = before.kept(_with_seen(before, keep, cut_before, keep_seen))
    except EncoderError as error:
        raise EncoderError(f"{source}: {error}") from None
    after = before.trimmed(kept)
    model, loading = AutoModel.from_pretrained(source, output_loading_info=True)
    state = {k: v for k, v in model.state_dict().items() if k not in loading["missing_keys"]}
    small = _trim_model(model, state, kept, source)
    model.save_pretrained(out, state_dict=small)
    _write_tokenizer(after.spec, AutoTokenizer.from_pretrained(source), out)
    cut_after = cut(after, samples)
    return TrimReport(
        *(len(before.pieces), len(kept), *_sizes(state, small)),
        classes=_classes(after, after.pieces),
        kept_as_seen=len(kept) - len(before.kept(keep)) if keep_seen else 0,
        coverage_before=cut_before.coverage if cut_before else None,
        coverage_after=cut_after.coverage if cut_after else None,
        changed=tuple(changes(cut_before, cut_after)) if cut_before and cut_after else (),
        used=_classes(after, cut_after.used) if cut_after else {},
    )


def _sizes(before: Json, after: Json) -> tuple[int, int, int, int]:
    """Parameters and bytes of weights before and after: (before, after, before, after)."""
    states = (before, after)
    parameters = (sum(weight.numel() for weight in state.values()) for state in states)
    stored = (sum(weight.nbytes for weight in state.values()) for state in states)
    return *parameters, *stored


def _with_seen(
    vocabulary: Vocabulary, keep: Callable[[str], bool], found: Cut | None, times: int | None
) -> Callable[[str], bool]:
    """The rule, and beside it the pieces that the samples use so many times."""
    if times is None:
        return keep
    if found is None:
        raise EncoderError("keep_seen needs sample texts to count in; give some")
    often = (i for i, count in found.used.items() if count >= times)
    seen = {vocabulary.readable(vocabulary.pieces[i]) for i in often}
    return lambda piece: piece in seen or keep(piece)


def _classes(vocabulary: Vocabulary, ids: Iterable[int]) -> dict[str, int]:
    """How many of these pieces are of each class, the largest first."""
    always = vocabulary.always_kept
    return dict(
        Counter(
            "special" if i in always else piece_class(vocabulary.readable(vocabulary.pieces[i]))
            for i in ids
        ).most_common()
    )


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
