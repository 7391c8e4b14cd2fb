"""Adapting an encoder to running text: what learns when, exact resume, and what is
refused.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

import configs
from annotations.authored import authored_documents
from annotations.errors import ConfigError
from annotations.jsonl import write_documents
from tests.small_encoders import maskable_encoder  # noqa: F401 - a fixture
from training.encoders.adapt import Adaptation, adapt
from training.encoders.masking import Blocks
from training.encoders.packaged import EncoderError
from training.encoders.sources import (
    encoder_fingerprint,
    former_fingerprints,
    load_encoder,
    special_pieces,
)
from training.encoders.trained import HEAD_WEIGHTS, HEADS
from training.preparation import TrainingError
from training.strict import load_settings

ROOT = Path(__file__).resolve().parent.parent
WORDS = "embeddings.word_embeddings.weight"


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


def test_the_configs_of_the_project_are_read() -> None:
    paths = sorted((configs.folder() / "adapt").glob("*.yaml"))
    found = {path.stem: load_settings(path, Adaptation, []) for path in paths}
    assert {name: settings.objective for name, settings in found.items()} == {
        "news": "masked",
        "replaced": "replaced",
        "shipped": "replaced",
    }
    assert found["shipped"].texts == found["news"].texts


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
    origin = json.loads((out / "origin.json").read_text(encoding="utf-8"))
    assert origin["began_with"] == [encoder_fingerprint(source)]
    assert (origin["encoder"], [row["name"] for row in origin["data"]]) == (
        str(source),
        [news.name],
    )
    again = adapt(adaptation(out, news, steps=1, head_warmup_steps=0), run / "again")
    assert former_fingerprints(again) == (encoder_fingerprint(out), encoder_fingerprint(source))
    data = json.loads((run / "data.json").read_text())
    assert data["texts"] == {str(news): len(authored_documents("train"))}
    assert sum(part["texts"] for part in data["blocks"].values()) == data["texts"][str(news)]


def test_an_encoder_learns_to_tell_replaced_pieces(
    source: Path, news: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    short = adaptation(source, news, steps=40, learning_rate=3e-3)
    out = adapt(short.model_copy(update={"objective": "replaced", "generator_layers": 1}), run)
    rows = json.loads((run / "history.json").read_text(encoding="utf-8"))
    dev = [row for row in rows if "dev_loss" in row]
    assert dev[-1]["dev_telling"] < dev[0]["dev_telling"] - 0.1
    assert dev[-1]["dev_perplexity"] < dev[0]["dev_perplexity"]
    before, after = load_encoder(source).state_dict(), load_encoder(out).state_dict()
    assert before.keys() == after.keys() and not torch.equal(before[WORDS], after[WORDS])


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


@pytest.mark.parametrize("objective", ["masked", "replaced"])
def test_a_killed_run_ends_with_the_weights_of_an_uninterrupted_one(
    source: Path, news: Path, tmp_path: Path, objective: str
) -> None:
    settings = tmp_path / "settings.json"
    # a report that begins at a checkpoint is of the same steps in both
    short = adaptation(source, news)
    short = short.model_copy(update={"objective": objective, "generator_layers": 1})
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


def test_the_heads_of_a_trained_encoder_come_along(
    source: Path, news: Path, tmp_path: Path
) -> None:
    trained = shutil.copytree(source, tmp_path / "trained")
    (trained / HEADS).write_text('{"heads": []}', encoding="utf-8")
    (trained / HEAD_WEIGHTS).write_bytes(b"as they were")
    short = adaptation(trained, news, steps=1, head_warmup_steps=0)
    out = adapt(short, tmp_path / "run")
    for name in (HEADS, HEAD_WEIGHTS):
        assert (out / name).read_bytes() == (trained / name).read_bytes()


def test_another_run_is_not_taken_for_this_one(source: Path, news: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    short = adaptation(source, news, steps=3, head_warmup_steps=0)
    adapt(short, run)
    weights = (run / "encoder-adapted" / "model.safetensors").read_bytes()
    path = run / "adaptation.json"
    older = json.loads(path.read_text())
    del older["objective"], older["generator_layers"]  # as versions before these wrote it
    path.write_text(json.dumps(older))
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
        ConfigError, match=r"optimiser\.freeze_layers is 3, the encoder has 2 layers"
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
