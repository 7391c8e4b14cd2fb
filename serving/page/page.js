"use strict";
/* The page of khabar: draws an article with what was read in it.

   Two uses, one renderer: served, it asks the service (GET v1/seed, v1/labels, v1/model, POST v1/tag); in a file
   made by serving/view.py it finds articles and predictions in #khabar-data and asks nobody.
   Offsets of the service are code points; they become UTF-16 once, in `reader`, and are UTF-16 from there on.
   Text enters the page through text nodes only. */

const MAX_CODE_POINTS = 200000; // as MAX_CODE_POINTS of serving/prediction.py
const TIMEOUT_MS = 120000;
const WORDS = {
  noStance: "لم يُسأل عن موقف، أو لم يُذكر من يُسأل عنه.",
  noEvidence: "لم تُحدَّد جمل بعينها.",
};
const PLAIN = {
  // what went wrong, in the reader's language, by HTTP status; 0: no answer came
  0: "تعذّر الوصول إلى الخدمة. تحقّق من الاتصال ثم أعد المحاولة.",
  400: "لم تفهم الخدمة الطلب.",
  404: "لا توجد هذه الخدمة على الخادم.",
  408: "طال الانتظار فأُلغي الطلب. جرّب نصًا أقصر أو أعد المحاولة.",
  413: "النص أكبر من الحد المسموح. قسّمه ثم أعد المحاولة.",
  415: "لم تفهم الخدمة صيغة الطلب.",
  422: "في الطلب ما لا تقبله الخدمة.",
  429: "الخدمة مشغولة الآن. انتظر قليلًا ثم أعد المحاولة.",
  500: "حدث خلل في الخدمة. أعد المحاولة بعد قليل.",
  503: "الخدمة غير جاهزة الآن. أعد المحاولة بعد قليل.",
  504: "طال الانتظار فلم تجب الخدمة. أعد المحاولة.",
};
const PLAIN_ARTICLE = [
  [/empty/i, "النص فارغ. الصق كلمات المقال."],
  [/limit|too long/i, "النص أطول من الحد المسموح. قسّمه ثم أعد المحاولة."],
  [/surrogate/i, "في النص رموز معطوبة (أنصاف رموز). أعد نسخه من مصدره."],
];

const number = new Intl.NumberFormat("ar-u-nu-latn");
const percent = (share) => `${Math.round(share * 100)}%`;
const byId = (id) => document.getElementById(id);
const wide = window.matchMedia("(min-width: 60.01rem)");
const calm = window.matchMedia("(prefers-reduced-motion: reduce)");

/** A new element; strings among the children become text nodes, null is skipped. */
function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

function paint(element, properties) {
  for (const [name, value] of Object.entries(properties)) element.style.setProperty(name, value);
  return element;
}

/** at[i] is the UTF-16 index of code point i of the text, at[n] the length in UTF-16. */
function codePointTable(text) {
  const at = [];
  for (let i = 0; i < text.length; i += text.codePointAt(i) > 0xffff ? 2 : 1) at.push(i);
  at.push(text.length);
  return at;
}

/** A function from a code point range to a UTF-16 one; null where the range is not in the text. */
function reader(text) {
  const at = codePointTable(text);
  return (start, end) => (0 <= start && start < end && end < at.length ? [at[start], at[end]] : null);
}

// ---------------------------------------------------------------- the text and its marks

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
  const element = el(line.kind, { dir: "auto", class: line.apart ? "apart" : null });
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

