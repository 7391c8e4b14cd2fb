"""What an adaptation is made of: its settings, its blocks of text and how they are masked."""

from __future__ import annotations

import json
import logging
import random
from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt

from serving.encoding import TextEncoder, WindowRule
from training.encoders.masking import Blocks, Masker
from training.encoders.packaged import EncoderError
from training.encoders.sources import special_pieces
from training.encoders.texts import texts_of
from training.preparation import TrainingError
from training.runs import DATA, read_json, write_text
from training.settings import Encoder, Rules, Tracking
from training.splits import held_out_part
from training.strict import Settings, validated

log = logging.getLogger(__name__)
SETTINGS = "adaptation.json"
MASKS = ("<mask>", "[MASK]")


class Masking(Settings):
    """How much of a block is hidden; with `whole_words` all pieces of a word together."""

    share: float = Field(0.15, gt=0, lt=1)
    whole_words: bool = False


class AdaptationOptimiser(Settings):
    """AdamW with linear warm-up and decay.

    In the first `head_warmup_steps` a fresh head learns alone (with the generator where there is
    one, which has its rate) and the encoder is held as it is; a head that the encoder brings along
    needs none. `freeze_layers` holds the embeddings and so many
    of the lowest layers for all of the run.
    """

    steps: PositiveInt
    learning_rate: PositiveFloat = 5e-5
    head_learning_rate: PositiveFloat = 1e-3
    head_warmup_steps: int = Field(0, ge=0)
    freeze_layers: int = Field(0, ge=0)
    layer_decay: float = Field(1.0, gt=0, le=1)
    warmup_fraction: float = Field(0.1, ge=0, lt=1)
    weight_decay: float = Field(0.01, ge=0)
    max_batch_tokens: PositiveInt = 4096  # a process
    bf16: bool | Literal["auto"] = "auto"


class Adaptation(Settings):
    """Everything `khabar encoder adapt` needs.

    `texts` are corpora (khaleej, ant, wikifane, anercorp: their train parts) and files (.txt,
    .jsonl, also .gz). A share `held_out` of the texts, at most `held_out_blocks`, is not trained on
    and measures the loss every `evaluate_steps`. The `objective` is to guess the pieces that are
    hidden, or to tell the ones that a generator of so many `generator_layers` guessed.
    """

    name: str
    encoder: Encoder
    normalization: Rules = Rules()
    texts: tuple[str, ...] = Field(min_length=1)
    objective: Literal["masked", "replaced"] = "masked"
    generator_layers: PositiveInt = 4
    block_pieces: int = Field(128, ge=8)
    held_out: float = Field(0.02, gt=0, lt=0.5)
    held_out_blocks: PositiveInt = 200
    evaluate_steps: PositiveInt = 200
    masking: Masking = Masking()
    optimiser: AdaptationOptimiser
    tracking: Tracking = Tracking()
    seed: int = Field(13, ge=0)


def hold_to_settings(settings: Adaptation, run: Path) -> None:
    """Write the settings into a new run; a run of other settings is refused."""
    path = run / SETTINGS
    if path.is_file():
        # of a run that an older version began, what that did not know is as it was then
        known = validated(read_json(path), Adaptation, str(path)).model_dump(mode="json")
        now = settings.model_dump(mode="json")
        changed = sorted(name for name in now if known[name] != now[name])
        if changed:
            raise TrainingError(
                f"{run} was begun with other settings ({', '.join(changed)}); take those again, or "
                "another folder for this run"
            )
    run.mkdir(parents=True, exist_ok=True)
    write_text(path, settings.model_dump_json(indent=1) + "\n")


def prepare_blocks(settings: Adaptation, folder: Path, run: Path) -> tuple[Blocks, Blocks]:
    """The blocks to train on and the held-out ones; made once a run and kept in its folder.

    data.json says how many texts there are and what the blocks' sha256 is.
    """
    paths = run / "blocks-train.npz", run / "blocks-held-out.npz"
    if not (run / DATA).is_file():
        _make_blocks(settings, folder, run, *paths)
    known = read_json(run / DATA)["blocks"]
    train, held_out = (Blocks.load(path) for path in paths)
    for path, blocks in zip(paths, (train, held_out), strict=True):
        if blocks.fingerprint != known[path.stem]["sha256"]:
            raise TrainingError(
                f"{path}: not the blocks that {run / DATA} describes; take another folder for "
                "this run"
            )
    return train, held_out


def _make_blocks(
    settings: Adaptation, folder: Path, run: Path, train: Path, held_out: Path
) -> None:
    path = folder / "tokenizer.json"
    rules = settings.normalization.normalization()
    encoder = TextEncoder.from_file(path, rules, WindowRule(), **special_pieces(path))
    texts = {name: list(texts_of(name)) for name in settings.texts}
    counts = {name: len(found) for name, found in texts.items()}
    log.info("texts: %s", counts)
    described = {}
    for target in (train, held_out):
        part = "train" if target == train else "calibration"
        own = [
            text
            for found in texts.values()
            for text in found
            if held_out_part(text, settings.held_out) == part
        ]
        random.Random(settings.seed).shuffle(own)
        most = settings.held_out_blocks if target == held_out else None
        blocks = Blocks.pack(own, encoder, settings.block_pieces, most)
        if not len(blocks):
            raise TrainingError(
                f"{target.stem}: {len(own)} texts of {', '.join(settings.texts)} give no whole "
                f"block of {settings.block_pieces} pieces; add texts, lower block_pieces or raise "
                "held_out"
            )
        blocks.save(target)
        described[target.stem] = {
            "texts": len(own),
            "blocks": len(blocks),
            "sha256": blocks.fingerprint,
        }
    row = {"texts": counts, "blocks": described}
    write_text(run / DATA, json.dumps(row, indent=1) + "\n")


def masker_of(settings: Adaptation, folder: Path) -> Masker:
    """What hides pieces, by the tokenizer's own mask."""
    path = folder / "tokenizer.json"
    added = json.loads(path.read_text(encoding="utf-8"))["added_tokens"]
    ids = {token["content"]: token["id"] for token in added}
    mask = next((ids[name] for name in MASKS if name in ids), None)
    if mask is None:
        raise EncoderError(
            f"{path}: no piece {' or '.join(MASKS)}; adapt an encoder that has a mask"
        )
    size = json.loads((folder / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    return Masker(
        mask,
        size,
        tuple(sorted({*ids.values(), *special_pieces(path).values()})),
        settings.masking.share,
        settings.masking.whole_words,
        settings.seed,
    )
