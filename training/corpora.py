"""The corpora of a recipe as documents, each in its part: train, calibration or dev."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np

from annotations.ant import ant_passages
from annotations.authored import authored_documents
from annotations.catalogue import corpus_file, corpus_named
from annotations.conll import (
    Sentence,
    read_sentences,
    sentence_document,
    write_sentences,
)
from annotations.corpora import read_corpus, read_topics
from annotations.errors import FormatError
from annotations.hashes import sha256
from annotations.jsonl import read_documents, write_documents
from annotations.schema import Document, Span
from annotations.text import normalize
from annotations.validate import placed
from training.claim_corpora import CLAIM_CORPORA
from training.epithets import with_epithets
from training.gold import (
    Gold,
    claim_views,
    gold_documents,
    short_text_stances,
    stance_views,
    topic_views,
)
from training.label_sets import corpus_name, is_own_file
from training.leakage import run_hashes
from training.splits import SENTENCES_PER_GROUP, Part, held_out_part, part_of, train_only


def sentences_of(corpus: str, part: Part) -> list[tuple[str, Sentence]]:
    """The sentences of a CoNLL corpus in a part, each with its group.

    Sentences of train that stand in calibration or dev too (after normalising) are left out, and
    those of calibration that stand in dev.
    """
    rows = _anercorp() if corpus == "anercorp" else _wojood()
    later = get_args(Part)[get_args(Part).index(part) + 1 :]
    held_out = {_key(sentence) for found, _, sentence in rows if found in later}
    return [
        (group, sentence)
        for found, group, sentence in rows
        if found == part and _key(sentence) not in held_out
    ]


def _anercorp() -> list[tuple[Part, str, Sentence]]:
    sentences = read_sentences(corpus_file("anercorp", "anercorp/train.txt"))
    groups = [
        (f"anercorp-{i // SENTENCES_PER_GROUP}", sentence) for i, sentence in enumerate(sentences)
    ]
    return [(part_of(group), group, sentence) for group, sentence in groups]


def _wojood() -> list[tuple[Part, str, Sentence]]:
    train = read_sentences(corpus_file("wojood", "wojood_sample/train.txt"))
    rows: list[tuple[Part, str, Sentence]] = [
        (held_out_part(" ".join(sentence.words)), f"wojood-{i}", sentence)
        for i, sentence in enumerate(train)
    ]
    val = read_sentences(corpus_file("wojood", "wojood_sample/val.txt"))
    return rows + [("dev", f"wojood-val-{i}", sentence) for i, sentence in enumerate(val)]


def _key(sentence: Sentence) -> str:
    return normalize(" ".join(sentence.words)).text


def wikifane_sentences() -> Iterator[Sentence]:
    """WikiFANE's sentences; its clitics are words of their own."""
    return read_sentences(corpus_file("wikifane", "wikifane_gold/wikifane_gold.conll.gz"))


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


def fane_documents(corpus: str, part: Part) -> list[Document]:
    """WikiFANE or NewsFANE in their own labels; stretches of sentences stay together.

    NewsFANE is ANERcorp's text in another order: what shares a run of 30 letters with a held-out
    sentence of ANERcorp is left out, and it has no part but train.
    """
    documents = read_corpus(corpus, "train", Counter())
    if corpus == "wikifane":
        return [
            document
            for i, document in enumerate(documents)
            if part_of(f"wikifane-{i // SENTENCES_PER_GROUP}") == part
        ]
    if part != "train":
        return []
    held_parts: tuple[Part, ...] = ("dev", "calibration")
    held_out = np.concatenate(
        [
            run_hashes(" ".join(sentence.words))
            for held_part in held_parts
            for _, sentence in sentences_of("anercorp", held_part)
        ]
    )
    return [d for d in documents if not np.isin(run_hashes(d.text), held_out).any()]


def topic_documents(corpus: str, part: Part) -> list[Document]:
    """Khaleej or ANT texts whose label has a counterpart among khabar's topics."""
    name = "dev" if part == "dev" else "train"
    documents = read_topics(corpus_file(corpus, f"topic_{corpus}/{name}.jsonl.gz"))
    return [
        document
        for document in documents
        if document.topic is not None and (part == "dev" or held_out_part(document.id) == part)
    ]


def _own_documents(path: Path, part: Part) -> list[Document]:
    """The documents of a user's own file, all of one text in one part: what a model has been taught
    it is surer of. It has no dev part, `khabar evaluate` scores any file.
    """
    if part == "dev":
        return []
    if not path.is_file():
        raise FormatError(f"{path}: no such file; a recipe's paths begin where khabar is started")
    documents = placed(read_documents(path), path)
    return [d for d in documents if held_out_part(normalize(d.text).text) == part]


