"""Adapting an encoder to running text: what is masked, what learns when, and exact resume."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import (
    AutoModel,
    BertConfig,
    BertForMaskedLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    TrainerCallback,
)

import configs
from annotations.ant import ant_passages
from annotations.authored import authored_documents
from annotations.corpora import read_topics
from annotations.errors import ConfigError, FormatError
from annotations.jsonl import write_documents
from annotations.seed import seed_text
from annotations.text import Normalization
from serving.encoding import TextEncoder, WindowRule
from training.corpora import sentences_of, topic_documents
from training.encoders.adapt import Adaptation, adapt
from training.encoders.language_model import MaskedLanguageModel
from training.encoders.masking import Blocks, MaskedBlocks, Masker
from training.encoders.packaged import EncoderError
from training.encoders.sources import load_encoder, special_pieces
from training.encoders.texts import file_texts, sample_texts, texts_of
from training.encoders.tiny import save_tiny_encoder
from training.examples import IGNORED
from training.preparation import TrainingError
from training.strict import load_settings

ROOT = Path(__file__).resolve().parent.parent
WORDS = "embeddings.word_embeddings.weight"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
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


@pytest.fixture(scope="module")
def news(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The authored news as a file of texts."""
    path = tmp_path_factory.mktemp("texts") / "news.jsonl"
    write_documents(path, authored_documents("train"))
    return path


def adaptation(source: Path, news: Path, **optimiser: object) -> Adaptation:
    """A short run on few blocks."""
    rates = {"steps": 12, "learning_rate": 1e-3, "head_learning_rate": 5e-3, "bf16": False}
    rates |= {"head_warmup_steps": 4, "max_batch_tokens": 256}
    return Adaptation.model_validate(
        {
            "name": "short",
            "encoder": {"source": str(source)},
            "texts": [str(news)],
            "block_pieces": 32,
            "held_out": 0.2,
            "held_out_blocks": 16,
            "evaluate_steps": 5,
            "tracking": {"log_steps": 2, "checkpoint_steps": 3},
            "optimiser": rates | optimiser,
        }
    )


def encoder_of(folder: Path) -> TextEncoder:
    path = folder / "tokenizer.json"
    return TextEncoder.from_file(path, Normalization(), WindowRule(), **special_pieces(path))


def blocks_of(folder: Path, length: int = 32) -> Blocks:
    texts = [document.text for document in authored_documents("train")][:40]
    return Blocks.pack(texts, encoder_of(folder), length)


def masker_of(blocks: Blocks, **changes: Any) -> Masker:
    settings = {"mask": 600, "vocabulary": 601, "reserved": (0, 1, 2, 3, 600), "share": 0.15}
    return Masker(**(settings | {"whole_words": False, "seed": 5} | changes))


def test_blocks_hold_the_texts_one_after_the_other(source: Path) -> None:
    encoder = encoder_of(source)
    texts = ["قالت القوات العراقية", "دخلت مدينة القائم، الجمعة."] * 3
    blocks = Blocks.pack(texts, encoder, 10)
    pieces = [[*encoder.pieces(text), encoder.special.end] for text in texts]
    stream = [piece for text in pieces for piece in text]
    inner = blocks.pieces[:, 1:-1].reshape(-1).tolist()
    assert inner == stream[: len(inner)] and 0 <= len(stream) - len(inner) < 8
    assert set(blocks.pieces[:, 0]) == {encoder.special.begin}
    assert set(blocks.pieces[:, -1]) == {encoder.special.end}
    begun = [encoder.tokenizer.id_to_token(i) for i in blocks.pieces[blocks.begins]]
    assert all(piece.startswith("▁") or piece in "،." for piece in begun)
    assert len(Blocks.pack(texts, encoder, 10, most=2)) == 2
    assert np.array_equal(Blocks.pack(texts, encoder, 10, most=2).pieces, blocks.pieces[:2])


