"""Encoders from everywhere: a local BERT as CAMeLBERT's, the hub that is not there."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from checkpoints import save_tokenizer
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel

import configs
import training.encoders.sources
from tests.small_encoders import save_bert
from training.encoders.packaged import EncoderError
from training.encoders.sources import (
    encoder_fingerprint,
    encoder_folder,
    encoder_positions,
    load_encoder,
    special_pieces,
)
from training.preparation import text_encoder
from training.settings import Encoder, load_recipe


@pytest.mark.parametrize("fast_tokenizer", [True, False], ids=["tokenizer.json", "vocab.txt"])
def test_a_local_bert_folder_is_an_encoder_whose_pieces_are_its_own(
    tmp_path: Path, fast_tokenizer: bool
) -> None:
    save_bert(tmp_path / "camelbert", fast_tokenizer)
    before = sorted(path.name for path in (tmp_path / "camelbert").iterdir())
    folder = encoder_folder(Encoder(source=str(tmp_path / "camelbert")), tmp_path / "cache")
    assert special_pieces(folder / "tokenizer.json") == {"begin": 2, "end": 3, "pad": 0}
    recipe = load_recipe(configs.folder() / "train" / "camelbert-mix.yaml")
    encoder = text_encoder(recipe, folder)
    words = (tmp_path / "camelbert" / "vocab.txt").read_text(encoding="utf-8").splitlines()
    pieces = [words[i] for i in encoder.pieces("القوّات العراقيـــة دخلت القائم")]
    assert "".join(pieces).replace("##", "") == "القواتالعراقيةدخلتالقائم"
    assert load_encoder(folder).config.vocab_size == len(words)
    # the folder that was given is left as it was
    assert sorted(path.name for path in (tmp_path / "camelbert").iterdir()) == before


def test_the_frame_is_that_of_the_tokenizer_whatever_its_pieces_are_called(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    save_tokenizer(tmp_path, "bert")
    spec = json.loads(path.read_text("utf-8"))
    ids = spec["model"]["vocab"]
    for name in ("<s>", "</s>", "<pad>"):  # ordinary pieces of some vocabularies
        ids[name] = len(ids)
    path.write_text(json.dumps(spec), encoding="utf-8")
    assert special_pieces(path) == {"begin": 2, "end": 3, "pad": 0}


HUB_CALL = """
from pathlib import Path
from training.encoders.sources import encoder_folder
from training.encoders.packaged import EncoderError
from training.settings import Encoder
try:
    encoder_folder(Encoder(source="CAMeL-Lab/bert-base-arabic-camelbert-mix"), Path("cache"))
except EncoderError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("settings", "cause"),
    [({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE"),
     ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "Connection refused")],
    ids=["offline", "unreachable"],
)  # fmt: skip
def test_without_the_hub_a_hub_name_fails_at_once_and_says_what_to_do(
    tmp_path: Path, settings: dict[str, str], cause: str
) -> None:
    root = str(Path(configs.__file__).parent.parent)
    inherited = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    settings = {"HF_HOME": str(tmp_path), "PYTHONPATH": root, "HF_HUB_OFFLINE": ""} | settings
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", HUB_CALL],
        env=inherited | settings,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert time.monotonic() - began < 20  # mostly imports
    assert "encoder 'CAMeL-Lab/bert-base-arabic-camelbert-mix'" in done.stdout, done.stderr
    assert cause in done.stdout
    assert "set encoder.source to its folder" in done.stdout
    assert done.stdout.count("\n") == 1  # one line, no traceback


