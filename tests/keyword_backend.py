"""A model that judges by two words, texts in which they stand, and what a tagger says of them."""

from __future__ import annotations

import numpy as np

from serving.bundle import Bundle
from serving.prediction import Article, Attitude, Prediction
from serving.runtime import Floats, Ints
from serving.tagger import Tagger

PRO, CONTRA = "استعادت", "فرار"  # what makes a passage speak for or against in these tests
PLAIN = "وصلت القوات إلى مدينة القائم."
FOR = "استعادت القوات مدينة القائم."
AGAINST = "أعلن فرار القوات من البوكمال."
TORN = "استعادت القوات القائم بعد فرار القوات."


class KeywordBackend:
    """A pair speaks for its target where PRO stands in the passage, against where CONTRA does."""

    def __init__(self, bundle: Bundle) -> None:
        self.heads = bundle.manifest.heads
        encoder = bundle.text_encoder()
        space = encoder.tokenizer.token_to_id("▁")  # stands before a word or is part of its piece
        keys = [encoder.pieces(word).tolist() for word in (PRO, CONTRA)]
        self.keys = [key[1:] if key[0] == space else key for key in keys]

    def run(self, ids: Ints, mask: Ints, segments: Ints) -> dict[str, Floats]:
        outputs: dict[str, Floats] = {}
        for head in self.heads:
            if head.kind == "pair":
                rows = zip(ids.tolist(), segments.tolist(), strict=True)
                outputs[head.name] = np.array([self.judge(*row) for row in rows], np.float32)
            else:
                shape = (len(ids), head.width) if head.kind == "text" else (*ids.shape, head.width)
                outputs[head.name] = np.zeros(shape, np.float32)
        return outputs

    def judge(self, ids: list[int], segments: list[int]) -> list[float]:
        passage = [i for i, segment in zip(ids, segments, strict=True) if segment == 2]
        found = [
            any(passage[i : i + len(key)] == key for i in range(len(passage))) for key in self.keys
        ]
        return [3.0 * found[0], 3.0 * found[1], 1.0]  # favor, against, neutral


def read(
    tagger: Tagger,
    text: str,
    title: str | None = None,
    targets: tuple[str, ...] = (),
    claims: tuple[str, ...] = (),
) -> Prediction:
    (prediction,) = tagger.tag([Article(text, "a", title, targets, claims)])
    return prediction


def stance(tagger: Tagger, text: str, title: str | None = None, target: str = "القوات") -> Attitude:
    prediction = read(tagger, text, title, targets=(target,))
    assert prediction.error is None
    return prediction.stances[0]


def claim(tagger: Tagger, text: str, title: str | None = None, about: str = "القوات") -> Attitude:
    prediction = read(tagger, text, title, claims=(about,))
    assert prediction.error is None
    return prediction.claims[0]


def quotes(text: str, attitude: Attitude) -> list[str]:
    return [text[start:end] for start, end in attitude.evidence]
