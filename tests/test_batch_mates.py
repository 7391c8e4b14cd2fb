"""Batch-mates: what an article is told does not depend on the articles it comes with."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from annotations.seed import seed_text
from serving.bundle import MODEL, Bundle
from serving.encoding import TextEncoder
from serving.prediction import Article
from serving.runtime import OnnxBackend
from serving.tagger import Tagger
from training.export.comparison import Framed, Replay
from training.export.onnx_export import export_fp32
from training.export.quantisation import quantise
from training.runs import Run

SENTENCES = [part.strip() for part in seed_text().replace("\n", ".").split(".") if part.strip()]
ODD = ["", "ـ", "🙂", "قال", "دخلت القوّات العراقيـــة القائم 😀", "NATO 2017/11/03 في بغداد"]


def mixed_articles(count: int = 64) -> list[Article]:
    """Texts from a word to several windows, some with targets and claims, some that cannot be
    read.
    """
    rng = random.Random(5)
    texts = [*ODD, seed_text()[:1200]]
    while len(texts) < count:
        cut = rng.randint(3, 20)
        texts.append(" ".join(rng.choice(SENTENCES).split()[:cut]))
    rng.shuffle(texts)
    articles = []
    for i, text in enumerate(texts[:count]):
        asked = i % 8 == 0
        articles.append(
            Article(
                text,
                id=str(i),
                title=SENTENCES[i // 5] if i % 5 == 0 else None,
                targets=("القوات العراقية",) if asked else (),
                claims=("القوات دخلت القائم",) if asked else (),
            )
        )
    return articles


def test_an_article_is_told_the_same_alone_as_among_64(default_tagger: Tagger) -> None:
    articles = mixed_articles()
    assert len(articles) == 64
    together = default_tagger.tag(articles)
    for article, among in zip(articles, together, strict=True):
        (alone,) = default_tagger.tag([article])
        assert alone.to_dict() == among.to_dict()
    assert sum(bool(p.entities) for p in together) > 30
    assert sum(p.error is not None for p in together) == 2  # nothing, and a mark alone
    assert any(p.stances for p in together)


def windows(encoder: TextEncoder, text: str) -> list[Framed]:
    encoded = encoder.encode(text)
    return [encoder.frame(encoded.pieces[w.start : w.end]) for w in encoded.windows]


@pytest.fixture(scope="module")
def rowwise(smoke_run: Path, tmp_path_factory: pytest.TempPathFactory) -> OnnxBackend:
    folder = tmp_path_factory.mktemp("rowwise")
    model = Run.open(smoke_run).model()
    export_fp32(model, folder / "fp32.onnx", pad=1)
    quantise(folder / "fp32.onnx", folder / MODEL, "rowwise")
    return OnnxBackend(folder / MODEL, model.specs, threads=2)


def test_all_windows_of_64_articles_in_one_batch_are_read_as_alone_bit_for_bit(
    smoke_bundle: Path, rowwise: OnnxBackend
) -> None:
    bundle = Bundle.load(smoke_bundle)
    texts = [article.text for article in mixed_articles()]
    encoder, pad = bundle.text_encoder(), bundle.manifest.special.pad
    batch = Replay(rowwise, [windows(encoder, text) for text in texts], pad)
    assert len({len(windows(encoder, text)) for text in texts}) > 2  # one window, and several
    taggers = [Tagger(bundle, backend=backend) for backend in (rowwise, batch)]
    for text in texts:
        alone, among = (tagger.reader.read(text) for tagger in taggers)
        for name, logits in {**alone.words, **alone.texts}.items():
            np.testing.assert_array_equal({**among.words, **among.texts}[name], logits)
    alone_answers, among_answers = (tagger.tag(texts) for tagger in taggers)
    assert alone_answers == among_answers
    assert sum(bool(prediction.topics) for prediction in alone_answers) == 62


def test_a_replay_gives_what_was_computed_in_the_other_batch(rowwise: OnnxBackend) -> None:
    rows: list[Framed] = [
        (np.arange(5, 5 + length), np.array([0, *[1] * (length - 2), 0])) for length in (4, 9)
    ]
    replay = Replay(rowwise, [rows[:1], rows[1:]], pad=1)
    for ids, segments in rows:
        mask = np.ones_like(ids)
        wanted = rowwise.run(ids[None], mask[None], segments[None])
        for name, logits in replay.run(ids[None], mask[None], segments[None]).items():
            np.testing.assert_array_equal(logits, wanted[name])
    with pytest.raises(KeyError):
        replay.run(np.array([[7, 8, 9]]), np.ones((1, 3), np.int64), np.zeros((1, 3), np.int64))
