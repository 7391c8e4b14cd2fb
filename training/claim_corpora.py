"""Claims to train and score on: ANS, what follows from its pairs, and the project's headlines."""

from __future__ import annotations

import logging
import random
from collections import defaultdict
from collections.abc import Callable, Sequence

from annotations.authored import authored_documents
from annotations.catalogue import corpus_file
from annotations.corpora import read_ans_pairs
from annotations.matching import shared_words
from annotations.schema import Claim, Document
from annotations.text import normalize
from training.leakage import without_texts_of
from training.splits import Part, held_out_part, train_only

log = logging.getLogger(__name__)


def claim_documents(part: Part) -> list[Document]:
    """ANS headline pairs; a claim of the dev file is left out of train with all its rewrites.

    A headline may be the claim of one pair and the text of others: pairs to calibrate on with a
    headline of train are left out, for a model is surer of what it has been taught.
    """
    dev = list(read_ans_pairs(corpus_file("ans", "ans/stance/dev.csv")))
    if part == "dev":
        return dev
    rows = list(read_ans_pairs(corpus_file("ans", "ans/stance/train.csv")))
    train = without_texts_of(dev, [d for d in rows if held_out_part(_claim(d)) == "train"])
    if part == "train":
        return train
    held_out = [d for d in rows if held_out_part(_claim(d)) == part]
    return without_texts_of([*dev, *train], held_out)


def _claim_text(document: Document) -> str:
    return (document.claims or ())[0].text


def _claim(document: Document) -> str:
    return normalize(_claim_text(document)).text


def unrelated_claims(part: Part, every: int = 6) -> list[Document]:
    """Pairs that have nothing to say of each other: every sixth ANS claim with the text of another
    one.
    """
    documents = claim_documents(part)
    texts = random.Random(0).sample([document.text for document in documents], len(documents))
    return [
        Document(f"unrelated-{document.id}", text, claims=(Claim(_claim_text(document), "other"),))
        for document, text in list(zip(documents, texts, strict=True))[::every]
        if shared_words(_claim_text(document), text) == 0
    ]


def mirrored_claims() -> list[Document]:
    """ANS pairs of train the other way round: of two headlines that agree or disagree, each says so
    of the other.
    """
    return [
        Document(f"mirrored-{d.id}", _claim_text(d), claims=(Claim(d.text, c.label),))
        for d in claim_documents("train")
        for c in d.claims or ()
        if c.label in ("agree", "disagree")
    ]


def composed_claims() -> list[Document]:
    """Of a claim of train with one ANS text that agrees and one that disagrees: those two
    disagree.
    """
    by_claim: dict[str, dict[str, Document]] = {}
    for document in claim_documents("train"):
        (claim,) = document.claims or ()
        by_claim.setdefault(claim.text, {}).setdefault(claim.label, document)
    return [
        Document(
            f"composed-{found['agree'].id}",
            found["disagree"].text,
            claims=(Claim(found["agree"].text, "disagree"),),
        )
        for found in by_claim.values()
        if {"agree", "disagree"} <= found.keys()
    ]


def headline_claims(part: Part) -> list[Document]:
    """The project's own pairs of headlines; pairs about one claim stay in one part.

    Its writers made those that disagree share more words than those that agree, ANS's did the
    opposite: of those to train on, as many agree as disagree at every share of common words.
    """
    if part == "dev":
        return []
    found = [d for d in authored_documents("headlines") if held_out_part(_claim(d)) == part]
    return levelled_by_overlap(found) if part == "train" else found


def levelled_by_overlap(documents: Sequence[Document], bins: int = 5) -> list[Document]:
    """Documents with one claim each, in their order, of which in each of `bins` equal ranges of the
    share of the claim's words that stand in the text as many agree as disagree; the surplus is left
    out by lot, always the same. Those with other labels stay.
    """
    groups: dict[int, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for i, document in enumerate(documents):
        (claim,) = document.claims or ()
        share = shared_words(claim.text, document.text)
        groups[min(int(share * bins), bins - 1)][claim.label].append(i)
    left_out: set[int] = set()
    rng = random.Random(0)
    for _, by_label in sorted(groups.items()):
        agree, disagree = by_label["agree"], by_label["disagree"]
        more, fewer = (agree, disagree) if len(agree) > len(disagree) else (disagree, agree)
        left_out.update(rng.sample(more, len(more) - len(fewer)))
    log.info(
        "%d of %d pairs are left out, so that common words tell no label",
        len(left_out),
        len(documents),
    )
    return [document for i, document in enumerate(documents) if i not in left_out]


CLAIM_CORPORA: dict[str, Callable[[Part], list[Document]]] = {
    "ans": claim_documents,
    "ans-unrelated": unrelated_claims,
    "ans-mirrored": train_only(mirrored_claims),
    "ans-composed": train_only(composed_claims),
    "authored-headlines": headline_claims,
}
