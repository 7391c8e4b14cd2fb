"""Evaluation: a model that knows the answers scores 1.0 through raw text in every file format."""

import csv
import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from annotations.errors import FormatError, KhabarError
from annotations.jsonl import write_documents
from annotations.schema import Claim, Document, Span, Stance
from serving.bundle import Bundle, Head
from serving.encoding import TextEncoder
from serving.tagger import Tagger
from training.evaluation import Task, evaluate, file_kind

Ints = NDArray[np.int64]
Logits = dict[str, NDArray[np.float32]]
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


@pytest.fixture(scope="module")
def knowing(smoke_bundle: Path) -> Knowing:
    """Makes a tagger from tables: `knowing(tags=..., labels=...)`."""
    bundle = Bundle.load(smoke_bundle)

    def make(
        tags: dict[str, dict[str, tuple[str, ...]]] | None = None,
        labels: dict[str, dict[str, str]] | None = None,
    ) -> Tagger:
        heads, encoder = bundle.manifest.heads, bundle.text_encoder()
        return Tagger(bundle, backend=TableBackend(heads, encoder, tags or {}, labels or {}))

    return make


def write(path: Path, text: str) -> Path:
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return path


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
        ("a.csv", "\ufeffID,text,target,stance,stance:confidence\n", "mawqif"),
        ("a.csv", "القائم B-LOC\n", "conll"),
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
        ("قال".encode("cp1256"), "not UTF-8 text"),
        (b'{"id": \n', "line 1 is not JSON"),
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
    with pytest.raises(FormatError, match=r"a\.jsonl\.gz: not UTF-8 text \(BadGzipFile\)"):
        file_kind(tmp_path / "a.jsonl.gz")


# Flat, as ANERcorp: clitics attached, marks apart, a diacritic, a tatweel, PERS and PER alike.
FLAT = """
قال O
نومان B-PERS
عبدالزوبعي I-PERS
إن O
القوّات O
دخلت O
وبالبوكمال B-LOC
، O
والعراق B-LOC
. O

وأكد O
التحالف B-ORG
الدوليـــ I-ORG
في O
2017/11/03 B-MISC
بسوريا B-LOC
"""
FLAT_TABLE = {
    "نومان": ("B-PERS",), "عبدالزوبعي": ("I-PERS",), "وبالبوكمال": ("B-LOC",),
    "والعراق": ("B-LOC",), "التحالف": ("B-ORG",), "الدوليـــ": ("I-ORG",),
    "2017/11/03": ("B-MISC",), "بسوريا": ("B-LOC",),
}  # fmt: skip
ENTITY_KEYS = {"items", "f1", "f1_strict", "precision", "recall", "per_label", "interval", "ece"}
RUN_KEYS = {"task", "bundle", "seconds"}


@pytest.mark.parametrize("person", ["PERS", "PER"])
def test_a_model_that_knows_the_tags_scores_one_on_flat_conll(
    knowing: Knowing, tmp_path: Path, person: str
) -> None:
    path = write(tmp_path / "test.txt", FLAT.replace("PERS", person))
    report = evaluate("ner", path, knowing(tags={"anercorp": FLAT_TABLE}))
    assert set(report) >= ENTITY_KEYS | RUN_KEYS
    assert (report["head"], report["items"]) == ("anercorp", 2)
    assert report["f1"] == report["f1_strict"] == report["precision"] == report["recall"] == 1.0
    assert {name: own["support"] for name, own in report["per_label"].items()} == {
        "PERS": 1, "LOC": 3, "ORG": 1, "MISC": 1,
    }  # fmt: skip
    assert report["interval"] == (1.0, 1.0)
    assert report["bundle"] == {"name": "khabar-smoke", "version": "0.0.1"}
    assert json.loads(json.dumps(report))["task"] == "ner"


def test_what_the_model_does_not_know_or_gets_wrong_is_counted(
    knowing: Knowing, tmp_path: Path
) -> None:
    table = {word: tags for word, tags in FLAT_TABLE.items() if word != "بسوريا"}
    table |= {"وبالبوكمال": ("B-ORG",), "دخلت": ("B-MISC",)}
    report = evaluate("ner", write(tmp_path / "t", FLAT), knowing(tags={"anercorp": table}))
    # gold 6; found 6: four right, one of another type, one that is none, one missing
    assert report["precision"] == report["recall"] == report["f1"] == pytest.approx(4 / 6, abs=1e-4)
    assert report["per_label"]["LOC"]["recall"] == pytest.approx(1 / 3, abs=1e-4)
    assert report["per_label"]["MISC"]["precision"] == 0.5
    assert report["ece"] == pytest.approx(1 - 4 / 6, abs=0.01)  # always sure


