"""Teachers: what several bundles say of words becomes what is learnt, word for word."""

import json
import random
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from annotations.errors import ConfigError
from annotations.schema import Document
from annotations.seed import seed_text
from serving.bundle import DEFAULT_FOLDER, Bundle, Head
from serving.decoding import log_softmax
from serving.encoding import NO_PIECE
from serving.runtime import Floats, Ints
from serving.tagger import Tagger
from tests.conftest import RandomBackend
from training.batches import Collator
from training.corpora import load
from training.examples import IGNORED
from training.losses import head_loss
from training.preparation import prepare
from training.recipe import run_recipe
from training.runs import Run
from training.settings import Source
from training.teachers import SHARES, Teachers, taught_examples, teacher_bundle, teachers_of

TEXTS = ["قال ـ رئيس الوزراء في بغداد، أمس", "", "وصل إلى القائم 3/11/2017"]


class Hearsay(RandomBackend):
    """Scores that depend on the piece and the seed alone, as those of one model do."""

    def __init__(self, heads: tuple[Head, ...], seed: int) -> None:
        super().__init__(heads, seed)
        self.tables = {
            head.name: self.random.normal(scale=3, size=(50, head.width)).astype(np.float32)
            for head in heads
        }

    def run(self, ids: Ints, mask: Ints, segments: Ints) -> dict[str, Floats]:
        """Logits of every head; a piece has the same wherever it stands."""
        words = {name: table[ids % 50] for name, table in self.tables.items()}
        return {
            head.name: words[head.name]
            if head.kind in ("nested", "flat")
            else words[head.name].mean(1)
            for head in self.heads
        }


@pytest.fixture
def bundle(smoke_bundle: Path) -> Bundle:
    return Bundle.load(smoke_bundle)


@pytest.fixture
def teachers(bundle: Bundle) -> Teachers:
    heads = bundle.manifest.heads
    return Teachers([Tagger(bundle, Hearsay(heads, seed)) for seed in (1, 2, 3)])


@pytest.mark.parametrize("name", ["khabar", "anercorp"])
def test_the_shares_of_a_word_are_those_of_the_mean_logits(
    bundle: Bundle, teachers: Teachers, name: str
) -> None:
    head = bundle.head(name)
    columns = len(head.labels) if head.kind == "nested" else 1
    for text, shares in zip(TEXTS, teachers.word_shares(TEXTS, head), strict=True):
        readings = [tagger.reader.read(text) for tagger in teachers.taggers]
        assert shares.shape[0] == len(readings[0].encoded.words)
        assert shares.dtype == np.uint8
        for row, word in enumerate(readings[0].word_index.tolist()):
            mean = sum(reading.words[name][row] for reading in readings) / 3
            wanted = np.exp(log_softmax(mean.reshape(columns, -1)))
            assert np.abs(shares[word] / SHARES - wanted).max() <= 0.5 / SHARES + 1e-6
        mute = readings[0].encoded.word_pieces == NO_PIECE
        assert not shares[mute].any()


