"""What a corpus teaches a head: its own labels, khabar's, or those it marks everywhere."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from annotations.catalogue import corpus_named
from annotations.errors import ConfigError
from annotations.jsonl import write_documents
from annotations.labels import label_schema
from annotations.schema import Document, Span
from serving.bundle import DEFAULT_FOLDER, Bundle, Head
from training.examples import IGNORED, UNKNOWN, Losses, word_examples, word_tags
from training.label_sets import Teaching, head_labels, judges, teaching
from training.settings import HeadSettings, Source

FINE = tuple(label_schema().entities)
KHABAR = Head(name="khabar", kind="nested", labels=FINE)
FLAT = Head(name="anercorp", kind="flat", labels=("PERS", "LOC", "ORG", "MISC"))


def taught(corpus: str, head: Head, annotates: tuple[str, ...] | None = None) -> Teaching:
    return teaching(Source(corpus=corpus, head=head.name, annotates=annotates), head)


@pytest.mark.parametrize(
    "corpus", ["seed", "authored", "antnews", "wojood", "mine.jsonl", "wikifane-2.jsonl"]
)
def test_gold_in_the_heads_own_labels_teaches_all_of_them(corpus: str) -> None:
    found = taught(corpus, KHABAR)
    assert not found.unannotated
    assert {found.names.get(label, label) for label in FINE} == set(FINE)


def test_anercorp_teaches_its_own_head_everything() -> None:
    assert taught("anercorp", FLAT) == Teaching({}, frozenset())


def test_a_corpus_is_a_head_of_its_own_by_its_name() -> None:
    labels = head_labels("wikifane", HeadSettings(kind="flat", labels="wikifane"))
    assert labels == tuple(corpus_named("wikifane").labels) and len(labels) > 45
    found = taught("wikifane", Head(name="wikifane", kind="flat", labels=labels))
    assert found == Teaching({}, frozenset())


def test_a_coarse_corpus_teaches_the_fine_head_where_one_type_alone_can_be_meant() -> None:
    found = taught("wikifane", KHABAR)
    # a person is PERS and an organisation ORG; a LOC may be GPE, LOC or FAC
    assert found.unannotated == frozenset(FINE) - {"PERS", "ORG"}
    assert found.names["Athlete"] == "PERS" and found.names["Media"] == "ORG"
    assert found.names["Nation"] is None and found.names["Drug"] is None


def test_a_coarse_corpus_is_silent_in_a_flat_head_on_what_it_does_not_mark_everywhere() -> None:
    found = taught("wikifane", FLAT)
    assert found.unannotated == {"MISC"}
    assert found.names["Athlete"] == "PERS" and found.names["Nation"] == "LOC"


def test_a_source_may_say_itself_what_it_annotates() -> None:
    found = taught("anercorp", KHABAR, annotates=("PERS",))
    assert found.unannotated == frozenset(FINE) - {"PERS"}
    assert found.names["PERS"] == "PERS"
    with pytest.raises(ConfigError, match="annotates GROUP, which head 'khabar' lacks"):
        taught("anercorp", KHABAR, annotates=("GROUP",))


def test_gold_teaches_a_coarse_head_the_types_on_which_its_standard_agrees() -> None:
    found = taught("antnews", FLAT, annotates=("PERS",))
    assert found.unannotated == {"LOC", "ORG", "MISC"}
    assert found.names["PERS"] == "PERS" and found.names["GPE"] == "LOC"
    assert found.names["NORP"] == "MISC" and found.names["DATE"] is None
    assert found.label("PERS") == "PERS" and found.label("GPE") is found.label("DATE") is None
    assert taught("authored", FLAT).unannotated == frozenset()
    persons = Head(name="x", kind="flat", labels=("PERS", "LOC"))
    assert taught("seed", persons).names["GPE"] == "LOC"
    own = Head(name="x", kind="flat", labels=("PERS", "GPE", "WEAPON"))
    assert taught("seed", own) == Teaching({}, frozenset())  # its own labels, some of them new


def own_file(folder: Path, *label_sets: str, label: str = "LOC") -> str:
    """A file of documents, one of each label set, with an entity in each."""
    path = folder / f"{'-'.join(label_sets)}.jsonl"
    write_documents(
        path,
        [Document(f"d-{name}", "في بغداد", entities=(Span(3, 8, label),), label_set=name)
         for name in label_sets],
    )  # fmt: skip
    return str(path)


def test_an_own_file_of_coarse_types_teaches_as_a_coarse_corpus_does(tmp_path: Path) -> None:
    coarse = own_file(tmp_path, "coarse")
    found = taught(coarse, KHABAR)
    assert found.unannotated == frozenset(FINE) - {"PERS", "ORG"}
    assert found.label("PER") == "PERS" and found.label("LOC") is found.label("MISC") is None
    assert not judges(Source(corpus=coarse, head="khabar"), KHABAR)
    found = taught(coarse, FLAT)
    assert found.label("PER") == "PERS" and found.label("LOC") == "LOC" and not found.unannotated
    assert taught(own_file(tmp_path, "wikifane"), KHABAR) == taught("wikifane", KHABAR)
    numbers = Head(name="x", kind="nested", labels=("DATE", "GPE"))
    with pytest.raises(ConfigError, match=r"label set coarse, has no label that head 'x' knows"):
        taught(coarse, numbers)


def test_an_own_file_of_fine_types_teaches_a_coarse_head_as_the_gold_does(tmp_path: Path) -> None:
    assert taught(own_file(tmp_path, "fine", label="GPE"), FLAT) == taught("authored", FLAT)


def test_own_files_in_labels_of_their_own_are_read_as_they_stand(tmp_path: Path) -> None:
    own = Head(name="x", kind="flat", labels=("PER", "LOC", "WEAPON"))
    for name in ("fine", "coarse", "mine"):
        assert taught(own_file(tmp_path, name), own) == Teaching({}, frozenset())
    assert taught(own_file(tmp_path, "fine", "mine"), KHABAR) == Teaching({}, frozenset())


def test_an_own_file_of_label_sets_that_a_head_reads_differently_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"label sets coarse, fine, which head 'khabar' reads in"):
        taught(own_file(tmp_path, "fine", "coarse"), KHABAR)


def test_a_source_judges_a_head_only_in_the_heads_own_labels() -> None:
    def judged(corpus: str, head: Head, annotates: tuple[str, ...] | None = None) -> bool:
        return judges(Source(corpus=corpus, head=head.name, annotates=annotates), head)

    assert judged("anercorp", FLAT) and judged("authored", KHABAR) and judged("wojood", KHABAR)
    assert not judged("antnews", FLAT, ("PERS",)) and not judged("authored", FLAT)
    assert not judged("anercorp", KHABAR, ("PERS",)) and not judged("wikifane", FLAT)
    pair = Head(name="claim", kind="pair", labels=("agree", "disagree", "other"))
    assert judged("antnews-claims", pair)


def test_a_name_inside_one_of_a_type_left_out_is_a_part_of_it() -> None:
    text = "زار محمد صلاح مستشفى أحمد ماهر"
    begin = text.index("مستشفى")
    spans = (
        Span(4, 13, "PERS"),
        Span(begin, len(text), "FAC"),
        Span(text.index("أحمد"), len(text), "PERS"),
    )
    encoded = Bundle.load(DEFAULT_FOLDER).text_encoder().encode(text)
    losses = Losses(Counter())
    found = word_tags(encoded, spans, FLAT, losses, taught("authored", FLAT, ("PERS",)))
    first = 1 + 2 * FLAT.labels.index("PERS")
    assert found[:, 0].tolist() == [UNKNOWN, first, first + 1, UNKNOWN, UNKNOWN, UNKNOWN]
    assert losses.counts == {"name inside one of a type left out": 1}


def test_labels_that_nobody_knows_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"heads\.x\.labels: 'fien' is no set of labels.*fine"):
        head_labels("x", HeadSettings(kind="flat", labels="fien"))
    strange = Head(name="x", kind="flat", labels=("GENE",))
    with pytest.raises(ConfigError, match=r"wikifane has no label that head 'x' knows \(GENE\)"):
        taught("wikifane", strange)


TEXT = "زار محمد صلاح مدينة القاهرة ومقر الأهلي"
SPANS = (
    Span(TEXT.index("محمد"), TEXT.index("محمد") + 9, "Athlete"),
    Span(TEXT.index("القاهرة"), TEXT.index("القاهرة") + 7, "Population-Center"),
    Span(TEXT.index("الأهلي"), TEXT.index("الأهلي") + 6, "Sports"),
)


def tags(head: Head) -> np.ndarray:
    encoded = Bundle.load(DEFAULT_FOLDER).text_encoder().encode(TEXT)
    losses = Losses(Counter())
    found = word_tags(encoded, SPANS, head, losses, taught("wikifane", head))
    assert not losses.counts
    return found


def test_columns_of_types_that_a_corpus_does_not_annotate_are_ignored() -> None:
    found = tags(KHABAR)
    assert found[:, FINE.index("PERS")].tolist() == [0, 1, 2, 0, 0, 0, 0]
    assert found[:, FINE.index("ORG")].tolist() == [0, 0, 0, 0, 0, 0, 1]
    others = [i for i, label in enumerate(FINE) if label not in ("PERS", "ORG")]
    assert (found[:, others] == IGNORED).all()


def test_a_word_on_which_a_corpus_is_silent_may_be_outside_or_a_type_it_leaves_out() -> None:
    begin = {label: 1 + 2 * i for i, label in enumerate(FLAT.labels)}
    expected = [UNKNOWN, begin["PERS"], begin["PERS"] + 1, UNKNOWN, begin["LOC"], UNKNOWN]
    assert tags(FLAT)[:, 0].tolist() == [*expected, begin["ORG"]]


def test_unknown_words_reach_the_examples_and_pieces_inside_words_stay_ignored() -> None:
    encoder = Bundle.load(DEFAULT_FOLDER).text_encoder()
    document = Document("w", TEXT, entities=SPANS)
    (example,) = word_examples([document], FLAT, encoder, "wikifane", taught("wikifane", FLAT))
    labels = np.array(example.labels)
    assert (labels == UNKNOWN).sum() == 3
    assert labels[0] == labels[-1] == IGNORED
    assert (labels != IGNORED).sum() == 7
