"""The reader: texts through the encoder in windows and batches, scores back in the order of their
words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from serving.bundle import MODEL, Bundle, Head
from serving.encoding import NO_PIECE, EncodedText
from serving.runtime import MAX_BATCH_TOKENS, Backend, Device, OnnxBackend, padded
from serving.windows import Window, token_batches

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
OnRead = Callable[[int, int], None]  # told how many pieces were read, and how many unknown ones
Framed = tuple[Ints, Ints]  # ids and segments, each (pieces,)


@dataclass(frozen=True, slots=True)
class Reading:
    """What the heads say of one text.

    `words` maps a head to (words with a piece, width); `word_index` is (words with a piece,): which
    word of `encoded.words` each row is. `texts` maps a head to (width,), the windows' mean weighted
    by their length.
    """

    encoded: EncodedText
    word_index: Ints
    words: dict[str, Floats]
    texts: dict[str, Floats]


class Reader:
    """A bundle's tokenizer and model, ready to read."""

    def __init__(
        self,
        bundle: Bundle,
        backend: Backend | None = None,
        threads: int = 0,
        device: Device = "cpu",
    ) -> None:
        heads = bundle.manifest.heads
        self.bundle = bundle
        self.encoder = bundle.text_encoder()
        self.backend: Backend = backend or OnnxBackend(
            bundle.folder / MODEL, heads, threads, device
        )
        self.word_heads = [head for head in heads if head.kind in ("nested", "flat")]
        self.text_heads = [head for head in heads if head.kind == "text"]
        self.on_read: OnRead | None = None
        self.before_batch: Callable[[], None] | None = None  # what it raises ends the reading

    def read(self, text: str) -> Reading:
        """The reading of a text."""
        (reading,) = self.read_many([text])
        return reading

    def read_many(self, texts: Sequence[str]) -> list[Reading]:
        """The reading of each text, in order.

        Windows of several texts share a batch only where the bundle says that it is
        batch-invariant: others scale their int8 activations over a whole batch, and an article's
        answer must not depend on its neighbours.
        """
        if not self.bundle.manifest.batch_invariant and len(texts) > 1:
            return [self.read(text) for text in texts]
        readings = [self._unread(self.encoder.encode(text)) for text in texts]
        self._count([reading.encoded.pieces for reading in readings])
        owners = [(reading, window) for reading in readings for window in reading.encoded.windows]
        framed = [
            self.encoder.frame(reading.encoded.pieces[window.start : window.end])
            for reading, window in owners
        ]
        for rows, outputs in self._batches(framed):
            for row, (reading, window) in enumerate(owners[i] for i in rows):
                _take_window(reading, window, {name: out[row] for name, out in outputs.items()})
        return [_of_words(reading) for reading in readings]

    def _unread(self, encoded: EncodedText) -> Reading:
        """A reading with a row a piece, all zero."""
        words = {
            head.name: np.zeros((len(encoded.pieces), head.width), np.float32)
            for head in self.word_heads
        }
        texts = {head.name: np.zeros(head.width, np.float32) for head in self.text_heads}
        index = np.flatnonzero(encoded.word_pieces != NO_PIECE)
        return Reading(encoded, index, words, texts)

    def judge(self, head: Head, pairs: Sequence[tuple[Ints, Ints]]) -> Floats:
        """The logits of a pair head for (target or claim, passage) pieces, (pairs, width)."""
        limit = self.bundle.manifest.pair_max_pieces
        framed = [self.encoder.frame_pair(first, second, limit) for first, second in pairs]
        self._count([piece for pair in pairs for piece in pair])
        logits = np.zeros((len(pairs), head.width), np.float32)
        for rows, outputs in self._batches(framed):
            logits[rows] = outputs[head.name]
        return logits

    def _count(self, pieces: Sequence[Ints]) -> None:
        if self.on_read is not None:
            self.on_read(sum(map(len, pieces)), sum(map(self.encoder.unknown, pieces)))

    def _batches(self, framed: Sequence[Framed]) -> Iterator[tuple[list[int], dict[str, Floats]]]:
        """Inputs run in batches: the indices of each batch and what the model gave for it."""
        for rows in token_batches([len(ids) for ids, _ in framed], MAX_BATCH_TOKENS):
            if self.before_batch is not None:
                self.before_batch()
            ids = padded([framed[i][0] for i in rows], self.encoder.special.pad)
            segments = padded([framed[i][1] for i in rows], 0)
            mask = padded([np.ones(len(framed[i][0]), dtype=np.int64) for i in rows], 0)
            yield rows, self.backend.run(ids, mask, segments)


def _take_window(reading: Reading, window: Window, outputs: dict[str, Floats]) -> None:
    """Take what the heads say of one window into a reading that has a row a piece."""
    owned = slice(window.own_start, window.own_end)
    framed_owned = slice(1 + owned.start - window.start, 1 + owned.stop - window.start)
    for name, logits in reading.words.items():
        logits[owned] = outputs[name][framed_owned]
    share = (owned.stop - owned.start) / len(reading.encoded.pieces)
    for name, total in reading.texts.items():
        total += share * outputs[name]


def _of_words(reading: Reading) -> Reading:
    """A reading with a row a word instead of one a piece."""
    pieces = reading.encoded.word_pieces[reading.word_index]
    words = {name: rows[pieces] for name, rows in reading.words.items()}
    return replace(reading, words=words)
