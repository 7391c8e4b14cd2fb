"use strict";
/* The marks of an article: one tab stop, arrows walk, hover and focus tell, mentions of one name answer together. */

const groupKey = (entity) => entity.mention_of ?? entity.id;

function marksOf(root, labels, entities, filter) {
  const marks = new Map(); // element -> entity, in the order of the text
  const mentions = groupBy(entities, groupKey);
  const elements = new Map(entities.map((entity) => [entity.id, []]));
  const shows = (mark) => filter.passes(marks.get(mark));
  const visible = () => [...marks.keys()].filter(shows);
  let stop = null;

  function markOf(entity) {
    const type = typeOf(labels, entity.label);
    const mark = el("mark", { class: "entity", tabindex: stop ? "-1" : "0", "data-tag": type.arabic });
    mark.dataset.label = entity.label;
    mark.dataset.entity = entity.id;
    stop ??= mark;
    marks.set(mark, entity);
    elements.get(entity.id).push(mark);
    return paint(mark, { "--c": type.colour });
  }
  function rove(mark) {
    if (stop?.hasAttribute("tabindex")) stop.tabIndex = -1;
    stop = mark;
    stop.tabIndex = 0;
  }
  function together(mark, on) {
    for (const other of mentions.get(groupKey(marks.get(mark)))) {
      for (const element of elements.get(other.id)) element.classList.toggle("same", on);
    }
  }
  function tell(event) {
    const mark = event.target.closest?.("mark.entity:not(.off)");
    if (!mark) return;
    together(mark, true);
    const around = [];
    for (let up = mark.parentElement; up !== root; up = up.parentElement) {
      if (marks.has(up) && shows(up)) around.push(marks.get(up));
    }
    const entity = marks.get(mark);
    const count = mentions.get(groupKey(entity)).filter(filter.passes).length;
    tip.show(mark, tipRows(entity, labels, around, count), event.clientY);
    if (event.type === "focusin") rove(mark);
  }
  function quiet(event) {
    const mark = event.target.closest?.("mark.entity");
    if (!mark || event.pointerType === "touch") return; // a finger that is lifted stays where it was
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
  function update() {
    for (const mark of marks.keys()) {
      const off = !shows(mark);
      mark.classList.toggle("off", off);
      if (off) mark.removeAttribute("tabindex");
      else if (!mark.hasAttribute("tabindex")) mark.tabIndex = -1;
    }
    if (stop && shows(stop)) rove(stop);
    else if (visible().length) rove(visible()[0]);
  }
  root.addEventListener("pointerover", tell);
  root.addEventListener("focusin", tell);
  root.addEventListener("pointerout", quiet);
  root.addEventListener("focusout", quiet);
  root.addEventListener("keydown", walk);
  filter.onChange(update);
  return { markOf, update, elementsOf: (id) => elements.get(id) ?? [] };
}