def test_a_sentence_longer_than_a_window_is_scored_whole(knowing: Knowing, tmp_path: Path) -> None:
    lines = [line for line in FLAT.split("\n") if line] * 25  # 400 words, windows of 128 pieces
    tagger = knowing(tags={"anercorp": FLAT_TABLE})
    report = evaluate("ner", write(tmp_path / "t", "\n".join(lines)), tagger)
    assert (report["items"], report["f1"]) == (1, 1.0)
    assert sum(own["support"] for own in report["per_label"].values()) == 150


# Wojood's columns: مدينة القائم is a GPE around a GPE's name, an ORG holds a NORP
NESTED = """
دخلت O
القوات B-ORG
العراقية I-ORG B-NORP
مدينة B-GPE
القائم I-GPE B-LOC
في O
03 B-DATE
نوفمبر I-DATE
وسوريا B-GPE
"""
NESTED_TABLE = {
    "القوات": ("B-ORG",), "العراقية": ("I-ORG", "B-NORP"), "مدينة": ("B-GPE",),
    "القائم": ("I-GPE", "B-LOC"), "03": ("B-DATE",), "نوفمبر": ("I-DATE",), "وسوريا": ("B-GPE",),
}  # fmt: skip


def test_a_model_that_knows_the_tags_scores_one_on_nested_columns(
    knowing: Knowing, tmp_path: Path
) -> None:
    path = write(tmp_path / "val.txt", NESTED)
    report = evaluate("ner", path, knowing(tags={"khabar": NESTED_TABLE}))
    assert report["head"] == "khabar"
    assert report["f1"] == report["f1_strict"] == 1.0
    assert {name: own["support"] for name, own in report["per_label"].items()} == {
        "ORG": 1, "NORP": 1, "GPE": 2, "LOC": 1, "DATE": 1,
    }  # fmt: skip
    # of nested coarse mentions the outermost counts: ORG over NORP, GPE (a LOC) over LOC; no DATE
    assert set(report["coarse"]) == ENTITY_KEYS
    assert report["coarse"]["f1"] == 1.0
    assert {name: own["support"] for name, own in report["coarse"]["per_label"].items()} == {
        "ORG": 1, "LOC": 2,
    }  # fmt: skip


def test_a_wrong_fine_type_of_the_right_coarse_one_is_seen_in_the_coarse_view(
    knowing: Knowing, tmp_path: Path
) -> None:
    table = NESTED_TABLE | {"مدينة": ("B-FAC",), "القائم": ("I-FAC",)}
    report = evaluate("ner", write(tmp_path / "v", NESTED), knowing(tags={"khabar": table}))
    assert report["f1"] == pytest.approx(2 * 4 / (5 + 6), abs=1e-4)
    assert report["coarse"]["f1"] == 1.0


def test_the_answer_head_is_scored_on_a_flat_file_by_its_coarse_view(
    knowing: Knowing, tmp_path: Path
) -> None:
    fine = {
        "نومان": ("B-PERS", "B-OCC"), "عبدالزوبعي": ("I-PERS",), "وبالبوكمال": ("B-GPE",),
        "والعراق": ("B-FAC", "B-NORP"), "التحالف": ("B-ORG",), "الدوليـــ": ("I-ORG", "B-GPE"),
        "2017/11/03": ("B-PRODUCT",), "بسوريا": ("B-LOC",), "دخلت": ("B-DATE",),
    }  # fmt: skip
    path = write(tmp_path / "test.txt", FLAT)
    report = evaluate("ner", path, knowing(tags={"khabar": fine}), head="khabar")
    assert (report["head"], report["f1"]) == ("khabar", 1.0)
    assert set(report["per_label"]) == {"PERS", "LOC", "ORG", "MISC"}
    assert report["coarse"]["f1"] == 1.0


