"""The reader: texts through the encoder in windows and batches, scores back in the order of their
words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.bundle import MODEL, Bundle, Head
from serving.encoding import NO_PIECE, EncodedText
from serving.runtime import MAX_BATCH_TOKENS, Backend, OnnxBackend, padded
from serving.windows import token_batches

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
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

    def __init__(self, bundle: Bundle, backend: Backend | None = None, threads: int = 0) -> None:
        heads = bundle.manifest.heads
        self.bundle = bundle
        self.encoder = bundle.text_encoder()
        self.backend: Backend = backend or OnnxBackend(bundle.folder / MODEL, heads, threads)
        self.word_heads = [head for head in heads if head.kind in ("nested", "flat")]
        self.text_heads = [head for head in heads if head.kind == "text"]

    def read(self, text: str) -> Reading:
        """The reading of a text.

        Only windows of one text share a batch: a bundle may scale its int8 activations over a whole
        batch, and an article's answer must not depend on its neighbours.
        """
        encoded = self.encoder.encode(text)
        windows = encoded.windows
        framed = [self.encoder.frame(encoded.pieces[w.start : w.end]) for w in windows]
        words = {
            head.name: np.zeros((len(encoded.pieces), head.width), np.float32)
            for head in self.word_heads
        }
        texts = {head.name: np.zeros(head.width, np.float32) for head in self.text_heads}
        for rows, outputs in self._batches(framed):
            for row, window in enumerate(windows[i] for i in rows):
                owned = slice(window.own_start, window.own_end)
                framed_owned = slice(1 + owned.start - window.start, 1 + owned.stop - window.start)
                for name, logits in words.items():
                    logits[owned] = outputs[name][row, framed_owned]
                share = (owned.stop - owned.start) / len(encoded.pieces)
                for name, total in texts.items():
                    total += share * outputs[name][row]
        index = np.flatnonzero(encoded.word_pieces != NO_PIECE)
        pieces = encoded.word_pieces[index]
        return Reading(encoded, index, {name: rows[pieces] for name, rows in words.items()}, texts)

    def judge(self, head: Head, pairs: Sequence[tuple[Ints, Ints]]) -> Floats:
        """The logits of a pair head for (target or claim, passage) pieces, (pairs, width)."""
        limit = self.bundle.manifest.pair_max_pieces
        framed = [self.encoder.frame_pair(first, second, limit) for first, second in pairs]
        logits = np.zeros((len(pairs), head.width), np.float32)
        for rows, outputs in self._batches(framed):
            logits[rows] = outputs[head.name]
        return logits

    def _batches(self, framed: Sequence[Framed]) -> Iterator[tuple[list[int], dict[str, Floats]]]:
        """Inputs run in batches: the indices of each batch and what the model gave for it."""
        for rows in token_batches([len(ids) for ids, _ in framed], MAX_BATCH_TOKENS):
            ids = padded([framed[i][0] for i in rows], self.encoder.special.pad)
            segments = padded([framed[i][1] for i in rows], 0)
            mask = padded([np.ones(len(framed[i][0]), dtype=np.int64) for i in rows], 0)
            yield rows, self.backend.run(ids, mask, segments)