def test_fifteen_of_a_hundred_pieces_are_asked_and_most_of_them_hidden(source: Path) -> None:
    blocks = blocks_of(source)
    masked = MaskedBlocks(blocks, masker_of(blocks), draws=4 * len(blocks))
    asked = hidden = same = total = 0
    for draw in range(len(masked)):
        epoch, place = divmod(draw, len(blocks))
        original = torch.from_numpy(blocks.pieces[masked._rows(epoch)[place]].astype(np.int64))
        pieces, labels = masked[draw]["input_ids"], masked[draw]["labels"]
        chosen = labels != IGNORED
        assert torch.equal(labels[chosen], original[chosen])
        assert torch.equal(pieces[~chosen], original[~chosen])
        assert not set(labels[chosen].tolist()) & {0, 1, 2, 3, 600}
        asked += int(chosen.sum())
        hidden += int((pieces[chosen] == 600).sum())
        same += int((pieces[chosen] == original[chosen]).sum())
        total += int((~torch.isin(original, torch.tensor([0, 1, 2, 3, 600]))).sum())
    assert asked / total == pytest.approx(0.15, abs=0.01)
    assert hidden / asked == pytest.approx(0.8, abs=0.03)
    assert same / asked == pytest.approx(0.1, abs=0.03)


def test_whole_words_are_hidden_whole(source: Path) -> None:
    blocks = blocks_of(source)
    masker = masker_of(blocks, whole_words=True)
    longer = 0
    for row in range(20):
        labels = masker(blocks, row, row)[1].numpy()
        words = np.cumsum(blocks.begins[row])
        for word in np.unique(words):
            places = (words == word) & ~np.isin(blocks.pieces[row], masker.reserved)
            if places.any():
                assert len(set((labels[places] != IGNORED).tolist())) == 1
                longer += places.sum() > 1 and bool((labels[places] != IGNORED).all())
        share = (labels != IGNORED).sum() / (~np.isin(blocks.pieces[row], masker.reserved)).sum()
        assert 0.1 < share < 0.5
    assert longer > 5


def test_a_mask_depends_on_the_seed_and_the_draw_alone(source: Path) -> None:
    blocks = blocks_of(source)

    def drawn(seed: int, order: list[int]) -> dict[int, list[int]]:
        masked = MaskedBlocks(blocks, masker_of(blocks, seed=seed), draws=3 * len(blocks))
        return {draw: masked[draw]["input_ids"].tolist() for draw in order}

    draws = list(range(3 * len(blocks)))
    first = drawn(5, draws)
    assert drawn(5, draws[::-1]) == first
    assert drawn(6, draws) != first
    masked = MaskedBlocks(blocks, masker_of(blocks), draws=2 * len(blocks))
    orders = [masked._rows(epoch).tolist() for epoch in (0, 1)]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(len(blocks)))


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_files_of_text_are_read(tmp_path: Path, suffix: str) -> None:
    def written(name: str, text: str) -> Path:
        path = tmp_path / (name + suffix)
        path.write_bytes(gzip.compress(text.encode()) if suffix else text.encode())
        return path

    plain = written("a.txt", "قال الرئيس\nفي بغداد\n\n\n  \nوقال\n")
    assert [t.split() for t in file_texts(plain)] == [["قال", "الرئيس", "في", "بغداد"], ["وقال"]]
    rows = written("a.jsonl", '{"text": "قال", "id": "1"}\n\n{"text": " "}\n{"text": "وقال"}\n')
    assert list(texts_of(str(rows))) == ["قال", "وقال"]
    with pytest.raises(FormatError, match=r"b\.jsonl.*:1: need an object with the string text"):
        list(file_texts(written("b.jsonl", '{"body": "قال"}\n')))
    with pytest.raises(FormatError, match=r"texts are read from \.txt and \.jsonl.*khaleej"):
        list(texts_of(str(written("c.docx", ""))))
    with pytest.raises(FormatError, match="no such file"):
        list(texts_of(str(tmp_path / ("d.txt" + suffix))))


