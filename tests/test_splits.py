"""Parts of the corpora: fixed by a rule of the group alone, and nothing stands in two of them."""

from collections import Counter
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.conll import Sentence, read_sentences
from annotations.jsonl import read_documents
from annotations.schema import Document
from annotations.text import normalize
from training.claim_corpora import (
    claim_documents,
    composed_claims,
    mirrored_claims,
    unrelated_claims,
)
from training.corpora import load, sentences_of, write_splits
from training.splits import Part, held_out_part, part_of

PARTS = get_args(Part)


# Written down once: a change of the rule would move development sentences into training.
@pytest.mark.parametrize(
    ("group", "part"),
    [
        ("anercorp-0", "dev"),
        ("anercorp-1", "calibration"),
        ("anercorp-2", "train"),
        ("anercorp-158", "train"),
        ("wikifane-0", "train"),
        ("خبر", "train"),
    ],
)
def test_the_part_of_a_group_never_changes(group: str, part: str) -> None:
    assert part_of(group) == part


def test_the_shares_of_the_parts_are_about_a_tenth_and_a_sixteenth() -> None:
    counts = Counter(part_of(f"مجموعة-{i}") for i in range(20_000))
    assert abs(counts["dev"] / 20_000 - 0.10) < 0.01
    assert abs(counts["calibration"] / 20_000 - 0.06) < 0.01


@given(st.text())
@settings(max_examples=200)
def test_a_corpus_with_its_own_dev_file_gives_none_of_its_train_file_to_dev(group: str) -> None:
    expected = "calibration" if part_of(group) == "calibration" else "train"
    assert held_out_part(group) == expected


def joined(sentence: Sentence) -> str:
    return " ".join(sentence.words)


@pytest.mark.parametrize("corpus", ["anercorp", "wojood"])
def test_no_group_and_no_sentence_stands_in_train_and_in_another_part(
    data_folder: Path, corpus: str
) -> None:
    rows = {part: sentences_of(corpus, part) for part in PARTS}
    counts = {"anercorp": [3303, 315, 325], "wojood": [1027, 54, 158]}
    assert [len(rows[part]) for part in ("train", "calibration", "dev")] == counts[corpus]
    groups = {part: {group for group, _ in rows[part]} for part in PARTS}
    assert not groups["train"] & groups["dev"]
    assert not groups["train"] & groups["calibration"]
    assert not groups["dev"] & groups["calibration"]
    texts = {part: {normalize(joined(s)).text for _, s in rows[part]} for part in PARTS}
    assert not texts["train"] & (texts["dev"] | texts["calibration"])
    assert not texts["calibration"] & texts["dev"]


def test_only_repeated_sentences_of_anercorp_are_left_out(data_folder: Path) -> None:
    everything = [joined(s) for s in read_sentences(data_folder / "anercorp" / "train.txt")]
    parts = [[joined(s) for _, s in sentences_of("anercorp", part)] for part in PARTS]
    assert len(everything) == 3973
    lost = Counter(everything) - Counter(text for part in parts for text in part)
    assert sum(lost.values()) == 3973 - 3303 - 315 - 325
    assert {normalize(text).text for text in lost} <= {
        normalize(text).text for part in parts[1:] for text in part
    }


def headlines(documents: list[Document]) -> set[str]:
    claims = {normalize(claim.text).text for d in documents for claim in d.claims or ()}
    return claims | {normalize(document.text).text for document in documents}


def claims_of(documents: list[Document]) -> set[str]:
    return {normalize(claim.text).text for d in documents for claim in d.claims or ()}


def test_ans_train_shares_no_claim_and_no_headline_with_dev(data_folder: Path) -> None:
    dev, train = claim_documents("dev"), claim_documents("train")
    assert (len(dev), len(train)) == (755, 2452)
    assert not headlines(train) & claims_of(dev)
    assert not claims_of(train) & headlines(dev)
    held = claim_documents("calibration")
    assert len(held) == 40
    for others in (train, dev):
        seen = claims_of(others) | headlines(others)
        assert seen.isdisjoint(claims_of(held) | headlines(held))


def test_pairs_made_unrelated_stay_in_their_part(data_folder: Path) -> None:
    for part in PARTS:
        own = claim_documents(part)
        made = unrelated_claims(part)
        assert made and {claim.label for d in made for claim in d.claims or ()} == {"other"}
        assert claims_of(made) <= claims_of(own)
        assert {d.text for d in made} <= {d.text for d in own}


def test_pairs_that_follow_from_others_are_of_the_train_part_alone(data_folder: Path) -> None:
    own = claim_documents("train")
    said = {((d.claims or ())[0].text, d.text): (d.claims or ())[0].label for d in own}
    mirrored = mirrored_claims()
    assert len(mirrored) == sum(label != "other" for label in said.values())
    assert all(
        said[d.text, (d.claims or ())[0].text] == (d.claims or ())[0].label for d in mirrored
    )
    composed = composed_claims()
    assert len(composed) > 500
    claims = {claim for claim, _ in said}
    for document in composed[:100]:
        (claim,) = document.claims or ()
        assert claim.label == "disagree"
        assert any(
            said.get((c, claim.text)) == "agree" and said.get((c, document.text)) == "disagree"
            for c in claims
        )


@pytest.mark.parametrize(
    "corpus",
    [
        "ans-mirrored",
        "ans-composed",
        "authored-snippets",
        "authored-reports",
        "authored-names",
        "antnews-judged",
        "antnews-epithets",
    ],
)
def test_what_is_made_for_training_is_in_no_other_part(data_folder: Path, corpus: str) -> None:
    assert load(corpus, "train")
    assert load(corpus, "calibration") == load(corpus, "dev") == []


@pytest.mark.parametrize(("corpus", "dev", "rest"), [("khaleej", 2100, 16800), ("ant", 363, 2917)])
def test_topics_keep_their_dev_file_and_share_no_text_with_it(
    data_folder: Path, corpus: str, dev: int, rest: int
) -> None:
    parts = {part: load(corpus, part) for part in PARTS}
    assert len(parts["dev"]) == dev
    assert len(parts["train"]) + len(parts["calibration"]) == rest
    texts = {part: {" ".join(d.text.split()) for d in parts[part]} for part in PARTS}
    assert not texts["train"] & (texts["dev"] | texts["calibration"])
    assert not texts["calibration"] & texts["dev"]


def test_the_written_splits_read_back_as_the_same_sentences(
    data_folder: Path, tmp_path: Path
) -> None:
    written = dict(write_splits(tmp_path / "runs" / "splits"))
    counts = {path.name: count for path, count in written.items()}
    passages = {f"antnews-{name}.jsonl" for name in (*PARTS, "first", "second")}
    assert set(counts) == passages | {f"anercorp-{part}.conll" for part in PARTS}
    for path, count in written.items():
        name, part = path.stem.split("-")
        if name == "anercorp":
            sentences = [sentence for _, sentence in sentences_of("anercorp", part)]
            assert list(read_sentences(path)) == sentences
            assert count == len(sentences)
        else:
            documents = list(read_documents(path))
            assert count == len(documents)
            if part in PARTS:
                assert documents == load("antnews", part)