def test_an_encoder_of_which_the_making_was_cut_short_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_short(folder: Path) -> None:
        (folder / "config.json").write_text("{}")
        raise KeyboardInterrupt

    settings = Encoder(source="tiny")
    with monkeypatch.context() as during:
        during.setattr(training.encoders.sources, "save_tiny_encoder", cut_short)
        with pytest.raises(KeyboardInterrupt):
            encoder_folder(settings, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert (encoder_folder(settings, tmp_path) / "tokenizer.json").is_file()


def test_weights_that_do_not_fit_their_config_are_refused(tmp_path: Path) -> None:
    folder = encoder_folder(Encoder(source="tiny"), tmp_path / "cache")
    weights = load_file(folder / "model.safetensors")
    save_file({f"model.{name}": w for name, w in weights.items()}, folder / "model.safetensors")
    with pytest.raises(EncoderError, match=r"its weights lack \d+ that a .* has \(embeddings"):
        load_encoder(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(EncoderError, match="no weights"):
        load_encoder(folder)


def test_a_folder_that_cannot_be_opened_is_refused_with_what_is_wrong(tmp_path: Path) -> None:
    def tiny(name: str) -> Path:
        folder = tmp_path / name
        shutil.copytree(encoder_folder(Encoder(source="tiny"), tmp_path / "cache"), folder)
        return folder

    cut = tiny("cut") / "model.safetensors"
    cut.write_bytes(cut.read_bytes()[:5000])
    with pytest.raises(
        EncoderError, match=r"/cut: its weights cannot be read \(.+\); get the whole"
    ):
        load_encoder(cut.parent)
    sharded = tiny("sharded")
    AutoModel.from_pretrained(sharded).save_pretrained(sharded, max_shard_size="20KB")
    (sharded / "model.safetensors").unlink(missing_ok=True)
    next(sharded.glob("model-00002-of-*.safetensors")).unlink()
    with pytest.raises(EncoderError, match=r"/sharded: its weights cannot be read"):
        load_encoder(sharded)
    pickled = tiny("pickled")
    (pickled / "model.safetensors").unlink()
    torch.save({"a": Path("x")}, pickled / "pytorch_model.bin")
    with pytest.raises(EncoderError, match=r"holds more than weights") as caught:
        load_encoder(pickled)
    assert "weights_only" not in str(caught.value)
    nameless = tiny("nameless")
    (nameless / "config.json").write_text("{}")
    with pytest.raises(EncoderError, match=r"/nameless: transformers cannot read its config\.json"):
        load_encoder(nameless)


def test_a_tokenizer_with_more_pieces_than_embeddings_is_refused(tmp_path: Path) -> None:
    folder = encoder_folder(Encoder(source="tiny"), tmp_path / "cache")
    model = AutoModel.from_pretrained(folder)
    model.resize_token_embeddings(100)
    model.save_pretrained(folder)
    with pytest.raises(
        EncoderError, match=r"tokenizer\.json has a piece \d+, and the model has 100"
    ):
        load_encoder(folder)


@pytest.mark.parametrize(("kind", "usable"), [("camembert", 512), ("bert", 514)])
def test_positions_of_padding_are_no_positions_of_pieces(
    tmp_path: Path, kind: str, usable: int
) -> None:
    config = AutoConfig.for_model(kind, max_position_embeddings=514, pad_token_id=1)
    config.save_pretrained(tmp_path)
    assert encoder_positions(tmp_path) == usable


def test_a_tokenizer_whose_two_files_disagree_is_refused(tmp_path: Path) -> None:
    save_bert(tmp_path / "bert", fast_tokenizer=True)
    source = Encoder(source=str(tmp_path / "bert"))
    assert encoder_folder(source, tmp_path / "cache") == tmp_path / "bert"
    path = tmp_path / "bert" / "tokenizer.json"
    spec = json.loads(path.read_text("utf-8"))
    spec["normalizer"] |= {"lowercase": True, "strip_accents": True}
    path.write_text(json.dumps(spec), encoding="utf-8")
    with pytest.raises(EncoderError, match=r"/bert: do_lower_case or strip_accents of"):
        encoder_folder(source, tmp_path / "cache")


def test_weights_in_several_files_of_pytorch_are_fingerprinted(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "pytorch_model-00001-of-00002.bin").write_bytes(b"a")
    before = encoder_fingerprint(tmp_path)
    (tmp_path / "pytorch_model-00001-of-00002.bin").write_bytes(b"b")
    assert encoder_fingerprint(tmp_path) != before


def test_what_is_made_of_a_folder_is_not_taken_for_that_of_another(tmp_path: Path) -> None:
    for name, text in (("a", "سلام"), ("b", "كلام")):
        save_bert(tmp_path / name / "bert", fast_tokenizer=False)
        words = tmp_path / name / "bert" / "vocab.txt"
        words.write_text(words.read_text("utf-8") + f"{text}\n", encoding="utf-8")
    made = [
        encoder_folder(Encoder(source=str(tmp_path / name / "bert")), tmp_path / "cache")
        for name in ("a", "b", "a")
    ]
    assert made[0] == made[2] != made[1]


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    save_bert(tmp_path / "camelbert", fast_tokenizer=False)
    (tmp_path / "camelbert" / "vocab.txt").unlink()
    with pytest.raises(EncoderError, match=r"camelbert has no tokenizer .*give the whole folder"):
        encoder_folder(Encoder(source=str(tmp_path / "camelbert")), tmp_path / "cache")


def test_a_tokenizer_of_another_family_is_refused(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models

    Tokenizer(models.WordLevel({"قال": 0, "[UNK]": 1}, unk_token="[UNK]")).save(
        str(tmp_path / "tokenizer.json")
    )
    with pytest.raises(EncoderError, match=r"no piece <s> or \[CLS\]; use a BERT or XLM-R"):
        special_pieces(tmp_path / "tokenizer.json")


@pytest.mark.parametrize("source", ["tiny", "packaged", "."])
def test_a_revision_is_of_the_hub(source: str, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"this encoder is not from there; leave encoder\.rev"):
        encoder_folder(Encoder(source=source, revision="abc"), tmp_path)
