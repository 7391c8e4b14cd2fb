"""The corpora that khabar knows, `configs/data/*.yaml`: files with hashes, terms and traps."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

import configs
from annotations.errors import ConfigError, FormatError
from annotations.hashes import sha256
from annotations.labels import label_schema

DATA_VARIABLE = "KHABAR_DATA"
Reader = Literal["conll", "fane", "ans", "mawqif", "austr", "arabicfc", "topics", "own"]


class Corpus(BaseModel):
    """A corpus: where it comes from, on what terms, and how its labels map onto khabar's.

    `files` maps a path below KHABAR_DATA to its sha256, `parts` a part to one of these paths.
    `labels` maps a label of the corpus to khabar's (None: no counterpart), in the `target` set.
    `annotates` lists the labels of that set that the corpus marks wherever they occur: about the
    others its silence says nothing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    citation: str
    source: str
    license: str
    reader: Reader
    parts: dict[str, str] = {}
    files: dict[str, str] = {}
    labels: dict[str, str | None] = {}
    target: Literal["fine", "coarse"] | None = None
    annotates: tuple[str, ...] = ()
    traps: tuple[str, ...] = ()


@cache
def catalogue() -> dict[str, Corpus]:
    """The corpora by name."""
    return {name: _corpus(name) for name in configs.names("data")}


def _corpus(name: str) -> Corpus:
    where = f"configs/data/{name}.yaml"
    try:
        corpus = Corpus.model_validate(yaml.safe_load(configs.read_text(f"data/{name}.yaml")))
    except ValidationError as error:
        found: Any = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in found["loc"]) or "the file"
        raise ConfigError(f"{where}: {key}: {found['msg']}") from None
    schema = label_schema()
    known = {"fine": set(schema.entities), "coarse": set(schema.coarse), None: set(schema.topics)}
    for label in (*corpus.labels.values(), *corpus.annotates):
        if label is not None and label not in known[corpus.target]:
            raise ConfigError(
                f"{where}: {label!r} is no label of khabar's; see configs/labels.yaml"
            )
    for part, path in corpus.parts.items():
        if path not in corpus.files:
            raise ConfigError(f"{where}: parts.{part} names {path}, which is not among its files")
    return corpus


def corpus_named(name: str) -> Corpus:
    """A corpus by its name."""
    if name not in catalogue():
        raise FormatError(f"unknown corpus {name!r}; configs/data has {', '.join(catalogue())}")
    return catalogue()[name]


def data_folder() -> Path:
    """The folder of the corpora, from the environment variable KHABAR_DATA."""
    folder = os.environ.get(DATA_VARIABLE)
    if not folder or not Path(folder).is_dir():
        raise FormatError(
            f"the corpora are found under {DATA_VARIABLE}, which is {folder or 'not set'}; set it "
            "to a folder with the files of configs/data"
        )
    return Path(folder)


@cache
def corpus_file(name: str, path: str) -> Path:
    """A file of a corpus, checked against its hash."""
    corpus = corpus_named(name)
    file, expected = data_folder() / path, corpus.files[path]
    if not file.is_file():
        raise FormatError(
            f"{file}: missing; {name} is {corpus.title} ({corpus.citation}), get it from "
            f"{corpus.source}"
        )
    found = sha256(file)
    if found != expected:
        raise FormatError(
            f"{file}: sha256 {found[:12]}…, expected {expected[:12]}…; get the version of "
            f"configs/data/{name}.yaml from {corpus.source}"
        )
    return file