def test_a_text_is_read_once_for_all_heads(
    bundle: Bundle, teachers: Teachers, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = list(teachers.word_shares(TEXTS, bundle.head("khabar")))
    for tagger in teachers.taggers:
        monkeypatch.setattr(tagger, "reader", None)
    again = list(teachers.word_shares(TEXTS[::-1], bundle.head("khabar")))[::-1]
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert len(list(teachers.word_shares(TEXTS, bundle.head("anercorp")))) == 3


def test_the_windows_of_an_article_bring_the_shares_of_their_words(
    bundle: Bundle, teachers: Teachers
) -> None:
    head, encoder = bundle.head("khabar"), bundle.text_encoder()
    document = Document("seed", seed_text())
    encoded = encoder.encode(document.text)
    (shares,) = teachers.word_shares([document.text], head)
    made = list(taught_examples([document], head, encoder, "ant", teachers))
    assert len(made) == len(encoded.windows) > 5
    word_of = {piece: i for i, piece in reversed(list(enumerate(encoded.word_pieces.tolist())))}
    for example, window in zip(made, encoded.windows, strict=True):
        assert (example.head, example.source) == ("khabar", "ant")
        assert set(example.labels) == {IGNORED}
        framed = np.frombuffer(example.shares, np.uint8).reshape(
            len(example.input_ids), *shares.shape[1:]
        )
        assert not framed[0].any() and not framed[-1].any()
        for at, piece in enumerate(range(window.start, window.end), 1):
            wanted = shares[word_of[piece]] if piece in word_of else np.zeros_like(shares[0])
            assert (framed[at] == wanted).all()


def test_the_loss_of_taught_and_annotated_windows_is_their_mean(
    bundle: Bundle, teachers: Teachers
) -> None:
    head, encoder = bundle.head("anercorp"), bundle.text_encoder()
    (taught,) = taught_examples([Document("a", TEXTS[0])], head, encoder, "ant", teachers)
    ids = taught.input_ids[:4]
    gold = replace(
        taught, input_ids=ids, segments=[0, 1, 1, 0], labels=[-100, 1, 0, -100], shares=b""
    )
    batch = Collator([head], pad=1)([asdict(taught), asdict(gold)])
    logits = torch.randn(2 * len(taught.input_ids), 1, head.width)
    labels = batch["labels"].reshape(-1, 1)
    found = float(head_loss(logits, labels, None, None, batch["shares"]))
    said = np.frombuffer(taught.shares, np.uint8).reshape(-1, head.width)
    terms = []
    for i, row in enumerate(said):
        if row.any():
            mixed = torch.tensor(row / row.sum(), dtype=torch.float32)
            terms.append(-float((mixed * logits[i, 0].log_softmax(-1)).sum()))
    for i, label in enumerate(gold.labels):
        if label != IGNORED:
            at = len(taught.input_ids) + i
            terms.append(-float(logits[at, 0].log_softmax(-1)[label]))
    assert found == pytest.approx(sum(terms) / len(terms), rel=1e-5)


def test_a_teacher_without_the_head_is_refused(bundle: Bundle, teachers: Teachers) -> None:
    other = bundle.head("anercorp").model_copy(update={"labels": ("PERS", "ORG")})
    with pytest.raises(ConfigError, match="has no flat head 'anercorp' of PERS, ORG"):
        list(teachers.word_shares(TEXTS, other))


def test_a_teacher_of_another_scheme_is_refused(bundle: Bundle, teachers: Teachers) -> None:
    other = bundle.head("anercorp").model_copy(update={"scheme": "io"})
    with pytest.raises(ConfigError, match="in io"):
        list(teachers.word_shares(TEXTS, other))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"taught_by": ("a", "a")}, "names a teacher twice"),
        ({"taught_by": ("a",), "annotates": ("PERS",)}, "annotates says how"),
        ({"taught_by": ("a",), "per_class": 3}, "per_class says how"),
    ],
)
def test_settings_that_teachers_do_not_heed_are_refused(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Source(corpus="ant", head="khabar", **settings)


def test_a_teacher_is_named_by_its_run_or_its_bundle(smoke_run: Path, smoke_bundle: Path) -> None:
    assert teacher_bundle(str(smoke_run)).folder == teacher_bundle(str(smoke_bundle)).folder


def test_a_student_learns_what_its_teacher_says_of_texts_that_nobody_annotated(
    smoke_run: Path, tmp_path: Path
) -> None:
    news = tmp_path / "news.jsonl"
    paragraphs = [part for part in seed_text().split("\n") if part.strip()]
    rows = [{"id": f"n-{i}", "text": part} for i, part in enumerate(paragraphs)]
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    news.write_text("".join(lines), encoding="utf-8")
    names = (str(DEFAULT_FOLDER),)
    source = Source(corpus=str(news), head="khabar", passes=60, documents=6, taught_by=names)
    recipe = Run.open(smoke_run).recipe
    heads = {"khabar": recipe.heads["khabar"]}
    recipe = recipe.model_copy(update={"heads": heads, "sources": (source,)})
    student, teacher = Tagger.from_bundle(run_recipe(recipe, tmp_path / "run")), Tagger.default()
    known = {entry["name"] for entry in student.bundle.manifest.data}
    assert {"news.jsonl", "anercorp", "wojood"} <= known  # what taught the teacher counts
    assert not student.bundle.manifest.scores
    taught = [d.text for d in load(str(news), "train")]
    taught = random.Random(recipe.seed).sample(taught, 6)
    agree = total = 0
    for text in taught:
        said, wanted = (
            tagger.reader.read(text).words["khabar"].reshape(-1, 21, 3).argmax(-1)
            for tagger in (student, teacher)
        )
        agree += int((said == wanted)[wanted > 0].sum())
        total += int((wanted > 0).sum())
    assert total > 20
    assert agree / total > 0.5, (agree, total)


def test_teachers_teach_words_alone(smoke_run: Path, tmp_path: Path) -> None:
    source = Source(corpus="seed-claims", head="claim", taught_by=(str(smoke_run),))
    recipe = Run.open(smoke_run).recipe.model_copy(update={"sources": (source,)})
    with pytest.raises(ConfigError, match="taught_by: only for heads of kind nested or flat"):
        prepare(recipe, Run.open(smoke_run).encoder())


def test_bundles_are_loaded_once(smoke_run: Path) -> None:
    assert teachers_of((str(smoke_run),)) is teachers_of((str(smoke_run),))
