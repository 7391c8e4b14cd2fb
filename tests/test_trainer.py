"""Training: the shipped BERT recipe, exact resume, and errors that say what to do."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tokenizers import BertWordPieceTokenizer
from transformers import BertConfig, BertForMaskedLM

import configs
import training.trainer
from annotations.seed import seed_text
from annotations.text import normalize
from serving.encoding import WindowRule
from serving.tagger import Tagger
from training.encoders import encoder_folder, load_encoder, special_pieces
from training.model import MultiHeadModel
from training.packaged import EncoderError
from training.recipe import run_recipe
from training.settings import Encoder, Optimiser, Recipe, Source, load_recipe
from training.trainer import LogProgress, TrainingError, adamw, fit, prepare

RECIPES = configs.folder() / "train"
SEED_SOURCES = (Source(corpus="seed", head="khabar"), Source(corpus="seed-claims", head="claim"))


def save_bert(folder: Path, fast_tokenizer: bool) -> None:
    """CAMeLBERT's layout, small: 12 attention heads, WordPiece, a masked-language head on top.

    As on the hub the tokenizer is a bare vocab.txt; `fast_tokenizer` saves tokenizer.json too.
    """
    folder.mkdir()
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


@pytest.mark.parametrize("fast_tokenizer", [True, False], ids=["tokenizer.json", "vocab.txt"])
def test_a_local_bert_folder_is_an_encoder_whose_pieces_are_its_own(
    tmp_path: Path, fast_tokenizer: bool
) -> None:
    save_bert(tmp_path / "camelbert", fast_tokenizer)
    before = sorted(path.name for path in (tmp_path / "camelbert").iterdir())
    folder = encoder_folder(Encoder(source=str(tmp_path / "camelbert")), tmp_path / "cache")
    assert special_pieces(folder / "tokenizer.json") == {"begin": 2, "end": 3, "pad": 0}
    recipe = load_recipe(RECIPES / "camelbert.yaml")
    encoder = training.trainer.text_encoder(recipe, folder)
    words = (tmp_path / "camelbert" / "vocab.txt").read_text(encoding="utf-8").splitlines()
    pieces = [words[i] for i in encoder.pieces("القوّات العراقيـــة دخلت القائم")]
    assert "".join(pieces).replace("##", "") == "القواتالعراقيةدخلتالقائم"
    assert load_encoder(folder).config.vocab_size == len(words)
    # the folder that was given is left as it was
    assert sorted(path.name for path in (tmp_path / "camelbert").iterdir()) == before


def test_the_camelbert_recipe_makes_a_bundle_in_one_step(tmp_path: Path) -> None:
    save_bert(tmp_path / "camelbert", fast_tokenizer=False)
    shipped = load_recipe(RECIPES / "camelbert.yaml")
    assert shipped.encoder.source == "CAMeL-Lab/bert-base-arabic-camelbert-mix"
    changes = {
        "encoder": Encoder(source=str(tmp_path / "camelbert")),
        "sources": SEED_SOURCES[:1],
        "lexicon": ("seed",),
        "optimiser": shipped.optimiser.model_copy(update={"epochs": 1, "warmup_fraction": 0.0}),
    }
    bundle = run_recipe(shipped.model_copy(update=changes), tmp_path / "run")
    (checkpoint,) = (tmp_path / "run").glob("checkpoint-*")
    state = json.loads((checkpoint / "trainer_state.json").read_text())
    assert state["global_step"] == state["max_steps"] == 1
    tagger = Tagger.from_bundle(bundle)
    assert {head.name for head in tagger.bundle.manifest.heads} == set(shipped.heads)
    assert tagger.reader.encoder.window == WindowRule(size=256, overlap_tokens=48)
    (prediction,) = tagger.tag([seed_text()])
    assert prediction.error is None and prediction.topics
    for entity in prediction.entities:
        assert seed_text()[entity.start : entity.end] == entity.text


def small_recipe(**optimiser: object) -> Recipe:
    """The smoke recipe on two sources: 8 steps or so, with dropout, so that chance matters."""
    smoke = load_recipe(RECIPES / "smoke.yaml")
    settings = {"epochs": 2, "max_batch_tokens": 512, "bf16": False, "dropout": 0.3} | optimiser
    return smoke.model_copy(
        update={"sources": SEED_SOURCES, "optimiser": Optimiser.model_validate(settings)}
    )


def train(recipe: Recipe, run: Path) -> dict[str, torch.Tensor]:
    folder = encoder_folder(recipe.encoder, run.parent / "encoder")
    model, _ = fit(recipe, folder, prepare(recipe, folder), run)
    return {name: weight.clone() for name, weight in model.state_dict().items()}


class PowerCut(LogProgress):
    """Stops a run after its fifth step."""

    def on_step_end(self, args: object, state: object, control: object, **_: object) -> None:
        if state.global_step == 5:  # type: ignore[attr-defined]
            raise KeyboardInterrupt


def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = small_recipe()
    whole = train(recipe, tmp_path / "whole")
    arguments = training.trainer._arguments

    def saving_often(recipe: Recipe, run: Path) -> object:
        made = arguments(recipe, run)
        made.save_steps = 3
        return made

    monkeypatch.setattr(training.trainer, "_arguments", saving_often)
    with monkeypatch.context() as during:
        during.setattr(training.trainer, "LogProgress", PowerCut)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, tmp_path / "cut")
    assert [path.name for path in (tmp_path / "cut").glob("checkpoint-*")] == ["checkpoint-3"]
    # the power went while the next checkpoint was being written
    half = tmp_path / "cut" / "checkpoint-6"
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"\0" * 100)
    resumed = train(recipe, tmp_path / "cut")
    assert whole.keys() == resumed.keys()
    for name, weight in whole.items():
        assert torch.equal(weight, resumed[name]), name
    start = encoder_folder(recipe.encoder, tmp_path / "encoder")
    untrained = load_encoder(start).state_dict()
    assert not torch.equal(
        whole["encoder.embeddings.word_embeddings.weight"],
        untrained["embeddings.word_embeddings.weight"],
    )


def test_a_finished_run_is_not_trained_again_and_not_taken_for_another_recipe(
    tmp_path: Path,
) -> None:
    recipe = small_recipe(epochs=1)
    run = tmp_path / "run"
    first = train(recipe, run)
    (run / "recipe.json").write_text(recipe.model_dump_json(), encoding="utf-8")
    again = train(recipe, run)
    assert all(torch.equal(weight, again[name]) for name, weight in first.items())
    other = small_recipe(epochs=1, learning_rate=1e-5)
    with pytest.raises(TrainingError, match=r"run: .*another recipe.*optimiser.*another folder"):
        run_recipe(other, run)
    assert Recipe.model_validate_json((run / "recipe.json").read_bytes()) == recipe


def test_a_loss_that_is_no_number_is_a_clear_error(tmp_path: Path) -> None:
    recipe = small_recipe(learning_rate=1e20, head_learning_rate=1e20, warmup_fraction=0)
    with pytest.raises(
        TrainingError, match=r"step \d: the loss of head '(khabar|claim)' is nan; l"
    ):
        train(recipe, tmp_path / "run")


def test_new_heads_learn_faster_and_norms_are_not_decayed(tmp_path: Path) -> None:
    recipe = small_recipe(learning_rate=1e-4, head_learning_rate=1e-3, weight_decay=0.05)
    folder = encoder_folder(recipe.encoder, tmp_path)
    prepared = prepare(recipe, folder)
    model = MultiHeadModel(load_encoder(folder), prepared.heads, 0.1, {})
    groups = adamw(model, recipe.optimiser).param_groups
    where = {id(w): (g["lr"], g["weight_decay"]) for g in groups for w in g["params"]}
    assert len(where) == sum(len(g["params"]) for g in groups) == len(list(model.parameters()))
    for name, weight in model.named_parameters():
        decay = 0.0 if name.endswith("bias") or "LayerNorm" in name else 0.05
        assert where[id(weight)] == (1e-4 if name.startswith("encoder.") else 1e-3, decay), name


def test_the_data_of_a_recipe_is_counted_and_indexed(tmp_path: Path) -> None:
    recipe = small_recipe()
    prepared = prepare(recipe, encoder_folder(recipe.encoder, tmp_path))
    assert [source.head for source in prepared.sources] == ["khabar", "claim"]
    rows = [row for source in prepared.sources for row in source.rows]
    assert rows == list(range(len(prepared.dataset)))
    for source in prepared.sources:
        assert {prepared.dataset[row]["head"] for row in source.rows} == {source.head}
    assert prepared.lengths == [len(ids) for ids in prepared.dataset["input_ids"]]
    claims = prepared.sources[1]
    assert list(claims.classes) == [prepared.dataset[row]["labels"][0] for row in claims.rows]


HUB_CALL = """
from pathlib import Path
from training.encoders import encoder_folder
from training.packaged import EncoderError
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
    root = str(Path(training.trainer.__file__).parent.parent)
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
