"""Annotated documents as one HTML file, right to left: entities nest, evidence is underlined.

It needs no script and asks nobody for anything. Two annotations stand side by side with what only
one of them has marked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from annotations.agreement import paired
from annotations.labels import LabelSchema, label_schema
from annotations.schema import Claim, Document, Range, Span, crossing_pairs, nested_order

# Space inside a mark would tear the letters of a word apart where a clitic is joined to a name;
# the type is a block of its own so that digits beside it do not drag it along.
_STYLE = """
:root { color-scheme: light dark; }
body { font: 1.05rem/2.3 "Noto Naskh Arabic", "Amiri", "Noto Sans Arabic", serif; margin: 2rem auto;
  max-width: 70rem; padding: 0 1rem; }
article { border-block-start: 1px solid #8888; padding-block: 1rem; }
h2, dl, table, .note { font: 0.9rem/1.6 "Noto Sans Arabic", sans-serif; }
.sides { display: grid; grid-template-columns: 1fr 1fr; gap: 2rem; }
.text { white-space: pre-wrap; overflow-wrap: anywhere; }
mark { background: color-mix(in srgb, var(--c) 14%, transparent); color: inherit;
  border-radius: 3px;
  border-block-end: 2px solid var(--c); padding: 0.1em 0; }
mark::after { content: attr(data-type); display: inline-block; font: 0.6rem/1 sans-serif;
  color: color-mix(in oklab, var(--c) 55%, CanvasText);
  margin-inline-start: 0.3em; vertical-align: super; }
mark.only, p.only { outline: 2px dashed #d00; outline-offset: 2px; }
u { text-decoration: underline wavy 1.5px; text-underline-offset: 0.35em; }
u.favor { text-decoration-color: #15803d; } u.against { text-decoration-color: #b91c1c; }
table { border-collapse: collapse; } td, th { padding: 0.2rem 0.7rem; text-align: start; }
td.favor { color: color-mix(in oklab, #15803d 55%, CanvasText); }
td.against { color: color-mix(in oklab, #b91c1c 55%, CanvasText); }
tr.only td { background: #d001; }
.note { color: color-mix(in oklab, #b45309 55%, CanvasText); }
@media (max-width: 50rem) { .sides { grid-template-columns: 1fr; } }
"""


def documents_html(documents: Iterable[Document], title: str) -> str:
    """A page of documents with all that is annotated on them."""
    return _page(title, [_article(document.id, [_side(document)]) for document in documents])


def diff_html(first: Sequence[Document], second: Sequence[Document], title: str) -> str:
    """A page of two annotations of the same documents; what only one has is outlined in dashes."""
    articles = []
    for a, b in paired(first, second):
        sides = [_side(mine, _Other.of(theirs)) for mine, theirs in ((a, b), (b, a))]
        articles.append(_article(a.id, sides))
    return _page(title, articles)


@dataclass(frozen=True, slots=True)
class _Other:
    """What the other annotation holds."""

    entities: frozenset[Span]
    stances: frozenset[tuple[str, str, str]] = frozenset()
    claims: frozenset[Claim] = frozenset()
    topic: str | None = None

    @classmethod
    def of(cls, document: Document) -> _Other:
        """All that an annotation of a document holds."""
        stances, claims = _stance_rows(document), document.claims or ()
        entities = frozenset(document.entities or ())
        return cls(entities, frozenset(stances), frozenset(claims), document.topic)


def _page(title: str, articles: Sequence[str]) -> str:
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="ar" dir="rtl">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_safe(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{_safe(title)}</h1>\n" + "\n".join(articles) + "\n</body>\n</html>\n"
    )


def _article(name: str, sides: Sequence[str]) -> str:
    columns = "".join(f"<div>{side}</div>" for side in sides)
    layout = f'<div class="sides">{columns}</div>' if len(sides) > 1 else columns
    return f'<article>\n<h2 dir="auto">{_safe(name)}</h2>\n{layout}\n</article>'


def _side(document: Document, other: _Other | None = None) -> str:
    """One annotation of a document: title, text, and the tables of stance and claims."""
    schema = label_schema()
    parts = [f"<h3>{_safe(document.title)}</h3>"] if document.title else []
    parts.append(f'<div class="text">{_text(document, schema, other)}</div>')
    if document.entities is None:
        parts.append('<p class="note">لم تُعلَّم الأعلام (entities: null)</p>')
    for first, second in crossing_pairs(document.entities or ()):
        parts.append(
            f'<p class="note" dir="ltr">{_safe(first.label)} [{first.start}, {first.end}) crosses '
            f"{_safe(second.label)} [{second.start}, {second.end})</p>"
        )
    if document.topic is not None:
        alone = _only(other is not None and document.topic != other.topic)
        topic = _safe(schema.topics.get(document.topic, document.topic))
        parts.append(f"<p{alone}>الموضوع: {topic}</p>")
    rows = [
        f"<tr{_only(other is not None and row not in other.stances)}><td>{_safe(row[0])}</td>"
        f'<td class="{_safe(row[1])}">{_safe(schema.stances.get(row[1], row[1]))}</td>'
        f"<td>{_safe(row[2])}</td></tr>"
        for row in _stance_rows(document)
    ]
    rows += [
        f"<tr{_only(other is not None and claim not in other.claims)}><td>{_safe(claim.text)}</td>"
        f"<td>{_safe(claim.label)}</td><td></td></tr>"
        for claim in document.claims or ()
    ]
    return "\n".join([*parts, "<table>" + "\n".join(rows) + "</table>"])


def _stance_rows(document: Document) -> list[tuple[str, str, str]]:
    """(target, label, whose and where) of each stance."""
    rows = []
    for stance in document.stances or ():
        part = "" if stance.scope in (None, (0, len(document.text))) else f" {stance.scope}"
        rows.append((stance.target, stance.label, (stance.holder or "") + part))
    return rows


def marked_text(document: Document, other: frozenset[Span] | None = None) -> str:
    """The escaped text with a mark for each entity; those that `other` lacks are outlined."""
    compared = None if other is None else _Other(other)
    return _text(document, label_schema(), compared)


def _text(document: Document, schema: LabelSchema, other: _Other | None) -> str:
    """The escaped text with a mark for each entity and an underline for evidence."""
    spans = _nesting(document.entities or ())
    evidence = [
        (found, stance.label)
        for stance in document.stances or ()
        for found in stance.evidence or ()
    ]
    opening: dict[int, list[Span]] = defaultdict(list)
    closing: dict[int, int] = defaultdict(int)
    for span in spans:
        opening[span.start].append(span)
        closing[min(span.end, len(document.text))] += 1
    edges = {0, len(document.text), *opening, *closing}
    edges.update(edge for (start, end), _ in evidence for edge in (start, end))
    ordered = sorted(edge for edge in edges if edge <= len(document.text))
    out = []
    for here, following in zip(ordered, [*ordered[1:], len(document.text)], strict=True):
        out.append("</mark>" * closing.get(here, 0))
        for span in opening.get(here, ()):
            colour = schema.entities.get(span.label) or schema.coarse.get(span.label)
            alone = other is not None and span not in other.entities
            out.append(
                f'<mark{_only(alone)} style="--c: {colour.colour if colour else "#666"}" '
                f'data-type="{_safe(span.label)}">'
            )
        out.append(_leaf(document.text[here:following], here, evidence))
    return "".join(out)


def _leaf(text: str, start: int, evidence: Sequence[tuple[Range, str]]) -> str:
    labels = [label for (low, high), label in evidence if low <= start < high]
    return f'<u class="{_safe(labels[0])}">{_safe(text)}</u>' if labels and text else _safe(text)


def _nesting(spans: tuple[Span, ...]) -> list[Span]:
    """The spans that can be shown as nested marks: of two that cross, the first in order."""
    shown: list[Span] = []
    around: list[Span] = []  # the shown ones that a span may lie in, the innermost last
    for span in nested_order(spans):
        while around and around[-1].end <= span.start:
            around.pop()
        if not around or span.end <= around[-1].end:
            around.append(span)
            shown.append(span)
    return shown


def _only(alone: bool) -> str:
    return ' class="only"' if alone else ""


def _safe(text: str) -> str:
    """Escaped, and without lone surrogates, which no UTF-8 file can hold."""
    return escape(text).encode("utf-8", "replace").decode("utf-8")
