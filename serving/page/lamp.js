"use strict";
/* What is lit in the text: the evidence of a stance or claim, or the mentions of a name; a bar steps through it. */

const lamp = {
  found: null, // {card, button, words, unit, ranges: [[element, ...], ...]}
  at: 0,
  words: el("span", { class: "words" }),
  place: el("span", { class: "place" }),
  element: el("div", { class: "bar", role: "group", "aria-label": "مواضع في النص", hidden: true }),
  light(found, at, scroll) {
    if (this.found !== found) this.out();
    this.found = found;
    this.at = at;
    found.card.classList.add("lit");
    found.ranges.forEach((parts, i) => {
      for (const part of parts) {
        part.classList.add("lit");
        part.classList.toggle("now", i === at && found.ranges.length > 1);
      }
    });
    this.element.hidden = !found.ranges.length;
    this.words.textContent = found.words;
    const place = `${number.format(at + 1)} من ${number.format(found.ranges.length)}`;
    this.place.replaceChildren(el("span", { class: "word" }, `${found.unit} `), place);
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
    this.out(); // focus lights a stance again
  },
};

function startLamp() {
  const buttons = [
    ["السابق", "›", () => lamp.step(-1)],
    ["التالي", "‹", () => lamp.step(1)],
    ["إطفاء", "×", () => lamp.close()],
  ];
  lamp.element.append(el("p", { role: "status" }, lamp.words, lamp.place));
  for (const [name, sign, act] of buttons) {
    lamp.element.append(button({ "aria-label": name, title: name, dir: "ltr" }, act, sign));
  }
  document.body.append(lamp.element);
}
