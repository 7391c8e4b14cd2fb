"""Published checkpoints: what transformers' own pipeline reads in them, the bundle reads too."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from checkpoints import save_classifier, save_encoder, spaced_sentences
from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline
from typer.testing import CliRunner

import khabar
from annotations.errors import FormatError
from annotations.seed import seed_text
from serving.bundle import CARD, Bundle
from serving.prediction import Article
from serving.tagger import Tagger
from training.evaluation.files import evaluate
from training.export.torch_backend import TorchBackend
from training.hub.imports import (
    ImportedModelError,
    import_model,
    load_classifier,
    max_positions,
)
from training.hub.tagsets import LabelError

IOB2 = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
IOB1 = ("O", "B-LOC", "I-PER", "I-LOC", "I-MISC")  # as in models of CoNLL 2003
IO = ("PER", "O", "LOC")
TOPICS = ("Sports", "finance", "politics", "weather")
NAMES = {"PER": "PERS"}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """Checkpoints and their bundles: each class of model with another scheme."""
    made = {}
    root = tmp_path_factory.mktemp("imports")
    for kind, names in (
        ("bert", IOB2),
        ("xlm-roberta", IOB1),
        ("distilbert", IO),
        ("roberta", IOB2),
    ):
        save_classifier(root / kind, kind, names)
        made[kind] = root / kind, import_model(str(root / kind), root / f"{kind}-bundle")
    save_classifier(root / "topics", "electra", TOPICS, texts=True)
    made["topics"] = root / "topics", import_model(str(root / "topics"), root / "topics-bundle")
    return made


def exact(folder: Path, bundle: Path) -> Tagger:
    """The tagger of a bundle that reads with the checkpoint's weights in float32."""
    model, _, _ = load_classifier(folder, "checkpoint")
    return Tagger(Bundle.load(bundle), TorchBackend(model))


