"use strict";
/* The box that tells of the mark under the pointer or the focus. */

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

function startTip() {
  tip.element.addEventListener("pointerenter", () => clearTimeout(tip.timer));
  tip.element.addEventListener("pointerleave", () => tip.hide(120));
  document.body.append(tip.element);
  window.addEventListener("scroll", () => tip.owner && tip.place(), { passive: true });
}
