"""Readers of the public corpora, on tiny files in each one's own layout."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from annotations.corpora import read_ans_pairs, read_mawqif, read_topics
from annotations.errors import FormatError
from annotations.schema import Claim, Document, Stance

ANS = """s1,s2,stance
هجوم صاروخي يستهدف مطار في طرابلس,هدوء الاشتباكات فى طرابلس,disagree
"ارتفاع النفط، والسبب ""الخام"" الأميركي","الخام الاميركي, يرفع اسعار النفط",agree
وفاة النجم,افتتاح المعرض, Other
"""
MAWQIF_COLUMNS = (
    "ID,text,target,stance,stance:confidence,against_reason,favor_reason,none_reason,sarcasm,"
    "sarcasm:confidence,sentiment,sentiment:confidence,datetime,Date"
)
MAWQIF_ROWS = [
    "1, عشان يلمع صورته,Women empowerment,Against,0.5116,A_Explicit,,,No,1,Negative,1,"
    "2021-01-16 03:19:19+00:00,16/01/2021",
    '3,"لقاح آمن 😀\nوالحمد لله",Covid Vaccine,Favor,1,,F_Explicit,,No,1,Positive,1,,',
    "4,خبر عن الخدمات,Digital Transformation,None,1,,,N_Unrelated,No,1,Neutral,1,,",
    "5,خبر آخر,Digital Transformation,,1,,,,No,1,Neutral,1,,",
    "6,رأي,السلام,favor,1,,,,No,1,Neutral,1,,",
]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_ans_pairs_are_texts_with_a_claim(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text(ANS, encoding=encoding)
    assert list(read_ans_pairs(path)) == [
        Document(
            "train-2",
            "هدوء الاشتباكات فى طرابلس",
            claims=(Claim("هجوم صاروخي يستهدف مطار في طرابلس", "disagree"),),
        ),
        Document(
            "train-3",
            "الخام الاميركي, يرفع اسعار النفط",
            claims=(Claim('ارتفاع النفط، والسبب "الخام" الأميركي', "agree"),),
        ),
        Document("train-4", "افتتاح المعرض", claims=(Claim("وفاة النجم", "other"),)),
    ]


def test_mawqif_tweets_have_a_stance_toward_an_arabic_target(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join([MAWQIF_COLUMNS, *MAWQIF_ROWS]).encode())
    found = list(read_mawqif(path))
    assert [document.stances for document in found] == [
        (Stance("تمكين المرأة", "against"),),
        (Stance("لقاح كورونا", "favor"),),
        (Stance("التحول الرقمي", "neutral"),),
        (Stance("التحول الرقمي", "neutral"),),
        (Stance("السلام", "favor"),),
    ]
    assert [document.text for document in found[:2]] == [
        " عشان يلمع صورته",
        "لقاح آمن 😀\nوالحمد لله",
    ]
    assert len({document.id for document in found}) == 5


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["train.jsonl.gz", "train.jsonl"])
@pytest.mark.parametrize(
    ("label", "topic"),
    [
        # Khaleej
        ("finance", "economy"), ("medical", "health"), ("tech", "technology"),
        ("politics", "politics"), ("sports", "sports"), ("culture", "culture"),
        ("religion", "religion"),
        # ANT
        ("sport", "sports"), ("economy", "economy"), ("technology", "technology"),
        ("politic", "politics"), ("internationalNews", "politics"),
        ("localNews", None), ("society", None), ("diverse", None),
    ],
)  # fmt: skip
def test_topics_of_khaleej_and_ant_get_khabar_names(
    label: str, topic: str | None, name: str, tmp_path: Path
) -> None:
    row = {"id": "khaleej-1", "text": "نص\u2028قيمته  ملايين", "label": label, "source": "الخليج"}
    (document,) = read_topics(write_jsonl(tmp_path / name, [row]))
    assert document == Document("khaleej-1", row["text"], source="الخليج", topic=topic)


@pytest.mark.parametrize("name", ["title", "source"])
def test_a_title_that_is_a_number_is_told(tmp_path: Path, name: str) -> None:
    path = write_jsonl(tmp_path / "gold.jsonl", [{"text": "نص", "topic": None, name: 2026}])
    with pytest.raises(FormatError, match=rf"gold\.jsonl:1: {name} must be a string or null"):
        list(read_topics(path))


def test_khabar_topics_are_read_as_they_are_and_may_be_null(tmp_path: Path) -> None:
    topics = [
        "politics", "economy", "sports", "culture", "religion", "technology", "health", None,
    ]  # fmt: skip
    rows = [{"text": "نص", "title": "عنوان", "topic": topic} for topic in topics]
    found = list(read_topics(write_jsonl(tmp_path / "gold.jsonl", rows)))
    assert [document.topic for document in found] == topics
    assert [document.id for document in found] == [f"gold-{i}" for i in range(1, 9)]
    assert {document.title for document in found} == {"عنوان"}


def test_blank_lines_and_a_byte_order_mark_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "gold.jsonl"
    path.write_text('\ufeff{"text": "أ", "label": "sport"}\n\n{"text": "ب", "label": "tech"}\n')
    assert [(d.text, d.topic) for d in read_topics(path)] == [
        ("أ", "sports"),
        ("ب", "technology"),
    ]


Reader = Callable[[Path], Iterator[Document]]


@pytest.mark.parametrize(
    ("read", "text", "expected"),
    [
        (read_ans_pairs, "s1,s2,label\nأ,ب,agree\n", "no column 'stance'; found s1, s2, label"),
        (read_ans_pairs, "", "no column 's1'; found"),
        (
            read_ans_pairs,
            "s1,s2,stance\nأ,ب,agree\nأ,ب\n",
            "row 3 has too few columns; need s1, s2",
        ),
        (
            read_ans_pairs,
            "s1,s2,stance\nأ,ب,discuss\n",
            "row 2: unknown stance 'discuss'; use agree, disagree or other",
        ),
        (read_ans_pairs, "s1,s2,stance\nأ,ب,\n", "row 2: unknown stance ''"),
        (
            read_ans_pairs,
            's1,s2,stance\nأ,ب,agree\nأ,"' + "ب,agree\n" * 20_000,
            r"no CSV .* close its quotes",
        ),
        (read_mawqif, "text,target\nأ,ب\n", "no column 'stance'; found text, target"),
        (
            read_mawqif,
            "text,target,stance\nأ,ب,Pro\n",
            "row 2: unknown stance 'Pro'; use Favor, Against or None",
        ),
        (read_mawqif, "text,target,stance\nأ, ,Favor\n", "row 2: stance: the target is empty"),
        (read_topics, '{"text": "أ", "label": "sport"}\n{"text": "أ",', r":2: not JSON"),
        (read_topics, '["أ", "sport"]\n', r":1: need an object with the string text"),
        (read_topics, '{"label": "sport"}\n', r":1: need an object with the string text"),
        (
            read_topics,
            '{"text": 5, "label": "sport"}\n',
            r":1: need an object with the string",
        ),
        (read_topics, '{"text": "أ"}\n', r":1: need the string label, or topic"),
        (
            read_topics,
            '{"text": "أ", "label": null}\n',
            r":1: need the string label, or topic",
        ),
        (read_topics, '{"text": "أ", "topic": 3}\n', r":1: need the string label, or topic"),
    ],
    ids=range(16),
)
def test_a_broken_file_is_named_with_its_row(
    read: Reader, text: str, expected: str, tmp_path: Path
) -> None:
    path = tmp_path / "broken.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FormatError, match=rf"broken\.jsonl.*{expected}"):
        list(read(path))


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (read_ans_pairs, "s1,s2,stance\nبغداد,بغداد,agree\n"),
        (read_mawqif, "text,target,stance\nبغداد,بغداد,Favor\n"),
        (read_topics, '{"text": "بغداد", "label": "sport"}\n'),
    ],
)
def test_a_file_in_another_encoding_is_named(read: Reader, text: str, tmp_path: Path) -> None:
    path = tmp_path / "windows"
    path.write_bytes(text.encode("cp1256"))
    with pytest.raises(FormatError, match=r"windows: not UTF-8 .* convert the file to UTF-8"):
        list(read(path))


@pytest.mark.parametrize("damage", ["cut", "plain"])
def test_a_damaged_gzip_file_is_named(damage: str, tmp_path: Path) -> None:
    rows = [{"text": f"خبر {i}", "label": "sport"} for i in range(50)]
    path = write_jsonl(tmp_path / "train.jsonl.gz", rows)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] if damage == "cut" else gzip.decompress(data))
    with pytest.raises(FormatError, match=r"train\.jsonl\.gz: no whole gzip file .* get it again"):
        list(read_topics(path))


# Rows and labels as the README of the corpora counted them.
@pytest.mark.parametrize(
    ("read", "name", "expected"),
    [
        (read_ans_pairs, "ans/stance/train.csv", {"disagree": 1686, "agree": 903, "other": 63}),
        (read_ans_pairs, "ans/stance/dev.csv", {"disagree": 471, "agree": 268, "other": 16}),
        (read_mawqif, "mawqif/train.csv", {"favor": 2148, "against": 1021, "neutral": 333}),
        (
            read_topics,
            "topic_khaleej/dev.jsonl.gz",
            dict.fromkeys(
                ["culture", "economy", "health", "politics", "religion", "sports", "technology"],
                300,
            ),
        ),
    ],
)
def test_corpora_hold_what_was_counted_in_them(
    read: Reader, name: str, expected: dict[str, int], data_folder: Path
) -> None:
    labels: list[str | None] = []
    for document in read(data_folder / name):
        judged = (*(document.claims or ()), *(document.stances or ()))
        labels.extend([found.label for found in judged] or [document.topic])
    assert Counter(labels) == expected
