"""The hub's folders: plain transformers loads them and reads what the run's own heads say."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import save_encoder, spaced_sentences
from huggingface_hub import ModelCard
from safetensors.torch import save_file
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    pipeline,
)

from annotations.authored import authored_documents
from annotations.errors import FormatError
from annotations.seed import seed_text
from annotations.text import Normalization
from serving.bundle import MANIFEST, Bundle, Manifest, write_manifest
from serving.encoding import TextEncoder
from serving.tagger import Tagger
from training.encoders.sources import load_encoder
from training.export.torch_backend import TorchBackend
from training.hub.folders import FILES, HubError, export_huggingface, flat_weights
from training.hub.imports import import_model
from training.hub.tokenizer import hub_tokenizer
from training.model import MultiHeadModel
from training.preparation import recipe_heads, text_encoder
from training.runs import Run
from training.settings import Recipe

WRITTEN = [
    seed_text(),
    "وَصَلَتِ القُوّاتُ العِراقِيَّةُ إلى البُوكَمَالِ",
    "العـــــراق والقائـــم وللبوكمـــال",
    "ﺍﻟﻌﺮﺍﻕ ﻭﺳﻮﺭﻳﺎ ﻻ ﷺ",
    "قال \u202bالجيش\u202c \u2067حمص\u2069 \u200fدمشق\u200f",
    "\ufeffوصلت القوات\r\n\r\nإلى القائم\u2028ثم\u00a0البوكمال",
    "😀القوات😀 العراقية 👩‍👩‍👧 🇮🇶 حمص👍🏽, 3.5%",
    "قال \ufe76شيء ثم ًذلك",
]
HEADS = {
    "khabar": {"kind": "nested", "labels": "fine"},
    "anercorp": {"kind": "flat", "labels": ["PERS", "LOC", "ORG", "MISC"]},
    "topic": {"kind": "text", "labels": "topics"},
    "stance": {"kind": "pair", "labels": "stances"},
    "claim": {"kind": "pair", "labels": "claims"},
}
SOURCES = [
    {"corpus": "seed", "head": "khabar"},
    {"corpus": "authored-topics", "head": "topic", "max_pieces": 48},
    {"corpus": "authored-stances", "head": "stance"},
]


def make_run(folder: Path, kind: str, bundle: Path) -> Run:
    """A run whose encoder is of some class and whose heads have random weights, well apart."""
    save_encoder(folder / "source", kind)
    recipe = Recipe.model_validate(
        {
            "name": "try", "version": "0", "heads": HEADS, "sources": SOURCES,
            "encoder": {"source": str(folder / "source")},
            "windows": {"size": 64, "overlap_tokens": 8, "pair_max_pieces": 128},
            "optimiser": {"max_batch_tokens": 1024},
        }
    )  # fmt: skip
    run = folder / "run"
    (run / "checkpoint-1").mkdir(parents=True)
    (run / "recipe.json").write_text(recipe.model_dump_json(), encoding="utf-8")
    torch.manual_seed(7)
    model = MultiHeadModel(load_encoder(folder / "source"), recipe_heads(recipe), 0.0, {})
    with torch.no_grad():
        for head in model.heads.values():
            head.out.weight.mul_(20)
            head.out.bias.normal_()
    save_file(model.state_dict(), run / "checkpoint-1" / "model.safetensors")
    (run / "checkpoint-1" / "trainer_state.json").write_text("{}")
    shutil.copytree(bundle, run / "bundle")
    manifest = Manifest.model_validate_json((bundle / MANIFEST).read_bytes())
    heads = [head.model_copy(update={"temperature": 2.0}) for head in recipe_heads(recipe)]
    write_manifest(run / "bundle", manifest.model_copy(update={"heads": tuple(heads)}))
    return Run.open(run)


@pytest.fixture(scope="module", params=["bert", "xlm-roberta", "electra"])
def exported(
    request: pytest.FixtureRequest, smoke_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Run, Path]:
    """A run and the folder that its heads of words were exported to."""
    root = tmp_path_factory.mktemp(request.param)
    run = make_run(root, request.param, smoke_bundle)
    export_huggingface(run.folder, root / "hub", ["anercorp", "khabar"])
    return run, root / "hub"


@pytest.fixture(scope="module")
def distilled(
    smoke_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Run, Path, list[Any]]:
    """A run, the folder of its distilled heads, and what the export said of them."""
    root = tmp_path_factory.mktemp("distilled")
    run = make_run(root, "bert", smoke_bundle)
    said = export_huggingface(run.folder, root / "hub", ["topic", "stance"], distil_steps=40)
    return run, root / "hub", said


def own_encoder(run: Run) -> TextEncoder:
    return text_encoder(run.recipe, run.encoder())


def own_logits(run: Run, name: str, text: str) -> np.ndarray:
    """The logits of a head as the run's model gives them for one framed text."""
    encoder, model = own_encoder(run), run.model()
    ids, segments = encoder.frame(encoder.pieces(text))
    inputs = [torch.from_numpy(part)[None] for part in (ids, np.ones_like(ids), segments)]
    with torch.no_grad():
        logits = dict(zip(HEADS, model.logits(*inputs), strict=True))
    return logits[name][0].numpy()


