"""A model that knows words by heart, for tests of what is asked of one and how it is scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from serving.bundle import Bundle, Head
from serving.encoding import TextEncoder
from serving.tagger import Tagger

Ints = NDArray[np.int64]
Logits = dict[str, NDArray[np.float32]]
Tags = dict[str, dict[str, tuple[str, ...]]]
Labels = dict[str, dict[str, str]]
SURE = 12.0


class TableBackend:
    """A model that knows words: the tags of each, and the label of a text that holds it.

    It sees piece ids only, as the real one does: a word is what stands between two pieces that
    begin with a space, looked up by its pieces. `tags` maps a head to words with their tags (as
    many as nest), `labels` a head to words with the label of a text, in a pair of its passage.
    """

    def __init__(
        self,
        heads: Sequence[Head],
        encoder: TextEncoder,
        tags: dict[str, dict[str, tuple[str, ...]]],
        labels: dict[str, dict[str, str]],
    ) -> None:
        self.heads = heads
        self.encoder = encoder
        self.tags = {name: self._by_pieces(table) for name, table in tags.items()}
        self.labels = {name: self._by_pieces(table) for name, table in labels.items()}

    def _by_pieces(self, table: dict[str, Any]) -> dict[tuple[int, ...], Any]:
        keyed = {tuple(self.encoder.pieces(word).tolist()): found for word, found in table.items()}
        assert len(keyed) == len(table), "two words of the table have the same pieces"
        return keyed

    def words(self, ids: Ints, segments: Ints) -> list[tuple[int, int, int]]:
        """The words of one input: the range of their pieces and their segment."""
        found: list[tuple[int, int, int]] = []
        for i in np.flatnonzero(segments).tolist():
            begins = self.encoder.tokenizer.id_to_token(int(ids[i])).startswith("▁")
            if begins or not found or found[-1][2] != segments[i]:
                found.append((i, i + 1, int(segments[i])))
            else:
                found[-1] = (found[-1][0], i + 1, found[-1][2])
        return found

    def tag_logits(self, head: Head, ids: Ints, words: list[tuple[int, int, int]]) -> Any:
        """Logits (pieces, width): a B- at the first letter of a word, I- at what follows in it."""
        kinds = 3 * len(head.labels) if head.kind == "nested" else len(head.tags)
        logits = np.zeros((len(ids), kinds), np.float32)
        logits[:, :: 3 if head.kind == "nested" else kinds] = SURE
        for start, end, _ in words:
            for tag in self.tags.get(head.name, {}).get(tuple(ids[start:end].tolist()), ()):
                column = head.labels.index(tag[2:])
                begun = tag[0] == "I"
                for i in range(start, end):
                    inside = int(begun)
                    begun |= self.encoder.tokenizer.id_to_token(int(ids[i])) != "▁"
                    if head.kind == "nested":
                        logits[i, 3 * column : 3 * column + 3] = 0
                        logits[i, 3 * column + 1 + inside] = SURE
                    else:
                        logits[i] = 0
                        logits[i, 1 + 2 * column + inside] = SURE
        return logits

    def text_logits(self, head: Head, ids: Ints, words: list[tuple[int, int, int]]) -> Any:
        """Logits (labels,) of the known words; the last label where none is known."""
        votes = np.zeros(len(head.labels), np.float32)
        for start, end, segment in words:
            label = self.labels.get(head.name, {}).get(tuple(ids[start:end].tolist()))
            if label is not None and segment == (2 if head.kind == "pair" else 1):
                votes[head.labels.index(label)] += SURE
        if not votes.any():
            votes[-1] = SURE
        return votes

    def run(self, ids: Ints, mask: Ints, segments: Ints) -> Logits:
        outputs = {}
        for head in self.heads:
            read = self.tag_logits if head.kind in ("nested", "flat") else self.text_logits
            rows = [
                read(head, row, self.words(row, marks))
                for row, marks in zip(ids, segments, strict=True)
            ]
            outputs[head.name] = np.stack(rows)
        return outputs


Knowing = Callable[..., Tagger]


def with_heads(bundle: Bundle, *heads: Head) -> Bundle:
    """A bundle with other heads."""
    return replace(bundle, manifest=bundle.manifest.model_copy(update={"heads": heads}))


def knowing_taggers(bundle: Bundle) -> Knowing:
    """Makes taggers of a bundle from tables: `make(tags=..., labels=...)`."""

    def make(tags: Tags | None = None, labels: Labels | None = None) -> Tagger:
        heads, encoder = bundle.manifest.heads, bundle.text_encoder()
        return Tagger(bundle, backend=TableBackend(heads, encoder, tags or {}, labels or {}))

    return make


@pytest.fixture(scope="session")
def knowing(smoke_bundle: Path) -> Knowing:
    """Makes taggers of the smoke bundle."""
    return knowing_taggers(Bundle.load(smoke_bundle))
