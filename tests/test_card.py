"""The model card: what the hub reads of it is what the manifest says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard, metadata_load

from serving.bundle import Bundle, Head, Manifest
from training.corpora import data_entry
from training.export.card import model_card
from training.export.model_index import base_model, eval_results

PER_LABEL = {"PERS": {"precision": 0.5, "recall": 0.6, "f1": 0.55, "support": 9}}
PER_LABEL["PERS"] |= {"interval": [0.4, 0.7]}  # type: ignore[dict-item]
ENTITIES: dict[str, Any] = {
    "head": "khabar", "split": "Wojood sample val", "items": 158, "f1": 0.7784,
    "f1_strict": 0.7712, "precision": 0.7912, "recall": 0.766, "interval": [0.7304, 0.823],
    "ece": 0.0766, "per_label": PER_LABEL, "command": "khabar evaluate --task ner --data X",
    "coarse": {"items": 158, "f1": 0.749, "f1_strict": 0.749, "precision": 0.7583,
               "recall": 0.7398, "interval": [0.69, 0.7992], "ece": None, "per_label": PER_LABEL},
}  # fmt: skip
STANCES: dict[str, Any] = {
    "head": "stance", "split": "authored news dev", "items": 222, "accuracy": 0.4685,
    "macro_f1": 0.4541, "interval": [0.3826, 0.5207], "accuracy_interval": [0.4009, 0.536],
    "ece": 0.1077, "per_label": PER_LABEL, "command": "khabar evaluate --task stance --data Y",
}  # fmt: skip
CLAIMS = STANCES | {"head": "claim", "accuracy": 0.6429, "macro_f1": 0.5117}


@pytest.fixture
def manifest(smoke_bundle: Path) -> Manifest:
    """A manifest with scores and data of shipped corpora."""
    return Bundle.load(smoke_bundle).manifest.model_copy(
        update={
            "scores": [ENTITIES, STANCES, CLAIMS],
            "data": [data_entry("wojood"), data_entry("authored")],
            "encoder": "CAMeL-Lab/bert-base-arabic-camelbert-mix (trimmed)",
        }
    )


def test_the_hub_reads_back_every_score_with_its_interval(
    manifest: Manifest, tmp_path: Path
) -> None:
    path = tmp_path / "MODEL_CARD.md"
    path.write_text(model_card(manifest), encoding="utf-8")
    results = ModelCard.load(path).data.eval_results
    found = {(r.dataset_config, r.dataset_name, r.dataset_split, r.metric_name): r for r in results}
    assert len(found) == len(results) == 5 + 4 + 3 + 3
    f1 = found["khabar", "Wojood sample", "val", "F1 (micro, seqeval)"]
    assert (f1.metric_value, f1.metric_type, f1.task_type) == (0.7784, "f1", "token-classification")
    assert f1.metric_args == {"interval_95": [0.7304, 0.823]}
    assert f1.dataset_args == {"items": 158, "command": "khabar evaluate --task ner --data X"}
    coarse = found["khabar (coarse view)", "Wojood sample", "val", "F1 (micro, seqeval)"]
    assert coarse.metric_value == 0.749
    # two heads on one split stay two results
    for head, row in (("stance", STANCES), ("claim", CLAIMS)):
        accuracy = found[head, "authored news", "dev", "accuracy"]
        assert accuracy.metric_value == row["accuracy"]
        assert accuracy.metric_args == {"interval_95": [0.4009, 0.536]}
        assert found[head, "authored news", "dev", "macro F1"].metric_value == row["macro_f1"]
        assert accuracy.task_type == "text-classification"


def test_the_front_matter_states_language_terms_data_and_base_model(
    manifest: Manifest, tmp_path: Path
) -> None:
    path = tmp_path / "MODEL_CARD.md"
    path.write_text(model_card(manifest), encoding="utf-8")
    data = metadata_load(path)
    assert (data["language"], data["license"]) == ("ar", "other")
    assert data["license_name"] == "research-use-rights-not-cleared"
    assert data["license_link"] == "MODEL_CARD.md#terms"
    assert data["datasets"] == ["wojood", "authored"]
    assert data["base_model"] == "CAMeL-Lab/bert-base-arabic-camelbert-mix"
    assert data["pipeline_tag"] == "token-classification"
    assert data["model-index"][0]["name"] == manifest.name
    assert {"arabic", "named-entity-recognition", "stance", "topic"} <= set(data["tags"])


def test_data_of_the_recipes_author_has_the_authors_terms(manifest: Manifest) -> None:
    own = {"name": "mine.jsonl", "title": "mine", "license": "not stated", "files": {}}
    card = model_card(manifest.model_copy(update={"data": [own]}))
    assert "license_name: see-the-training-data" in card
    assert "rights in the training data are not" not in " ".join(card.split())
    assert "\ndatasets:" not in card
    assert "language models" not in card and "Confidences are calibrated" in card


def test_an_imported_bundle_has_its_sources_terms_and_no_corpora(manifest: Manifest) -> None:
    imported = {"source": "a/b", "revision": "abc", "architecture": "BertForTokenClassification"}
    head = Head(name="ner", kind="flat", labels=("PERS",), scheme="iob1")
    card = model_card(
        manifest.model_copy(
            update={"training": {"imported": imported}, "heads": (head,), "scores": []}
        )
    )
    assert "license_name: see-the-source-model" in card
    assert "a/b at revision abc (BertForTokenClassification)" in card
    assert "its tags are read as IOB1" in card
    assert "\n## Import\n" in card and "\n## Recipe\n" not in card
    assert "model-index" not in card and "model_name" not in card
    assert "not human gold" not in card


def test_a_loss_that_was_let_pass_is_told(manifest: Manifest) -> None:
    row = {"head": "khabar", "split": "Wojood sample val", "metric": "f1", "fp32": 0.7912}
    row |= {"int8": 0.7784, "loss": 0.0128, "interval": [0.004, 0.0211]}
    assert "Loss of int8" not in model_card(manifest)
    training = {**manifest.training, "int8_loss": [row], "allow_loss": False}
    assert "Loss of int8" not in model_card(manifest.model_copy(update={"training": training}))
    training["allow_loss"] = True
    card = model_card(manifest.model_copy(update={"training": training}))
    assert "**Exported with `--allow-loss`**" in card
    line = "| khabar | Wojood sample val | f1 | 0.7912 | 0.7784 | 0.0128 | 0.0040 to 0.0211 |"
    assert line in card


def test_only_a_name_of_the_hub_is_a_base_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert base_model("packaged (trimmed)") == "intfloat/multilingual-e5-small"
    assert base_model("aubmindlab/bert-base-arabertv02") == "aubmindlab/bert-base-arabertv02"
    assert base_model("tiny") is None
    assert base_model("/models/mine") is None
    (tmp_path / "models" / "mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert base_model("models/mine") is None


def test_what_was_not_measured_is_no_metric() -> None:
    names = {result.metric_name for result in eval_results([STANCES | {"ece": None}])}
    assert names == {"accuracy", "macro F1"}


def test_the_card_tells_what_was_left_out_for_development_s_sake(manifest: Manifest) -> None:
    training = {**manifest.training, "left_out": {"wojood": 122, "ans": 1, "seed": 0}}
    told = model_card(manifest.model_copy(update={"training": training}))
    assert "near-duplicate" in told and "122 of wojood, 1 of ans." in told
    nothing = {**manifest.training, "left_out": {"seed": 0}}
    assert ": none." in model_card(manifest.model_copy(update={"training": nothing}))
    nobody = {k: v for k, v in manifest.training.items() if k != "left_out"}
    assert "near-duplicate" not in model_card(manifest.model_copy(update={"training": nobody}))


def test_the_card_says_of_a_head_what_is_special_about_it(manifest: Manifest) -> None:
    heads = tuple(
        head.model_copy(update={"mirrored": head.name == "claim", "experimental": True})
        for head in manifest.heads
    )
    lines = model_card(manifest.model_copy(update={"heads": heads})).splitlines()
    rows = [line.split("|")[1:-1] for line in lines if line.startswith("|") and "experim" in line]
    notes = {name.strip(): note.strip() for name, _, _, note in rows}
    assert notes.pop("claim") == "experimental; reads a text of one sentence both ways round"
    assert set(notes.values()) == {"experimental"}