/** The marks of an article: one tab stop, arrows walk, hover and focus tell, mentions of one name answer together. */
function marksOf(root, labels, entities) {
  const marks = new Map(); // element -> entity, in the order of the text
  const hidden = new Set();
  const mentions = groupBy(entities, groupKey);
  const elements = new Map([...mentions.keys()].map((key) => [key, []]));
  const visible = () => [...marks.keys()].filter((mark) => !hidden.has(marks.get(mark).label));
  let stop = null;

  function markOf(entity) {
    const type = typeOf(labels, entity.label);
    const element = el("mark", { class: "entity", tabindex: stop ? "-1" : "0", "data-tag": type.arabic });
    element.dataset.label = entity.label;
    element.dataset.entity = entity.id;
    stop ??= element;
    marks.set(element, entity);
    elements.get(groupKey(entity)).push(element);
    return paint(element, { "--c": type.colour });
  }
  function rove(mark) {
    if (stop?.hasAttribute("tabindex")) stop.tabIndex = -1;
    stop = mark;
    stop.tabIndex = 0;
  }
  function together(mark, on) {
    for (const other of elements.get(groupKey(marks.get(mark)))) other.classList.toggle("same", on);
  }
  function tell(event) {
    const mark = event.target.closest?.("mark.entity:not(.off)");
    if (!mark) return;
    together(mark, true);
    const around = [];
    for (let up = mark.parentElement; up !== root; up = up.parentElement) {
      if (marks.has(up) && !hidden.has(marks.get(up).label)) around.push(marks.get(up));
    }
    const entity = marks.get(mark);
    tip.show(mark, tipRows(entity, labels, around, mentions.get(groupKey(entity)).length), event.clientY);
    if (event.type === "focusin") rove(mark);
  }
  function quiet(event) {
    const mark = event.target.closest?.("mark.entity");
    if (!mark) return;
    together(mark, false);
    tip.hide(event.type === "focusout" ? 0 : 160);
  }
  function walk(event) {
    const shown = visible();
    const at = shown.indexOf(event.target);
    const to = { ArrowLeft: at + 1, ArrowDown: at + 1, ArrowRight: at - 1, ArrowUp: at - 1, Home: 0, End: shown.length - 1 };
    if (at < 0 || !(event.key in to) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    shown[Math.min(Math.max(to[event.key], 0), shown.length - 1)].focus();
  }
  function filter(label, shown) {
    if (shown) hidden.delete(label);
    else hidden.add(label);
    for (const [element, entity] of marks) {
      const off = hidden.has(entity.label);
      element.classList.toggle("off", off);
      if (off) element.removeAttribute("tabindex");
      else if (!element.hasAttribute("tabindex")) element.tabIndex = -1;
    }
    if (visible().length) rove(visible()[0]);
  }
  root.addEventListener("pointerover", tell);
  root.addEventListener("focusin", tell);
  root.addEventListener("pointerout", quiet);
  root.addEventListener("focusout", quiet);
  root.addEventListener("keydown", walk);
  return { markOf, filter, mentions };
}

const groupKey = (entity) => entity.mention_of ?? entity.id;

function groupBy(items, key) {
  const groups = new Map();
  for (const item of items) {
    if (!groups.has(key(item))) groups.set(key(item), []);
    groups.get(key(item)).push(item);
  }
  return groups;
}

function typeOf(labels, label) {
  return labels.entities?.[label] ?? labels.coarse?.[label] ?? { arabic: label, colour: "#64748b" };
}

// ---------------------------------------------------------------- the tooltip and the evidence bar

function times(count) {
  if (count === 2) return "مرتين";
  return `${number.format(count)} ${count <= 10 ? "مرات" : "مرة"}`;
}

/** What the tooltip says of an entity: its type, and rows of [name, value]. */
function tipRows(entity, labels, around, count) {
  const rows = [["الثقة", percent(entity.confidence)], ["الصيغة المعيارية", entity.normalized]];
  if (count > 1) rows.push(["ورد في المقال", times(count)]);
  for (const outer of around) rows.push(["ضمن", `${outer.text} (${typeOf(labels, outer.label).arabic})`]);
  return { type: typeOf(labels, entity.label), label: entity.label, rows };
}

const tip = {
  element: el("div", { class: "tip", id: "tip", role: "tooltip", hidden: true }),
  timer: 0,
  owner: null,
  show(mark, { type, label, rows }, y) {
    clearTimeout(this.timer);
    const list = el("dl");
    for (const [name, value] of rows) list.append(el("dt", {}, name), el("dd", {}, el("bdi", {}, value)));
    const code = el("code", { lang: "en", dir: "ltr" }, label);
    this.element.replaceChildren(el("p", { class: "kind" }, type.arabic, code), list);
    paint(this.element, { "--c": type.colour });
    this.element.hidden = false;
    this.owner?.removeAttribute("aria-describedby");
    this.owner = mark;
    mark.setAttribute("aria-describedby", "tip");
    this.place(y);
  },
  /** Below the owner's line at height y of the window, above it where there is no room. */
  place(y) {
    const boxes = [...this.owner.getClientRects()];
    const under = boxes.find((box) => y >= box.top && y <= box.bottom) ?? boxes[0];
    if (!under || under.bottom < 0 || under.top > window.innerHeight) return this.hide();
    const { offsetWidth: width, offsetHeight: height } = this.element;
    const left = Math.min(Math.max(under.right - width, 8), document.documentElement.clientWidth - width - 8);
    const below = under.bottom + 8;
    const top = below + height > window.innerHeight - 8 ? Math.max(under.top - height - 6, 8) : below;
    return paint(this.element, { left: `${left}px`, top: `${top}px` });
  },
  hide(delay = 0) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.element.hidden = true;
      this.owner?.removeAttribute("aria-describedby");
      this.owner = null;
    }, delay);
  },
};

