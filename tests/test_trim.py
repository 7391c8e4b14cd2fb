"""Trimming a vocabulary: kept pieces keep their ids' order, their weights and their offsets."""

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.processors import BertProcessing, TemplateProcessing
from tokenizers.trainers import BpeTrainer
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertConfig,
    BertModel,
    ModernBertConfig,
    ModernBertModel,
    RobertaConfig,
    RobertaModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from annotations.seed import seed_text
from training.encoders.packaged import EncoderError
from training.encoders.trim import TrimReport, arabic_news_piece, piece_class, trim
from training.encoders.vocabulary import Vocabulary

# Special pieces stand among others, so that trimming moves their ids.
UNIGRAM = [("на", -5.0), ("<s>", 0.0), ("при", -6.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
UNIGRAM += [("▁", -9.0), ("▁قال", -4.0), ("▁привет", -4.5), ("▁الرئيس", -4.2), ("▁و", -3.5)]
UNIGRAM += [("بغداد", -6.0), ("yang", -5.0), ("،", -3.8), ("ا", -7.0), ("▁2017", -6.0)]
UNIGRAM += [("20171", -6.0), ("وبغداد", -20.0), ("<mask>", 0.0)]
SPECIALS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
TEXTS = ["قال الرئيس", "وبغداد، قال 2017", "  قال\n\nالرئيس ", "قال 😀 الرئيس"]
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
SIZES |= {"intermediate_size": 32, "max_position_embeddings": 32}


def save_tokenizer(tokenizer: Tokenizer, folder: Path, settings: dict[str, str]) -> None:
    """Write the tokenizer as transformers reads it."""
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast"} | settings
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def unigram(folder: Path) -> None:
    """Write a tiny XLM-R style tokenizer."""
    ids = {piece: i for i, (piece, _) in enumerate(UNIGRAM)}
    tokenizer = Tokenizer(models.Unigram(UNIGRAM, unk_id=ids["<unk>"], byte_fallback=False))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", ids["<s>"]), ("</s>", ids["</s>"])],
    )
    tokenizer.add_special_tokens(SPECIALS)
    tokenizer.enable_padding(pad_id=ids["<pad>"], pad_token="<pad>")
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    save_tokenizer(tokenizer, folder, names | {"cls_token": "<s>", "sep_token": "</s>"})


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    torch.manual_seed(3)
    pad = [piece for piece, _ in UNIGRAM].index("<pad>")
    config = BertConfig(vocab_size=len(UNIGRAM) + 2, pad_token_id=pad, **SIZES)
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    unigram(folder)
    return folder


@pytest.fixture(scope="module")
def trimmed(source: Path) -> Path:
    trim(source, source.parent / "trimmed", arabic_news_piece)
    return source.parent / "trimmed"


def hidden_states(folder: Path, text: str) -> torch.Tensor:
    """What the encoder in a folder makes of one text: (tokens, hidden)."""
    model = AutoModel.from_pretrained(folder, add_pooling_layer=False).eval()
    with torch.no_grad():
        batch = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
        return model(**batch).last_hidden_state[0]


@pytest.mark.parametrize("text", TEXTS)
def test_a_covered_text_keeps_pieces_offsets_and_hidden_states(
    source: Path, trimmed: Path, text: str
) -> None:
    before, after = (
        Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text)
        for folder in (source, trimmed)
    )
    assert after.tokens == before.tokens
    assert after.offsets == before.offsets
    assert after.ids != before.ids
    torch.testing.assert_close(
        hidden_states(trimmed, text), hidden_states(source, text), rtol=0, atol=0
    )


def test_pieces_keep_order_and_scores(trimmed: Path) -> None:
    spec = json.loads((trimmed / "tokenizer.json").read_text(encoding="utf-8"))
    kept = [[p, s] for p, s in UNIGRAM if p in SPECIALS or arabic_news_piece(p)]
    assert spec["model"]["vocab"] == kept
    names = [piece for piece, _ in kept]
    assert not {"на", "при", "▁привет", "yang", "20171"} & set(names)
    assert spec["model"]["unk_id"] == names.index("<unk>")
    assert spec["padding"]["pad_id"] == names.index("<pad>")


