"use strict";
/* The index of names: each once, with its type, how often it is named and how much of the article turns on it. */

const FIRST_ROWS = 12; // the others come when asked for
const COLUMNS = [
  // the key of the sort, its words, and whether it begins with the greatest
  ["name", "الاسم", false],
  ["type", "النوع", false],
  ["count", "مرات وروده", true],
  ["salience", "بروزه في المقال", true],
];

function namesSection(prediction, labels, look, filter, marks) {
  const body = el("tbody");
  const more = button({ class: "quiet more" }, () => {
    look.all = !look.all;
    draw();
  });
  const places = new Map(prediction.entities.map((entity) => [entity.id, entity]));
  const most = Math.max(...prediction.groups.map((group) => group.salience));
  const rows = prediction.groups.map((group) => nameRow(group, most, labels, marks, places, filter));
  const heads = COLUMNS.map(([key, words, down]) => sortHead(key, words, down, look, draw));
  function draw() {
    for (const row of rows) row.update();
    for (const head of heads) head.update();
    const shown = rows.filter((row) => row.count).sort(orderOf(look));
    const cut = look.all ? shown : shown.slice(0, FIRST_ROWS);
    body.replaceChildren(...cut.map((row) => row.element));
    if (!shown.length) body.append(el("tr", {}, el("td", { colspan: "4", class: "none" }, "لا أسماء تظهر الآن.")));
    more.hidden = shown.length <= FIRST_ROWS;
    more.textContent = look.all ? "اختصر القائمة" : `كل الأسماء (${number.format(shown.length)})`;
    more.setAttribute("aria-expanded", String(look.all));
  }
  filter.onChange(() => {
    if (rows.some((row) => row.found === lamp.found)) lamp.out(); // its mentions may be hidden now
    draw();
  });
  draw();
  const title = el("h2", {}, "فهرس الأسماء");
  const hint = el("p", { class: "hint" }, "اضغط اسمًا لتمرّ على مواضعه في النص.");
  const table = el("table", { "aria-label": "فهرس الأسماء" },
    el("thead", {}, el("tr", {}, ...heads.map((head) => head.element))), body);
  const section = el("section", { class: "names" }, title, hint, table, more);
  section.showAll = () => {
    look.all = true;
    draw();
  };
  return section;
}

function orderOf(look) {
  const by = { name: (a, b) => a.name.localeCompare(b.name, "ar"), type: (a, b) => a.type.localeCompare(b.type, "ar"),
    count: (a, b) => a.count - b.count, salience: (a, b) => a.salience - b.salience };
  const sign = look.down ? -1 : 1;
  return (a, b) => sign * by[look.sort](a, b) || b.salience - a.salience;
}

function sortHead(key, words, down, look, draw) {
  const element = el("th", { scope: "col" });
  element.append(button({}, () => {
    look.down = look.sort === key ? !look.down : down;
    look.sort = key;
    draw();
  }, words, el("span", { class: "arrow", "aria-hidden": "true" })));
  const update = () => {
    if (look.sort === key) element.setAttribute("aria-sort", look.down ? "descending" : "ascending");
    else element.removeAttribute("aria-sort");
  };
  return { element, update };
}

/** One name: pressing it lights its mentions that are shown, and again goes to the next of them.

    `most` is the greatest salience, which fills the meter. */
function nameRow(group, most, labels, marks, places, filter) {
  const type = typeOf(labels, group.label);
  const row = { name: group.name, type: type.arabic, salience: group.salience, count: 0 };
  const go = button({ class: "name", dir: dirOf(group.name) }, () => {
    if (lamp.found === row.found) return lamp.step(1);
    row.found.ranges = shown().map((id) => marks.elementsOf(id)).filter((elements) => elements.length);
    return lamp.light(row.found, 0, true);
  }, group.name);
  const count = el("td", { class: "count" });
  const share = percent(group.salience);
  row.element = el("tr", { "data-group": group.id },
    el("th", { scope: "row" }, go),
    el("td", {}, paint(el("span", { class: "tag" }, type.arabic), { "--c": type.colour })),
    count,
    el("td", { class: "salience" }, el("span", {}, meter(group.salience / most), el("bdi", {}, share))));
  row.found = { card: row.element, button: go, words: group.name, unit: "الموضع", ranges: [] };
  const shown = () => group.mentions.filter((id) => places.has(id) && filter.passes(places.get(id)));
  row.update = () => {
    row.count = shown().length;
    count.textContent = number.format(row.count);
  };
  return row;
}
