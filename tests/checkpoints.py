"""Checkpoints of several classes of transformers, tiny and random, to be exported and imported."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import BertWordPieceTokenizer, ByteLevelBPETokenizer
from tokenizers.processors import BertProcessing, RobertaProcessing
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertConfig,
    DistilBertConfig,
    ElectraConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
    XLMRobertaConfig,
)

from annotations.seed import seed_text
from annotations.text import normalize, sentences, words
from training.encoders.tiny import save_tiny_encoder

KINDS = ("bert", "xlm-roberta", "electra", "distilbert")
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
SIZES |= {"intermediate_size": 64}


def save_tokenizer(folder: Path, kind: str) -> PreTrainedTokenizerFast:
    """WordPiece for bert and electra, pieces of bytes for roberta, Unigram for the others, learnt
    from the seed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if kind in ("bert", "electra"):
        wordpiece = BertWordPieceTokenizer(lowercase=False, strip_accents=False)
        lines = normalize(seed_text()).text.splitlines()
        wordpiece.train_from_iterator(lines, vocab_size=500, min_frequency=1, show_progress=False)
        wordpiece.post_processor = BertProcessing(("[SEP]", 3), ("[CLS]", 2))
        wordpiece.save(str(folder / "tokenizer.json"))
        names = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"}
        names |= {"unk_token": "[UNK]", "mask_token": "[MASK]"}
    elif kind == "roberta":  # half of the letters are two pieces
        bytewise = ByteLevelBPETokenizer(add_prefix_space=True)
        lines = normalize(seed_text()).text.splitlines()
        special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
        bytewise.train_from_iterator(
            lines, vocab_size=300, special_tokens=special, show_progress=False
        )
        bytewise.post_processor = RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=True)
        bytewise.save(str(folder / "tokenizer.json"))
        names = {"cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>"}
        names |= {"unk_token": "<unk>", "mask_token": "<mask>"}
    else:
        save_tiny_encoder(folder)
        names = {"cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>"}
        names |= {"unk_token": "<unk>"}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"),
        model_max_length=512,
        model_input_names=["input_ids", "attention_mask"],
        **names,
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def config_of(kind: str, tokenizer: PreTrainedTokenizerFast) -> Any:
    """The configuration of a tiny model."""
    common = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    if kind == "distilbert":
        return DistilBertConfig(dim=32, n_layers=2, n_heads=4, hidden_dim=64, **common)
    if kind == "xlm-roberta":
        return XLMRobertaConfig(max_position_embeddings=514, **SIZES, **common)
    if kind == "roberta":
        return RobertaConfig(max_position_embeddings=514, **SIZES, **common)
    if kind == "electra":
        return ElectraConfig(embedding_size=16, **SIZES, **common)
    return BertConfig(**SIZES, **common)


def save_encoder(folder: Path, kind: str) -> None:
    """A bare encoder with its tokenizer."""
    config = config_of(kind, save_tokenizer(folder, kind))
    torch.manual_seed(3)
    model = AutoModel.from_config(config)
    model.save_pretrained(folder)


def save_classifier(folder: Path, kind: str, names: Sequence[str], texts: bool = False) -> None:
    """A token classifier, or one of texts, whose random answers are well apart."""
    tokenizer = save_tokenizer(folder, kind)
    config = config_of(kind, tokenizer)
    config.id2label = dict(enumerate(names))
    config.label2id = {name: i for i, name in enumerate(names)}
    torch.manual_seed(5)
    loader = AutoModelForSequenceClassification if texts else AutoModelForTokenClassification
    model = loader.from_config(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "embeddings" in name and weight.ndim > 1:
                weight.mul_(20)  # so that words differ more than their places do
            if "classifier" in name and weight.ndim > 1:
                weight.mul_(60)
            if texts and ("value" in name or "attention.output.dense" in name) and weight.ndim > 1:
                weight.mul_(30)  # so that the first piece tells of the others
        if texts:  # no answer wins everywhere
            inputs = tokenizer(spaced_sentences(20), padding=True, return_tensors="pt")
            last = [part for part in model.modules() if isinstance(part, torch.nn.Linear)][-1]
            last.bias -= model.eval()(**inputs).logits.mean(0)
    model.save_pretrained(folder)


def spaced_sentences(most: int = 1000) -> list[str]:
    """The seed's sentences, single spaces between words and signs, as CoNLL corpora have them."""
    clean = normalize(seed_text()).text
    parts = [clean[start:end] for start, end in sentences(clean)]
    return [" ".join(part[a:b] for a, b in words(part)) for part in parts][:most]