/** The evidence that is lit now: of one stance or claim, with a bar to step through it. */
const lamp = {
  found: null, // {card, button, words, ranges: [[element, ...], ...]}
  at: 0,
  words: el("span", { class: "words" }),
  place: el("span", { class: "place" }),
  element: el("div", { class: "bar", role: "group", "aria-label": "الأدلة", hidden: true }),
  light(found, at, scroll) {
    if (this.found !== found) this.out();
    this.found = found;
    this.at = at;
    found.card.classList.add("lit");
    found.ranges.forEach((parts, i) => {
      for (const part of parts) {
        part.classList.add("lit");
        part.classList.remove("now");
      }
      if (i === at && found.ranges.length > 1) for (const part of parts) part.classList.add("now");
    });
    this.element.hidden = !found.ranges.length;
    this.words.textContent = found.words;
    const place = `${number.format(at + 1)} من ${number.format(found.ranges.length)}`;
    this.place.replaceChildren(el("span", { class: "word" }, "الدليل "), place);
    if (scroll && found.ranges.length) {
      found.ranges[at][0]?.scrollIntoView({ block: "center", behavior: calm.matches ? "auto" : "smooth" });
    }
  },
  step(by) {
    const count = this.found.ranges.length;
    this.light(this.found, (this.at + by + count) % count, true);
  },
  out() {
    if (!this.found) return;
    this.found.card.classList.remove("lit");
    for (const part of this.found.ranges.flat()) part.classList.remove("lit", "now");
    this.element.hidden = true;
    this.found = null;
  },
  close() {
    const button = this.found?.button;
    this.out();
    button?.focus({ preventScroll: false });
    this.out(); // focus lights the stance again
  },
};

// ---------------------------------------------------------------- the margin: topic, attitudes, legend

function meter(value) {
  return paint(el("span", { class: "meter", "aria-hidden": "true" }), { "--value": Math.min(Math.max(value, 0), 1) });
}

function heading(words, experimental) {
  const badge = el("span", { class: "badge", title: "هذا الجزء قيد التجربة وقد يخطئ كثيرًا" }, "تجريبي");
  return el("h3", {}, words, experimental ? badge : null);
}

function waiting(count, name = "div") {
  return Array.from({ length: count }, () => el(name, { class: "waiting", "aria-hidden": "true" }));
}

function topicSection(prediction, labels, experimental) {
  const list = el("div", { class: "topics" });
  const topics = prediction?.topics?.slice().sort((a, b) => b.confidence - a.confidence);
  topics?.slice(0, 3).forEach((topic, i) => {
    const share = el("span", { class: "percent" }, el("span", { class: "sr-only" }, "الثقة "), el("bdi", {}, percent(topic.confidence)));
    const name = el("strong", {}, labels.topics?.[topic.label] ?? topic.label);
    list.append(el("p", { class: i ? "topic lesser" : "topic" }, name, meter(topic.confidence), share));
  });
  if (!prediction) list.append(...waiting(1));
  else if (!topics?.length) list.append(el("p", { class: "none" }, "لم يُعرف الموضوع."));
  return el("section", { class: "topics-section" }, heading("الموضوع", experimental.includes("topic")), list);
}

