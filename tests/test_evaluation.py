"""Evaluation of files: their kind is told by content, labels are scored in every format, and what
cannot be scored is a clear error.
"""

import csv
import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from annotations.errors import FormatError, KhabarError
from annotations.jsonl import write_documents
from annotations.schema import Claim, Document, Span, Stance
from serving.bundle import Bundle
from tests.files import write
from tests.table_backend import Knowing, knowing_taggers
from training.evaluation.files import Task, evaluate, file_kind

CONLL = "وأكد O\nالتحالف B-ORG\nبسوريا B-LOC\n"
KHABAR_LINE = json.dumps({"id": "a", "text": "قال", "topic": None}, ensure_ascii=False) + "\n"
TOPIC_LINE = json.dumps({"id": "a", "text": "قال", "label": "sport"}, ensure_ascii=False) + "\n"


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("a.jsonl", KHABAR_LINE, "khabar"),
        ("a.txt", "\n" + KHABAR_LINE, "khabar"),
        ("a.jsonl", TOPIC_LINE, "topics"),
        ("a.jsonl.gz", TOPIC_LINE, "topics"),
        ("a.csv", "s1,s2,stance\nا,ب,agree\n", "ans"),
        ("a.csv", '"s1","s2","stance"\n"ا","ب","agree"\n', "ans"),
        ("a.csv", "\ufeffID,text,target,stance,stance:confidence\n", "mawqif"),
        ("a.csv", "القائم B-LOC\n", "conll"),
        ("a.csv", "ا" * 200_000 + " O\n", "conll"),
        ("a.txt", "\n\nو O\nبغداد B-GPE I-ORG\n", "conll"),
    ],
)
def test_the_kind_of_a_file_is_told_by_its_content(
    tmp_path: Path, name: str, text: str, kind: str
) -> None:
    assert file_kind(write(tmp_path / name, text)) == kind


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "the file is empty"),
        (b"\n \n", "the file is empty"),
        ("قال".encode("cp1256"), "not UTF-8"),
        (b'{"id": \n', "line 1 is not JSON"),
        (b'{"id": ' + b"[" * 100_000 + b"\n", "line 1 is not JSON"),
        (b'{"id": ' + b"9" * 5000 + b"}\n", "line 1 is not JSON"),
    ],
)
def test_a_file_of_no_kind_is_a_clear_error(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    with pytest.raises(FormatError, match=rf"a\.txt: .*{words}"):
        file_kind(path)


def test_a_file_that_is_not_there_or_no_gzip_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"none\.txt: no such file"):
        file_kind(tmp_path / "none.txt")
    (tmp_path / "a.jsonl.gz").write_bytes(b"not gzip")
    damaged = bytearray(gzip.compress(b'{"text": "x", "label": "y"}\n'))
    damaged[10] ^= 0xFF
    for content in (b"not gzip", bytes(damaged), gzip.compress(b"{}")[:12]):
        (tmp_path / "a.jsonl.gz").write_bytes(content)
        with pytest.raises(FormatError, match=r"a\.jsonl\.gz: no whole gzip file"):
            file_kind(tmp_path / "a.jsonl.gz")


RUN_KEYS = {"task", "bundle", "seconds"}
LABEL_KEYS = {"items", "accuracy", "macro_f1", "per_label", "interval", "ece"}
LABEL_KEYS |= {"ece_by_chance"}


