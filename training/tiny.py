"""A random encoder of two layers with a tokenizer made from the seed article: for smoke runs and
tests.
"""

from __future__ import annotations

from pathlib import Path

from annotations.seed import seed_text
from annotations.text import normalize

HIDDEN, LAYERS, PIECES = 32, 2, 600


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
    """Train a unigram tokenizer on the words of the seed; returns how many pieces it has."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

    special = ["<s>", "<pad>", "</s>", "<unk>"]
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    trainer = trainers.UnigramTrainer(
        vocab_size=PIECES, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(normalize(seed_text()).text.split(" "), trainer)
    begin, end = ("<s>", 0), ("</s>", 2)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[begin, end]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return int(tokenizer.get_vocab_size())
