"use strict";
/* What the article is about, and what it feels and says: topic, stances and claims with their evidence. */

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

/** A stance or claim with its evidence: what it quotes, and pieces of the text whose parts come when they are drawn. */
function foundIn(text, toUtf16, attitude, about, names) {
  const ranges = attitude.evidence.map(([start, end]) => toUtf16(start, end)).filter((range) => range);
  const pieces = ranges.map(([start, end]) => ({ start, end, parts: [] }));
  const quotes = ranges.map(([start, end]) => text.slice(start, end).replace(/\s+/g, " ").trim());
  return { ...attitude, about, arabic: names?.[attitude.label] ?? attitude.label, quotes, pieces };
}

/** A stance or a claim: pressing it (or coming to it by keyboard) lights and finds its evidence in the text. */
function attitudeCard({ about, label, arabic, confidence, pieces, quotes }) {
  const verdict = el("span", { class: "verdict" }, arabic);
  const share = el("span", { class: "percent" }, el("span", { class: "word" }, "الثقة "), el("bdi", {}, percent(confidence)));
  const opener = el("button", { type: "button", "aria-expanded": "false" },
    el("span", { class: "about", dir: dirOf(about) }, about), verdict,
    el("span", { class: "measure" }, meter(confidence), share));
  const list = el("ol", { class: "evidence", hidden: true });
  const card = el("li", { class: "attitude", "data-label": label }, opener, list);
  const ranges = pieces.map((piece) => piece.parts);
  const found = { card, button: opener, words: `${about}: ${arabic}`, unit: "الدليل", ranges };
  if (!quotes.length) list.append(el("li", {}, el("p", {}, "لم تُحدَّد جمل بعينها.")));
  quotes.forEach((quote, i) => {
    const jump = () => lamp.light(found, i, true);
    list.append(el("li", {}, button({ class: "quote", dir: dirOf(quote) }, jump, `«${quote}»`)));
  });
  opener.addEventListener("focus", () => {
    if (opener.matches(":focus-visible") && lamp.found !== found) lamp.light(found, 0, wide.matches);
  });
  opener.addEventListener("click", () => {
    const open = opener.getAttribute("aria-expanded") !== "true";
    opener.setAttribute("aria-expanded", String(open));
    list.hidden = !open;
    if (open) lamp.light(found, 0, true);
    else lamp.out();
  });
  return card;
}

/** A list of stances or claims (null: they are awaited) and, under it, what can be asked. */
function attitudeSection(title, found, experimental, asking = null) {
  const none = found === null ? waiting(5, "li") : [el("li", { class: "none" }, "لم يُسأل عن موقف، أو لم يُذكر من يُسأل عنه.")];
  const list = el("ul", { class: "attitudes" }, ...(found?.length ? found.map(attitudeCard) : none));
  return el("section", { class: "attitudes-section" }, heading(title, experimental), list, asking);
}

/** A field for a target of the reader's own; `ask` has the article read for it and draws it anew, or throws. */
function targetField(names, ask) {
  const field = el("input", { type: "text", autocomplete: "off", list: "target-names",
    "aria-describedby": "target-hint target-problem" });
  turning(field);
  const send = el("button", { type: "submit", class: "primary" }, "اسأل");
  const problem = el("div", { class: "failure", id: "target-problem", role: "alert", hidden: true });
  const options = names.map((name) => el("option", { value: name }));
  const form = el("form", { class: "asking", novalidate: true },
    el("label", {}, "اسم أو عبارة", field), send,
    el("datalist", { id: "target-names" }, ...options));
  async function submit(event) {
    event?.preventDefault();
    const words = field.value.replace(/\s+/g, " ").trim();
    if (form.getAttribute("aria-busy") === "true") return;
    problem.hidden = true;
    if (!words) {
      drawFailure(problem, { plain: "اكتب من تسأل عن الموقف منه." });
      field.focus();
      return;
    }
    form.setAttribute("aria-busy", "true");
    send.setAttribute("aria-disabled", "true");
    send.textContent = "يُقرأ…";
    try {
      await ask(words);
    } catch (error) {
      drawFailure(problem, failureOf(error), error.needsKey ? submit : null);
    } finally {
      form.removeAttribute("aria-busy");
      send.removeAttribute("aria-disabled");
      send.textContent = "اسأل";
    }
  }
  form.addEventListener("submit", submit);
  const hint = el("p", { class: "hint", id: "target-hint" }, "يُسأل عن موقف المقال منه، وتبقى الأهداف الأخرى.");
  const box = el("details", { class: "own-target" }, el("summary", {}, "أضف هدفًا"), form, hint, problem);
  box.addEventListener("toggle", () => box.open && field.focus());
  return box;
}
