"""The corpora of a recipe as documents, each in its part: train, calibration or dev."""

from __future__ import annotations

import gzip
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, get_args

import yaml

import configs
from annotations.conll import Sentence, parse_sentences, read_sentences, sentence_document
from annotations.corpora import read_ans_pairs, read_topics
from annotations.errors import FormatError
from annotations.schema import Claim, Document, Span
from annotations.seed import seed_document
from annotations.text import normalize, sentences, shared_words
from serving.bundle import sha256
from training.splits import SENTENCES_PER_GROUP, Part, held_out_part, part_of


@cache
def catalogue() -> dict[str, dict[str, Any]]:
    """The corpora of `configs/data.yaml`: title, license and files with their sha256."""
    entries: dict[str, dict[str, Any]] = yaml.safe_load(configs.read_text("data.yaml"))
    return entries


def data_folder() -> Path:
    """The folder of the corpora, from the environment variable KHABAR_DATA."""
    folder = os.environ.get("KHABAR_DATA")
    if not folder or not Path(folder).is_dir():
        raise FormatError(
            f"the corpora are found under KHABAR_DATA, which is {folder or 'not set'}; set it "
            "to a folder with the "
            "files of configs/data.yaml"
        )
    return Path(folder)


@cache
def _corpus_file(corpus: str, name: str) -> Path:
    """A file of a corpus, checked against its hash."""
    path = data_folder() / name
    expected = catalogue()[corpus]["files"][name]
    if not path.is_file():
        raise FormatError(f"{path}: missing; {corpus} is: {catalogue()[corpus]['title']}")
    found = sha256(path)
    if found != expected:
        raise FormatError(
            f"{path}: sha256 {found[:12]}…, expected {expected[:12]}…; get the version of "
            "configs/data.yaml"
        )
    return path


def sentences_of(corpus: str, part: Part) -> list[tuple[str, Sentence]]:
    """The sentences of a CoNLL corpus in a part, each with its group.

    Sentences of train that stand in calibration or dev too (after normalising) are left out.
    """
    rows = _anercorp() if corpus == "anercorp" else _wojood()
    held_out = {_key(sentence) for found, _, sentence in rows if found != "train"}
    return [
        (group, sentence)
        for found, group, sentence in rows
        if found == part and (part != "train" or _key(sentence) not in held_out)
    ]


def _anercorp() -> list[tuple[Part, str, Sentence]]:
    sentences = read_sentences(_corpus_file("anercorp", "anercorp/train.txt"))
    groups = [
        (f"anercorp-{i // SENTENCES_PER_GROUP}", sentence) for i, sentence in enumerate(sentences)
    ]
    return [(part_of(group), group, sentence) for group, sentence in groups]


def _wojood() -> list[tuple[Part, str, Sentence]]:
    train = read_sentences(_corpus_file("wojood", "wojood_sample/train.txt"))
    rows: list[tuple[Part, str, Sentence]] = [
        (held_out_part(" ".join(sentence.words)), f"wojood-{i}", sentence)
        for i, sentence in enumerate(train)
    ]
    val = read_sentences(_corpus_file("wojood", "wojood_sample/val.txt"))
    return rows + [("dev", f"wojood-val-{i}", sentence) for i, sentence in enumerate(val)]


def _key(sentence: Sentence) -> str:
    return normalize(" ".join(sentence.words)).text


def wikifane_sentences() -> Iterator[Sentence]:
    """WikiFANE's sentences; its clitics are words of their own."""
    path = _corpus_file("wikifane", "wikifane_gold/wikifane_gold.conll.gz")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from parse_sentences(lines, str(path))


def conll_documents(
    corpus: str, part: Part, group: int = 1, detokenise: float = 0.0, seed: int = 0
) -> list[Document]:
    """A CoNLL corpus as documents of one sentence, or, in half of them, of up to `group`
    consecutive ones.

    A share `detokenise` of the sentences gets the spacing of real text.
    """
    rng = random.Random(f"{seed}-{corpus}-{part}")
    label_set = "fine" if corpus == "wojood" else corpus
    documents = []
    for i, (name, sentence) in enumerate(sentences_of(corpus, part)):
        natural = rng.random() < detokenise
        documents.append(
            (name, sentence_document(sentence, f"{corpus}-{part}-{i}", label_set, natural))
        )
    if group == 1:
        return [document for _, document in documents]
    return list(_grouped(documents, group, rng))


def _grouped(
    documents: Sequence[tuple[str, Document]], most: int, rng: random.Random
) -> Iterator[Document]:
    i = 0
    while i < len(documents):
        count = rng.randint(2, most) if rng.random() < 0.5 else 1
        name = documents[i][0]
        members = [document for other, document in documents[i : i + count] if other == name]
        yield join_documents(members)
        i += len(members)


