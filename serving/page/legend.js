"use strict";
/* The legend: which types of names the text shows, and from which confidence on. */

function legendSection(prediction, labels, look, filter, sheet) {
  const legend = el("div", { class: "legend", role: "group", "aria-label": "أنواع الأسماء: ما يظهر في النص" });
  const section = el("section", { class: "legend-section" }, heading("الأسماء", false), legend);
  if (!prediction) legend.append(...waiting(6, "span"));
  const types = [...groupBy(prediction?.entities ?? [], (entity) => entity.label)];
  if (!types.length) {
    if (prediction) legend.append(el("p", { class: "none" }, "لا أسماء في هذا النص."));
    return section;
  }
  types.sort((a, b) => b[1].length - a[1].length);
  const buttons = types.map(([label, entities]) => typeButton(label, entities, labels, look, filter));
  const tools = legendTools(types.map(([label]) => label), look, filter, sheet);
  legend.append(...buttons);
  const top = heading("الأسماء", false);
  top.append(shownCount(prediction.entities, filter));
  section.replaceChildren(el("div", { class: "heading" }, top, tools), legend, leastField(look, filter));
  return section;
}

function typeButton(label, entities, labels, look, filter) {
  const type = typeOf(labels, label);
  const count = el("span", { class: "count" });
  const toggle = button({ title: label, "data-label": label }, () => filter.setShown([label], look.hidden.has(label)),
    el("span", { class: "swatch", "aria-hidden": "true" }), type.arabic, count);
  const update = () => {
    const sure = entities.filter(filter.sure).length;
    count.textContent = number.format(sure);
    toggle.setAttribute("aria-pressed", String(!look.hidden.has(label)));
    toggle.classList.toggle("empty", !sure);
  };
  filter.onChange(update);
  update();
  return paint(toggle, { "--c": type.colour });
}

function legendTools(names, look, filter, sheet) {
  const anyShown = () => names.some((name) => !look.hidden.has(name));
  const all = button({}, () => filter.setShown(names, !anyShown()));
  const tags = button({}, () => {
    look.tags = !look.tags;
    update();
  }, "الأنواع في النص");
  function update() {
    all.textContent = anyShown() ? "إخفاء الكل" : "إظهار الكل";
    tags.setAttribute("aria-pressed", String(look.tags));
    sheet.classList.toggle("tags", look.tags);
  }
  filter.onChange(update);
  update();
  return el("div", { class: "legend-tools" }, tags, all);
}

/** How many names the text shows, and of how many where some are hidden; told when it changes. */
function shownCount(entities, filter) {
  const told = el("output", { class: "count" });
  const update = () => {
    const [shown, whole] = [entities.filter(filter.passes).length, entities.length];
    told.textContent = shown === whole ? number.format(whole) : `${number.format(shown)} من ${number.format(whole)}`;
  };
  filter.onChange(update);
  update();
  return told;
}

/** The slider of the least confidence a name is shown with. */
function leastField(look, filter) {
  const slider = el("input", { type: "range", min: "0", max: "100", step: "1" });
  const value = el("bdi", { class: "value", "aria-hidden": "true" });
  slider.value = String(Math.round(look.least * 100));
  const update = () => {
    value.textContent = percent(look.least);
    slider.setAttribute("aria-valuetext", percent(look.least));
    paint(slider, { "--value": look.least });
  };
  slider.addEventListener("input", () => filter.setLeast(Number(slider.value) / 100));
  filter.onChange(update);
  update();
  return el("div", { class: "least" }, el("label", {}, el("span", {}, "أدنى ثقة"), slider, value));
}
