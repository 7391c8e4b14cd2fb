r"""Annotated news as a person types it: entities in brackets, the rest on lines that begin with @.

    @ id: n1
    @ topic: health
    أعلنت [ORG وزارة الصحة] في [GPE عمان] خطة تنقذ المرضى، وانتقدها [PERS سالم].
    @ stance: favor | وزارة الصحة#1 | خطة تنقذ المرضى
    @ stance: against | وزارة الصحة#1 | holder: سالم | وانتقدها سالم
    @ claim: agree | الوزارة أعلنت خطة.

Brackets nest: `[OCC وزير [ORG الصحة]]`. A target with `#1` is the first place in the text where it
stands, one without is a phrase; evidence and `scope: …` are quoted from the text and need their `#`
only where they stand more than once; `-` is no evidence. A backslash keeps the sign after it, `\n`
and `\r` are line ends. Every document without crossing spans is written and read again as it was,
its entities in order.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from annotations.errors import DocumentError, FormatError, not_utf8, told
from annotations.schema import Claim, Document, Range, Span, Stance, crossing_pairs, nested_order
from annotations.text import reject_surrogates
from annotations.textfile import opened_bytes

_OPEN = re.compile(r"\[([^\s\[\]\\]+) ")
_FIELD = re.compile(r"@ ([a-z_]+):(?: (.*))?")
_SIGN = re.compile(r"\\(.)", re.DOTALL)
_BAR = " | "  # a bar inside a value is written \|
_NUMBERED = re.compile(r"(?<!\\)((?:\\\\)*)#(\d{1,9})$")
_LINE_ENDS = {"n": "\n", "r": "\r"}
_STRINGS = ("title", "source", "date", "license", "label_set", "topic", "form")
_HOLDER, _SCOPE, _NO_EVIDENCE = "holder: ", "scope: ", "-"
_NONE = "none"  # `@ entities: none` nobody looked for them; `@ claims: none` there are none


@dataclass
class _Record:
    """The lines of one document, those that begin with `@` apart from its text, and where each
    stands.
    """

    fields: list[tuple[str, str, str]] = field(default_factory=list)  # where, name, value
    body: list[tuple[str, str]] = field(default_factory=list)  # where, line


def read_markup(path: Path) -> Iterator[Document]:
    """The documents of a markup file, in order."""
    with opened_bytes(path) as file:
        lines = (_decoded(line, f"{path}:{number}") for number, line in enumerate(file, 1))
        first = next(lines, "").removeprefix("\ufeff")
        yield from parse_markup(chain([first], lines), str(path))


def _decoded(line: bytes, where: str) -> str:
    try:
        # a carriage return of the text is spelt \\r, a bare one ends the line as Windows does
        return line.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise not_utf8(where, error) from None


def parse_markup(lines: Iterable[str], name: str) -> Iterator[Document]:
    """The documents of markup lines; `name` is the file that errors speak of."""
    record: _Record | None = None
    for number, line in enumerate(lines, 1):
        where = f"{name}:{number}"
        found = _FIELD.fullmatch(line)
        if line.startswith("@") and not found:
            raise FormatError(f"{where}: an @ line reads `@ field: value`; write \\@ for the sign")
        if found and found[1] == "id":
            if record is not None:
                yield _document(record)
            record = _Record()
        if record is None:
            if line.strip():
                raise FormatError(f"{where}: a line before the first document; begin with `@ id:`")
        elif found:
            record.fields.append((where, found[1], found[2] or ""))
        else:
            record.body.append((where, line))
    if record is not None:
        yield _document(record)


def _document(record: _Record) -> Document:
    whole = "\n".join(line for _, line in record.body)
    before = len(whole) - len(whole.lstrip("\n"))  # empty lines, which are not of the text
    places = [where for where, _ in record.body[before:]]
    text, spans = _parse_body(whole.strip("\n"), places)
    values: dict[str, Any] = {"text": text, "entities": nested_order(tuple(spans))}
    lists: dict[str, list[Any]] = {}
    for where, name, value in record.fields:
        try:
            if name == "stance":
                lists.setdefault("stances", []).append(_parse_stance(value, text))
            elif name == "claim":
                lists.setdefault("claims", []).append(_parse_claim(value))
            elif name in ("stances", "claims") and value == _NONE:
                lists.setdefault(name, [])
            elif name == "entities" and value == _NONE:
                if spans:
                    raise FormatError("entities: none beside marked entities; drop one of the two")
                values["entities"] = None
            elif name in ("id", *_STRINGS):
                if name in values:
                    raise FormatError(f"{name} is given twice; is an `@ id:` line missing?")
                values[name] = _plain(value)
            else:
                raise FormatError(f"unknown field {name!r}; see annotations/markup.py")
        except (FormatError, DocumentError) as error:
            raise FormatError(f"{where}: {error}") from None
    values.update((name, tuple(rows)) for name, rows in lists.items())
    return Document(**values)


def _parse_body(body: str, places: Sequence[str]) -> tuple[str, list[Span]]:
    """The text without its brackets, and the spans that they mark; `places` are of its lines."""

    def fault(at: int, what: str) -> FormatError:
        line = body.count("\n", 0, at)
        return FormatError(f"{places[line]}: {what}")

    out: list[str] = []
    opened: list[tuple[int, int, str]] = []  # in the body, in the text, the label
    spans: list[Span] = []
    i = 0
    while i < len(body):
        char = body[i]
        if char == "[":
            mark = _OPEN.match(body, i)
            if not mark:
                raise fault(i, "a [ without a type; write [TYPE words], or \\[")
            opened.append((i, len(out), mark[1]))
            i = mark.end()
            continue
        i += 1
        if char == "]":
            if not opened:
                raise fault(i - 1, "a ] that closes nothing; write \\] for the sign")
            at, start, label = opened.pop()
            if start == len(out):
                raise fault(at, f"[{label} ] holds no word")
            spans.append(Span(start, len(out), label))
            continue
        if char == "\\" and i < len(body):
            char = _LINE_ENDS.get(body[i], body[i])
            i += 1
        out.append(char)
    if opened:
        at, start, label = opened[-1]
        raise fault(at, f"[{label} at code point {start} is not closed; add a ]")
    return "".join(out), spans


def _parse_stance(value: str, text: str) -> Stance:
    label, target, *rest = [*value.split(_BAR), ""]
    if not target:
        raise FormatError("a stance reads `label | target | evidence`")
    name, number = _numbered(target)
    place = _place(name, number, text) if number is not None else None
    holder, scope, evidence = None, None, []
    for part in rest[:-1]:
        if part.startswith(_HOLDER):
            holder = _plain(part.removeprefix(_HOLDER))
        elif part.startswith(_SCOPE):
            scope = _place(*_numbered(part.removeprefix(_SCOPE)), text)
        elif part != _NO_EVIDENCE:
            evidence.append(_place(*_numbered(part), text))
    found = tuple(evidence) if evidence or _NO_EVIDENCE in rest else None
    start, end = place or (None, None)
    return Stance(name, _plain(label), start, end, scope, holder, found)


def _parse_claim(value: str) -> Claim:
    parts = value.split(_BAR)
    if len(parts) != 2:
        raise FormatError("a claim reads `label | sentence`")
    return Claim(_plain(parts[1]), _plain(parts[0]))


def _numbered(part: str) -> tuple[str, int | None]:
    """A quotation and the number of its place, if it gives one."""
    found = _NUMBERED.search(part)
    return (_plain(part[: found.start(2) - 1]), int(found[2])) if found else (_plain(part), None)


def _place(quoted: str, number: int | None, text: str) -> Range:
    """Where a quotation stands in a text, its `number`-th place."""
    places = _places(quoted, text)
    if not places or (number is not None and not 1 <= number <= len(places)):
        asked = "" if number is None else f" a {number}. time"
        raise FormatError(
            f"{told(quoted)} does not stand in the text{asked}; quote it letter by letter"
        )
    if number is None and len(places) > 1:
        raise FormatError(f"{told(quoted)} stands {len(places)} times in the text; add #1, #2 …")
    return places[(number or 1) - 1]


def _places(quoted: str, text: str) -> list[Range]:
    found = re.finditer(f"(?={re.escape(quoted)})", text) if quoted else ()
    return [(match.start(), match.start() + len(quoted)) for match in found]


def _plain(part: str) -> str:
    return _SIGN.sub(lambda found: _LINE_ENDS.get(found[1], found[1]), part)


def write_markup(path: Path, documents: Iterable[Document]) -> int:
    """Write documents as markup; returns how many."""
    count = 0
    with path.open("w", encoding="utf-8", newline="") as out:
        for document in documents:
            out.write(to_markup(document) + "\n\n")
            count += 1
    return count


def to_markup(document: Document) -> str:
    """The markup of a document; what brackets cannot show (crossing spans) is an error."""
    lines = [f"@ id: {_quoted(document.id)}"]
    for name in _STRINGS:
        value = getattr(document, name)
        if value is not None and (name, value) != ("label_set", "fine"):
            lines.append(f"@ {name}: {_quoted(value)}")
    if document.entities is None:
        lines.append(f"@ entities: {_NONE}")
    try:
        reject_surrogates(document.text, "text")
        lines.append(_body(document.text, document.entities or ()))
        lines += [_stance_line(stance, document.text) for stance in document.stances or ()]
    except (FormatError, DocumentError) as error:
        raise FormatError(f"{document.id}: {error}") from None
    for claim in document.claims or ():
        lines.append(f"@ claim: {_quoted(claim.label)}{_BAR}{_quoted(claim.text)}")
    for name, rows in (("stances", document.stances), ("claims", document.claims)):
        if rows == ():
            lines.append(f"@ {name}: {_NONE}")
    return "\n".join(lines)


def _body(text: str, spans: tuple[Span, ...]) -> str:
    """The text with its brackets; line ends at its edges are spelt out."""
    opens, closes = _brackets(text, spans)
    first, last = len(text) - len(text.lstrip("\n")), len(text.rstrip("\n"))
    out = ""
    parts: list[str] = []
    for i, char in enumerate(text):
        brackets = closes.get(i, "") + opens.get(i, "")
        begins_line = not brackets and out in ("", "\n")
        if char == "\r" or (char == "\n" and not first <= i < last):
            out = "\\n" if char == "\n" else "\\r"
        elif char in "[]\\" or (char == "@" and begins_line):
            out = "\\" + char
        else:
            out = char
        parts += [brackets, out]
    return "".join([*parts, closes.get(len(text), "")])


def _brackets(text: str, spans: tuple[Span, ...]) -> tuple[dict[int, str], dict[int, str]]:
    """The brackets that open and close at each place."""
    for first, second in crossing_pairs(spans):
        raise FormatError(
            f"{first.label} [{first.start}, {first.end}) crosses {second.label} "
            f"[{second.start}, {second.end}), which brackets cannot show; nest them or part them"
        )
    opens: dict[int, str] = {}
    closes: dict[int, str] = {}
    for span in nested_order(spans):
        opening = f"[{span.label} "
        if span.end > len(text) or not _OPEN.fullmatch(opening):
            raise FormatError(
                f"{span.label!r} [{span.start}, {span.end}): brackets need a label without spaces "
                f"and a place in the text of {len(text)} code points; correct it"
            )
        opens[span.start] = opens.get(span.start, "") + opening
        closes[span.end] = closes.get(span.end, "") + "]"
    return opens, closes


def _stance_line(stance: Stance, text: str) -> str:
    target = _quoted(stance.target)
    if stance.start is not None and stance.end is not None:
        target += f"#{_number((stance.start, stance.end), stance.target, text)}"
    parts = [_quoted(stance.label), target]
    if stance.holder is not None:
        parts.append(_HOLDER + _quoted(stance.holder))
    if stance.scope is not None:
        parts.append(_SCOPE + _quotation(stance.scope, text))
    if stance.evidence == ():
        parts.append(_NO_EVIDENCE)
    parts += [_quotation(found, text) for found in stance.evidence or ()]
    return "@ stance: " + _BAR.join(parts)


def _quotation(found: Range, text: str) -> str:
    """A range as a quotation, numbered where the same words stand elsewhere too."""
    words = text[found[0] : found[1]]
    number = _number(found, words, text)
    quoted = _quoted(words)
    if quoted.startswith((_HOLDER, _SCOPE)) or quoted == _NO_EVIDENCE:
        quoted = "\\" + quoted
    return quoted if len(_places(words, text)) == 1 else f"{quoted}#{number}"


def _number(found: Range, words: str, text: str) -> int:
    """Which of the places where words stand in a text a range is, from 1."""
    places = _places(words, text)
    if found not in places:
        raise FormatError(
            f"[{found[0]}, {found[1]}) is no place of {told(words)}; correct the offsets"
        )
    return places.index(found) + 1


def _quoted(value: str) -> str:
    for sign, spelt in (("\\", "\\\\"), ("\n", "\\n"), ("\r", "\\r"), ("|", "\\|"), ("#", "\\#")):
        value = value.replace(sign, spelt)
    return value
