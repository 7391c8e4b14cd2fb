"""What a corpus can teach a head: its labels under the head's names, and the labels on which its
silence means "none here".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from annotations.catalogue import Corpus, catalogue
from annotations.errors import ConfigError
from annotations.jsonl import read_documents
from annotations.labels import label_schema
from serving.bundle import Head
from training.settings import HeadSettings, Source


@dataclass(frozen=True, slots=True)
class Teaching:
    """How a head reads a corpus.

    `names` maps a label of the corpus to the head's (None: it has no counterpart); labels that are
    not in it keep their name. `unannotated` are the head's labels that the corpus does not mark, or
    not everywhere.
    """

    names: dict[str, str | None]
    unannotated: frozenset[str]

    def label(self, name: str) -> str | None:
        """The head's label of one of the corpus, None where it is not taught."""
        found = self.names.get(name, name)
        return None if found in self.unannotated else found


EVERYTHING = Teaching({}, frozenset())  # in the head's own labels, all of them


def head_labels(name: str, settings: HeadSettings) -> tuple[str, ...]:
    """The labels of a head, spelt out."""
    if isinstance(settings.labels, tuple):
        return settings.labels
    schema = label_schema()
    named = {
        "fine": tuple(schema.entities),
        "coarse": tuple(schema.coarse),
        "topics": tuple(schema.topics),
        "stances": tuple(schema.stances),
        "claims": tuple(schema.claims),
    }
    corpora = {corpus: tuple(entry.labels) for corpus, entry in catalogue().items() if entry.labels}
    labels = (named | corpora).get(settings.labels)
    if labels is None:
        raise ConfigError(
            f"heads.{name}.labels: {settings.labels!r} is no set of labels; give a list or one of "
            f"{', '.join([*named, *corpora])}"
        )
    return labels


_OWN_FILES = (".jsonl", ".jsonl.gz")


def corpus_name(source: str) -> str:
    """The corpus of a recipe's source, whose name may tell a view of it: `authored` of
    `authored-topics`, a user's own file of `FILE.jsonl#topics`.
    """
    path, _, _ = source.partition("#")
    return path if path.endswith(_OWN_FILES) else source.partition("-")[0]


def is_own_file(source: str) -> bool:
    """Whether a recipe's source is a file of its author."""
    return corpus_name(source).endswith(_OWN_FILES)


def teaching(source: Source, head: Head) -> Teaching:
    """How a head reads a source of a recipe, one of words not at all where others teach it."""
    if head.kind not in ("nested", "flat"):
        return EVERYTHING
    if source.taught_by:
        return Teaching({}, frozenset(head.labels))
    entry = catalogue().get(corpus_name(source.corpus))
    if is_own_file(source.corpus):
        found = _of_own(Path(corpus_name(source.corpus)), head)
    elif _read_as_coarse(source, head):
        found = _of_gold(head)
    elif entry is None or not (entry.labels or entry.target):
        found = EVERYTHING
    else:
        found = _of_corpus(source.corpus, entry, head)
    if source.annotates is None:
        return found
    unknown = set(source.annotates) - set(head.labels)
    if unknown:
        raise ConfigError(
            f"source {source.corpus}: annotates {', '.join(sorted(unknown))}, which head "
            f"{head.name!r} lacks; its labels are {', '.join(head.labels)}"
        )
    return Teaching(found.names, frozenset(head.labels) - set(source.annotates))


def judges(source: Source, head: Head) -> bool:
    """Whether other parts of a source can judge the head that it teaches: not where it marks some
    of the head's types alone, teaches a head of another standard what the two agree on, or says
    what teachers say.
    """
    if head.kind in ("text", "pair"):
        return True
    return not teaching(source, head).unannotated and not _read_as_coarse(source, head)


def _read_as_coarse(source: Source, head: Head) -> bool:
    """Whether the project's gold teaches a head of coarse types."""
    entry = catalogue().get(corpus_name(source.corpus))
    return entry is not None and entry.reader == "own" and _is_coarse(head)


def _is_coarse(head: Head) -> bool:
    return head.kind == "flat" and set(head.labels) <= {*label_schema().coarse, "PERS"}


