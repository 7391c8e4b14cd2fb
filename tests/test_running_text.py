"""Running text to adapt an encoder to: the files it is read from, and none that is developed on."""

import gzip
from pathlib import Path

import pytest

from annotations.authored import authored_documents
from annotations.corpora import read_topics
from annotations.errors import FormatError
from annotations.seed import seed_text
from training.corpora import load, sentences_of, topic_documents
from training.encoders.texts import file_texts, sample_texts, texts_of


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_files_of_text_are_read(tmp_path: Path, suffix: str) -> None:
    def written(name: str, text: str) -> Path:
        path = tmp_path / (name + suffix)
        path.write_bytes(gzip.compress(text.encode()) if suffix else text.encode())
        return path

    plain = written("a.txt", "قال الرئيس\nفي بغداد\n\n\n  \nوقال\n")
    assert [t.split() for t in file_texts(plain)] == [["قال", "الرئيس", "في", "بغداد"], ["وقال"]]
    rows = written("a.jsonl", '{"text": "قال", "id": "1"}\n\n{"text": " "}\n{"text": "وقال"}\n')
    assert list(texts_of(str(rows))) == ["قال", "وقال"]
    with pytest.raises(FormatError, match=r"b\.jsonl.*:1: need an object with the string text"):
        list(file_texts(written("b.jsonl", '{"body": "قال"}\n')))
    with pytest.raises(FormatError, match=r"texts are read from \.txt and \.jsonl.*khaleej"):
        list(texts_of(str(written("c.docx", ""))))
    with pytest.raises(FormatError, match="no such file"):
        list(texts_of(str(tmp_path / ("d.txt" + suffix))))


def test_samples_are_the_files_or_the_news_of_the_project(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("قال\n\nوقال\n", encoding="utf-8")
    assert [text.strip() for text in sample_texts([path, path])] == ["قال", "وقال"] * 2
    own = sample_texts()
    assert own[0] == seed_text() and {d.text for d in authored_documents("dev")} < set(own)


def test_what_is_developed_on_is_not_among_the_texts(data_folder: Path) -> None:
    ant = data_folder / "topic_ant" / "train.jsonl.gz"
    whole = {document.id: document.text for document in read_topics(ant)}
    found = set(texts_of("ant"))
    assert found <= set(whole.values()) and len(found) > 0.8 * len(whole)
    for part in ("dev", "calibration"):
        assert not found & {whole[document.id] for document in load("antnews", part)}
    for corpus in ("ant", "khaleej"):
        texts = found if corpus == "ant" else set(texts_of(corpus))
        for part in ("dev", "calibration"):
            assert not texts & {d.text for d in topic_documents(corpus, part)}
    sentences = [
        line.replace(" ", "") for text in texts_of("anercorp") for line in text.split("\n")
    ]
    assert len(sentences) == len(sentences_of("anercorp", "train"))
    held = {
        "".join(s.words) for p in ("dev", "calibration") for _, s in sentences_of("anercorp", p)
    }
    assert not held & set(sentences)
    wikifane = set("\n".join(texts_of("wikifane")).split("\n"))
    train, dev = ([d.text for d in load("wikifane", part)] for part in ("train", "dev"))
    assert wikifane == set("\n".join(train).split("\n")) and not set(dev) <= wikifane
