"""Encoders of the classes that recipes name, made small: the same files, a few thousand weights."""

import json
from pathlib import Path

import pytest
import torch
from tokenizers import BertWordPieceTokenizer, Tokenizer
from transformers import (
    AutoModel,
    BertConfig,
    BertForMaskedLM,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from annotations.seed import seed_text
from annotations.text import normalize
from training.encoders.tiny import save_tiny_encoder


def save_bert(folder: Path, fast_tokenizer: bool) -> None:
    """CAMeLBERT's layout, small: 12 attention heads, WordPiece, a masked-language head on top.

    As on the hub the tokenizer is a bare vocab.txt; `fast_tokenizer` saves tokenizer.json too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = BertWordPieceTokenizer(lowercase=False, strip_accents=False)
    lines = normalize(seed_text()).text.splitlines()
    tokenizer.train_from_iterator(lines, vocab_size=400, min_frequency=1, show_progress=False)
    tokenizer.save_model(str(folder))
    if fast_tokenizer:
        tokenizer.save(str(folder / "tokenizer.json"))
    names = {"do_lower_case": False, "model_max_length": 512, "tokenizer_class": "BertTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(names))
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=12,
        intermediate_size=96,
        architectures=["BertForMaskedLM"],
    )
    torch.manual_seed(4)
    BertForMaskedLM(config).save_pretrained(folder)


def save_xlm_roberta(folder: Path) -> None:
    """XLM-R's layout, small: positions that count from the padding piece, a unigram tokenizer."""
    save_tiny_encoder(folder)
    size = json.loads((folder / "config.json").read_text())["vocab_size"]
    config = XLMRobertaConfig(
        vocab_size=size,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=514,
        type_vocab_size=1,
        pad_token_id=1,
    )
    torch.manual_seed(4)
    XLMRobertaModel(config, add_pooling_layer=False).save_pretrained(folder)


@pytest.fixture(name="source", scope="module")
def maskable_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny encoder with a mask among its pieces."""
    folder = tmp_path_factory.mktemp("source") / "tiny"
    save_tiny_encoder(folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    if tokenizer.token_to_id("<mask>") is None:
        tokenizer.add_special_tokens(["<mask>"])
        tokenizer.save(str(folder / "tokenizer.json"))
        model = AutoModel.from_pretrained(folder, add_pooling_layer=False)
        model.resize_token_embeddings(tokenizer.get_vocab_size(), mean_resizing=False)
        model.save_pretrained(folder)
    return folder