def documents() -> list[Document]:
    """Exact code points: a clitic outside the span, diacritics and tatweel inside."""
    texts = ["دخلت القوّات العراقيـــة وسوريا 😀 مدينة القائم", "قال الرئيس لا شيء"]
    rows = [("القوّات العراقيـــة", "ORG"), ("سوريا", "GPE"), ("مدينة القائم", "GPE")]
    rows += [("القائم", "LOC")]
    spans = []
    for surface, label in rows:
        start = texts[0].index(surface)
        spans.append(Span(start, start + len(surface), label))
    return [
        Document("a", texts[0], entities=tuple(spans)),
        Document("b", texts[1], entities=()),
        Document("c", "القائم", entities=None),  # nobody looked
    ]


KNOWN = {
    "القوّات": ("B-ORG",), "العراقيـــة": ("I-ORG",), "وسوريا": ("B-GPE",), "مدينة": ("B-GPE",),
    "القائم": ("I-GPE", "B-LOC"),
}  # fmt: skip


def test_khabar_jsonl_is_scored_in_exact_code_points(knowing: Knowing, tmp_path: Path) -> None:
    tagger = knowing(tags={"khabar": KNOWN})
    path = tmp_path / "gold.jsonl"
    write_documents(path, documents())
    report = evaluate("ner", path, tagger)
    assert ENTITY_KEYS | RUN_KEYS | {"coarse"} <= set(report)
    assert (report["items"], report["head"]) == (2, "khabar")
    assert report["f1"] == report["f1_strict"] == 1.0
    assert set(report["coarse"]) == ENTITY_KEYS
    assert report["coarse"]["per_label"]["LOC"]["support"] == 2
    assert report["coarse"]["f1"] == 1.0
    first, *rest = documents()
    shifted = [  # one code point more: the clitic
        Span(s.start - (first.surface(s) == "سوريا"), s.end, s.label) for s in first.entities or ()
    ]
    write_documents(path, [first.with_entities(tuple(shifted)), *rest])
    assert evaluate("ner", path, tagger)["f1"] == 0.75


LABEL_KEYS = {"items", "accuracy", "macro_f1", "per_label", "interval", "ece"}


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


TOPICS = [("القوات دخلت", "politic"), ("سوريا فوز", "sport"), ("سوق القائم", "finance")]
TOPICS += [("قال الرئيس", "society")]  # without a counterpart


@pytest.mark.parametrize("name", ["dev.jsonl", "dev.jsonl.gz"])
def test_topics_are_scored_under_khabars_names(knowing: Knowing, tmp_path: Path, name: str) -> None:
    lines = [
        json.dumps({"id": f"ant-{i}", "text": text, "label": label}, ensure_ascii=False)
        for i, (text, label) in enumerate(TOPICS)
    ]
    words = {"دخلت": "politics", "فوز": "sports", "سوق": "culture"}
    path = write(tmp_path / name, "\n".join(lines) + "\n")
    report = evaluate("topic", path, knowing(labels={"topic": words}))
    assert set(report) >= LABEL_KEYS | RUN_KEYS
    assert (report["items"], report["skipped"]) == (3, 1)
    assert report["accuracy"] == report["macro_f1"] == pytest.approx(2 / 3, abs=1e-4)
    assert set(report["per_label"]) == {"politics", "sports", "economy"}


def test_topics_of_khabar_jsonl_leave_out_documents_without_one(
    knowing: Knowing, tmp_path: Path
) -> None:
    rows = [Document("a", "القوات دخلت", topic="politics"), Document("b", "قال الرئيس")]
    rows += [Document("c", "سوريا", title="فوز", topic="sports")]
    words = {"دخلت": "politics", "فوز": "sports", "سوريا": "sports"}
    for order in (rows, rows[::-1]):
        write_documents(tmp_path / "t.jsonl", order)
        report = evaluate("topic", tmp_path / "t.jsonl", knowing(labels={"topic": words}))
        assert (report["items"], report["skipped"], report["accuracy"]) == (2, 1, 1.0)


FILES = {
    "ans": "s1,s2,stance\nا,ب,agree\n",
    "mawqif": "ID,text,target,stance\n1,قال,Covid Vaccine,Favor\n",
    "conll": FLAT,
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
        ("claim", f"s1,s2,stance\n{'القائم ' * 200},قال,agree\n", "a-2: a target or claim has"),
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
        evaluate("ner", write(tmp_path / "t", FLAT), knowing(), head="ontonotes")
