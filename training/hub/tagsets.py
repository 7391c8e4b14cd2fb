"""The labels of a published checkpoint under khabar's names: prefixes, schemes and aliases."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from annotations.conll import canonical_label
from annotations.errors import KhabarError
from annotations.labels import label_schema
from serving.bundle import Head
from serving.decoding import Scheme

# What other tag sets call khabar's types, in capitals; PER is PERS by `canonical_label`.
_TYPES = {
    "PERSON": "PERS",
    "LOCATION": "LOC",
    "ORGANIZATION": "ORG",
    "ORGANISATION": "ORG",
    "MISCELLANEOUS": "MISC",
    "FACILITY": "FAC",
}
# What other corpora call khabar's topics, in small letters; the first three as configs/data has it.
_TOPICS = {"finance": "economy", "medical": "health", "tech": "technology", "sport": "sports"}
_OUTSIDE = frozenset(
    {"O", "o", "X", "[CLS]", "[SEP]", "[PAD]", "<PAD>", "PAD", "<s>", "</s>", "<pad>"}
)
# BIOES, BILOU and BMES tell the last and the single words of an entity apart; BIO does not.
_PREFIXES = {"B": "B", "S": "B", "U": "B", "I": "I", "M": "I", "E": "I", "L": "I"}
_TAG = re.compile(r"(?P<prefix>[BIESULM])[-_](?P<kind>.+)")
_TAG_IN_ANY_CASE = re.compile(_TAG.pattern, re.IGNORECASE)
_TAG_BEHIND = re.compile(r"(?P<kind>.+)[-_](?P<prefix>[BIESULM])", re.IGNORECASE)  # PER-B
_NAMELESS = re.compile(r"LABEL_\d+")


class LabelError(KhabarError, ValueError):
    """Labels of a checkpoint that khabar cannot read."""


@dataclass(frozen=True, slots=True)
class Mapping:
    """How the outputs of a checkpoint become those of a head.

    `targets` is (outputs,): which of the head's tags or labels each one counts for. `named` maps
    each of its names to the head's; `unknown` are the head's labels that khabar's schema does not
    have.
    """

    head: Head
    targets: tuple[int, ...]
    named: dict[str, str]
    unknown: tuple[str, ...]


def word_mapping(
    names: Sequence[str], head: str, where: str, scheme: Scheme | None = None
) -> Mapping:
    """The flat head of a token classifier whose outputs have these names, in their order.

    Prefixes, which may also be small letters or stand behind the types, tell the scheme: none or I-
    alone is IO, a type that has only I- beside others with B- is IOB1, else it is IOB2; `scheme`
    overrules, as IOB1 with B- for every type looks like IOB2. BIOES and BILOU become IOB2. `where`
    names the checkpoint in errors.
    """
    _refuse_nameless(names, where, 'give them with --labels, such as "O,B-PER,I-PER"')
    split = _split([name for name in names if name not in _OUTSIDE])
    if len(split) == len(set(names)) or not split:
        raise LabelError(
            f"{where}: its labels are {', '.join(names)}; a tag set has O and types, check that it "
            "is a model of named entities"
        )
    types = list(dict.fromkeys(_type_name(kind) for _, kind in split.values()))
    prefixes = {prefix for prefix, _ in split.values()}
    found = scheme or _scheme(split, where)
    if found != "io" and prefixes <= {"I"}:
        raise LabelError(f"{where}: has no B- labels, so its scheme is io and not {found}")
    made = Head(name=head, kind="flat", labels=tuple(types), scheme=found)
    named = {name: "O" for name in names if name in _OUTSIDE}
    for name, (prefix, kind) in split.items():
        named[name] = f"{'I' if found == 'io' else _PREFIXES[prefix]}-{_type_name(kind)}"
    targets = tuple(made.tags.index(named[name]) for name in names)
    known = {*label_schema().entities, *label_schema().coarse}
    return Mapping(made, targets, named, tuple(kind for kind in types if kind not in known))


def text_mapping(names: Sequence[str], head: str, where: str) -> Mapping:
    """The text head of a sequence classifier whose outputs have these names, in their order."""
    _refuse_nameless(names, where, 'give them with --labels, such as "politics,sports"')
    topics = label_schema().topics
    named = {}
    for name in names:
        plain = _TOPICS.get(name.lower(), name.lower())
        named[name] = plain if plain in topics else name
    labels = tuple(dict.fromkeys(named.values()))
    targets = tuple(labels.index(named[name]) for name in names)
    unknown = tuple(label for label in labels if label not in topics)
    return Mapping(Head(name=head, kind="text", labels=labels), targets, named, unknown)


def _refuse_nameless(names: Sequence[str], where: str, advice: str) -> None:
    if all(_NAMELESS.fullmatch(name) for name in names):
        raise LabelError(
            f"{where}: config.json calls its {len(names)} outputs LABEL_0 to "
            f"LABEL_{len(names) - 1}, which says nothing of them; look the names up in the model's "
            f"card and {advice}"
        )


def _split(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """The prefix and the type of each tag; no prefix is "".

    Small letters, and letters behind, are prefixes only where all tags have one and a name can go
    on with them: "e-mail" may be a type.
    """
    for form in (_TAG_IN_ANY_CASE, _TAG_BEHIND):
        matches = [match for name in names if (match := form.fullmatch(name))]
        found = {m[0]: (m["prefix"].upper(), m["kind"]) for m in matches}
        if len(matches) == len(names) and {"I", "M"} & {prefix for prefix, _ in found.values()}:
            return found
    matched = {name: _TAG.fullmatch(name) for name in names}
    return {name: (m["prefix"], m["kind"]) if m else ("", name) for name, m in matched.items()}


def _type_name(kind: str) -> str:
    """The name of a type in khabar; one that it does not know stays as it is."""
    capital = canonical_label(_TYPES.get(kind.upper(), kind.upper()))
    schema = label_schema()
    return capital if capital in schema.entities or capital in schema.coarse else kind


def _scheme(split: dict[str, tuple[str, str]], where: str) -> Scheme:
    """The scheme that the prefixes of a tag set tell."""
    prefixes = {prefix for prefix, _ in split.values()}
    if "" in prefixes and len(prefixes) > 1:
        bare = [name for name, (prefix, _) in split.items() if not prefix]
        raise LabelError(
            f"{where}: {', '.join(bare)} have no prefix and the other labels have one; give all "
            "names with --labels, those that are no entity as O"
        )
    if prefixes <= {"", "I"}:
        return "io"
    if "B" not in prefixes:
        raise LabelError(
            f"{where}: prefixes {', '.join(sorted(prefixes))} without B; khabar reads IO, IOB1, "
            "IOB2, BIOES and BILOU"
        )
    begun = {kind for prefix, kind in split.values() if _PREFIXES[prefix] == "B"}
    inside = {kind for prefix, kind in split.values() if _PREFIXES[prefix] == "I"}
    return "iob1" if prefixes == {"B", "I"} and inside - begun else "iob2"