def test_special_ids_agree_in_every_file(trimmed: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(trimmed)
    model = AutoModel.from_pretrained(trimmed, add_pooling_layer=False)
    assert tokenizer.pad_token_id == model.config.pad_token_id == 1
    assert len(tokenizer) == model.config.vocab_size == len(model.get_input_embeddings().weight)
    assert tokenizer("قال", "قال")["input_ids"] == tokenizer.convert_tokens_to_ids(
        ["<s>", "▁قال", "</s>", "</s>", "▁قال", "</s>"]
    )


def test_the_report_counts_pieces_parameters_and_coverage(source: Path, tmp_path: Path) -> None:
    report = trim(source, tmp_path, arabic_news_piece, ["قال الرئيس", "привет 😀"])
    assert report.pieces_before == len(UNIGRAM)
    rows = len(UNIGRAM) + 2 - report.pieces_after
    assert report.parameters_before - report.parameters_after == rows * SIZES["hidden_size"]
    before, after = report.coverage_before, report.coverage_after
    assert before is not None and after is not None
    assert before.pieces_per_word == pytest.approx(5 / 4)  # ▁قال ▁الرئيس ▁привет ▁ <unk>
    assert before.unknown_share == pytest.approx(1 / 5)
    assert after.pieces_per_word == pytest.approx(6 / 4)  # the Russian word is unknown now
    assert after.unknown_share == pytest.approx(2 / 6)
    assert trim(source, tmp_path, arabic_news_piece).coverage_after is None


def test_wordpiece_is_trimmed_too(tmp_path: Path) -> None:
    vocab = ["[PAD]", "[unused0]", "[UNK]", "при", "[CLS]", "[SEP]", "قال", "##ت", "##вет", "،"]
    ids = {piece: i for i, piece in enumerate(vocab)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = BertProcessing(("[SEP]", 5), ("[CLS]", 4))
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    source, out = tmp_path / "source", tmp_path / "out"
    BertModel(BertConfig(vocab_size=len(vocab), **SIZES)).save_pretrained(source)
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]"}
    save_tokenizer(tokenizer, source, names | {"sep_token": "[SEP]"})
    assert trim(source, out, arabic_news_piece).pieces_after == 7
    after = Tokenizer.from_file(str(out / "tokenizer.json"))
    encoding = after.encode("قالت، привет")
    assert encoding.tokens == ["[CLS]", "قال", "##ت", "،", "[UNK]", "[SEP]"]
    assert encoding.ids == [2, 4, 5, 6, 1, 3]
    states = [hidden_states(folder, "قالت، قال") for folder in (source, out)]
    torch.testing.assert_close(states[0], states[1], rtol=0, atol=0)


RUSSIAN = "президент приехал в столицу, правительство города привет государство " * 30


def bpe(folder: Path, style: str) -> None:
    """Train a BPE tokenizer on the seed and some Russian: of bytes, or of letters with marks."""
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    if style == "bytes":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        options = {"initial_alphabet": pre_tokenizers.ByteLevel.alphabet()}
    elif style == "words":
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        options = {"end_of_word_suffix": "</w>"}
    else:
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>", continuing_subword_prefix="##"))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        options = {"continuing_subword_prefix": "##"}
    trainer = BpeTrainer(vocab_size=900, special_tokens=special, show_progress=False, **options)
    tokenizer.train_from_iterator([seed_text(), RUSSIAN], trainer)
    ends = [("<s>", 0), ("</s>", 2)]
    tokenizer.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    names = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    save_tokenizer(tokenizer, folder, names | {"mask_token": "<mask>"})


@pytest.mark.parametrize("style", ["bytes", "words", "marks"])
@pytest.mark.parametrize("family", ["modernbert", "roberta"])
def test_bpe_keeps_the_way_to_every_kept_piece(tmp_path: Path, style: str, family: str) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    bpe(source, style)
    size = Tokenizer.from_file(str(source / "tokenizer.json")).get_vocab_size()
    longer = SIZES | {"max_position_embeddings": 514, "vocab_size": size, "pad_token_id": 1}
    if family == "modernbert":
        ModernBertModel(ModernBertConfig(**longer)).save_pretrained(source)
    else:
        RobertaModel(RobertaConfig(**longer), add_pooling_layer=False).save_pretrained(source)
    report = trim(source, out, arabic_news_piece, [seed_text()])
    assert report.pieces_after < report.pieces_before
    before, after = (
        Tokenizer.from_file(str(folder / "tokenizer.json")) for folder in (source, out)
    )
    kept = set(after.get_vocab())
    words = [" " + word for word in seed_text().split()]
    covered = [word for word in words if kept.issuperset(before.encode(word).tokens)]
    assert len(covered) > 0.7 * len(words)
    for word in (*covered, "".join(covered)):
        assert after.encode(word).tokens == before.encode(word).tokens
    assert not kept.issuperset(before.encode(RUSSIAN).tokens)
    if style == "bytes":
        assert after.decode(after.encode(RUSSIAN).ids) == RUSSIAN  # in bytes, so nothing is unknown
    models_of = [AutoModel.from_pretrained(folder).eval() for folder in (source, out)]
    states = []
    for tokenizer, model in zip((before, after), models_of, strict=True):
        ids = torch.tensor([tokenizer.encode("".join(covered[:30])).ids])
        with torch.no_grad():
            states.append(model(ids, torch.ones_like(ids)).last_hidden_state)
    torch.testing.assert_close(states[0], states[1], rtol=0, atol=1e-6)


def test_the_rule_sees_the_pieces_of_bytes_as_text(tmp_path: Path) -> None:
    bpe(tmp_path, "bytes")
    vocabulary = Vocabulary.read(tmp_path)
    seen: list[str] = []
    vocabulary.kept(lambda piece: seen.append(piece) is None)
    assert "▁القائم" in seen and "▁правительство" in seen
    for piece in vocabulary.pieces.values():
        text = vocabulary.readable(piece)
        if text is not None and piece not in vocabulary.added.values():
            shown = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
            assert "".join(p for p, _ in shown.pre_tokenize_str(text.replace("▁", " "))) == piece


def test_pieces_that_the_samples_use_often_are_kept_beside_the_rule(
    source: Path, tmp_path: Path
) -> None:
    samples = ["привет привет yang", "قال الرئيس"]
    report = trim(source, tmp_path / "twice", arabic_news_piece, samples, keep_seen=2)
    kept = set(Vocabulary.read(tmp_path / "twice").pieces.values())
    assert "▁привет" in kept and "yang" not in kept
    assert report.kept_as_seen == 1
    report = trim(source, tmp_path / "once", arabic_news_piece, samples, keep_seen=1)
    assert "yang" in Vocabulary.read(tmp_path / "once").pieces.values()
    assert report.changed == ()
    with pytest.raises(EncoderError, match="keep_seen needs sample texts"):
        trim(source, tmp_path / "none", arabic_news_piece, keep_seen=1)


def test_the_report_shows_what_changed_to_people_and_programs(source: Path, tmp_path: Path) -> None:
    report = trim(source, tmp_path, arabic_news_piece, ["قال الرئيس قال", "привет 😀"])
    assert report.coverage_before is not None and report.coverage_after is not None
    assert (report.coverage_before.words, report.coverage_before.whole_words) == (5, 4)
    assert (report.coverage_after.whole_words, report.coverage_after.unknown) == (3, 2)
    (change,) = report.changed
    assert (change.word, change.count) == ("привет", 1)
    assert (change.before, change.after) == (("▁привет",), ("▁", "<unk>"))
    assert sum(report.classes.values()) == report.pieces_after
    assert report.classes["special"] == len(SPECIALS)
    assert report.used == {"special": 1, "Arabic": 2, "punctuation": 1}  # <unk> قال الرئيس ▁
    row = json.loads(json.dumps(report.to_dict()))
    assert row["coverage_after"]["whole_share"] == pytest.approx(3 / 5)
    assert row["changed"][0]["after"] == ["▁", "<unk>"]
    shown = str(report)
    assert "special 5 (1)" in shown
    assert "words in one piece" in shown and "80.0%" in shown and "60.0%" in shown
    assert "▁привет  >  ▁ <unk>" in shown


def test_without_samples_the_report_has_sizes_alone(source: Path, tmp_path: Path) -> None:
    report: TrimReport = trim(source, tmp_path, arabic_news_piece)
    assert report.to_dict()["coverage_before"] is None
    assert "pieces per word" not in str(report)
    weights = (tmp_path / "model.safetensors").stat().st_size
    assert 0 <= weights - report.bytes_after < 10_000  # the file's header


@pytest.mark.parametrize(
    ("piece", "made_of"),
    [("▁القائم", "Arabic"), ("ّ", "Arabic"), ("##ات", "Arabic"), ("2017", "digits"),
     ("٢٠١٧", "digits"), ("▁BBC", "Latin"), ("،", "Arabic"), ("...", "punctuation"),
     ("▁", "punctuation"), ("при", "other"), ("aب", "other"), (None, "other")],
)  # fmt: skip
def test_pieces_are_classed_by_what_they_are_made_of(piece: str | None, made_of: str) -> None:
    assert piece_class(piece) == made_of


def test_positions_that_count_from_the_padding_id_must_not_move(tmp_path: Path) -> None:
    pad = [piece for piece, _ in UNIGRAM].index("<pad>")
    config = XLMRobertaConfig(vocab_size=len(UNIGRAM), pad_token_id=pad, **SIZES)
    XLMRobertaModel(config).save_pretrained(tmp_path)
    unigram(tmp_path)
    with pytest.raises(EncoderError, match=f"would move from {pad} to 1; keep the pieces"):
        trim(tmp_path, tmp_path / "out", arabic_news_piece)
    report = trim(tmp_path, tmp_path / "out", lambda p: p in ("на", "при") or arabic_news_piece(p))
    assert report.pieces_after < report.pieces_before
    states = [hidden_states(folder, TEXTS[0]) for folder in (tmp_path, tmp_path / "out")]
    torch.testing.assert_close(states[0], states[1], rtol=0, atol=0)


def test_what_cannot_be_trimmed_says_why(source: Path, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="is also the source"):
        trim(source, source, arabic_news_piece)
    with pytest.raises(EncoderError, match="not one of its pieces is kept"):
        trim(source, tmp_path / "out", lambda _: False)
    with pytest.raises(EncoderError, match=r"has no tokenizer\.json; save its fast tokenizer"):
        trim(tmp_path, tmp_path / "out", arabic_news_piece)
    words = models.WordLevel({"قال": 0, "[UNK]": 1}, unk_token="[UNK]")
    Tokenizer(words).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(EncoderError, match="holds a WordLevel model; only Unigram, WordPiece, BPE"):
        trim(tmp_path, tmp_path / "out", arabic_news_piece)
    wide, small = tmp_path / "wide", BertConfig(vocab_size=4, **SIZES)
    BertModel(small).save_pretrained(wide)
    unigram(wide)
    with pytest.raises(EncoderError, match="embeds 4 pieces; the two do not belong together"):
        trim(wide, tmp_path / "out", arabic_news_piece)


@pytest.mark.parametrize(
    ("piece", "kept"),
    [
        *((letter, True) for letter in "ءآأؤإئابةتىيگپچڤژکیۀـًّٰ٠٩۵«»،؛؟“”–—…٪%$"),
        *(("▁" + letter, True) for letter in "وبگپچڤژ١«؟“–…"),
        ("▁", True),
        ("▁القائم", True),
        ("##ات", True),
        ("▁گوگل", True),
        ("▁2017", True),
        ("٢٠١٧", True),
        ("20171", False),
        ("▁de", True),
        ("BBC", True),
        ("▁yang", False),
        ("▁در", True),
        ("▁ہے", False),
        ("▁کے", False),
        ("при", False),
        ("é", False),
        ("1.", False),
        ("...", True),
        ("[unused0]", False),
        ("中", False),
    ],
)
def test_the_rule_of_arabic_news(piece: str, kept: bool) -> None:
    assert arabic_news_piece(piece) is kept