def join_documents(documents: Sequence[Document]) -> Document:
    """Documents one after the other, a line break between, with their entities moved along."""
    text, spans = "", []
    for document in documents:
        shift = len(text) + 1 if text else 0
        text = f"{text}\n{document.text}" if text else document.text
        spans.extend(Span(s.start + shift, s.end + shift, s.label) for s in document.entities or ())
    return replace(documents[0], text=text, entities=tuple(spans))


def claim_documents(part: Part) -> list[Document]:
    """ANS headline pairs; a claim of the dev file is left out of train with all its rewrites."""
    dev = list(read_ans_pairs(_corpus_file("ans", "ans/stance/dev.csv")))
    if part == "dev":
        return dev
    seen = {_claim(document) for document in dev} | {
        normalize(document.text).text for document in dev
    }
    train = read_ans_pairs(_corpus_file("ans", "ans/stance/train.csv"))
    return [
        document
        for document in train
        if held_out_part(_claim(document)) == part
        and _claim(document) not in seen
        and normalize(document.text).text not in seen
    ]


def _claim_text(document: Document) -> str:
    return (document.claims or ())[0].text


def _claim(document: Document) -> str:
    return normalize(_claim_text(document)).text


def topic_documents(corpus: str, part: Part) -> list[Document]:
    """Khaleej or ANT texts whose label has a counterpart among khabar's topics."""
    name = "dev" if part == "dev" else "train"
    documents = read_topics(_corpus_file(corpus, f"topic_{corpus}/{name}.jsonl.gz"))
    return [
        document
        for document in documents
        if document.topic is not None and (part == "dev" or held_out_part(document.id) == part)
    ]


def unrelated_claims(part: Part, every: int = 6) -> list[Document]:
    """Pairs that have nothing to say of each other: every sixth ANS claim with the text of another
    one.
    """
    documents = claim_documents(part)
    texts = random.Random(0).sample([document.text for document in documents], len(documents))
    return [
        Document(f"unrelated-{document.id}", text, claims=(Claim(_claim_text(document), "other"),))
        for document, text in list(zip(documents, texts, strict=True))[::every]
        if shared_words(_claim_text(document), text) == 0
    ]


def seed_claims() -> list[Document]:
    """The seed's claims, each with the three sentences that speak most of it; an unrelated one with
    the first three.

    What an article says of a claim is said by the first of the three; the others say nothing
    (other) unless they share half of its words, and then they are left out.
    """
    seed = seed_document()
    parts = [seed.text[start:end] for start, end in sentences(seed.text)]
    documents = []
    for claim in seed.claims or ():
        ranked = sorted(parts, key=lambda part: -shared_words(claim.text, part))[:3]
        for i, part in enumerate(ranked):
            if i == 0 or shared_words(claim.text, part) < 0.5:
                label = claim.label if i == 0 else "unrelated"
                documents.append(Document("seed-claim", part, claims=(Claim(claim.text, label),)))
    return documents


def seed_stances() -> list[Document]:
    """The seed's stances, each with the text of its scope alone."""
    seed = seed_document()
    documents = []
    for i, stance in enumerate(seed.stances or ()):
        start, end = stance.scope or (0, len(seed.text))
        flat = replace(stance, start=None, end=None, scope=None, evidence=None)
        documents.append(Document(f"seed-stance-{i}", seed.text[start:end], stances=(flat,)))
    return documents


def load(
    corpus: str, part: Part, group: int = 1, detokenise: float = 0.0, seed: int = 0
) -> list[Document]:
    """The documents of a corpus in a part; the seed is train only."""
    if corpus in ("anercorp", "wojood"):
        return conll_documents(corpus, part, group, detokenise, seed)
    if corpus == "ans":
        return claim_documents(part)
    if corpus == "ans-unrelated":
        return unrelated_claims(part)
    if corpus in ("khaleej", "ant"):
        return topic_documents(corpus, part)
    if corpus in ("seed", "seed-claims", "seed-stances"):
        if part != "train":
            return []
        return {
            "seed": lambda: [seed_document()],
            "seed-claims": seed_claims,
            "seed-stances": seed_stances,
        }[corpus]()
    raise FormatError(
        f"unknown corpus {corpus!r}; use one of anercorp, wojood, ans, ans-unrelated, "
        "khaleej, ant, seed, "
        "seed-claims, seed-stances"
    )


def write_splits(folder: Path) -> Iterator[tuple[Path, int]]:
    """Write ANERcorp's parts as CoNLL files `anercorp-PART.conll`; gives each path and its number
    of sentences.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for part in get_args(Part):
        sentences_in_part = sentences_of("anercorp", part)
        path = folder / f"anercorp-{part}.conll"
        with path.open("w", encoding="utf-8") as out:
            for _, sentence in sentences_in_part:
                out.writelines(
                    f"{word} {tags[0]}\n"
                    for word, tags in zip(sentence.words, sentence.tags, strict=True)
                )
                out.write("\n")
        yield path, len(sentences_in_part)
