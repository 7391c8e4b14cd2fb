"""Run folders: what is damaged is named, what was cut short is left out."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import configs
from annotations.errors import ConfigError, FormatError
from tests.small_runs import small_recipe, train
from training.encoders.sources import encoder_folder
from training.preparation import TrainingError, prepare
from training.recipe import run_recipe
from training.runs import Run, RunError, hold_to_checkpoint
from training.settings import load_recipe
from training.splits import held_out_part

SMOKE = configs.folder() / "train" / "smoke.yaml"


@pytest.fixture
def run(smoke_run: Path, tmp_path: Path) -> Path:
    """A copy of the smoke run, to be damaged."""
    return Path(shutil.copytree(smoke_run, tmp_path / "run"))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


@pytest.mark.parametrize("name", ["recipe.json", "data.json", "history.json"])
def test_a_file_that_was_cut_off_is_named(run: Path, name: str) -> None:
    cut(run / name)
    with pytest.raises((RunError, ConfigError), match=rf"{name}: damaged .*delete this run"):
        run_recipe(load_recipe(SMOKE), run)


def test_a_recipe_of_another_version_is_named(run: Path) -> None:
    raw = json.loads((run / "recipe.json").read_text())
    (run / "recipe.json").write_text(json.dumps(raw | {"sed": 3}))
    with pytest.raises(ConfigError, match=r"recipe\.json: unknown key sed; did you mean seed"):
        Run.open(run).recipe.seed.bit_length()


def test_a_checkpoint_whose_state_was_cut_off_counts_for_nothing(run: Path) -> None:
    checkpoint = Run(run).checkpoint
    assert checkpoint is not None
    cut(checkpoint / "trainer_state.json")
    assert Run(run).checkpoint is None


def test_a_copy_kept_beside_the_checkpoints_is_no_checkpoint_and_stays(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "checkpoint-2-best").mkdir(parents=True)
    (run / "checkpoint-2-best" / "trainer_state.json").write_text("{}")
    train(small_recipe(checkpoint_steps=2), run)
    checkpoint = Run(run).checkpoint
    assert checkpoint is not None
    left = sorted(path.name for path in run.glob("checkpoint-*"))
    assert left == sorted(["checkpoint-2-best", checkpoint.name])


def test_a_run_is_finished_when_its_last_step_is_done(run: Path) -> None:
    checkpoint = Run(run).checkpoint
    assert checkpoint is not None
    path = checkpoint / "trainer_state.json"
    for state, finished in (
        ({"global_step": 5, "max_steps": 5}, True),
        ({"global_step": 4, "max_steps": 5}, False),
        ({"global_step": 0}, True),  # of nothing trained, as it was once written
    ):
        path.write_text(json.dumps(state))
        if finished:
            assert Run(run).finished_weights == checkpoint / "model.safetensors"
        else:
            with pytest.raises(RunError, match="at step 4 of 5; start `khabar train` again"):
                _ = Run(run).finished_weights


def test_weights_that_were_cut_off_are_named(run: Path) -> None:
    checkpoint = Run(run).checkpoint
    assert checkpoint is not None
    cut(checkpoint / "model.safetensors")
    with pytest.raises(
        RunError, match=r"model\.safetensors: cannot be read .*start `khabar train`"
    ):
        Run(run).model()


def missing(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
@pytest.mark.parametrize("harm", [missing, empty, cut])
def test_a_checkpoint_that_would_go_on_to_other_weights_is_refused(
    run: Path, name: str, harm: Callable[[Path], None]
) -> None:
    checkpoint = Run(run).checkpoint
    assert checkpoint is not None
    hold_to_checkpoint(checkpoint, 1)
    harm(checkpoint / name)
    if harm is missing:
        hold_to_checkpoint(checkpoint, 1)  # at its end it needs no more than its weights
    else:
        with pytest.raises(RunError, match=rf"{name}: damaged, got \d+ bytes; delete {name} and"):
            hold_to_checkpoint(checkpoint, 1)
    state = json.loads((checkpoint / "trainer_state.json").read_text())
    (checkpoint / "trainer_state.json").write_text(json.dumps(state | {"max_steps": 1000}))
    with pytest.raises(RunError, match=rf"{name}: .* delete {checkpoint.name} and start `khabar"):
        hold_to_checkpoint(checkpoint, 1)


def test_each_process_needs_its_own_chance(run: Path) -> None:
    checkpoint = Run(run).checkpoint
    assert checkpoint is not None
    state = json.loads((checkpoint / "trainer_state.json").read_text())
    (checkpoint / "trainer_state.json").write_text(json.dumps(state | {"max_steps": 1000}))
    shutil.copy(checkpoint / "rng_state.pth", checkpoint / "rng_state_0.pth")
    with pytest.raises(RunError, match=r"rng_state_1\.pth: missing"):
        hold_to_checkpoint(checkpoint, 2)


def test_a_state_that_says_no_step_is_named(run: Path) -> None:
    checkpoint = Run(run).checkpoint
    assert checkpoint is not None
    (checkpoint / "trainer_state.json").write_text("{}")
    with pytest.raises(RunError, match=rf"says no global_step; delete {checkpoint.name} and start"):
        run_recipe(load_recipe(SMOKE), run)
    with pytest.raises(RunError, match="says no global_step"):
        _ = Run(run).finished_weights


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("windows.size=600", "windows.size is 600, but the encoder reads at most 512 pieces"),
        ("windows.pair_max_pieces=700", "windows.pair_max_pieces is 700"),
        ("sources.0.max_pieces=513", "max_pieces of seed is 513"),
    ],
)
def test_inputs_longer_than_the_encoders_positions_are_refused_first(
    tmp_path: Path, setting: str, words: str
) -> None:
    overrides = [setting, "windows.pair_max_pieces=800"] if "size" in setting else [setting]
    recipe = load_recipe(SMOKE, overrides)
    with pytest.raises(TrainingError, match=words):
        prepare(recipe, encoder_folder(recipe.encoder, tmp_path))


@pytest.mark.parametrize(
    ("head", "document", "view", "words"),
    [
        (
            "{kind: pair, labels: claims}",
            {"claims": [{"text": "زار", "label": "agree"}]},
            "#claims",
            None,
        ),
        (
            "{kind: pair, labels: [yea, nay]}",
            {"claims": [{"text": "زار", "label": "agree"}]},
            "#claims",
            r"news-1\S*: label 'agree' is none of head 'claim' \(yea, nay\)",
        ),
        (
            "{kind: text, labels: [yea, nay]}",
            {"topic": "sports"},
            "#topics",
            r"news-1: label 'sports' is none of head 'topic'",
        ),
    ],
)
def test_a_label_that_the_head_lacks_is_named_with_its_document(
    tmp_path: Path, head: str, document: dict[str, object], view: str, words: str | None
) -> None:
    news = tmp_path / "news.jsonl"
    row = {"id": "news-1", "text": "زار الوفد بغداد"} | document
    news.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    name = "claim" if "pair" in head else "topic"
    changes = [f"heads={{{name}: {head}}}", f"sources=[{{corpus: '{news}{view}', head: {name}}}]"]
    recipe = load_recipe(SMOKE, changes)
    encoder = encoder_folder(recipe.encoder, tmp_path / "encoder")
    if words is None:
        assert len(prepare(recipe, encoder).dataset) == 1
        return
    with pytest.raises(FormatError, match=words):
        prepare(recipe, encoder)


def test_a_label_of_the_calibration_part_is_looked_at_before_training(tmp_path: Path) -> None:
    names = [f"d{i}" for i in range(60)]
    last = next(name for name in names if held_out_part(name) == "calibration")
    rows = [{"id": name, "text": "زار الوفد بغداد", "topic": "sports"} for name in names]
    news = tmp_path / "news.jsonl"
    for wrong in ("sport", None):
        told = [row | {"topic": wrong} if row["id"] == last else row for row in rows]
        news.write_text("\n".join(json.dumps(row) for row in told), encoding="utf-8")
        changes = [
            "heads={topic: {kind: text, labels: topics}}",
            f"sources=[{{corpus: '{news}', head: topic}}]",
        ]
        recipe = load_recipe(SMOKE, changes)
        with pytest.raises(FormatError, match=f"document {last}: label '{wrong}' is none of head"):
            prepare(recipe, encoder_folder(recipe.encoder, tmp_path / "encoder"))


def test_a_source_of_which_the_head_knows_no_type_is_refused(tmp_path: Path) -> None:
    news = tmp_path / "news.jsonl"
    span = {"start": 10, "end": 15, "label": "GENE"}
    row = {"id": "news-1", "text": "زار الوفد بغداد", "entities": [span], "label_set": "own"}
    news.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    source = f"sources=[{{corpus: '{news}', head: khabar}}]"
    recipe = load_recipe(SMOKE, ["heads.claim.experimental=true", source])
    with pytest.raises(FormatError, match=r"news\.jsonl: none of its types \(GENE\) is a label"):
        prepare(recipe, encoder_folder(recipe.encoder, tmp_path / "encoder"))
