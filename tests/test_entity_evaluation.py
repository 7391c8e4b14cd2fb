"""Evaluation of entities: a model that knows the tags scores 1.0 through raw text in every format,
and what it does not know is counted.
"""

import json
from pathlib import Path

import pytest

from annotations.convert import Conversion
from annotations.errors import KhabarError
from annotations.jsonl import read_documents, write_documents
from annotations.schema import Document, Span
from serving.bundle import Bundle
from tests.files import write
from tests.table_backend import Knowing, knowing_taggers, with_heads
from training.evaluation.entity_questions import coarse_tagged
from training.evaluation.files import evaluate

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
ENTITY_KEYS |= {"ece_by_chance"}
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


def test_a_sentence_with_persons_alone_counts_in_the_coarse_view_of_a_fine_file(
    knowing: Knowing, tmp_path: Path
) -> None:
    path = write(tmp_path / "v", f"{NESTED}\nقال O\nنومان B-PERS\n")
    tagger = knowing(tags={"khabar": NESTED_TABLE | {"نومان": ("B-PERS",)}})
    coarse = evaluate("ner", path, tagger)["coarse"]
    assert (coarse["f1"], coarse["per_label"]["PER"]["support"]) == (1.0, 1)


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


@pytest.mark.parametrize("person", ["PERS", "PER"])
def test_jsonl_in_coarse_types_is_scored_as_the_same_conll(
    knowing: Knowing, tmp_path: Path, person: str
) -> None:
    words = "دخل O\nنومان B-PERS\nمدينة O\nالقائم B-LOC\nالتحالف B-ORG\n2017/11/03 B-MISC\n"
    words = words.replace("PERS", person)
    conll, jsonl = write(tmp_path / "a.conll", words), tmp_path / "a.jsonl"
    conversion = Conversion()
    conversion.write(jsonl, conversion.read(conll))
    labels = {s.label for d in read_documents(jsonl) for s in d.entities or ()}
    assert labels == {person, "LOC", "ORG", "MISC"}
    fine = {"نومان": ("B-PERS",), "القائم": ("B-GPE",), "التحالف": ("B-ORG",)}
    fine |= {"2017/11/03": ("B-PRODUCT",)}
    flat = fine | {"القائم": ("B-LOC",), "2017/11/03": ("B-MISC",)}
    for head, known in ((None, flat), ("anercorp", flat), ("khabar", fine)):
        name = head or "anercorp"
        report = evaluate("ner", jsonl, knowing(tags={name: known}), head)
        assert (report["head"], report["f1"], report["coarse"]["f1"]) == (name, 1.0, 1.0)
        assert report["per_label"]["PERS"]["support"] == 1


def test_a_bundle_of_another_head_answers_with_it(smoke_bundle: Path, tmp_path: Path) -> None:
    bundle = Bundle.load(smoke_bundle)
    flat = bundle.head("anercorp").model_copy(update={"name": "ner"})
    knowing = knowing_taggers(with_heads(bundle, flat, bundle.head("topic")))
    report = evaluate("ner", write(tmp_path / "t", FLAT), knowing(tags={"ner": FLAT_TABLE}))
    assert (report["head"], report["f1"]) == ("ner", 1.0)
    tagger = knowing(tags={"ner": {"القوّات": ("B-ORG",), "العراقيـــة": ("I-ORG",)}})
    write_documents(tmp_path / "gold.jsonl", documents())
    report = evaluate("ner", tmp_path / "gold.jsonl", tagger)
    assert (report["head"], report["f1"]) == ("ner", 0.4)  # one found of four
    assert report["coarse"]["f1"] == 0.5  # of three


@pytest.mark.parametrize("text", [FLAT, NESTED])
def test_a_bundle_without_a_head_of_words_is_a_clear_error(
    smoke_bundle: Path, tmp_path: Path, text: str
) -> None:
    bundle = Bundle.load(smoke_bundle)
    tagger = knowing_taggers(with_heads(bundle, bundle.head("topic")))()
    with pytest.raises(KhabarError, match="no head for --task ner, this bundle has topic"):
        evaluate("ner", write(tmp_path / "t", text), tagger)


def test_a_head_that_calls_persons_per_is_scored_on_files_that_say_pers(
    smoke_bundle: Path, tmp_path: Path
) -> None:
    bundle = Bundle.load(smoke_bundle)
    labels = ("PER", "LOC", "ORG", "MISC")
    flat = bundle.head("anercorp").model_copy(update={"name": "ner", "labels": labels})
    knowing = knowing_taggers(with_heads(bundle, flat))
    table = {w: tuple(t.replace("PERS", "PER") for t in tags) for w, tags in FLAT_TABLE.items()}
    report = evaluate("ner", write(tmp_path / "t", FLAT), knowing(tags={"ner": table}))
    assert report["f1"] == 1.0
    assert set(report["per_label"]) == {"PERS", "LOC", "ORG", "MISC"}


def test_of_two_types_on_one_range_the_coarse_view_takes_its_own_confidence() -> None:
    tagged = [(Span(0, 4, "GPE"), 0.9), (Span(0, 4, "FAC"), 0.8), (Span(0, 4, "ORG"), 0.6)]
    for spans in (tagged, [tagged[2], *tagged[:2]]):
        ((span, confidence),) = coarse_tagged(spans)
        assert (span, confidence) == (Span(0, 4, "LOC"), 0.9)
