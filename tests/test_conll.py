"""CoNLL: flat and nested tags, broken IOB, the spacing of real text, and words under a range."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities

from annotations.conll import (
    Sentence,
    WordSpan,
    canonical_label,
    entity_types,
    join_words,
    parse_sentences,
    read_sentences,
    sentence_document,
    type_tags,
    word_offsets,
    word_spans,
    words_of,
)
from annotations.errors import FormatError
from annotations.schema import Span

quick = settings(max_examples=200, deadline=None, database=None)
TYPES = ["PERS", "ORG", "GPE"]
flat_tags = st.lists(
    st.sampled_from(["O"] + [f"{begin}-{label}" for begin in "BI" for label in TYPES]), max_size=12
)
word_lists = st.lists(
    st.sampled_from(["قال", "القائم", "(", ")", '"', "«", "»", "،", ".", "؟", "2017", "%", "😀"]),
    max_size=15,
)


def sentence_of(*lines: str) -> Sentence:
    (sentence,) = parse_sentences(lines, "here")
    return sentence


def test_a_blank_line_ends_a_sentence_and_the_last_needs_none(tmp_path: Path) -> None:
    path = tmp_path / "flat.txt"
    path.write_text(
        "\n\nفرانكفورت B-LOC\n( O\nد O\n\n \t\nبول B-PERS\r\nبريمر I-PERS", encoding="utf-8"
    )
    assert list(read_sentences(path)) == [
        Sentence(("فرانكفورت", "(", "د"), (("B-LOC",), ("O",), ("O",))),
        Sentence(("بول", "بريمر"), (("B-PERS",), ("I-PERS",))),
    ]


def test_a_byte_order_mark_is_no_part_of_the_first_word(tmp_path: Path) -> None:
    path = tmp_path / "flat.txt"
    path.write_text("\ufeffبغداد B-LOC\n", encoding="utf-8")
    (sentence,) = read_sentences(path)
    assert sentence.words == ("بغداد",)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("بغداد", "no tag"),
        ("\u00a0 O", "no tag"),
        ("بغداد LOC", "the tag 'LOC'"),
        ("بغداد B-LOC E-ORG", "the tag 'E-ORG'"),
        ("بغداد B-", "the tag 'B-'"),
        ("بغداد b-LOC", "the tag 'b-LOC'"),
        ("قال رئيس O", "the tag 'رئيس'"),
    ],
)
def test_a_malformed_line_is_named(line: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.txt"
    path.write_text(f"قال O\n\nفي O\n{line}\n", encoding="utf-8")
    match = rf"bad\.txt:4: {expected}; a line is a word and tags O, B-TYPE or I-TYPE"
    with pytest.raises(FormatError, match=match):
        list(read_sentences(path))


def test_a_file_in_another_encoding_is_named(tmp_path: Path) -> None:
    path = tmp_path / "windows.txt"
    path.write_bytes("بغداد B-LOC\n".encode("cp1256"))
    with pytest.raises(FormatError, match=r"windows\.txt: not UTF-8 .* convert the file to UTF-8"):
        list(read_sentences(path))


def test_nested_entities_come_from_several_columns() -> None:
    sentence = sentence_of(
        "المتحدث B-OCC",
        "باسم I-OCC",
        "قوات I-OCC B-ORG",
        "مكافحة I-OCC I-ORG",
        "الإرهاب I-OCC I-ORG",
        "صباح B-PERS",
        "النعمان I-PERS",
        "في O",
        "الفرقة B-ORG",
        "السابعة I-ORG B-ORDINAL",
    )
    assert entity_types(sentence) == {"OCC", "ORG", "PERS", "ORDINAL"}
    assert word_spans(sentence) == [
        WordSpan(0, 5, "OCC"),
        WordSpan(2, 5, "ORG"),
        WordSpan(5, 7, "PERS"),
        WordSpan(8, 10, "ORG"),
        WordSpan(9, 10, "ORDINAL"),
    ]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (["I-LOC"], [(0, 1, "LOC")]),
        (["O", "I-LOC", "I-LOC"], [(1, 3, "LOC")]),
        (["B-PERS", "I-LOC"], [(0, 1, "PERS"), (1, 2, "LOC")]),
        (["B-LOC", "O", "I-LOC"], [(0, 1, "LOC"), (2, 3, "LOC")]),
        (["B-LOC", "B-LOC", "I-LOC"], [(0, 1, "LOC"), (1, 3, "LOC")]),
        (["O", "O"], []),
        ([], []),
    ],
)
def test_broken_iob_is_read_leniently(
    tags: list[str], expected: list[tuple[int, int, str]]
) -> None:
    sentence = Sentence(("كلمة",) * len(tags), tuple((tag,) for tag in tags))
    assert word_spans(sentence) == [WordSpan(*span) for span in expected]


@quick
@given(flat_tags)
def test_flat_spans_are_those_of_seqeval(tags: list[str]) -> None:
    sentence = Sentence(("كلمة",) * len(tags), tuple((tag,) for tag in tags))
    expected = [WordSpan(start, end + 1, label) for label, start, end in get_entities(tags)]
    assert word_spans(sentence) == expected


@quick
@given(
    st.lists(
        st.tuples(st.sampled_from(TYPES), st.integers(0, 9), st.integers(1, 4)).map(
            lambda drawn: WordSpan(drawn[1], min(drawn[1] + drawn[2], 10), drawn[0])
        ),
        max_size=8,
    )
)
def test_tags_of_each_type_give_its_spans_back(drawn: list[WordSpan]) -> None:
    spans: list[WordSpan] = []
    for span in drawn:  # tags cannot say that spans of one type overlap
        if not any(
            other.label == span.label and other.start < span.end and span.start < other.end
            for other in spans
        ):
            spans.append(span)
    columns = [type_tags(10, spans, label) for label in TYPES]
    sentence = Sentence(("كلمة",) * 10, tuple(zip(*columns, strict=True)))
    assert Counter(word_spans(sentence)) == Counter(spans)


def test_of_overlapping_spans_of_one_type_the_first_gets_the_tags() -> None:
    spans = [WordSpan(1, 4, "ORG"), WordSpan(3, 5, "ORG"), WordSpan(0, 5, "GPE")]
    assert type_tags(5, spans, "ORG") == ["O", "B-ORG", "I-ORG", "I-ORG", "O"]
    assert type_tags(5, spans, "GPE") == ["B-GPE", "I-GPE", "I-GPE", "I-GPE", "I-GPE"]
    assert type_tags(5, spans, "PERS") == ["O"] * 5


@pytest.mark.parametrize(
    ("words", "natural"),
    [
        ("أربيل ( العراق ) - قالت", "أربيل (العراق) - قالت"),
        ('قال " انتهت المعركة " .', 'قال "انتهت المعركة".'),
        ('" نعم " و " لا "', '"نعم" و "لا"'),
        ("متى ؟ قريبا !", "متى؟ قريبا!"),
        ("« القائم » ، والبوكمال", "«القائم»، والبوكمال"),
        ("35 % من المحافظة", "35% من المحافظة"),
        ("( « القائم » )", "(«القائم»)"),
        (". بدأ", ". بدأ"),
        ("القائم", "القائم"),
        ("", ""),
    ],
)
def test_natural_spacing_is_that_of_a_newspaper(words: str, natural: str) -> None:
    listed = words.split()
    assert join_words(listed, word_offsets(listed, natural=True)) == natural
    assert join_words(listed, word_offsets(listed)) == words


@quick
@given(word_lists, st.booleans())
def test_each_word_stands_at_its_offset(words: list[str], natural: bool) -> None:
    offsets = word_offsets(words, natural)
    text = join_words(words, offsets)
    assert [text[start:end] for start, end in offsets] == words
    assert text.replace(" ", "") == "".join(words)
    assert "  " not in text
    assert text == text.strip()
    if not natural:
        assert text == " ".join(words)


@quick
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5)), max_size=10),
    st.integers(0, 60),
    st.integers(1, 30),
)
def test_words_of_a_range_are_those_of_a_loop(
    steps: list[tuple[int, int]], start: int, length: int
) -> None:
    ranges, position = [], 0
    for gap, size in steps:
        ranges.append((position + gap, position + gap + size))
        position += gap + size
    touched = [
        i for i, (left, right) in enumerate(ranges) if left < start + length and start < right
    ]
    expected = (touched[0], touched[-1] + 1) if touched else None
    assert words_of(start, start + length, ranges) == expected


@pytest.mark.parametrize(("label", "name"), [("PER", "PERS"), ("PERS", "PERS"), ("LOC", "LOC")])
def test_a_type_that_corpora_write_in_two_ways_has_one_name(label: str, name: str) -> None:
    assert canonical_label(label) == name


@pytest.mark.parametrize("natural", [False, True])
def test_a_sentence_as_a_document_keeps_the_surface_of_its_entities(natural: bool) -> None:
    sentence = sentence_of(
        "أعلن O", "( O", "بول B-PER", "بريمر I-PER", ") O", "في O", "مدينة B-GPE", "القائم I-GPE",
        ". O",
    )  # fmt: skip
    document = sentence_document(sentence, "anercorp-1", "anercorp", natural)
    assert (document.id, document.label_set) == ("anercorp-1", "anercorp")
    found = [(document.surface(span), span.label) for span in document.entities or ()]
    assert found == [("بول بريمر", "PERS"), ("مدينة القائم", "GPE")]
    spaced = "أعلن ( بول بريمر ) في مدينة القائم ."
    assert document.text == ("أعلن (بول بريمر) في مدينة القائم." if natural else spaced)


def test_a_sentence_without_entities_has_none_there() -> None:
    assert sentence_document(sentence_of("قال O"), "a", "fine").entities == ()
    assert sentence_document(sentence_of("بغداد I-GPE"), "a", "fine").entities == (
        Span(0, 5, "GPE"),
    )


# Sentences, words and entities as the README of the corpora counted them. In Wojood it counted B-
# tags; one sentence there opens with an I-.
@pytest.mark.parametrize(
    ("name", "counts", "of_type"),
    [
        (
            "anercorp/train.txt",
            (3973, 125102, 9000),
            {"LOC": 3779, "PERS": 2735, "ORG": 1586, "MISC": 900},
        ),
        (
            "wojood_sample/train.txt",
            (1114, 18887, 2882 + 1),
            {"GPE": 677, "ORG": 594, "DATE": 553, "PERS": 214, "ORDINAL": 181, "OCC": 174},
        ),
        ("wojood_sample/val.txt", (158, 2743, 470), {}),
    ],
)
def test_corpora_hold_what_was_counted_in_them(
    name: str, counts: tuple[int, int, int], of_type: dict[str, int], data_folder: Path
) -> None:
    sentences = list(read_sentences(data_folder / name))
    spans = [span for sentence in sentences for span in word_spans(sentence)]
    found = Counter(span.label for span in spans)
    assert (len(sentences), sum(len(s.words) for s in sentences), len(spans)) == counts
    assert {label: found[label] for label in of_type} == of_type