/** A stance or a claim: pressing it (or coming to it by keyboard) lights and finds its evidence in the text. */
function attitudeCard({ about, label, arabic, confidence, ranges, quotes }) {
  const verdict = el("span", { class: "verdict" }, arabic);
  const share = el("span", { class: "percent" }, el("span", { class: "word" }, "الثقة "), el("bdi", {}, percent(confidence)));
  const button = el("button", { type: "button", "aria-expanded": "false" },
    el("span", { class: "about", dir: "auto" }, about), verdict,
    el("span", { class: "measure" }, meter(confidence), share));
  const list = el("ol", { class: "evidence", hidden: true });
  const card = el("li", { class: "attitude", "data-label": label }, button, list);
  const found = { card, button, words: `${about}: ${arabic}`, ranges };
  if (!quotes.length) list.append(el("li", {}, el("p", {}, WORDS.noEvidence)));
  quotes.forEach((quote, i) => {
    const jump = el("button", { type: "button", class: "quote", dir: "auto" }, `«${quote}»`);
    jump.addEventListener("click", () => lamp.light(found, i, true));
    list.append(el("li", {}, jump));
  });
  button.addEventListener("focus", () => {
    if (button.matches(":focus-visible") && lamp.found !== found) lamp.light(found, 0, wide.matches);
  });
  button.addEventListener("click", () => {
    const open = button.getAttribute("aria-expanded") !== "true";
    button.setAttribute("aria-expanded", String(open));
    list.hidden = !open;
    if (open) lamp.light(found, 0, true);
    else lamp.out();
  });
  return card;
}

function attitudeSection(title, cards, experimental) {
  const none = cards === null ? waiting(5, "li") : [el("li", { class: "none" }, WORDS.noStance)];
  const list = el("ul", { class: "attitudes" }, ...(cards?.length ? cards : none));
  return el("section", {}, heading(title, experimental), list);
}

function legendSection(prediction, labels, marks, sheet) {
  const legend = el("div", { class: "legend", role: "group", "aria-label": "أنواع الأسماء: ما يظهر في النص" });
  const top = heading("الأسماء", false);
  const section = el("section", {}, top, legend);
  if (!prediction) legend.append(...waiting(6, "span"));
  const groups = [...groupBy(prediction?.entities ?? [], (entity) => entity.label)];
  if (!groups.length) {
    if (prediction) legend.append(el("p", { class: "none" }, "لا أسماء في هذا النص."));
    return section;
  }
  const buttons = groups.sort((a, b) => b[1].length - a[1].length).map(([label, entities]) => {
    const type = typeOf(labels, label);
    const count = el("span", { class: "count" }, number.format(entities.length));
    const button = el("button", { type: "button", "aria-pressed": "true", title: label },
      el("span", { class: "swatch", "aria-hidden": "true" }), type.arabic, count);
    button.addEventListener("click", () => press(button, button.getAttribute("aria-pressed") !== "true"));
    button.dataset.label = label;
    return paint(button, { "--c": type.colour });
  });
  const all = el("button", { type: "button" }, "إخفاء الكل");
  const tags = el("button", { type: "button", "aria-pressed": "false" }, "الأنواع في النص");
  function press(button, shown) {
    button.setAttribute("aria-pressed", String(shown));
    marks.filter(button.dataset.label, shown);
    all.textContent = anyShown() ? "إخفاء الكل" : "إظهار الكل";
  }
  const anyShown = () => buttons.some((button) => button.getAttribute("aria-pressed") === "true");
  all.addEventListener("click", () => {
    const shown = !anyShown();
    for (const button of buttons) press(button, shown);
  });
  tags.addEventListener("click", () => tags.setAttribute("aria-pressed", String(sheet.classList.toggle("tags"))));
  legend.append(...buttons);
  section.insertBefore(el("div", { class: "heading" }, top, el("div", { class: "legend-tools" }, tags, all)), legend);
  return section;
}

/** The distinct names of the article as a table: for a glance, for print and for screen readers. */
function namesTable(mentions, labels) {
  const body = el("tbody");
  const rows = [...mentions].sort((a, b) => b[1].length - a[1].length);
  for (const [key, entities] of rows) {
    const chief = entities.find((entity) => entity.id === key) ?? entities[0];
    const type = typeOf(labels, chief.label);
    const tag = paint(el("span", { class: "tag" }, type.arabic), { "--c": type.colour });
    body.append(el("tr", {}, el("th", { scope: "row" }, el("bdi", {}, chief.normalized || chief.text)),
      el("td", {}, tag), el("td", {}, number.format(entities.length))));
  }
  const head = ["الاسم", "النوع", "مرات وروده"].map((words) => el("th", { scope: "col" }, words));
  const table = el("table", {}, el("thead", {}, el("tr", {}, ...head)), body);
  return el("details", { class: "names" }, el("summary", {}, `قائمة الأسماء (${number.format(rows.length)})`), table);
}