def hub_logits(folder: Path, text: str, loader: Any = AutoModelForTokenClassification) -> Any:
    model = loader.from_pretrained(folder).eval()
    with torch.no_grad():
        inputs = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
        return model(**inputs).logits[0].numpy()


def test_a_flat_head_gives_the_same_logits_as_the_hub_folder(exported: tuple[Run, Path]) -> None:
    run, out = exported
    for text in spaced_sentences(6):
        wanted = own_logits(run, "anercorp", text)
        np.testing.assert_allclose(hub_logits(out / "anercorp", text), wanted, rtol=0, atol=1e-5)
    assert wanted.std() > 0.1  # there was something to get wrong


def test_a_nested_head_is_the_flat_choice_of_its_margins(exported: tuple[Run, Path]) -> None:
    run, out = exported
    config = AutoModelForTokenClassification.from_pretrained(out / "khabar").config
    labels = run.model().specs[0].labels
    for text in spaced_sentences(4):
        nested = own_logits(run, "khabar", text)
        found = hub_logits(out / "khabar", text)
        for word, scores in zip(nested.reshape(len(nested), 21, 3), found, strict=True):
            wanted = {"O": 0.0}
            for label, (o, b, i) in zip(labels, word.tolist(), strict=True):
                wanted |= {f"B-{label}": b - o, f"I-{label}": i - o}
            assert [config.id2label[i] for i in range(43)] == list(wanted)
            np.testing.assert_allclose(scores, list(wanted.values()), rtol=1e-5, atol=2e-5)


def test_a_word_is_outside_when_every_type_prefers_outside() -> None:
    head = recipe_heads(Recipe.model_validate({"name": "x", "version": "0",
        "sources": [{"corpus": "seed", "head": "khabar"}],
        "encoder": {"source": "tiny"}, "heads": {"khabar": HEADS["khabar"]}}))[0]  # fmt: skip
    torch.manual_seed(0)
    out = torch.nn.Linear(5, 63)
    weight, bias = flat_weights(out, head)
    hidden = torch.randn(400, 5)
    nested = out(hidden).view(400, 21, 3)
    flat = (hidden @ weight.T + bias).argmax(-1)
    assert torch.equal(flat == 0, (nested.argmax(-1) == 0).all(-1))
    assert 0 < int((flat == 0).sum()) < 400 or bool((flat != 0).all())


def test_the_hubs_tokenizer_gives_servings_pieces_on_raw_text(exported: tuple[Run, Path]) -> None:
    run, out = exported
    tokenizer, encoder = AutoTokenizer.from_pretrained(out / "khabar"), own_encoder(run)
    assert tokenizer.is_fast and tokenizer.model_max_length == 512
    for text in [*WRITTEN, *(d.text for d in authored_documents("dev"))]:
        assert tokenizer(text)["input_ids"][1:-1] == encoder.pieces(text).tolist()
    pair = tokenizer(WRITTEN[1], WRITTEN[2])
    first, second = (encoder.pieces(text) for text in WRITTEN[1:3])
    assert pair["input_ids"] == encoder.frame_pair(first, second, 128)[0].tolist()
    assert "token_type_ids" not in pair


