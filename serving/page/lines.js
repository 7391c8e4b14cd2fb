"use strict";
/* The text of an article as lines, with its marks nested in them and its evidence in pieces that can light up. */

/** The lines of the text as {start, end, kind, apart}; a headline and subheads are guessed by length, for looks. */
function linesOf(text, titled) {
  const lines = [];
  let start = 0;
  for (const line of text.split("\n")) {
    if (line.trim()) lines.push({ start, end: start + line.length, kind: "p", apart: false });
    else if (lines.length) lines[lines.length - 1].apart = true;
    start += line.length + 1;
  }
  const length = (line) => line.end - line.start;
  const closed = (line) => /[.!?؟:؛،,…"»)\]]\s*$/u.test(text.slice(line.start, line.end));
  lines.forEach((line, i) => {
    const next = lines[i + 1];
    if (!next || closed(line)) return;
    if (i === 0 && !titled && length(line) <= 140 && line.apart) line.kind = "h2";
    else if (length(line) <= 60 && length(next) > 80) line.kind = "h3";
  });
  return lines;
}

/** Puts text[from:to] into `parent` with its marks; spans are in nested order and may cross (then they are cut). */
function fill(parent, view, from, to, spans) {
  let rest = spans;
  let at = from;
  let level = 0;
  let next = 0;
  while (next < rest.length) {
    const span = rest[next];
    const first = (next += 1);
    while (next < rest.length && rest[next].start < span.end) next += 1;
    const touching = rest.slice(first, next);
    const inner = touching.map((other) => ({ ...other, end: Math.min(other.end, span.end) }));
    const beyond = touching.filter((other) => other.end > span.end).map((other) => ({ ...other, start: span.end }));
    if (beyond.length) {
      rest = [...beyond, ...rest.slice(next)].sort(nestedOrder);
      next = 0;
    }
    if (at < span.start) parent.append(view.text.slice(at, span.start));
    const mark = view.markOf(span.entity);
    const below = fill(mark, view, span.start, span.end, inner);
    paint(mark, { "--level": below });
    parent.append(mark);
    level = Math.max(level, below + 1);
    at = span.end;
  }
  if (at < to) parent.append(view.text.slice(at, to));
  return level;
}

const nestedOrder = (a, b) => a.start - b.start || b.end - a.end;

/** The spans that touch [from, to), cut to it. */
function within(spans, from, to) {
  return spans
    .filter((span) => span.start < to && span.end > from)
    .map((span) => ({ ...span, start: Math.max(span.start, from), end: Math.min(span.end, to) }))
    .sort(nestedOrder);
}

/** One line of the article: parts that are evidence become elements that can light up, the rest is plain. */
function drawLine(line, view) {
  const element = el(line.kind, { dir: dirOf(view.text.slice(line.start, line.end)), class: line.apart ? "apart" : null });
  const pieces = within(view.evidence, line.start, line.end);
  const cuts = new Set([line.start, line.end, ...pieces.flatMap((piece) => [piece.start, piece.end])]);
  const edges = [...cuts].sort((a, b) => a - b);
  const spans = within(view.spans, line.start, line.end);
  for (let i = 0; i + 1 < edges.length; i += 1) {
    const [from, to] = [edges[i], edges[i + 1]];
    const covering = pieces.filter((piece) => piece.start <= from && to <= piece.end);
    const parent = covering.length ? element.appendChild(el("span", { class: "evidence-part" })) : element;
    fill(parent, view, from, to, within(spans, from, to));
    for (const piece of covering) piece.parts.push(parent);
  }
  return element;
}