/** An article with its prediction; without one (null) the text stands as it will and the margin waits. */
function reading(article, prediction, labels, model) {
  const text = article.text;
  const toUtf16 = reader(text);
  const experimental = model?.experimental ?? [];
  const sheet = el("article", { class: "sheet", "aria-label": "المقال" });
  const body = el("div", { class: "text" });
  const entities = prediction?.entities ?? [];
  const marks = marksOf(body, labels, entities);
  const placed = entities.map((entity) => ({ entity, range: toUtf16(entity.start, entity.end) }));
  const spans = placed.filter((p) => p.range).map(({ entity, range: [start, end] }) => ({ entity, start, end }));
  const evidence = [];
  const found = (attitude, about, names) => {
    const ranges = attitude.evidence.map(([start, end]) => toUtf16(start, end)).filter((range) => range);
    const pieces = ranges.map(([start, end]) => ({ start, end, parts: [] }));
    evidence.push(...pieces);
    const quotes = ranges.map(([start, end]) => text.slice(start, end).replace(/\s+/g, " ").trim());
    const arabic = names?.[attitude.label] ?? attitude.label;
    return { ...attitude, about, arabic, quotes, ranges: pieces.map((piece) => piece.parts) };
  };
  const stances = prediction?.stances.map((stance) => found(stance, stance.target, labels.stances));
  const claims = prediction?.claims.map((claim) => found(claim, claim.claim, labels.claims)) ?? [];

  const titled = Boolean(article.title?.trim()) && !text.trimStart().startsWith(article.title.trim());
  if (titled) body.append(el("h2", { dir: "auto" }, article.title));
  const view = { text, spans, evidence, markOf: marks.markOf };
  body.append(...linesOf(text, titled).map((line) => drawLine(line, view)));
  sheet.append(body);
  if (entities.length) {
    sheet.append(el("p", { class: "sr-only" }, "الأسهم تنتقل من اسم إلى اسم."), namesTable(marks.mentions, labels));
  }
  const margin = el("aside", { class: "margin", "aria-label": "ما قُرئ في المقال" },
    topicSection(prediction, labels, experimental),
    attitudeSection("الموقف من", stances?.map(attitudeCard) ?? null, experimental.includes("stance")),
    claims.length ? attitudeSection("المقولة", claims.map(attitudeCard), experimental.includes("claim")) : null,
    legendSection(prediction, labels, marks, sheet));
  return el("div", { class: "reading", "aria-busy": prediction ? null : "true" }, margin, sheet);
}

/** What went wrong: plain Arabic, and behind it the service's own English words. */
function drawFailure(box, { plain, message, requestId }, retry) {
  const detail = [message, requestId && `request_id: ${requestId}`].filter(Boolean).join(" · ");
  const behind = el("details", {}, el("summary", {}, "رسالة الخدمة"), el("code", { lang: "en" }, detail));
  box.replaceChildren(el("p", {}, plain), ...(detail ? [behind] : []));
  if (retry) {
    const again = el("button", { type: "button", class: "quiet" }, "أعد المحاولة");
    again.addEventListener("click", retry);
    box.append(again);
  }
  box.hidden = false;
}

function articleFailure(message) {
  const known = PLAIN_ARTICLE.find(([pattern]) => pattern.test(message));
  return { plain: known ? known[1] : "لم يُقرأ هذا المقال.", message };
}

function showModel(model) {
  const name = el("bdi", {}, `${model.name ?? ""} ${model.version ?? ""}`.trim());
  byId("model").replaceChildren("النموذج: ", name);
}

// ---------------------------------------------------------------- static: a file of articles

function firstLine(article) {
  return article.title?.trim() || article.text.trim().split("\n", 1)[0].slice(0, 160) || article.id || "";
}

