"""Every public corpus becomes documents, in its own labels or in khabar's, its traps sprung."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

import khabar
from annotations.catalogue import Corpus, _corpus, catalogue, corpus_named
from annotations.copies import without_copies
from annotations.corpora import joined_clitics, read_arabicfc, read_austr, read_corpus
from annotations.errors import ConfigError, FormatError
from annotations.labels import label_schema
from annotations.schema import Document

# documents, entities or pairs of the part, as data cards and files say
SIZES = {
    ("anercorp", "train"): (3973, 9000),
    ("wojood", "train"): (1114, None),
    ("wojood", "dev"): (158, 470),
    ("wikifane", "train"): (15715, 36464),
    ("newsfane", "train"): (3838, 9096),
    ("ans", "train"): (2652, 2652),
    ("ans", "dev"): (755, 755),
    ("austr", "train"): (811, 811),
    ("arabicfc", "dev"): (238, 238),
    ("khaleej", "dev"): (2100, None),
    ("ant", "dev"): (986, None),
}


@pytest.mark.parametrize(("name", "part"), SIZES)
def test_a_corpus_is_read_whole(data_folder: Path, name: str, part: str) -> None:
    notes: Counter[str] = Counter()
    documents = read_corpus(name, part, notes)
    count, items = SIZES[name, part]
    assert len(documents) == count and notes == {}
    if items is not None:
        found = sum(len(d.entities or ()) + len(d.claims or ()) for d in documents)
        assert found == items
    for document in documents:
        assert all(span.end <= len(document.text) for span in document.entities or ())


@pytest.mark.parametrize("name", ["anercorp", "wojood", "wikifane", "newsfane"])
def test_mapped_labels_are_khabars_and_what_is_annotated_is_known(
    data_folder: Path, name: str
) -> None:
    notes: Counter[str] = Counter()
    corpus, schema = catalogue()[name], label_schema()
    known = set(schema.entities) if corpus.target == "fine" else set(schema.coarse)
    plain = read_corpus(name, "train", Counter())
    mapped = read_corpus(name, "train", notes, mapped=True)
    assert {s.label for d in mapped for s in d.entities or ()} <= known
    assert {d.label_set for d in mapped} == {corpus.target}
    assert set(corpus.annotates) <= known
    lost = sum(notes.values())
    assert sum(len(d.entities or ()) for d in mapped) + lost == sum(
        len(d.entities or ()) for d in plain
    )
    assert lost == 0 or name == "wojood"


def test_mawqif_comes_without_its_near_copies(data_folder: Path) -> None:
    notes: Counter[str] = Counter()
    documents = read_corpus("mawqif", "train", notes)
    assert len(documents) + notes["near copy of an earlier text left out"] == 3502
    assert 14 <= notes["near copy of an earlier text left out"] < 200
    labels = Counter(s.label for d in documents for s in d.stances or ())
    assert set(labels) == {"favor", "against", "neutral"}


def test_topics_without_a_counterpart_are_none(data_folder: Path) -> None:
    topics = Counter(document.topic for document in read_corpus("ant", "dev", Counter()))
    assert topics[None] == 623
    assert set(topics) == {None, "politics", "economy", "sports", "culture", "technology"}


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("و تعتبر مدينة جوبا عاصمة ها و اكبر مدن ها ،", "وتعتبر مدينة جوبا عاصمةها واكبر مدنها ،"),
        ("ل السودان و ل بغداد", "للسودان ولبغداد"),
        ("( د ب ا )", "( د با )"),
        ("و", "و"),
        ("نتائج ه في فبراير", "نتائجه في فبراير"),
        ("ها هي", "ها هي"),
    ],
)
def test_split_clitics_are_written_on_to_their_words(words: str, text: str) -> None:
    joined, places = joined_clitics(words.split())
    assert joined == text
    for word, (start, end) in zip(words.split(), places, strict=True):
        assert joined[start:end] in (word, word[1:])


def test_pairs_of_the_authorities_corpora_keep_their_groups(tmp_path: Path) -> None:
    austr = tmp_path / "a.tsv"
    head = "rumor_id\tevidence_id\trumor_text\tevidence_text\tstance\trumor_label\n"
    austr.write_text(head + '7\t9\tقيل "كذا\tنفت الوزارة\tdisagree\tFALSE\n', "utf-8")
    (pair,) = read_austr(austr)
    assert (pair.id, pair.text) == ("7-9", "نفت الوزارة")
    assert pair.claims and pair.claims[0].text == 'قيل "كذا' and pair.claims[0].label == "disagree"
    fc = tmp_path / "b.tsv"
    fc.write_text(
        '\tclaimID\tclaim\tarticleText\tstance\n0\tV-1\tقيل\t"سطر\nسطر"\tunrelated\n', "utf-8"
    )
    (pair,) = read_arabicfc(fc)
    assert (pair.id, pair.text) == ("V-1-2", "سطر\nسطر")
    fc.write_text("\tclaimID\tclaim\tarticleText\tstance\n0\tV-1\tقيل\tنص\tmaybe\n", "utf-8")
    with pytest.raises(FormatError, match="row 2: unknown stance 'maybe'"):
        list(read_arabicfc(fc))


def test_near_copies_are_left_out_and_counted() -> None:
    texts = [
        "قالت الوزارة إن اللقاح آمن لجميع المواطنين في البلاد",
        "قالت الوزارة إن اللقاح آمن لجميع المواطنين في البلاد https://t.co/x @user",
        "قالت الوزاره ان اللقاح امن لجميع المواطنين في البلاد!",
        "قالت الوزارة إن المدارس تفتح أبوابها في موعدها هذا العام",
        "شكرا لكم",
        "شكرا لكم!",
    ]
    notes: Counter[str] = Counter()
    kept = list(without_copies([Document(str(i), t) for i, t in enumerate(texts)], notes))
    assert [document.id for document in kept] == ["0", "3", "4"]
    assert notes == {"near copy of an earlier text left out": 3}


def test_unknown_names_and_parts_say_what_there_is() -> None:
    with pytest.raises(FormatError, match="unknown corpus 'anercorb'; configs/data has anercorp"):
        corpus_named("anercorb")
    with pytest.raises(FormatError, match="anercorp: no part 'test' to read; its parts are train"):
        read_corpus("anercorp", "test", Counter())
    with pytest.raises(FormatError, match=r"seed: no part 'train' to read; .* none: it is the"):
        read_corpus("seed", "train", Counter())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("licence: x", "licence: Extra inputs"),
        ("labels: {PERS: PERSON}", "'PERSON' is no label of khabar's"),
        ("parts: {train: a.txt}", "parts.train names a.txt, which is not among its files"),
    ],
)
def test_a_wrong_entry_names_file_and_key(
    monkeypatch: pytest.MonkeyPatch, change: str, words: str
) -> None:
    text = "title: a\ncitation: b\nsource: c\nlicense: d\nreader: conll\ntarget: coarse\n" + change
    monkeypatch.setattr("configs.read_text", lambda name: text)
    with pytest.raises(ConfigError, match=rf"configs/data/mine\.yaml: {words}"):
        _corpus("mine")
    assert isinstance(catalogue()["seed"], Corpus)


def test_a_corpus_is_written_with_its_terms(data_folder: Path, tmp_path: Path) -> None:
    words = ["annotations", "corpus", "wojood", str(tmp_path / "a.markup"), "--part", "dev"]
    done = CliRunner().invoke(khabar.app, words)
    assert done.exit_code == 0 and "158 written; wojood: MIT file" in done.stdout
