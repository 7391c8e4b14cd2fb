"""Several processes: `accelerate launch` trains what one process with both batches would."""

import json
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import get_linear_schedule_with_warmup, set_seed

import configs
from training.batches import Collator, PlannedBatches
from training.encoders.sources import encoder_folder
from training.encoders.tiny import save_tiny_encoder
from training.optimisation import adamw
from training.preparation import prepare
from training.runs import Run
from training.settings import Recipe, load_recipe
from training.trainer import new_model, planned_batches

SMOKE = configs.folder() / "train" / "smoke.yaml"
CHANGES = (
    "optimiser.dropout=0", "optimiser.bf16=false", "optimiser.warmup_fraction=0.25",
    "optimiser.max_batch_tokens=256", "optimiser.epochs=1", "tracking.log_steps=1",
)  # fmt: skip


def test_two_processes_train_as_one_that_sees_both_batches(tmp_path: Path) -> None:
    run, encoder = tmp_path / "run", tmp_path / "encoder"
    save_tiny_encoder(encoder)
    config = json.loads((encoder / "config.json").read_text())
    (encoder / "config.json").write_text(json.dumps(config | {"hidden_dropout_prob": 0.0}))
    changes = [*CHANGES, f"encoder.source={encoder}"]
    launch = [
        sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2",
        "--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no", "--main_process_port=0",
        "-m", "khabar", "train", str(SMOKE), "--run", str(run),
    ]  # fmt: skip
    for change in changes:
        launch += ["--set", change]
    root = Path(configs.__file__).parent.parent
    done = subprocess.run(launch, cwd=root, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == [str(run / "bundle")]  # one of the two speaks
    checkpoint = Run(run).checkpoint
    assert checkpoint is not None and len(list(checkpoint.glob("rng_state_*.pth"))) == 2
    expected = by_hand(load_recipe(SMOKE, changes), run)
    for name, weight in load_file(checkpoint / "model.safetensors").items():
        torch.testing.assert_close(weight, expected[name], rtol=1e-4, atol=1e-5, msg=name)


def by_hand(recipe: Recipe, run: Path) -> dict[str, torch.Tensor]:
    """The weights after a plain loop: each step the mean loss of the two processes' batches."""
    optimiser = recipe.optimiser
    folder = encoder_folder(recipe.encoder, run / "encoder")
    prepared = prepare(recipe, folder)
    set_seed(recipe.seed)
    model = new_model(recipe, folder, prepared)
    plans = [planned_batches(recipe, prepared, rank, 2) for rank in (0, 1)]
    assert len(plans[0]) == len(plans[1]) < len(planned_batches(recipe, prepared))
    parts = ((model.encoder, optimiser.learning_rate, 1.0), (model.heads, 3e-3, 1.0))
    stepper = adamw(parts, optimiser.weight_decay)
    steps = len(plans[0])
    schedule = get_linear_schedule_with_warmup(stepper, -(-steps // 4), steps)
    collate = Collator(prepared.heads, prepared.encoder.special.pad)
    for batches in zip(*plans, strict=True):
        losses = [
            model(**collate([prepared.dataset[i] for i in batch]))["loss"] for batch in batches
        ]
        (sum(losses) / 2).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), optimiser.max_grad_norm)
        stepper.step()
        schedule.step()
        stepper.zero_grad()
    return model.state_dict()


def test_the_last_step_of_uneven_plans_is_filled_up() -> None:
    from training.batches import SourceExamples

    sources = [SourceExamples("a", range(7), 1)]
    whole = PlannedBatches(sources, [50] * 7, 2, 60, seed=1)
    assert len(whole) == 14
    parts = [
        PlannedBatches(sources, [50] * 7, 2, 60, seed=1, rank=r, processes=3) for r in range(3)
    ]
    assert [len(part) for part in parts] == [6, 6, 6]
    assert parts[0].epoch_ends == [3, 6]
    first_epoch = [part.batches[step] for step in range(3) for part in parts]
    assert first_epoch[:7] == whole.batches[:7]
    assert first_epoch[7:] == whole.batches[:2]