def _of_own(path: Path, head: Head) -> Teaching:
    """How a head reads a file of the recipe's author, by the label sets of its documents."""
    if not path.is_file():  # which is said where its documents are read
        return EVERYTHING
    sets = _label_sets(path, path.stat().st_mtime_ns)
    found = [_of_label_set(f"{path}, label set {name},", name, head) for name in sets]
    if any(one != found[0] for one in found):
        raise ConfigError(
            f"source {path}: its documents have the label sets {', '.join(sets)}, which head "
            f"{head.name!r} reads in different ways; make a file of each"
        )
    return found[0] if found else EVERYTHING


@cache
def _label_sets(path: Path, changed: int) -> tuple[str, ...]:
    """The label sets of the documents of a file that have entities; read once, until it changes."""
    return tuple(sorted({d.label_set for d in read_documents(path) if d.entities is not None}))


def _of_label_set(where: str, name: str, head: Head) -> Teaching:
    """How a head reads documents in a label set: a head of khabar's fine or coarse types by what
    they have in common, one of an author's own labels as they stand.
    """
    schema = label_schema()
    labels = set(head.labels)
    if not _is_coarse(head) and not labels <= set(schema.entities):
        return EVERYTHING
    if name == "fine":
        return _of_gold(head) if _is_coarse(head) else EVERYTHING
    if name == "coarse":
        bridge = _to_coarse(head.labels) if _is_coarse(head) else _to_fine()
        names = {
            coarse: found for coarse in schema.coarse if (found := bridge.get(coarse)) in labels
        }
        if not names:
            raise _nothing_known(where, head)
        unknown: dict[str, str | None] = dict.fromkeys(schema.coarse)
        return Teaching(unknown | names, frozenset(labels - set(names.values())))
    entry = catalogue().get(name)
    return _of_corpus(where, entry, head) if entry and entry.target else EVERYTHING


def _of_corpus(name: str, corpus: Corpus, head: Head) -> Teaching:
    schema = label_schema()
    labels = set(head.labels)
    own = set(corpus.labels) or set(schema.entities)
    if labels <= own:
        # the corpus by its own rules, which mark every label of its own
        return Teaching({label: None for label in own - labels}, frozenset())
    names = dict(corpus.labels)
    marked = set(corpus.annotates)
    if corpus.target == "coarse":
        bridge = _to_fine() if labels <= set(schema.entities) else _to_coarse(head.labels)
        names = {label: bridge.get(str(coarse)) for label, coarse in names.items()}
        marked = {found for coarse in marked if (found := bridge.get(coarse))}
    names = {label: found if found in labels else None for label, found in names.items()}
    if not any(names.values()):
        raise _nothing_known(name, head)
    return Teaching(names, frozenset(labels - marked))


def _nothing_known(where: str, head: Head) -> ConfigError:
    return ConfigError(
        f"source {where} has no label that head {head.name!r} knows ({', '.join(head.labels)}); "
        "teach a head that has its labels"
    )


def _of_gold(head: Head) -> Teaching:
    """The project's gold for a flat head of coarse types; where the head's own standard is another,
    the source says by `annotates` on which types they agree.
    """
    bridge = _to_coarse(head.labels)
    coarse = {t.name: bridge.get(str(t.coarse)) for t in label_schema().entities.values()}
    names = {label: found if found in head.labels else None for label, found in coarse.items()}
    return Teaching(names, frozenset())


def _to_fine() -> dict[str, str]:
    """The coarse types that have one fine type alone (PER, ORG), with that type; a LOC may be a
    GPE, a LOC or a FAC.
    """
    schema = label_schema()
    fine: dict[str, list[str]] = {}
    for entity in schema.entities.values():
        fine.setdefault(str(entity.coarse), []).append(entity.name)
    return {coarse: found[0] for coarse, found in fine.items() if len(found) == 1}


def _to_coarse(labels: Sequence[str]) -> dict[str, str]:
    """Coarse types under a head's names: flat corpora call persons PERS."""
    return {
        coarse: "PERS" if coarse == "PER" and "PERS" in labels else coarse
        for coarse in label_schema().coarse
    }