@pytest.mark.parametrize(
    "rules", [Normalization(diacritics=True), Normalization(False, True, True, True)]
)
def test_the_rules_of_an_encoder_are_written_into_its_tokenizer(
    exported: tuple[Run, Path], rules: Normalization
) -> None:
    run, _ = exported
    recipe = run.recipe
    tokenizer = hub_tokenizer(run.encoder(), rules, 512)
    settings = type(recipe.normalization)(
        diacritics=rules.diacritics, unify_alef=rules.unify_alef, unify_ya=rules.unify_ya,
        unify_ta_marbuta=rules.unify_ta_marbuta,
    )  # fmt: skip
    encoder = text_encoder(recipe.model_copy(update={"normalization": settings}), run.encoder())
    for text in [*WRITTEN[:7], "أحمد وإلى الآن على مدرسة", "محم\ufc60د محم\ufe78د"]:
        assert tokenizer(text)["input_ids"][1:-1] == encoder.pieces(text).tolist()


def test_the_pipeline_reads_whole_words_with_the_runs_labels(exported: tuple[Run, Path]) -> None:
    _, out = exported
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = pipeline(
            "token-classification", model=str(out / "anercorp"), aggregation_strategy="first",
            stride=8,
        )  # fmt: skip
        texts = spaced_sentences(12)
        found = read(texts)
    several, wordpiece = 0, "[UNK]" in read.tokenizer.get_vocab()
    for text, row in zip(texts, found, strict=True):
        for e in row:
            assert e["entity_group"] in ("PERS", "LOC", "ORG", "MISC")
            assert e["start"] == 0 or text[e["start"] - 1] == " "
            surface = text[e["start"] : e["end"]]
            if text[e["end"] :][:1].isalnum() or len(surface) == 1:
                continue  # half a word: the card's snippet leaves it out
            assert e["end"] == len(text) or text[e["end"]] == " "
            several += " " in surface
            said = e["word"]
            if wordpiece:  # it writes punctuation on to the word before
                said, surface = said.replace(" ", ""), surface.replace(" ", "")
            # a last sign may be there with its lone "▁" only
            assert said.split() in (surface.split(), surface.split()[:-1])
    assert several > 5


def test_a_flat_head_comes_back_from_the_hub_with_the_same_spans(
    exported: tuple[Run, Path], tmp_path: Path
) -> None:
    run, out = exported
    bundle = import_model(str(out / "anercorp"), tmp_path / "back", head="anercorp")
    back = Tagger.from_bundle(bundle, threads=1)
    model = run.model()
    manifest = Bundle.load(bundle).manifest.model_copy(update={"heads": model.specs})
    own = Tagger(Bundle(bundle, manifest), TorchBackend(model))
    texts = [*WRITTEN, *(d.text for d in list(authored_documents("dev"))[:6])]
    wanted, found = (
        [{s for s, _ in row} for row in tagger.spans(texts, "anercorp")] for tagger in (own, back)
    )
    same = sum(len(a & b) for a, b in zip(wanted, found, strict=True))
    assert same > 0.9 * max(sum(map(len, wanted)), sum(map(len, found))) > 100


def test_a_distilled_head_says_what_the_head_says(distilled: tuple[Run, Path, list[Any]]) -> None:
    run, out, said = distilled
    topic = said[0]
    (row,) = topic.scores
    read = pipeline("text-classification", model=str(out / "topic"), truncation=True)
    documents = list(authored_documents("dev"))
    answers = [answer["label"] for answer in read([d.text for d in documents])]
    encoder, model = own_encoder(run), run.model()
    labels = model.specs[2].labels
    ours = []
    for document in documents:
        cut = encoder.pieces(document.text[: 48 * 12])[:46]
        ids, segments = encoder.frame(cut)
        inputs = [torch.from_numpy(part)[None] for part in (ids, np.ones_like(ids), segments)]
        with torch.no_grad():
            ours.append(labels[int(model.logits(*inputs)[2].argmax())])
    same = np.mean([a == b for a, b in zip(answers, ours, strict=True)])
    assert row["agreement"] == pytest.approx(same, abs=0.03)
    gold = [d.topic for d in documents]
    assert row["accuracy"] == pytest.approx(
        np.mean([a == b for a, b in zip(answers, gold, strict=True)]), abs=0.03
    )
    assert row["ours"]["accuracy"] == pytest.approx(
        np.mean([a == b for a, b in zip(ours, gold, strict=True)]), abs=1e-3
    )
    assert same > max(np.mean([a == label for a in ours]) for label in labels) or same > 0.9