function startStatic({ items, labels, model }) {
  showModel(model);
  const draw = ({ article, prediction }) => {
    if (!prediction.error) return reading(article, prediction, labels, model);
    const box = el("div", { class: "failure" });
    drawFailure(box, articleFailure(prediction.error));
    return box;
  };
  if (items.length === 1) {
    byId("reading").append(draw(items[0]));
    return;
  }
  const shelf = el("ol", { class: "shelf" });
  for (const item of items) {
    const topic = item.prediction.topics[0];
    const brief = item.prediction.error ? "لم يُقرأ"
      : [topic && (labels.topics[topic.label] ?? topic.label), `الأسماء: ${number.format(item.prediction.entities.length)}`]
        .filter(Boolean).join(" · ");
    const summary = el("summary", {}, el("span", { class: "name" }, el("bdi", {}, firstLine(item.article))),
      el("span", { class: "brief" }, brief));
    const details = el("details", {}, summary);
    const open = () => details.children.length === 1 && details.append(draw(item));
    details.addEventListener("toggle", () => details.open && open());
    window.addEventListener("beforeprint", () => { open(); details.open = true; });
    shelf.append(el("li", {}, details));
  }
  shelf.querySelector("details")?.setAttribute("open", "");
  byId("reading").append(shelf);
}

// ---------------------------------------------------------------- live: the service behind

/** The JSON of an answer; throws {plain, message, requestId} when there is none. */
async function ask(path, body) {
  const options = { signal: AbortSignal.timeout(TIMEOUT_MS), headers: { Accept: "application/json" } };
  if (body) Object.assign(options, { method: "POST", body: JSON.stringify(body) });
  if (body) options.headers["Content-Type"] = "application/json";
  let response;
  let answer = null;
  try {
    response = await fetch(path, options);
    answer = await response.json().catch(() => null);
  } catch (error) {
    throw { plain: PLAIN[error.name === "TimeoutError" ? 408 : 0], message: String(error.message ?? error) };
  }
  if (response.ok && answer !== null) return answer;
  const plain = PLAIN[response.status] ?? PLAIN[response.status >= 500 || response.ok ? 500 : 400];
  const error = answer?.error ?? {};
  const parts = [error.code, error.field, error.message ?? `HTTP ${response.status}`].filter(Boolean);
  throw { plain, message: parts.join(": "), requestId: error.request_id };
}

/** The one prediction of an article; throws like `ask`. */
async function tag(article) {
  const request = { id: "page", text: article.text, targets: article.targets ?? "auto" };
  if (article.title) request.title = article.title;
  if (article.claims?.length) request.claims = article.claims;
  const { results } = await ask("v1/tag", { articles: [request], options: {} });
  if (results[0].error) throw articleFailure(results[0].error);
  return results[0];
}

function startLive() {
  const place = byId("reading");
  const state = { labels: {}, model: {}, known: false, seed: null, turn: 0 };
  const say = (words) => (byId("status").textContent = words);
  function show(article, prediction) {
    lamp.out();
    tip.hide();
    place.replaceChildren(reading(article, prediction, state.labels, state.model));
  }
  function emptySheet() {
    const sheet = el("article", { class: "sheet" }, el("div", { class: "text" }, ...waiting(9)));
    const drawn = reading({ text: "" }, null, {}, {});
    drawn.querySelector(".sheet").replaceWith(sheet);
    place.replaceChildren(drawn);
  }
  async function learn() {
    if (state.known) return;
    const [labels, model] = await Promise.all([ask("v1/labels"), ask("v1/model")]);
    Object.assign(state, { labels, model, known: true });
    showModel(model);
  }
  /** The text stays if it came; boxes that would wait for ever go. */
  function giveUp(error) {
    place.querySelectorAll(".margin, .sheet:has(.waiting)").forEach((box) => box.remove());
    place.firstElementChild?.removeAttribute("aria-busy");
    drawFailure(byId("failure"), failureOf(error), readSeed);
  }
  async function readSeed() {
    const turn = ++state.turn;
    byId("failure").hidden = true;
    emptySheet();
    say("يُقرأ المقال");
    try {
      const [article] = await Promise.all([ask("v1/seed"), learn()]);
      if (turn !== state.turn) return;
      show(article, null);
      state.seed = { article, prediction: await tag(article) };
      if (turn !== state.turn) return;
      show(article, state.seed.prediction);
      say("قُرئ المقال");
    } catch (error) {
      if (turn === state.turn) giveUp(error);
      say("");
    }
  }
  function toSeed() {
    byId("back").hidden = true;
    if (!state.seed) return readSeed();
    state.turn += 1;
    show(state.seed.article, state.seed.prediction);
    window.scrollTo({ top: 0 });
    place.focus({ preventScroll: true });
    return null;
  }
  async function readPasted(article) {
    const turn = ++state.turn;
    const [prediction] = await Promise.all([tag(article), learn()]);
    if (turn !== state.turn) return;
    byId("failure").hidden = true;
    byId("back").hidden = false;
    show(article, prediction);
    byId("panel").close();
    say("قُرئ المقال");
    window.scrollTo({ top: 0 });
    place.focus({ preventScroll: true });
  }
  byId("back").addEventListener("click", toSeed);
  startPanel(readPasted);
  readSeed();
}