def by_pipeline(folder: Path, texts: Sequence[str]) -> list[set[tuple[int, int, str]]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = pipeline("token-classification", model=str(folder), aggregation_strategy="first")
        return [
            {(e["start"], e["end"], NAMES.get(e["entity_group"], e["entity_group"])) for e in row}
            for row in read(list(texts))
        ]


def by_tagger(tagger: Tagger, texts: Sequence[str]) -> list[set[tuple[int, int, str]]]:
    return [{(s.start, s.end, s.label) for s, _ in row} for row in tagger.spans(texts, "ner")]


def without_lone_pieces(texts: Sequence[str], tagger: Tagger) -> list[str]:
    """Texts without the words that begin with a lone "▁", which the pipeline reads as two words."""
    tokenizer = tagger.reader.encoder.tokenizer
    lone = tokenizer.token_to_id("▁")
    kept = [
        [w for w in text.split() if lone not in tokenizer.encode(w, add_special_tokens=False).ids]
        for text in texts
    ]
    return [" ".join(words) for words in kept if words]


@pytest.mark.parametrize(("kind", "scheme"), [("xlm-roberta", "iob1"), ("distilbert", "io")])
def test_the_spans_are_those_of_the_pipeline(
    bundles: dict[str, tuple[Path, Path]], kind: str, scheme: str
) -> None:
    folder, bundle = bundles[kind]
    tagger = exact(folder, bundle)
    texts = without_lone_pieces(spaced_sentences(), tagger)
    assert tagger.bundle.head("ner").scheme == scheme
    found = by_tagger(tagger, texts)
    assert found == by_pipeline(folder, texts)
    assert sum(map(len, found)) > 40
    assert len({label for row in found for _, _, label in row}) > 1
    assert any(" " in text[s:e] for text, row in zip(texts, found, strict=True) for s, e, _ in row)


@pytest.mark.parametrize("kind", ["xlm-roberta", "distilbert", "bert", "roberta"])
def test_a_word_has_the_tag_of_the_first_of_its_pieces(
    bundles: dict[str, tuple[Path, Path]], kind: str
) -> None:
    folder, bundle = bundles[kind]
    tagger = exact(folder, bundle)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForTokenClassification.from_pretrained(folder).eval()
    head, named = tagger.bundle.head("ner"), tagger.bundle.manifest.training["imported"]["labels"]
    lone = 0
    for sentence in spaced_sentences(15):
        text = " ".join(sentence.split()[:20])  # in one window, be the pieces single bytes
        encoding = tokenizer(text.split(), is_split_into_words=True, return_tensors="pt")
        with torch.no_grad():
            tags = model(**encoding).logits[0].argmax(-1).tolist()
        wanted = {}
        for i, word in enumerate(encoding.word_ids()):
            if word is not None and word not in wanted:
                wanted[word] = named[model.config.id2label[tags[i]]]
                lone += encoding.tokens()[i] in ("▁", "Ġ")
        reading = tagger.reader.read(text)
        found = [head.tags[i] for i in reading.words["ner"].argmax(-1)]
        assert found == [wanted[i] for i in range(len(text.split()))]
    assert lone > 0 or kind == "bert"


def test_iob2_spans_are_those_of_the_pipeline_where_its_tags_break_no_rule(
    bundles: dict[str, tuple[Path, Path]],
) -> None:
    folder, bundle = bundles["bert"]
    tagger = exact(folder, bundle)
    words = " ".join(spaced_sentences()).split()
    texts = [" ".join(words[i : i + 3]) for i in range(0, len(words) - 3)]
    head = tagger.bundle.head("ner")
    legal = 0
    for text, ours, theirs in zip(
        texts, by_tagger(tagger, texts), by_pipeline(folder, texts), strict=True
    ):
        reading = tagger.reader.read(text)
        tags = [head.tags[i] for i in reading.words["ner"].argmax(-1)]
        if all(t[0] != "I" or b in (t, f"B{t[1:]}") for b, t in pairwise(["O", *tags])):
            legal += 1
            assert ours == theirs
    assert legal > 40


@pytest.mark.parametrize("kind", ["bert", "xlm-roberta", "distilbert"])
def test_the_int8_bundle_reads_nearly_as_its_float32_checkpoint(
    bundles: dict[str, tuple[Path, Path]], kind: str
) -> None:
    texts = spaced_sentences()
    wanted = by_tagger(exact(*bundles[kind]), texts)
    found = by_tagger(Tagger.from_bundle(bundles[kind][1], threads=1), texts)
    same = sum(len(a & b) for a, b in zip(wanted, found, strict=True))
    assert same > 0.85 * max(sum(map(len, wanted)), sum(map(len, found)))


def test_a_sequence_classifier_answers_as_its_pipeline(
    bundles: dict[str, tuple[Path, Path]],
) -> None:
    folder, bundle = bundles["topics"]
    read = pipeline("text-classification", model=str(folder))
    texts = spaced_sentences(20)
    names = {"Sports": "sports", "finance": "economy"}
    answers = [p.topics[0] for p in exact(folder, bundle).tag(texts)]
    assert len({answer.label for answer in answers}) > 1
    for answer, wanted in zip(answers, read(texts), strict=True):
        assert answer.label == names.get(wanted["label"], wanted["label"])
        assert answer.confidence == pytest.approx(wanted["score"], abs=2e-3)
    assert Bundle.load(bundle).head("topic").labels == ("sports", "economy", "politics", "weather")


def test_an_imported_bundle_is_tagged_and_scored_from_the_command_line(
    bundles: dict[str, tuple[Path, Path]], tmp_path: Path
) -> None:
    bundle = bundles["bert"][1]
    (tmp_path / "a.txt").write_text(seed_text(), encoding="utf-8")
    run = CliRunner().invoke(khabar.app, ["tag", str(tmp_path / "a.txt"), "--bundle", str(bundle)])
    assert run.exit_code == 0, run.output
    entities = json.loads(run.stdout)["entities"]
    assert {e["label"] for e in entities} == {"PERS", "LOC"}
    assert all(seed_text()[e["start"] : e["end"]] == e["text"] for e in entities)
    rows = "".join(f"{word} B-PERS\n" for word in spaced_sentences(1)[0].split())
    (tmp_path / "gold.conll").write_text(rows + "\n", encoding="utf-8")
    scores = evaluate("ner", tmp_path / "gold.conll", Tagger.from_bundle(bundle), "ner")
    assert 0 < scores["f1"] < 1


def test_the_bundle_says_where_it_comes_from(bundles: dict[str, tuple[Path, Path]]) -> None:
    folder, path = bundles["xlm-roberta"]
    bundle = Bundle.load(path)
    imported = bundle.manifest.training["imported"]
    assert imported["source"] == "xlm-roberta" and imported["revision"] is None
    assert imported["architecture"] == "XLMRobertaForTokenClassification"
    assert imported["labels"]["I-PER"] == "I-PERS"
    (name, digest) = next(iter(imported["files"].items()))
    assert name == "model.safetensors" and bundle.version == digest[:12]
    assert str(folder.parent) not in (path / "bundle.json").read_text(encoding="utf-8")
    assert bundle.manifest.scores == [] and "None yet" in (path / CARD).read_text("utf-8")
    assert bundle.manifest.data[0]["license"] == "unknown: see the source's card"
    # a name that begins with و stays whole in the answer: the lexicon knows وليد
    assert bundle.lexicon.clitics("وليد") == 0


def test_labels_given_by_hand_stand_for_those_without_names(tmp_path: Path) -> None:
    save_classifier(tmp_path / "c", "bert", ("LABEL_0", "LABEL_1", "LABEL_2"))
    with pytest.raises(LabelError, match="LABEL_0 to LABEL_2"):
        load_classifier(tmp_path / "c", "c")
    with pytest.raises(ImportedModelError, match="3 outputs, --labels names 2"):
        load_classifier(tmp_path / "c", "c", labels=("O", "PER"))
    _, mapping, _ = load_classifier(tmp_path / "c", "c", labels=("O", "B-PER", "I-PER"))
    assert mapping.head.labels == ("PERS",)
    _, mapping, _ = load_classifier(tmp_path / "c", "c", None, ("O", "B-PER", "I-PER"), "iob1")
    assert mapping.head.scheme == "iob1"


def test_outputs_that_are_not_numbered_from_0_are_refused(tmp_path: Path) -> None:
    save_classifier(tmp_path / "c", "bert", ("O", "B-PER", "I-PER"))
    path = tmp_path / "c" / "config.json"
    config = json.loads(path.read_text("utf-8"))
    config["id2label"] = {"1": "O", "2": "B-PER", "3": "I-PER"}
    config["label2id"] = {"O": 1, "B-PER": 2, "I-PER": 3}
    path.write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ImportedModelError, match=r"numbers the 3 outputs 1, 2, 3, not from 0 up"):
        load_classifier(tmp_path / "c", "c")
    _, mapping, _ = load_classifier(tmp_path / "c", "c", labels=("O", "B-PER", "I-PER"))
    assert mapping.head.labels == ("PERS",)


