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

    def read(self, texts: Sequence[str]) -> list[Reading]:
        """The readings of texts, in their order."""
        encoded = [self.encoder.encode(text) for text in texts]
        places = [(i, window) for i, text in enumerate(encoded) for window in text.windows]
        framed = [
            self.encoder.frame(encoded[i].pieces[window.start : window.end]) for i, window in places
        ]
        words = [
            {
                head.name: np.zeros((len(text.pieces), head.width), np.float32)
                for head in self.word_heads
            }
            for text in encoded
        ]
        topics = [
            {head.name: np.zeros(head.width, np.float32) for head in self.text_heads}
            for _ in encoded
        ]
        for rows, outputs in self._batches(framed):
            for row, index in enumerate(rows):
                i, window = places[index]
                share = (window.own_end - window.own_start) / len(encoded[i].pieces)
                low, high = (1 + window.own_start - window.start, 1 + window.own_end - window.start)
                for head in self.word_heads:
                    words[i][head.name][window.own_start : window.own_end] = outputs[head.name][
                        row, low:high
                    ]
                for head in self.text_heads:
                    topics[i][head.name] += share * outputs[head.name][row]
        return [_reading(text, w, t) for text, w, t in zip(encoded, words, topics, strict=True)]

    def judge(self, head: Head, pairs: Sequence[tuple[Ints, Ints]]) -> Floats:
        """The logits of a pair head for (target or claim, passage) pieces, (pairs, width)."""
        limit = self.bundle.manifest.pair_max_pieces
        framed = [self.encoder.frame_pair(first, second, limit) for first, second in pairs]
        logits = np.zeros((len(pairs), head.width), np.float32)
        for rows, outputs in self._batches(framed):
            logits[rows] = outputs[head.name]
        return logits

    def _batches(self, framed: Sequence[Framed]) -> Iterator[tuple[list[int], dict[str, Floats]]]:
        """Every framed input run in batches: the indices of a batch and what the model gave for
        it.
        """
        for rows in token_batches([len(ids) for ids, _ in framed], MAX_BATCH_TOKENS):
            ids = padded([framed[i][0] for i in rows], self.encoder.special.pad)
            segments = padded([framed[i][1] for i in rows], 0)
            mask = padded([np.ones(len(framed[i][0]), dtype=np.int64) for i in rows], 0)
            yield rows, self.backend.run(ids, mask, segments)


def _reading(encoded: EncodedText, words: dict[str, Floats], texts: dict[str, Floats]) -> Reading:
    index = np.flatnonzero(encoded.word_pieces != NO_PIECE)
    pieces = encoded.word_pieces[index]
    return Reading(encoded, index, {name: logits[pieces] for name, logits in words.items()}, texts)
