"""A random encoder of two layers with a tokenizer made from the seed article: for smoke runs and
tests.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from annotations.seed import seed_text
from annotations.text import normalize

HIDDEN, LAYERS, PIECES = 32, 2, 600
LONGEST = 8  # letters of a piece


def save_tiny_encoder(folder: Path, seed: int = 0) -> None:
    """Write a Hugging Face folder with a random two-layer BERT and an XLM-R style unigram
    tokenizer.
    """
    import torch
    from transformers import BertConfig, BertModel

    folder.mkdir(parents=True, exist_ok=True)
    size = _save_tokenizer(folder)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=size,
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        intermediate_size=2 * HIDDEN,
        max_position_embeddings=512,
        pad_token_id=1,
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)


def _save_tokenizer(folder: Path) -> int:
    """Write a unigram tokenizer of the seed's words; returns how many pieces it has."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    pieces = _pieces(normalize(seed_text()).text.split())
    vocabulary = [(piece, 0.0) for piece in special] + pieces
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=special.index("<unk>")))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    tokenizer.add_special_tokens(special)
    begin, end = ("<s>", 0), ("</s>", 2)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[begin, end]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return int(tokenizer.get_vocab_size())


def _pieces(words: Sequence[str]) -> list[tuple[str, float]]:
    """Pieces with log probabilities: every letter, then the runs of letters that spell most of the
    text; the same on every machine, as trainers of tokenizers are not.
    """
    counts = Counter(
        spelt[i:j]
        for word in words
        for spelt in ("\u2581" + word,)
        for i in range(len(spelt))
        for j in range(i + 1, min(len(spelt), i + LONGEST) + 1)
    )
    letters = sorted(piece for piece in counts if len(piece) == 1)
    runs = sorted((p for p in counts if len(p) > 1), key=lambda p: (-counts[p] * len(p), p))
    kept = letters + runs[: PIECES - len(letters)]
    total = sum(counts[piece] for piece in kept)
    return [(piece, math.log(counts[piece] / total)) for piece in kept]