def write_csv(path: Path, rows: list[list[str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows(rows)
    return path


def test_ans_pairs_are_scored_as_claims(knowing: Knowing, tmp_path: Path) -> None:
    words = {"دخلت": "agree", "نفت": "disagree"}
    rows = [["s1", "s2", "stance"]]
    rows += [["القوات دخلت القائم", "القوات دخلت القائم، أمس", "agree"]]
    rows += [["القوات دخلت القائم", "القوات نفت ذلك", "disagree"]]
    rows += [["نفت القيادة", "سقوط داعش في العراق", "other"]]
    rows += [["القوات دخلت القائم", "القوات دخلت سوريا", "disagree"]]  # the model is wrong here
    path = write_csv(tmp_path / "dev.csv", rows)
    report = evaluate("claim", path, knowing(labels={"claim": words}))
    assert set(report) >= LABEL_KEYS | RUN_KEYS
    assert (report["task"], report["items"], report["accuracy"]) == ("claim", 4, 0.75)
    f1 = {name: own["f1"] for name, own in report["per_label"].items()}
    assert f1 == {"agree": 0.6667, "disagree": 0.6667, "other": 1.0}
    assert report["macro_f1"] == pytest.approx(sum(f1.values()) / 3, abs=1e-4)
    assert report["ece"] == pytest.approx(0.25, abs=0.01)
    assert report["interval"][0] <= report["macro_f1"] <= report["interval"][1]
    json.dumps(report)


def test_claims_of_khabar_jsonl_count_discuss_and_unrelated_as_other(
    knowing: Knowing, tmp_path: Path
) -> None:
    claims = tuple(Claim(f"القائم {label}", label) for label in ("agree", "discuss", "unrelated"))
    document = Document("a", "القوات دخلت المدينة", claims=claims)
    write_documents(tmp_path / "c.jsonl", [document, Document("b", "قال")])
    tagger = knowing(labels={"claim": {"دخلت": "agree"}})
    report = evaluate("claim", tmp_path / "c.jsonl", tagger)
    assert {name: own["support"] for name, own in report["per_label"].items()} == {
        "agree": 1, "other": 2,
    }  # fmt: skip
    assert report["accuracy"] == pytest.approx(1 / 3, abs=1e-4)


def test_claims_are_scored_in_the_labels_of_the_head(knowing: Knowing, tmp_path: Path) -> None:
    labels = ("agree", "disagree", "discuss", "unrelated")
    document = Document("a", "القوات دخلت", claims=tuple(Claim("القائم", one) for one in labels))
    write_documents(tmp_path / "c.jsonl", [document])
    tagger = knowing()
    tagger = tagger.with_head(tagger.heads["claim"].model_copy(update={"labels": labels}))
    report = evaluate("claim", tmp_path / "c.jsonl", knowing_taggers(tagger.bundle)())
    assert {name: own["support"] for name, own in report["per_label"].items()} == dict.fromkeys(
        labels, 1
    )


def test_mawqif_tweets_are_scored_as_stances(knowing: Knowing, tmp_path: Path) -> None:
    rows = [["\ufeffID", "text", "target", "stance", "stance:confidence"]]
    rows += [["1", "القرار قوي 😀", "Women empowerment", "Favor", "0.9"]]
    rows += [["2", "القرار داعش، سقوط", "Covid Vaccine", "Against", "0.5"]]
    rows += [["3", "لا شيء", "Digital Transformation", "None", "1"]]
    rows += [["4", "لا شيء", "Digital Transformation", "", "1"]]
    path = write_csv(tmp_path / "test.csv", rows)
    words = {"قوي": "favor", "سقوط": "against"}
    report = evaluate("stance", path, knowing(labels={"stance": words}))
    assert set(report) >= LABEL_KEYS | RUN_KEYS
    assert (report["task"], report["items"], report["accuracy"]) == ("stance", 4, 1.0)
    assert set(report["per_label"]) == {"favor", "against", "neutral"}


def test_stances_of_khabar_jsonl_are_the_authors_in_their_scope(
    knowing: Knowing, tmp_path: Path
) -> None:
    text = "القوات سقوط. القوات قوي."
    stances = (
        Stance("القوات", "against", scope=(0, 12)),
        Stance("القوات", "favor", scope=(13, 24)),
        Stance("القوات", "against", scope=(13, 24), holder="التنظيم"),  # not the author's
    )
    write_documents(tmp_path / "s.jsonl", [Document("a", text, stances=stances)])
    words = {"قوي.": "favor", "سقوط.": "against"}
    report = evaluate("stance", tmp_path / "s.jsonl", knowing(labels={"stance": words}))
    assert (report["items"], report["accuracy"], report["skipped"]) == (2, 1.0, 1)


def test_evidence_of_stances_is_scored_by_its_surest_sentence(
    knowing: Knowing, tmp_path: Path
) -> None:
    """Found, found elsewhere, not found at all; two have none in gold."""
    text = "مر يوم. القوات قوي. مر يوم. القوات سقوط. القوات دخلت."
    found, elsewhere, nothing = (0, 19), (8, 27), (41, len(text))
    stances = (
        Stance("القوات", "favor", scope=found, evidence=((8, 19),)),
        Stance("القوات", "favor", scope=elsewhere, evidence=((20, 27),)),
        Stance("القوات", "favor", scope=nothing, evidence=((41, len(text)),)),
        Stance("القوات", "against", scope=(20, 40)),
        Stance("القوات", "neutral", scope=(0, 7)),
    )
    write_documents(tmp_path / "s.jsonl", [Document("a", text, stances=stances)])
    words = {"قوي.": "favor", "سقوط.": "against"}
    report = evaluate("stance", tmp_path / "s.jsonl", knowing(labels={"stance": words}))
    assert (report["items"], report["evidence_items"]) == (5, 3)
    assert report["evidence_hit_at_1"] == pytest.approx(1 / 3, abs=1e-4)
    low, high = report["evidence_interval"]
    assert low <= report["evidence_hit_at_1"] <= high


FILES = {
    "ans": "s1,s2,stance\nا,ب,agree\n",
    "mawqif": "ID,text,target,stance\n1,قال,Covid Vaccine,Favor\n",
    "conll": CONLL,
    "topics": TOPIC_LINE,
}


@pytest.mark.parametrize(
    ("task", "kind", "words"),
    [
        ("ner", "ans", "--task ner reads khabar JSONL or CoNLL"),
        ("ner", "mawqif", "--task ner reads khabar JSONL or CoNLL"),
        ("ner", "topics", "unknown field 'label'"),
        ("topic", "conll", "--task topic reads topic JSONL or khabar JSONL"),
        ("topic", "ans", "--task topic reads"),
        ("claim", "mawqif", r"--task claim reads .*ANS CSV \(s1,s2,stance\)"),
        ("claim", "topics", "--task claim reads"),
        ("stance", "ans", "an ANS CSV is --task claim"),
        ("stance", "conll", r"Mawqif CSV \(text,target,stance\)"),
    ],
)
def test_a_task_that_does_not_fit_the_file_is_a_clear_error(
    knowing: Knowing, tmp_path: Path, task: Task, kind: str, words: str
) -> None:
    path = write(tmp_path / "some.file", FILES[kind])
    with pytest.raises(FormatError, match=rf"some\.file(:1)?: .*{words}"):
        evaluate(task, path, knowing())


def test_a_packed_file_has_the_scores_of_the_plain_one(knowing: Knowing, tmp_path: Path) -> None:
    for task, text in (("ner", CONLL), ("claim", FILES["ans"]), ("claim", FILES["ans"].upper())):
        (tmp_path / "a").write_text(text, encoding="utf-8")
        (tmp_path / "a.gz").write_bytes(gzip.compress(text.encode()))
        plain, packed = (evaluate(task, tmp_path / name, knowing()) for name in ("a", "a.gz"))
        assert packed["items"] == plain["items"] == 1 and packed["per_label"] == plain["per_label"]


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("ner", "no document has entities"),
        ("topic", "nothing in the file has a label for this task"),
        ("claim", "nothing in the file has a label for this task"),
        ("stance", "nothing in the file has a label for this task"),
    ],
)
def test_a_file_without_gold_is_a_clear_error(
    knowing: Knowing, tmp_path: Path, task: Task, words: str
) -> None:
    path = write(tmp_path / "a.jsonl", KHABAR_LINE)
    with pytest.raises(FormatError, match=words):
        evaluate(task, path, knowing())


@pytest.mark.parametrize(
    ("task", "text", "place"),
    [
        ("claim", "s1,s2,stance\nالقوات دخلت,قال,agree\nالقوات,ـ,agree\n", "a-3: text holds no"),
        ("claim", f"s1,s2,stance\n{'القائم ' * 200},قال,agree\n", "a-2: claim 1 has 200 pieces"),
        ("stance", "text,target,stance\n ,Covid Vaccine,Favor\n", "a-2: text is empty"),
        ("topic", '{"id": "x7", "text": "", "label": "sport"}\n', "x7: text is empty"),
    ],
)
def test_a_text_that_cannot_be_read_is_named(
    knowing: Knowing, tmp_path: Path, task: Task, text: str, place: str
) -> None:
    path = write(tmp_path / "a.csv", text)
    with pytest.raises(KhabarError, match=place):
        evaluate(task, path, knowing())


def test_an_unknown_head_names_the_known_ones(knowing: Knowing, tmp_path: Path) -> None:
    with pytest.raises(KhabarError, match="no head 'ontonotes'; this bundle has khabar, anercorp"):
        evaluate("ner", write(tmp_path / "t", CONLL), knowing(), head="ontonotes")


def test_a_head_that_tags_no_words_is_refused(knowing: Knowing, tmp_path: Path) -> None:
    words = "head 'topic' does not tag words; give --head one of khabar, anercorp"
    with pytest.raises(KhabarError, match=words):
        evaluate("ner", write(tmp_path / "t", CONLL), knowing(), head="topic")


@pytest.mark.parametrize("task", ["ner", "topic", "stance", "claim"])
def test_a_task_for_which_the_bundle_has_no_head_is_told_first(
    smoke_bundle: Path, tmp_path: Path, task: Task
) -> None:
    bundle = Bundle.load(smoke_bundle)
    kept = {"ner": ("topic", "claim"), "topic": ("khabar", "stance")}.get(task, ("khabar", "topic"))
    heads = tuple(head for head in bundle.manifest.heads if head.name in kept)
    manifest = bundle.manifest.model_copy(update={"heads": heads})
    tagger = knowing_taggers(replace(bundle, manifest=manifest))()
    with pytest.raises(
        KhabarError, match=rf"no head for --task {task}, this bundle has {', '.join(kept)}; give"
    ):
        evaluate(task, tmp_path / "none.txt", tagger)


@pytest.mark.parametrize(
    "document",
    [
        Document("a", "زار بغداد", entities=(Span(4, 10, "GPE"),)),
        Document("a", "زار بغداد", stances=(Stance("بغداد", "favor", scope=(0, 99)),)),
        Document("a", "زار بغداد", stances=(Stance("بغداد", "favor", evidence=((9, 9),)),)),
    ],
)
def test_gold_outside_its_text_is_refused(
    knowing: Knowing, tmp_path: Path, document: Document
) -> None:
    path = tmp_path / "gold.jsonl"
    write_documents(path, [document])
    for task in ("ner", "stance"):
        with pytest.raises(FormatError, match=r"gold\.jsonl: a: range \(\d, \d+\) lies outside"):
            evaluate(cast(Task, task), path, knowing())


def test_labels_that_the_head_lacks_are_told(
    knowing: Knowing, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "gold.jsonl"
    stances = (Stance("بغداد", "love"), Stance("بغداد", "favor", 4, 9))
    write_documents(path, [Document("a", "زار بغداد", stances=stances)])
    evaluate("stance", path, knowing())
    assert "the head stance does not have, and so misses: love 1 times; it has favor" in caplog.text