def test_samples_are_the_files_or_the_news_of_the_project(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("قال\n\nوقال\n", encoding="utf-8")
    assert [text.strip() for text in sample_texts([path, path])] == ["قال", "وقال"] * 2
    own = sample_texts()
    assert own[0] == seed_text() and {d.text for d in authored_documents("dev")} < set(own)


def test_what_is_developed_on_is_not_among_the_texts(data_folder: Path) -> None:
    ant = data_folder / "topic_ant" / "train.jsonl.gz"
    whole = {document.id: document.text for document in read_topics(ant)}
    found = set(texts_of("ant"))
    assert found <= set(whole.values()) and len(found) > 0.8 * len(whole)
    assert not found & {whole[document.id] for document in ant_passages("dev", ant)}
    for corpus in ("ant", "khaleej"):
        texts = found if corpus == "ant" else set(texts_of(corpus))
        for part in ("dev", "calibration"):
            assert not texts & {d.text for d in topic_documents(corpus, part)}
    sentences = [
        line.replace(" ", "") for text in texts_of("anercorp") for line in text.split("\n")
    ]
    assert len(sentences) == len(sentences_of("anercorp", "train"))
    held = {
        "".join(s.words) for p in ("dev", "calibration") for _, s in sentences_of("anercorp", p)
    }
    assert not held & set(sentences)


def labels_of(ids: torch.Tensor) -> torch.Tensor:
    chosen = torch.rand(ids.shape, generator=torch.Generator().manual_seed(1)) < 0.2
    return torch.where(chosen, ids, IGNORED)


@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_the_loss_is_that_of_the_model_of_the_family(tmp_path: Path, family: str) -> None:
    sizes = {"vocab_size": 90, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 32, "pad_token_id": 0}
    if family == "bert":
        whole: Any = BertForMaskedLM(BertConfig(**sizes))
    else:
        whole = ModernBertForMaskedLM(ModernBertConfig(**sizes, sep_token_id=1, cls_token_id=2))
    whole.save_pretrained(tmp_path)
    ids = torch.randint(5, 90, (3, 20), generator=torch.Generator().manual_seed(0))
    labels = labels_of(ids)
    model = MaskedLanguageModel(tmp_path).eval()
    assert not model.fresh_head
    expected = whole.eval()(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels).loss
    torch.testing.assert_close(model(ids, labels)["loss"], expected, rtol=1e-5, atol=1e-5)


def test_a_fresh_head_decodes_by_the_embeddings(source: Path) -> None:
    model = MaskedLanguageModel(source)
    assert model.fresh_head
    embeddings = model.encoder.get_input_embeddings().weight
    assert model.model.get_output_embeddings().weight is embeddings
    own = {id(weight) for weight in model.head_weights()}
    assert id(embeddings) not in own
    assert own | {id(w) for w in model.encoder.parameters()} == {id(w) for w in model.parameters()}
    pointers = [weight.data_ptr() for weight in model.state_dict().values()]
    assert len(set(pointers)) == len(pointers)  # safetensors takes no shared ones


class Watch(TrainerCallback):
    """Keeps copies of the encoder's weights as they are before each step."""

    def __init__(self) -> None:
        self.seen: list[dict[str, torch.Tensor]] = []

    def on_step_begin(self, args: Any, state: Any, control: Any, model: Any, **_: Any) -> None:
        """One copy a step."""
        weights = model.encoder.state_dict()
        self.seen.append({name: weight.clone() for name, weight in weights.items()})


def test_the_head_learns_first_and_frozen_layers_never(
    source: Path, news: Path, tmp_path: Path
) -> None:
    watch = Watch()
    out = adapt(adaptation(source, news, freeze_layers=1), tmp_path / "run", [watch])
    start = load_encoder(source).state_dict()
    for name, weight in watch.seen[4].items():  # four steps of the head alone
        assert torch.equal(weight, start[name]), name
    final = load_encoder(out).state_dict()
    moved = {name for name in start if not torch.equal(start[name], final[name])}
    assert moved and all(name.startswith("encoder.layer.1.") for name in moved), moved


def test_an_adapted_encoder_guesses_better_and_is_a_hugging_face_folder(
    source: Path, news: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    out = adapt(adaptation(source, news, steps=40, learning_rate=3e-3), run)
    assert out == run / "encoder-adapted"
    rows = json.loads((run / "history.json").read_text(encoding="utf-8"))
    dev = [(row["step"], row["dev_loss"]) for row in rows if "dev_loss" in row]
    assert [step for step, _ in dev] == [0, 5, 10, 15, 20, 25, 30, 35, 40]
    assert dev[-1][1] < dev[0][1] - 0.3
    losses = [row["loss"] for row in rows if "loss" in row]
    assert len(losses) == 20 and losses[-1] < losses[0]
    assert (out / "tokenizer.json").read_bytes() == (source / "tokenizer.json").read_bytes()
    assert special_pieces(out / "tokenizer.json") == special_pieces(source / "tokenizer.json")
    before, after = load_encoder(source), load_encoder(out)
    assert not torch.equal(before.state_dict()[WORDS], after.state_dict()[WORDS])
    config = json.loads((out / "config.json").read_text())
    assert config["attention_probs_dropout_prob"] == 0.1  # as in the source, whatever training used
    assert config["architectures"] == ["BertModel"]
    data = json.loads((run / "data.json").read_text())
    assert data["texts"] == {str(news): len(authored_documents("train"))}
    assert sum(part["texts"] for part in data["blocks"].values()) == data["texts"][str(news)]


CHILD = """
import sys, time
from pathlib import Path
import torch
from transformers import TrainerCallback
from training.encoders.adapt import Adaptation, adapt

class Slow(TrainerCallback):
    def on_step_end(self, *_, **__):
        time.sleep(float(sys.argv[3]))

torch.set_num_threads(1)
adapt(Adaptation.model_validate_json(Path(sys.argv[1]).read_bytes()), Path(sys.argv[2]), [Slow()])
"""


def start(settings: Path, run: Path, pause_s: float) -> subprocess.Popen[bytes]:
    """Adapt in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(settings), str(run), str(pause_s)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
    )


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    for _ in range(1800):
        if path.exists():
            return
        assert process.poll() is None, "the run ended before it was killed"
        time.sleep(0.1)
    raise AssertionError(f"{path} did not come")


def test_a_killed_run_ends_with_the_weights_of_an_uninterrupted_one(
    source: Path, news: Path, tmp_path: Path
) -> None:
    settings = tmp_path / "settings.json"
    # a report that begins at a checkpoint is of the same steps in both
    short = adaptation(source, news)
    steps = short.tracking.model_copy(update={"log_steps": 3})
    settings.write_text(short.model_copy(update={"tracking": steps}).model_dump_json(), "utf-8")
    whole = start(settings, tmp_path / "whole", 0)
    cut = start(settings, tmp_path / "cut", 0.3)
    for checkpoint in (3, 6):  # once while the head learns alone, once after
        wait_for(tmp_path / "cut" / f"checkpoint-{checkpoint}" / "trainer_state.json", cut)
        time.sleep(0.4)
        cut.send_signal(signal.SIGKILL)
        assert cut.wait(60) == -signal.SIGKILL
        assert not (tmp_path / "cut" / "encoder-adapted").exists()
        cut = start(settings, tmp_path / "cut", 0.3)
    assert whole.wait(300) == 0 and cut.wait(300) == 0
    ends = [
        load_encoder(tmp_path / run / "encoder-adapted").state_dict() for run in ("whole", "cut")
    ]
    for name, weight in ends[0].items():
        assert torch.equal(weight, ends[1][name]), name
    histories = [(tmp_path / run / "history.json").read_text() for run in ("whole", "cut")]
    assert histories[0] == histories[1]


def test_ctrl_c_saves_and_the_same_command_goes_on(
    source: Path, news: Path, tmp_path: Path
) -> None:
    settings = tmp_path / "settings.json"
    slow = adaptation(source, news, steps=500)
    slow = slow.model_copy(
        update={"tracking": slow.tracking.model_copy(update={"checkpoint_steps": 400})}
    )
    settings.write_text(slow.model_dump_json(), encoding="utf-8")
    process = start(settings, tmp_path / "run", 0.1)
    wait_for(tmp_path / "run" / "history.json", process)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 1
    (checkpoint,) = (tmp_path / "run").glob("checkpoint-*")
    assert 0 < int(checkpoint.name.split("-")[1]) < 400
    assert (checkpoint / "trainer_state.json").is_file()


def test_another_run_is_not_taken_for_this_one(source: Path, news: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    short = adaptation(source, news, steps=3, head_warmup_steps=0)
    adapt(short, run)
    weights = (run / "encoder-adapted" / "model.safetensors").read_bytes()
    adapt(short, run)  # finished: nothing is trained again
    assert (run / "encoder-adapted" / "model.safetensors").read_bytes() == weights
    with pytest.raises(TrainingError, match=r"begun with other settings \(masking, seed\)"):
        adapt(
            short.model_copy(
                update={"seed": 14, "masking": short.masking.model_copy(update={"share": 0.3})}
            ),
            run,
        )
    blocks = Blocks.load(run / "blocks-train.npz")
    Blocks(blocks.pieces[1:], blocks.begins[1:]).save(run / "blocks-train.npz")
    with pytest.raises(TrainingError, match=r"blocks-train\.npz: not the blocks that .*data\.json"):
        adapt(short, run)


def test_what_cannot_be_adapted_says_why(source: Path, news: Path, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="head_warmup_steps is 12 of 12 steps"):
        adapt(adaptation(source, news, head_warmup_steps=12), tmp_path / "a")
    with pytest.raises(
        EncoderError, match=r"has 2 layers, so optimiser\.freeze_layers cannot be 3"
    ):
        adapt(adaptation(source, news, freeze_layers=3), tmp_path / "b")
    long = adaptation(source, news).model_copy(update={"block_pieces": 100_000})
    with pytest.raises(TrainingError, match="give no whole block of 100000 pieces; add texts"):
        adapt(long, tmp_path / "c")
    huge = adaptation(source, news, learning_rate=1e20, head_warmup_steps=0, warmup_fraction=0)
    with pytest.raises(TrainingError, match=r"step \d+: the loss is nan; lower"):
        adapt(huge, tmp_path / "d")
    unmasked = tmp_path / "unmasked"
    unmasked.mkdir()
    for path in source.iterdir():
        text = path.read_bytes()
        (unmasked / path.name).write_bytes(text.replace(b'"<mask>"', b'"<hide>"'))
    with pytest.raises(EncoderError, match=r"no piece <mask> or \[MASK\]; adapt an encoder that"):
        adapt(adaptation(unmasked, news), tmp_path / "e")


def test_the_shipped_config_is_valid_and_strict() -> None:
    path = configs.folder() / "adapt" / "news.yaml"
    shipped = load_settings(path, Adaptation)
    assert shipped.encoder.source == "packaged" and shipped.encoder.trim
    assert 0 < shipped.optimiser.head_warmup_steps < shipped.optimiser.steps
    assert load_settings(path, Adaptation, ["optimiser.steps=7"]).optimiser.steps == 7
    with pytest.raises(ConfigError, match=r"news\.yaml: unknown key optimiser\.step.*mean steps"):
        load_settings(path, Adaptation, ["optimiser.step=7"])
