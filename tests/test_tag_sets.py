"""Tag sets of published checkpoints, read as seqeval reads them, under khabar's names."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from seqeval.scheme import BILOU, IOBES, Entities

from serving.decoding import decode_flat
from training.hub.imports import ImportedModel
from training.hub.tagsets import LabelError, text_mapping, word_mapping

IOB2 = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
IOB1 = ("O", "B-LOC", "I-PER", "I-LOC", "I-MISC")  # as in models of CoNLL 2003
IO = ("PER", "O", "LOC")


@pytest.mark.parametrize(
    ("names", "scheme", "tags"),
    [
        (IOB2, "iob2", ("O", "B-PERS", "I-PERS", "B-LOC", "I-LOC")),
        (IOB1, "iob1", ("O", "B-LOC", "I-LOC", "B-PERS", "I-PERS", "B-MISC", "I-MISC")),
        (IO, "io", ("O", "I-PERS", "I-LOC")),
        (("O", "I-ORG", "I-PERSON"), "io", ("O", "I-ORG", "I-PERS")),
        (("B-person", "I-person", "O"), "iob2", ("O", "B-PERS", "I-PERS")),
        (("O", "B-LOCATION", "I-ORGANISATION", "B-ORGANISATION"), "iob2",
         ("O", "B-LOC", "I-LOC", "B-ORG", "I-ORG")),
        (("O", "B-disease", "I-disease", "X"), "iob2", ("O", "B-disease", "I-disease")),
        (("O", "B_FAC", "I_FAC"), "iob2", ("O", "B-FAC", "I-FAC")),
        (("o", "b-per", "i-per"), "iob2", ("O", "B-PERS", "I-PERS")),
        (("O", "PER-B", "PER-I", "LOC-B", "LOC-I"), "iob2",
         ("O", "B-PERS", "I-PERS", "B-LOC", "I-LOC")),
        (("O", "loc", "per"), "io", ("O", "I-LOC", "I-PERS")),
    ],
)  # fmt: skip
def test_tag_sets_are_read_under_khabars_names(
    names: Sequence[str], scheme: str, tags: Sequence[str]
) -> None:
    mapping = word_mapping(names, "ner", "checkpoint")
    assert mapping.head.scheme == scheme
    assert mapping.head.tags == tags
    assert mapping.unknown == tuple(t for t in mapping.head.labels if t == "disease")
    for name, target in zip(names, mapping.targets, strict=True):
        assert mapping.head.tags[target] == mapping.named[name]


@pytest.mark.parametrize(
    ("letters", "scheme"), [("BIES", IOBES), ("BILU", BILOU)], ids=["BIOES", "BILOU"]
)
def test_bioes_and_bilou_give_the_entities_that_seqeval_sees(letters: str, scheme: Any) -> None:
    begin, inside, end, single = letters
    sequence = f"O {single}-PERS {begin}-PERS {end}-PERS {begin}-LOC {inside}-LOC {end}-LOC "
    sequence += f"{single}-LOC {single}-LOC O {begin}-PERS {end}-PERS"
    names = ["O", *(f"{letter}-{kind}" for kind in ("LOC", "PERS") for letter in letters)]
    mapping = word_mapping(names, "ner", "checkpoint")
    path = torch.tensor([[names.index(tag) for tag in sequence.split()]])
    peaks = 9 * torch.nn.functional.one_hot(path, len(names)).float()
    model = ImportedModel(lambda **_: SimpleNamespace(logits=peaks), mapping)
    logits = model.logits(path, path, path)[0][0].numpy()
    found = {(s.label, s.start, s.end) for s in decode_flat(logits, mapping.head.tags)}
    gold = Entities([sequence.split()], scheme=scheme).entities[0]
    assert found == {(entity.tag, entity.start, entity.end) for entity in gold}
    np.testing.assert_allclose(
        np.exp(logits).sum(-1), peaks.exp().sum(-1)[0].numpy(), rtol=1e-5
    )  # no probability is lost


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("LABEL_0", "LABEL_1"), "LABEL_0 to LABEL_1.*--labels"),
        (("B-PER", "I-PER"), "a tag set has O and types"),
        (("O", "X"), "a tag set has O and types"),
        (("O", "B-PER", "I-PER", "LOC"), "LOC have no prefix.*--labels"),
        (("O", "I-PER", "E-PER"), "prefixes E, I without B"),
    ],
)
def test_tag_sets_that_cannot_be_read_are_refused(names: Sequence[str], words: str) -> None:
    with pytest.raises(LabelError, match=words):
        word_mapping(names, "ner", "checkpoint")


def test_names_of_topics_are_khabars_where_it_has_them() -> None:
    mapping = text_mapping(("Sport", "Tech", "POLITICS", "Opinion"), "topic", "checkpoint")
    assert mapping.head.labels == ("sports", "technology", "politics", "Opinion")
    assert mapping.unknown == ("Opinion",)