def data_entry(corpus: str) -> dict[str, Any]:
    """What a bundle says of a corpus: name, title, license and the sha256 of its files."""
    path = Path(corpus.partition("#")[0])
    if path.suffix in (".jsonl", ".txt", ".gz"):
        title, terms = "documents of this recipe's author", "not stated"
        files = {path.name: sha256(path)}
        return {"name": path.name, "title": title, "license": terms, "files": files}
    name = corpus_name(corpus)
    entry = corpus_named(name)
    return {"name": name, **entry.model_dump(include={"title", "license", "files"})}


def _judged_passages() -> list[Document]:
    """The stances of ANT's passages that were sought for praise and blame."""
    return stance_views(ant_passages("judged", _ant_texts()))


def _epithet_passages() -> list[Document]:
    """ANT's annotated passages of train with a word of praise or blame beside a name."""
    return with_epithets(gold_documents("antnews", "train", _ant_texts()))


def _ant_texts() -> Path:
    """ANT's texts, in which the annotated passages stand."""
    return corpus_file("antnews", "topic_ant/train.jsonl.gz")


def _names_by_other_rules() -> list[Document]:
    """The project's passages that are marked by ANERcorp's rules."""
    return list(authored_documents("names"))


# Short texts are not what is asked, and no news has praise, blame or names never met in so many
# places by chance: all but claims are train alone.
SOUGHT_CORPORA = {
    **CLAIM_CORPORA,
    "authored-snippets": train_only(partial(short_text_stances, "snippets")),
    "authored-reports": train_only(partial(short_text_stances, "reports")),
    "authored-names": train_only(_names_by_other_rules),
    "antnews-judged": train_only(_judged_passages),
    "antnews-epithets": train_only(_epithet_passages),
}
VIEWS: dict[str, Callable[[Sequence[Document]], list[Document]]] = {
    "": list,
    "stances": stance_views,
    "claims": claim_views,
    "topics": topic_views,
}


def load(
    corpus: str, part: Part, group: int = 1, detokenise: float = 0.0, seed: int = 0
) -> list[Document]:
    """The documents of a corpus in a part; of the project's own gold also the view of one task."""
    if corpus in ("anercorp", "wojood"):
        return conll_documents(corpus, part, group, detokenise, seed)
    if corpus in SOUGHT_CORPORA:
        return SOUGHT_CORPORA[corpus](part)
    if corpus in ("khaleej", "ant"):
        return topic_documents(corpus, part)
    if corpus in ("wikifane", "newsfane"):
        return fane_documents(corpus, part)
    path, _, view = corpus.partition("#")
    if is_own_file(path) and view in VIEWS:
        return VIEWS[view](_own_documents(Path(path), part))
    name, _, view = corpus.partition("-")
    if name in get_args(Gold) and view in VIEWS:
        ant = _ant_texts() if name == "antnews" else None
        return VIEWS[view](gold_documents(cast(Gold, name), part, ant))
    views = ", ".join(f"{name}[-stances|-claims|-topics]" for name in get_args(Gold))
    raise FormatError(
        f"unknown corpus {corpus!r}; use one of anercorp, wojood, wikifane, newsfane, khaleej, "
        f"ant, {', '.join(SOUGHT_CORPORA)}, {views}, or a khabar JSONL file "
        "(FILE.jsonl[#stances|#claims|#topics], or FILE.jsonl.gz)"
    )


def with_entities(documents: Iterable[Document]) -> list[Document]:
    """The documents whose entities somebody annotated, be it that there are none."""
    return [document for document in documents if document.entities is not None]


def write_splits(folder: Path) -> Iterator[tuple[Path, int]]:
    """Write the committed splits that are no files of their own: ANERcorp's parts as
    `anercorp-PART.conll`, ANT's annotated passages with their texts as `antnews-PART.jsonl` and,
    for their agreement, as two annotators had them.

    Gives each path and how many sentences or documents it holds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for part in get_args(Part):
        path = folder / f"anercorp-{part}.conll"
        yield (
            path,
            write_sentences(path, (sentence for _, sentence in sentences_of("anercorp", part))),
        )
        path = folder / f"antnews-{part}.jsonl"
        yield path, write_documents(path, load("antnews", part))
    for who in ("first", "second"):
        path = folder / f"antnews-{who}.jsonl"
        yield path, write_documents(path, ant_passages(who, _ant_texts()))
