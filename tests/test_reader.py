"""The reader: windows cut, run in batches, and put together as if the text were read at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from annotations.seed import seed_text
from serving.bundle import Bundle, Head
from serving.reader import Reader, Reading
from serving.runtime import MAX_BATCH_TOKENS, Floats, Ints, padded
from serving.tagger import Tagger

LONG = " ".join(f"زار الوزير {i} مدينة القائم في العراق" for i in range(400))  # no sentence ends
SENTENCES = ". ".join(f"زار الوزير {i} مدينة القائم" for i in range(400))


class EchoBackend:
    """Scores that tell which input they are of: [piece, position, sum of the input's pieces, …]."""

    def __init__(self, bundle: Bundle) -> None:
        self.heads = bundle.manifest.heads
        self.special = bundle.manifest.special
        self.limit = max(bundle.manifest.window.size, bundle.manifest.pair_max_pieces)
        self.sizes: list[tuple[int, int]] = []

    def run(self, ids: Ints, mask: Ints, segments: Ints) -> dict[str, Floats]:
        assert ids.shape == mask.shape == segments.shape
        assert ids.dtype == mask.dtype == segments.dtype == np.int64
        assert (ids[mask == 0] == self.special.pad).all() and not segments[mask == 0].any()
        assert (ids[:, 0] == self.special.begin).all() and ids.shape[1] <= self.limit
        self.sizes.append((ids.shape[0], ids.shape[1]))
        sums = (ids * mask).sum(axis=1)
        return {head.name: self.scores(head, ids, sums) for head in self.heads}

    def scores(self, head: Head, ids: Ints, sums: Ints) -> Floats:
        if head.kind in ("text", "pair"):
            return np.repeat(sums[:, None], head.width, axis=1).astype(np.float32)
        logits = np.zeros((*ids.shape, head.width), np.float32)
        logits[..., 0] = ids
        logits[..., 1] = np.arange(ids.shape[1])
        logits[..., 2] = sums[:, None]
        return logits


@pytest.fixture(scope="module")
def bundle(smoke_bundle: Path) -> Bundle:
    return Bundle.load(smoke_bundle)


@pytest.fixture
def backend(bundle: Bundle) -> EchoBackend:
    return EchoBackend(bundle)


@pytest.fixture
def reader(bundle: Bundle, backend: EchoBackend) -> Reader:
    return Reader(bundle, backend)


def check_every_word(reader: Reader, reading: Reading) -> None:
    """Each word has the scores of its own piece, from the one window that owns it."""
    encoded, special = reading.encoded, reader.encoder.special
    expected = []
    for word in reading.word_index.tolist():
        piece = int(encoded.word_pieces[word])
        (window,) = (w for w in encoded.windows if w.own_start <= piece < w.own_end)
        total = encoded.pieces[window.start : window.end].sum() + special.begin + special.end
        expected.append([encoded.pieces[piece], 1 + piece - window.start, total])
    assert np.array_equal(reading.words["khabar"][:, :3], np.array(expected, np.float32))


@pytest.mark.parametrize("text", ["القائم", seed_text(), LONG, SENTENCES])
def test_each_word_gets_the_scores_of_the_window_that_owns_it(reader: Reader, text: str) -> None:
    check_every_word(reader, reader.read(text))


def test_a_long_text_takes_several_batches_of_several_windows(
    reader: Reader, backend: EchoBackend
) -> None:
    reading = reader.read(SENTENCES)
    assert len(backend.sizes) > 2 and max(rows for rows, _ in backend.sizes) > 2
    assert sum(rows for rows, _ in backend.sizes) == len(reading.encoded.windows)
    assert all(rows * pieces <= MAX_BATCH_TOKENS for rows, pieces in backend.sizes)


@pytest.mark.parametrize(("invariant", "rows"), [(True, [3]), (False, [1, 1, 1])])
def test_texts_share_a_batch_only_where_the_bundle_is_batch_invariant(
    bundle: Bundle, backend: EchoBackend, invariant: bool, rows: list[int]
) -> None:
    manifest = bundle.manifest.model_copy(update={"batch_invariant": invariant})
    Reader(replace(bundle, manifest=manifest), backend).read_many(["القائم"] * 3)
    assert [size for size, _ in backend.sizes] == rows


def test_the_scores_of_a_text_are_the_mean_of_its_windows_by_what_they_own(reader: Reader) -> None:
    reading = reader.read(LONG)
    special, pieces = reader.encoder.special, reading.encoded.pieces
    expected = sum(
        (pieces[w.start : w.end].sum() + special.begin + special.end) * (w.own_end - w.own_start)
        for w in reading.encoded.windows
    ) / len(pieces)
    assert len(reading.encoded.windows) > 5
    assert reading.texts["topic"] == pytest.approx([expected] * 7, rel=1e-5)


def test_all_word_heads_are_read_in_one_pass(reader: Reader, backend: EchoBackend) -> None:
    reading = reader.read("زار محمد بغداد")
    assert {name: rows.shape for name, rows in reading.words.items()} == {
        "khabar": (3, 63),
        "anercorp": (3, 9),
    }
    assert len(backend.sizes) == 1


def test_a_word_that_normalises_to_nothing_has_no_row(reader: Reader) -> None:
    reading = reader.read("القوات ـــ العراقية \u064b في القائم")
    assert reading.word_index.tolist() == [0, 2, 4, 5]
    assert len(reading.words["khabar"]) == 4
    check_every_word(reader, reading)


@pytest.mark.parametrize("text", ["", "ــ", "\u200b", "\x00"])
def test_a_text_without_pieces_is_not_run(reader: Reader, backend: EchoBackend, text: str) -> None:
    reading = reader.read(text)
    assert reading.word_index.tolist() == [] and reading.words["khabar"].shape == (0, 63)
    assert backend.sizes == []


def test_pairs_come_back_in_their_order(
    reader: Reader, backend: EchoBackend, bundle: Bundle
) -> None:
    lengths = [(3 + 7 * i) % 97 + 1 for i in range(60)]  # batches are made by length
    pairs = [(np.full(5, 10 + i), np.full(n, 20 + i)) for i, n in enumerate(lengths)]
    special = reader.encoder.special
    frame = special.begin + 3 * special.end
    expected = [[frame + int(a.sum() + b.sum())] * 3 for a, b in pairs]
    assert reader.judge(bundle.head("stance"), pairs).tolist() == expected
    assert len(backend.sizes) > 2


def test_no_pairs_give_no_scores(reader: Reader, bundle: Bundle) -> None:
    assert reader.judge(bundle.head("claim"), []).shape == (0, 3)


def test_rows_are_filled_up_to_the_longest() -> None:
    assert padded([np.array([1, 2, 3]), np.array([4])], 9).tolist() == [[1, 2, 3], [4, 9, 9]]


def test_the_real_model_reads_each_word_as_in_its_window_alone(smoke_bundle: Path) -> None:
    reader = Reader(Bundle.load(smoke_bundle), threads=1)
    reading = reader.read(LONG[:2500])
    first = reading.encoded.windows[0]
    ids, segments = reader.encoder.frame(reading.encoded.pieces[first.start : first.end])
    alone = reader.backend.run(ids[None], np.ones_like(ids)[None], segments[None])["khabar"][0]
    owned = [i for i, p in enumerate(reading.encoded.word_pieces) if p < first.own_end]
    rows = 1 + reading.encoded.word_pieces[owned]
    # int8 activations are scaled over a batch, so batch-mates move the scores a little
    assert reading.words["khabar"][owned] == pytest.approx(alone[rows], abs=0.1)
    assert np.ptp(alone[rows], axis=0).max() > 0.2  # else any word's scores would do


def test_one_string_is_no_list_of_articles(smoke_bundle: Path) -> None:
    with pytest.raises(TypeError, match=r"give \[text\]"):
        Tagger.from_bundle(smoke_bundle).tag("نص قصير")
