"use strict";
/* Elements, numbers and groups: what the other scripts are built from. Text enters the page through text nodes only. */

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

/** The side from which words are read: that of Arabic wherever there is any, whatever name they begin with. */
function dirOf(words) {
  return /\p{Script=Arabic}/u.test(words) || !/\p{L}/u.test(words) ? "rtl" : "ltr";
}

/** Lets a field turn to the side of what is written in it. */
function turning(field) {
  const turn = () => (field.dir = dirOf(field.value));
  field.addEventListener("input", turn);
  turn();
}

/** A button that does something; `attributes` as for `el`. */
function button(attributes, act, ...children) {
  const element = el("button", { type: "button", ...attributes }, ...children);
  element.addEventListener("click", act);
  return element;
}

function heading(words, experimental) {
  const badge = el("span", { class: "badge", title: "هذا الجزء قيد التجربة وقد يخطئ كثيرًا" }, "تجريبي");
  return el("h2", {}, words, experimental ? badge : null);
}

/** Boxes that stand where something will come. */
function waiting(count, name = "div") {
  return Array.from({ length: count }, () => el(name, { class: "waiting", "aria-hidden": "true" }));
}

function meter(value) {
  return paint(el("span", { class: "meter", "aria-hidden": "true" }), { "--value": Math.min(Math.max(value, 0), 1) });
}

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