def test_what_is_no_classifier_is_refused(tmp_path: Path) -> None:
    save_encoder(tmp_path / "bare", "bert")
    with pytest.raises(ImportedModelError, match=r"architectures are BertModel.*khabar train"):
        import_model(str(tmp_path / "bare"), tmp_path / "out")
    config = json.loads((tmp_path / "bare" / "config.json").read_text("utf-8"))
    config |= {"architectures": ["BertForTokenClassification"], "id2label": {"0": "O", "1": "PER"}}
    (tmp_path / "bare" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ImportedModelError, match=r"weights lack classifier\.bias"):
        import_model(str(tmp_path / "bare"), tmp_path / "out")
    config |= {"model_type": "newest", "auto_map": {"AutoConfig": "code.Config"}}
    (tmp_path / "bare" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ImportedModelError, match="without remote code"):
        import_model(str(tmp_path / "bare"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_classifiers_of_other_answers_are_refused(tmp_path: Path) -> None:
    save_classifier(tmp_path / "c", "bert", ("favor", "against", "neutral"), texts=True)
    with pytest.raises(ImportedModelError, match="judges a text for a target or claim"):
        load_classifier(tmp_path / "c", "c", "stance")
    config = json.loads((tmp_path / "c" / "config.json").read_text("utf-8"))
    config["problem_type"] = "multi_label_classification"
    (tmp_path / "c" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ImportedModelError, match="choose one label of several"):
        load_classifier(tmp_path / "c", "c")


def test_a_folder_of_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("x")
    with pytest.raises(FormatError, match="holds other files"):
        import_model("any", tmp_path / "out")
    assert (tmp_path / "out" / "thesis.txt").read_text() == "x"


@pytest.mark.parametrize(("kind", "usable"), [("bert", 512), ("xlm-roberta", 512)])
def test_windows_fit_the_positions_of_a_model(tmp_path: Path, kind: str, usable: int) -> None:
    save_classifier(tmp_path / "c", kind, IOB2)
    model, _, _ = load_classifier(tmp_path / "c", "c")
    assert max_positions(model.encoder) == usable
    pad = 0 if kind == "bert" else 1
    ids = torch.full((1, usable), 7)
    with torch.no_grad():
        assert model.logits(ids, torch.ones_like(ids), ids)[0].shape == (1, usable, 5)
    with pytest.raises((IndexError, RuntimeError)), torch.no_grad():
        ids = torch.full((1, usable + 1), 7 + pad)
        model.logits(ids, torch.ones_like(ids), ids)


def test_an_imported_bundle_has_no_stance_to_ask(bundles: dict[str, tuple[Path, Path]]) -> None:
    tagger = Tagger.from_bundle(bundles["bert"][1])
    asked = [Article("محمد", targets=("العراق",)), Article("محمد", targets="auto")]
    *without, plain = tagger.tag([*asked, Article(seed_text())])
    for prediction in without:
        assert prediction.error == "the model has no head 'stance', it has ner; ask for no targets"
    assert plain.error is None and plain.entities