def test_a_pair_head_is_asked_with_text_and_text_pair(
    distilled: tuple[Run, Path, list[Any]],
) -> None:
    run, out, said = distilled
    assert [exported.view for exported in said] == ["distilled", "distilled"]
    config = AutoModelForSequenceClassification.from_pretrained(out / "stance").config
    assert config.label2id == {"favor": 0, "against": 1, "neutral": 2}
    assert config.problem_type == "single_label_classification"
    assert config.architectures == ["BertForSequenceClassification"]
    read = pipeline("text-classification", model=str(out / "stance"), truncation="only_second")
    answer = read({"text": "الجيش", "text_pair": seed_text()})
    assert answer["label"] in config.label2id
    tokenizer = AutoTokenizer.from_pretrained(out / "stance")
    assert tokenizer.model_max_length == run.recipe.windows.pair_max_pieces


def test_the_cards_say_what_the_folders_are(
    exported: tuple[Run, Path], distilled: tuple[Run, Path, list[Any]]
) -> None:
    cards = {
        "anercorp": exported[1], "khabar": exported[1], "topic": distilled[1],
        "stance": distilled[1],
    }  # fmt: skip
    said = {
        "anercorp": "The weights are those of the head `anercorp`",
        "khabar": "**one type only**: of names inside names one is lost",
        "topic": "was **distilled**",
        "stance": "`text` is the target, `text_pair` the passage",
    }
    for name, folder in cards.items():
        card = ModelCard.load(folder / name / "README.md")
        assert said[name] in " ".join(card.text.split())
        assert card.data.language == "ar" and card.data.license == "other"
        assert card.data.library_name == "transformers"
    results = ModelCard.load(distilled[1] / "topic" / "README.md").data.eval_results
    row = distilled[2][0].scores[0]
    found = {result.metric_name: result.metric_value for result in results}
    assert found["accuracy"] == row["accuracy"] and found["macro F1"] == row["macro_f1"]


def test_a_head_that_a_run_does_not_have_is_named(exported: tuple[Run, Path]) -> None:
    with pytest.raises(HubError, match="no head ner; it has khabar, anercorp, topic"):
        export_huggingface(exported[0].folder, exported[1], ["ner"])


def test_a_folder_of_other_files_is_left_alone(exported: tuple[Run, Path], tmp_path: Path) -> None:
    (tmp_path / "anercorp").mkdir()
    (tmp_path / "anercorp" / "thesis.txt").write_text("x")
    with pytest.raises(FormatError, match=r"anercorp: holds other files \(thesis.txt\)"):
        export_huggingface(exported[0].folder, tmp_path, ["anercorp"])
    assert (tmp_path / "anercorp" / "thesis.txt").read_text() == "x"
    (tmp_path / "anercorp" / "thesis.txt").rename(tmp_path / "anercorp" / "config.json")
    for content in ("x", "3", '{"model_type": "bert"}'):  # with the names of an export, not one
        for name in FILES:
            (tmp_path / "anercorp" / name).write_text(content)
        with pytest.raises(HubError, match="holds a model that no khabar of today exported"):
            export_huggingface(exported[0].folder, tmp_path, ["anercorp"])
        assert {(tmp_path / "anercorp" / name).read_text() for name in FILES} == {content}


def test_an_export_that_was_stopped_is_made_again(
    exported: tuple[Run, Path], tmp_path: Path
) -> None:
    shutil.copytree(exported[1] / "anercorp", tmp_path / "anercorp")
    (tmp_path / "anercorp" / "README.md").unlink()  # it is written last
    export_huggingface(exported[0].folder, tmp_path, ["anercorp"])
    assert (tmp_path / "anercorp" / "README.md").is_file()


def test_a_pooled_head_that_nothing_teaches_is_left_out(
    exported: tuple[Run, Path], tmp_path: Path
) -> None:
    assert export_huggingface(exported[0].folder, tmp_path / "hub", ["claim"]) == []
    assert not (tmp_path / "hub" / "claim").exists()