function failureOf(error) {
  return error.plain ? error : { plain: PLAIN[500], message: String(error) };
}

/** The dialog in which another article is pasted; `send` reads it or throws. */
function startPanel(send) {
  const [panel, form, text, problem] = [byId("panel"), byId("form"), byId("text"), byId("problem")];
  const submit = byId("submit");
  let busy = false;
  const codePoints = () => codePointTable(text.value).length - 1;
  const count = () => {
    byId("count").textContent = `${number.format(codePoints())} من ${number.format(MAX_CODE_POINTS)} رمز`;
  };
  const setBusy = (on) => {
    busy = on;
    form.setAttribute("aria-busy", String(on));
    submit.setAttribute("aria-disabled", String(on));
    submit.textContent = on ? "يُقرأ المقال…" : "حلّل";
  };
  const claimOf = () => byId("claim").value.trim();
  const targetsOf = () => byId("targets").value.split("\n").map((line) => line.trim()).filter(Boolean);
  async function read(event) {
    event.preventDefault();
    if (busy) return;
    problem.hidden = true;
    if (!text.value.trim()) {
      drawFailure(problem, { plain: PLAIN_ARTICLE[0][1] });
      text.focus();
      return;
    }
    if (codePoints() > MAX_CODE_POINTS) {
      drawFailure(problem, { plain: PLAIN_ARTICLE[1][1] });
      text.focus();
      return;
    }
    setBusy(true);
    try {
      const targets = targetsOf();
      await send({ text: text.value, targets: targets.length ? targets : "auto", claims: claimOf() ? [claimOf()] : [] });
    } catch (error) {
      drawFailure(problem, failureOf(error));
      problem.scrollIntoView({ block: "nearest" });
    } finally {
      setBusy(false);
    }
  }
  form.addEventListener("submit", read);
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) read(event);
  });
  text.addEventListener("input", count);
  byId("close").addEventListener("click", () => panel.close());
  byId("open").addEventListener("click", () => {
    panel.showModal();
    text.focus();
    count();
  });
}

// ---------------------------------------------------------------- begin

function begin() {
  const buttons = [
    ["السابق", "›", () => lamp.step(-1)],
    ["التالي", "‹", () => lamp.step(1)],
    ["إطفاء الأدلة", "×", () => lamp.close()],
  ];
  lamp.element.append(el("p", { role: "status" }, lamp.words, lamp.place));
  for (const [name, sign, act] of buttons) {
    const button = el("button", { type: "button", "aria-label": name, title: name, dir: "ltr" }, sign);
    button.addEventListener("click", act);
    lamp.element.append(button);
  }
  tip.element.addEventListener("pointerenter", () => clearTimeout(tip.timer));
  tip.element.addEventListener("pointerleave", () => tip.hide(120));
  document.body.append(tip.element, lamp.element);
  window.addEventListener("scroll", () => tip.owner && tip.place(), { passive: true });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || byId("panel")?.open) return;
    if (!tip.element.hidden) tip.hide();
    else if (lamp.found) lamp.close();
  });
  window.addEventListener("beforeprint", () => {
    for (const names of document.querySelectorAll(".names")) names.open = true;
  });
  const data = byId("khabar-data");
  if (data) startStatic(JSON.parse(data.textContent));
  else startLive();
}

begin();
