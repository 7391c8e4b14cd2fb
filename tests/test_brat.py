"""brat: documents go there and back whole, and what brat has beyond them is counted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.brat import from_ann, read_folder, to_ann, write_folder
from annotations.errors import FormatError
from annotations.schema import Document, Span, Stance
from annotations.seed import seed_document
from tests.documents import documents

TEXT = "😀 زار الوزير سالم عمان\nأمس وحده."
# The layout that brat itself writes, offsets in code points.
ANN = """T1\tPERS 13 17\tسالم
T2\tGPE 18 22;23 26\tعمان أمس
#1\tAnnotatorNotes T1\tراجع الاسم
E1\tVisit:T2 Who:T1
A1\tNegation E1
*\tEquiv T1 T2
T3\tTarget 13 17\tسالم
T4\tOCC 6 12;18 22\tالوزير عمان
"""


@settings(max_examples=150, deadline=None)
@given(st.lists(documents(visible=True), max_size=3))
def test_documents_go_there_and_back(found: list[Document]) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name) / "brat"
        assert write_folder(folder, found) == len(found)
        if found:
            notes: Counter[str] = Counter()
            assert list(read_folder(folder, notes)) == found
            assert notes == {}


def test_the_seed_survives(tmp_path: Path) -> None:
    write_folder(tmp_path / "brat", [seed_document()])
    assert list(read_folder(tmp_path / "brat", Counter())) == [seed_document()]


def test_what_brat_wrote_is_read_and_the_rest_is_counted() -> None:
    notes: Counter[str] = Counter()
    document = from_ann(TEXT, ANN.split("\n"), {"id": "a"}, "a.ann", notes)
    assert [(document.surface(s), s.label) for s in document.entities or ()] == [
        ("سالم", "PERS"),
        ("عمان\nأمس", "GPE"),
    ]
    assert notes == {
        "note left out: a document has no place for it": 1,
        "event left out: a document has no place for it": 1,
        "attribute left out: a document has no place for it": 2,
        "target left out: it has no stance": 1,
        "discontinuous span left out: a document has none": 1,
    }


def test_utf16_offsets_are_repaired() -> None:
    notes: Counter[str] = Counter()
    document = from_ann(TEXT, ["T1\tPERS 14 18\tسالم"], {"id": "a"}, "a.ann", notes)
    assert document.entities == (Span(13, 17, "PERS"),)
    assert notes == {"span repaired: its offsets were UTF-16 units": 1}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("T1\tPERS 12 16\tسالم", r"a\.ann:1: T1: \[12, 16\) does not hold its own text"),
        ("T1\tPERS 13 17", r"a\.ann:1: a T line is"),
        ("T1\tPERS x 17\tسالم", r"a\.ann:1: a T line is"),
        ("سالم", r"a\.ann:1: no brat line"),
    ],
)
def test_a_line_that_cannot_be_read_is_told(line: str, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        from_ann(TEXT, [line], {"id": "a"}, "a.ann", Counter())


def test_a_text_without_annotation_is_not_annotated(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(TEXT.encode())
    notes: Counter[str] = Counter()
    assert list(read_folder(tmp_path, notes)) == [Document("a", TEXT)]
    assert notes == {"text without .ann, read as not annotated": 1}


def test_what_brat_cannot_show_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"^d: GPE \[0, 5\): brat has no span that begins"):
        to_ann(Document("d", "عمان\n", entities=(Span(0, 5, "GPE"),)))
    with pytest.raises(FormatError, match=r"^d: brat has no type 'نوع'"):
        to_ann(Document("d", "عمان", entities=(Span(0, 4, "نوع"),)))
    with pytest.raises(FormatError, match=r"^d: brat has no value 'strongly favor' of a stance"):
        to_ann(Document("d", "عمان", stances=(Stance("عمان", "strongly favor", 0, 4),)))
    (tmp_path / "a.txt").write_bytes(b"")
    with pytest.raises(FormatError, match="the folder is not empty"):
        write_folder(tmp_path, [])
    (tmp_path / "none").mkdir()
    with pytest.raises(FormatError, match=r"no \.txt file"):
        list(read_folder(tmp_path / "none", Counter()))


def test_a_holder_may_be_typed_by_hand_and_a_broken_side_file_is_told(tmp_path: Path) -> None:
    lines = [*ANN.split("\n"), "A2\tStance T3 favor", "#2\tAnnotatorNotes T3\tholder: سالم"]
    document = from_ann(TEXT, lines, {"id": "a"}, "a.ann", Counter())
    assert [stance.holder for stance in document.stances or ()] == ["سالم"]
    (tmp_path / "a.txt").write_text("نص")
    (tmp_path / "a.ann").write_text("")
    for broken in ("{bad", "[1]", '{"id": "a", "stances": [1]}'):
        (tmp_path / "a.json").write_text(broken)
        with pytest.raises(FormatError, match=r"a\.json: "):
            list(read_folder(tmp_path, Counter()))


def test_the_first_stance_and_holder_of_a_target_stay() -> None:
    lines = [
        "T1\tTarget 13 17\tسالم",
        "A1\tStance T1 favor",
        "A2\tStance T1 against",
        "#1\tAnnotatorNotes T1\tholder: علي",
        "#2\tAnnotatorNotes T1\tholder: عمر",
    ]
    notes: Counter[str] = Counter()
    document = from_ann(TEXT, lines, {"id": "a"}, "a.ann", notes)
    assert document.stances == (Stance("سالم", "favor", 13, 17, holder="علي"),)
    assert notes == {
        "stance left out: a target has one": 1,
        "holder left out: a target has one": 1,
    }


def test_folders_in_a_folder_are_read_under_ids_of_their_own(tmp_path: Path) -> None:
    for name in ("a.txt", "x/a.txt", "x/y/b.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes("نص".encode())
    found = list(read_folder(tmp_path, Counter()))
    assert [document.id for document in found] == ["a", "x/a", "x/y/b"]
    write_folder(tmp_path / "again", found)
    assert [d.id for d in read_folder(tmp_path / "again", Counter())] == [d.id for d in found]


def test_one_id_in_two_folders_is_refused(tmp_path: Path) -> None:
    for annotator in ("x", "y"):
        write_folder(tmp_path / annotator, [Document("d", "نص")])
    with pytest.raises(FormatError, match=r"y/000001-d\.txt: the id 'd' stands in .*/x too"):
        list(read_folder(tmp_path, Counter()))


BLANK = "T1\tTarget 2 3\t \nA1\tStance T1 favor\n"


@pytest.mark.parametrize(
    ("row", "ann", "words"),
    [
        ('{"id": 5}', "", r"a\.json: field 'id' must be a string"),
        ('{"id": "a", "txt": 1}', "", r"a\.json: unknown field 'txt'"),
        ('{"id": "a", "stances": [{"target": " ", "label": ""}]}', "", r"a\.json: stance: the ta"),
        ('{"id": "a"}', BLANK, r"a\.ann:1: T1: stance: the target is empty"),
    ],
)
def test_an_error_of_a_document_names_its_file(
    tmp_path: Path, row: str, ann: str, words: str
) -> None:
    for name, content in (("a.txt", "نص خبر"), ("a.ann", ann), ("a.json", row)):
        (tmp_path / name).write_text(content)
    with pytest.raises(FormatError, match=words):
        list(read_folder(tmp_path, Counter()))


@pytest.mark.parametrize("suffix", [".txt", ".ann"])
def test_a_file_in_another_encoding_is_told(tmp_path: Path, suffix: str) -> None:
    for end in (".txt", ".ann"):
        encoding = "cp1256" if end == suffix else "utf-8"
        (tmp_path / f"a{end}").write_bytes("T1\tGPE 0 4\tعمان".encode(encoding))
    with pytest.raises(FormatError, match=rf"a\{suffix}: not UTF-8"):
        list(read_folder(tmp_path, Counter()))


def test_lines_of_windows_and_a_note_that_is_a_number_are_read() -> None:
    lines = [
        "T1\tTarget 13 17\tسالم\r",
        "A1\tStance T1 favor\r",
        "#1\tAnnotatorNotes T1\tholder: 7\r",
    ]
    notes: Counter[str] = Counter()
    document = from_ann(TEXT, lines, {"id": "a"}, "a.ann", notes)
    assert document.stances == (Stance("سالم", "favor", 13, 17, holder="7"),)
    assert not notes


def test_annotation_without_its_text_and_links_to_folders_are_not_passed_over(
    tmp_path: Path,
) -> None:
    write_folder(tmp_path / "own", [Document("a", TEXT, entities=())])
    (tmp_path / "all" / "more").mkdir(parents=True)
    (tmp_path / "all" / "link").symlink_to(tmp_path / "own")
    (tmp_path / "all" / "more" / "up").symlink_to(tmp_path / "all")
    assert [d.id for d in read_folder(tmp_path / "all", Counter())] == ["a"]
    (tmp_path / "all" / "more" / "b.ann").write_text("T1\tPERS 0 4\tسالم\n")
    with pytest.raises(FormatError, match=r"more/b\.ann: its text, b\.txt, is missing"):
        list(read_folder(tmp_path / "all", Counter()))


def test_a_target_stands_once() -> None:
    lines = ["T1\tTarget 0 1\t" + TEXT[0], "T1\tTarget 1 2\t" + TEXT[1]]
    with pytest.raises(FormatError, match=r"a\.ann:2: T1 stands twice"):
        from_ann(TEXT, lines, {"id": "a"}, "a.ann", Counter())
