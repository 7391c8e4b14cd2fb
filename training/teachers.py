"""Teachers: bundles made earlier, whose mean is learnt on texts that nobody annotated (Hinton et
al. 2015, distillation of an ensemble).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from annotations.errors import ConfigError
from annotations.schema import Document
from serving.bundle import Bundle, Head
from serving.decoding import log_softmax
from serving.encoding import TextEncoder
from serving.reader import Reading
from serving.tagger import Tagger
from training.examples import IGNORED, Example, framed_windows
from training.runs import RECIPE, Run

Bytes = npt.NDArray[np.uint8]
SHARES = 255  # a probability in a byte: what is below a five-hundredth is none
TEXTS_AT_ONCE = 32


def teacher_bundle(name: str) -> Bundle:
    """The bundle of a teacher, which is given by its folder or by that of its run."""
    folder = Path(name)
    return Bundle.load(Run.open(folder).bundle if (folder / RECIPE).is_file() else folder)


class Teachers:
    """What earlier bundles say of words, by heads of the same names, kinds, schemes and labels.

    Their tokenizers may be others: words are the same for all of them. A text is read once for all
    heads.
    """

    def __init__(self, taggers: Sequence[Tagger]) -> None:
        self.taggers = tuple(taggers)
        self._known = [
            {head.name: _tags(head) for head in tagger.bundle.manifest.heads} for tagger in taggers
        ]
        self._common = [
            head
            for head in self.taggers[0].reader.word_heads
            if all(known.get(head.name) == _tags(head) for known in self._known)
        ]
        self._heard: dict[str, dict[str, Bytes]] = {}

    def word_shares(self, texts: Sequence[str], head: Head) -> Iterator[Bytes]:
        """The probabilities of the teachers' mean logits for each word of each text, in 255ths,
        (words, columns, classes); all 0 for a word that is no piece of one of them.
        """
        for tagger, known in zip(self.taggers, self._known, strict=True):
            if known.get(head.name) != _tags(head):
                raise ConfigError(
                    f"taught_by {tagger.bundle.folder}: has no {head.kind} head {head.name!r} of "
                    f"{', '.join(head.labels)} in {head.scheme}; its heads are {', '.join(known)}"
                )
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            some = texts[start : start + TEXTS_AT_ONCE]
            if unheard := [text for text in some if text not in self._heard]:
                self._read(unheard)
            for text in some:
                yield self._heard[text][head.name]

    def _read(self, texts: Sequence[str]) -> None:
        read = [tagger.reader.read_many(texts) for tagger in self.taggers]
        for text, readings in zip(texts, zip(*read, strict=True), strict=True):
            self._heard[text] = {head.name: _mean(readings, head) for head in self._common}


def _tags(head: Head) -> tuple[str, str, tuple[str, ...]]:
    return head.kind, head.scheme, head.labels


@cache
def teachers_of(names: tuple[str, ...]) -> Teachers:
    """The teachers of these names, with all that they have read."""
    return Teachers([Tagger(teacher_bundle(name)) for name in names])


def _mean(readings: Sequence[Reading], head: Head) -> Bytes:
    words = len(readings[0].encoded.words)
    logits = np.zeros((words, head.columns, head.width // head.columns), np.float32)
    heard = np.zeros(words, np.int64)
    for reading in readings:
        logits[reading.word_index] += reading.words[head.name].reshape(-1, *logits.shape[1:])
        heard[reading.word_index] += 1
    shares = np.exp(log_softmax(logits / len(readings)))
    shares[heard < len(readings)] = 0
    return (shares * SHARES).round().astype(np.uint8)


def taught_examples(
    documents: Sequence[Document],
    head: Head,
    encoder: TextEncoder,
    source: str,
    teachers: Teachers,
) -> Iterator[Example]:
    """The windows of texts with what the teachers say of their words; annotations are not read."""
    shares = teachers.word_shares([document.text for document in documents], head)
    for document, of_words in zip(documents, shares, strict=True):
        encoded = encoder.encode(document.text)
        for ids, segments, said in framed_windows(encoded, encoder, of_words, 0):
            silent = [IGNORED] * (len(ids) * head.columns)
            yield Example(
                ids.tolist(), segments.tolist(), silent, head.name, source, said.tobytes()
            )
