"""The project's own gold: valid, balanced, split apart, without shortcuts, and agreed as told."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from annotations.agreement import agreement_report
from annotations.ant import FOLDER as ANT
from annotations.ant import ant_passages
from annotations.authored import FOLDER, authored_documents
from annotations.matching import shared_words
from annotations.schema import Document, Stance
from annotations.text import normalize
from annotations.validate import problems
from training.corpora import load
from training.evaluation.novelty import Known
from training.evaluation.shortcuts import stance_shortcuts

GOLD = (*authored_documents("train"), *authored_documents("dev"))


def own(document: Document) -> list[Stance]:
    """The stances of the author."""
    return [stance for stance in document.stances or () if stance.holder is None]


def table(card: Path) -> dict[str, tuple[int, int, float]]:
    """The agreement of a card: what -> items, same, F1 or kappa."""
    rows = re.findall(
        r"^\| (.*?) \|(.*?)\| (\d+) \| .*?([\d.]+) \|$", card.read_text("utf-8"), re.M
    )
    return {
        what: (int((items.split() or ["0"])[0]), int(same), float(x))
        for what, items, same, x in rows
    }


def assert_agreement(report: dict[str, Any], card: Path) -> None:
    told = table(card)
    spans = report["spans"]
    assert told["entity spans, exact range and type"] == (
        spans["first"], spans["both"], round(spans["f1"], 3),
    )  # fmt: skip
    partial = report["spans_partial"]
    assert told["entity spans, overlapping, same type"][1:] == (
        partial["both"], round(partial["f1"], 3),
    )  # fmt: skip
    kinds = {
        "author's stance toward a target": "stance_of_text",
        "stance of quoted holders": "stance_of_holders",
        "claims": "claims",
        "topic": "topic",
    }
    for what, kind in kinds.items():
        if kind in report:
            found = report[kind]
            same = round(found["items"] * found["same"])
            assert told[what] == (found["items"], same, round(found["kappa"], 3)), what


def test_the_authored_news_keeps_the_rules() -> None:
    assert len(GOLD) == 1487 and list(problems(GOLD)) == []
    assert {document.license for document in GOLD} == {"CC0-1.0"}
    for document in GOLD:
        assert 40 <= len(document.text.split()) <= 140, document.id
        kind, _, number = document.id.partition("-")
        if kind == "news" and int(number) < 401:
            assert document.stances is None
        elif kind == "news":
            assert 1 <= len({stance.target for stance in own(document)}) <= 3, document.id
            assert len(document.entities or ()) > 15, document.id
        else:
            assert 2 <= len({stance.target for stance in own(document)}) <= 4, document.id
            assert len({stance.label for stance in own(document)}) > 1, document.id
        assert 1 <= len(document.claims or ()) <= 2 and document.topic
        for stance in document.stances or ():
            assert (stance.label == "neutral") == (not stance.evidence), document.id


def test_no_stance_label_is_rare_and_every_type_and_topic_occurs() -> None:
    for documents in (authored_documents("train"), authored_documents("dev")):
        labels = Counter(stance.label for d in documents for stance in own(d))
        assert min(labels.values()) >= 0.25 * sum(labels.values()) and len(labels) == 3
    assert len({span.label for d in GOLD for span in d.entities or ()}) == 21
    assert len({d.topic for d in GOLD}) == 7
    joined = "".join(d.text for d in GOLD)
    assert re.search("[٠-٩]", joined) and re.search("[0-9]", joined) and "ً" in joined
    assert sum(stance.holder is not None for d in GOLD for stance in d.stances or ()) > 100


def test_train_and_dev_share_no_passage_no_triplet_and_no_judged_name() -> None:
    train, dev = authored_documents("train"), authored_documents("dev")

    def triplet(document: Document) -> str:
        return document.id[:-1] if document.id.startswith("contrast") else document.id

    assert not {triplet(d) for d in train} & {triplet(d) for d in dev}
    judged = [
        {stance.target for d in part for stance in own(d) if stance.label != "neutral"}
        for part in (train, dev)
    ]
    assert len(judged[0] & judged[1]) <= 2


def letter_runs(text: str) -> set[str]:
    """Its runs of 30 letters."""
    letters = "".join(sign for sign in normalize(text).text if sign.isalpha())
    return {letters[i : i + 30] for i in range(max(len(letters) - 29, 1))}


def assert_apart(train: Sequence[Document], dev: Sequence[Document]) -> None:
    """No passage of train shares a twentieth of its runs of 30 letters with dev: only the names of
    long-winded bodies stand in both.
    """
    held_out = set().union(*(letter_runs(document.text) for document in dev))
    for document in train:
        runs = letter_runs(document.text)
        assert len(runs & held_out) < 0.05 * len(runs), document.id


def test_no_passage_of_train_repeats_one_of_dev() -> None:
    assert_apart(authored_documents("train"), authored_documents("dev"))


def test_every_target_of_the_short_texts_gets_every_label() -> None:
    texts, told_labels = authored_documents("snippets"), ("favor", "against", "neutral")
    assert len(texts) == 1000 and list(problems(texts)) == []
    assert_apart(texts, authored_documents("dev"))
    sets: dict[str, list[Document]] = {}
    for document in texts:
        assert 22 <= len(document.text.split()) <= 50 and document.entities is None
        assert len({stance.label for stance in own(document)}) > 1, document.id
        sets.setdefault(document.id[:-1], []).append(document)
    assert {len(members) for members in sets.values()} == {4}
    for name, members in sets.items():
        labels: dict[str, set[str]] = {}
        for stance in (stance for document in members for stance in own(document)):
            target = stance.target.replace("سائقو", "سائقي")  # one stands in two cases
            labels.setdefault(target, set()).add(stance.label)
        assert {frozenset(found) for found in labels.values()} == {frozenset(told_labels)}, name
    told = Counter(stance.label for d in texts for stance in own(d))
    assert min(told.values()) > 0.3 * told.total()
    train = load("authored-snippets", "train")
    assert len(train) == told.total() and load("authored-snippets", "calibration") == []


def test_every_report_is_told_plainly_with_praise_and_with_blame() -> None:
    texts = authored_documents("reports")
    assert list(problems(texts)) == []
    assert_apart(texts, authored_documents("dev"))
    sets: dict[str, dict[str, Document]] = {}
    for document in texts:
        assert 18 <= len(document.text.split()) <= 75 and document.entities is None
        sets.setdefault(document.id[:-1], {})[document.id[-1]] = document
    asked = {"n": "neutral", "f": "favor", "a": "against"}
    for versions in sets.values():
        assert set(versions) == set(asked)
        assert all(own(versions[kind])[0].label == label for kind, label in asked.items())
        assert {stance.label for stance in own(versions["n"])} == {"neutral"}
        told = [set(versions[kind].text.split(". ")) for kind in asked]
        assert not told[0] & told[1] and not told[0] & told[2] and not told[1] & told[2]
    train = load("authored-reports", "train")
    assert len(train) == sum(len(own(document)) for document in texts)
    assert load("authored-reports", "calibration") == []


def test_the_names_follow_the_rules_of_anercorp_and_most_are_not_in_it(data_folder: Path) -> None:
    passages = authored_documents("names")
    assert len(passages) == 720 and list(problems(passages)) == []
    assert_apart(passages, [d for part in ("train", "dev") for d in load("anercorp", part)])
    told = Counter(span.label for d in passages for span in d.entities or ())
    assert set(told) == {"PERS", "LOC", "ORG", "MISC"} and min(told.values()) > 900
    assert 50 < sum(not document.entities for document in passages) < 100
    for document in passages:
        assert document.label_set == "anercorp" and 25 <= len(document.text.split()) <= 70
        for span in document.entities or ():  # whole words as they are written, no marks
            around = (
                document.text[max(span.start - 1, 0) : span.start]
                + document.text[span.end : span.end + 1]
            )
            assert not any(sign.isalnum() for sign in around), (document.id, span)
    met = Known.of(load("anercorp", "train"))
    spans = [(d.text, span) for d in passages for span in d.entities or ()]
    assert sum(met.holds(text, span) for text, span in spans) < 0.1 * len(spans)
    assert load("authored-names", "train") == list(passages)


def test_the_headlines_are_pairs_of_all_labels_about_claims_that_get_several() -> None:
    pairs = authored_documents("headlines")
    assert len(pairs) == 6996 and list(problems(pairs)) == []
    claims = [(d.claims or ())[0] for d in pairs]
    assert min(Counter(claim.label for claim in claims).values()) > 400
    labels: dict[str, set[str]] = {}
    for claim in claims:
        labels.setdefault(claim.text, set()).add(claim.label)
    assert sum(len(found) > 1 for found in labels.values()) > 0.7 * len(labels)
    held_out = {d.claims[0].text for d in load("authored-headlines", "calibration") if d.claims}
    assert held_out
    assert not held_out & {
        c.text for d in load("authored-headlines", "train") for c in d.claims or ()
    }


def test_the_headlines_to_train_on_do_not_tell_a_label_by_their_common_words() -> None:
    shares: dict[str, list[float]] = {"agree": [], "disagree": [], "other": []}
    for document in load("authored-headlines", "train"):
        (claim,) = document.claims or ()
        shares[claim.label].append(shared_words(claim.text, document.text))
    agree, disagree = shares["agree"], shares["disagree"]
    assert len(agree) == len(disagree) > 1500
    assert abs(mean(agree) - mean(disagree)) < 0.02
    assert len(shares["other"]) > 400  # all of them stay


def test_stance_cannot_be_guessed_from_words_or_targets_alone() -> None:
    found = stance_shortcuts(authored_documents("train"), authored_documents("dev"))
    card = (FOLDER / "CARD.md").read_text("utf-8")
    for name in ("bag_of_words", "target_only"):
        assert found[name]["interval"][1] <= 0.45
        assert f"{found[name]['macro_f1']:.3f}" in card
        assert f"{found[name]['interval'][1]:.3f}" in card


def test_two_blind_annotations_agree_as_the_card_tells() -> None:
    first, second = authored_documents("first"), authored_documents("second")
    assert len(first) == len(second) == 124
    assert {d.id for d in authored_documents("dev")} <= {d.id for d in first}
    assert_agreement(agreement_report(first, second), FOLDER / "CARD.md")


def test_the_ant_passages_hold_no_text_of_the_corpus() -> None:
    for name in ("train", "dev", "first", "second", "judged"):
        for line in (ANT / f"{name}.jsonl").read_text("utf-8").splitlines():
            row = json.loads(line)
            claims = row.pop("claims") or ()  # the project's own sentences
            assert '"text"' not in json.dumps(row)
            assert all(len(claim["text"]) < 140 for claim in claims)
            surfaces = re.findall(r'"(?:surface|target|holder)": "(.*?)"', line)
            assert all(len(surface) < 140 for surface in surfaces)


def test_the_ant_passages_are_joined_and_keep_the_rules(data_folder: Path) -> None:
    corpus = data_folder / "topic_ant" / "train.jsonl.gz"
    parts = {name: ant_passages(name, corpus) for name in ("train", "dev")}
    assert [len(documents) for documents in parts.values()] == [3200, 130]
    everything = [*parts["train"], *parts["dev"]]
    assert list(problems(everything)) == []
    assert len({d.id for d in everything}) == 3330
    assert_apart(parts["train"], parts["dev"])
    assert load("antnews", "dev") == parts["dev"]
    assert not [c.text for d in everything for c in d.claims or () if c.text in d.text]
    first, second = ant_passages("first", corpus), ant_passages("second", corpus)
    assert_agreement(agreement_report(first, second), ANT / "CARD.md")


def test_the_passages_sought_for_judgements_are_apart_from_what_is_scored(
    data_folder: Path,
) -> None:
    corpus = data_folder / "topic_ant" / "train.jsonl.gz"
    judged = ant_passages("judged", corpus)
    assert list(problems(judged)) == []
    assert all(document.entities is None and own(document) for document in judged)
    held_out = [*load("antnews", "dev"), *load("antnews", "calibration")]
    assert_apart(judged, held_out)
    lines = {
        name: (ANT / f"{name}.jsonl").read_text("utf-8").splitlines()
        for name in ("judged", "train", "dev")
    }
    rows = {name: [json.loads(line) for line in lines[name]] for name in lines}
    scored = {document.id for document in held_out}
    articles = {
        row["passage"]["corpus_id"]
        for name in ("train", "dev")
        for row in rows[name]
        if row["id"] in scored
    }
    assert not articles & {row["passage"]["corpus_id"] for row in rows["judged"]}
    for stance in (stance for document in judged for stance in own(document)):
        assert stance.start is not None and (stance.label == "neutral") == (not stance.evidence)
    train = load("antnews-judged", "train")
    assert len(train) == sum(len(own(document)) for document in judged)
    assert load("antnews-judged", "calibration") == []


@pytest.mark.parametrize("view", ["stances", "claims", "topics"])
def test_every_view_of_the_gold_has_all_its_parts(view: str) -> None:
    parts = {part: load(f"authored-{view}", part) for part in ("train", "calibration", "dev")}
    assert all(parts.values())
    assert len(parts["calibration"]) < len(parts["train"])
