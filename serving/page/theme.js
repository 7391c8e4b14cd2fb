"use strict";
/* Light or dark: what the system says until the reader chooses otherwise. Runs in the head, before anything is
   painted; the choice is remembered where the browser lets a page remember. */

const theme = {
  name: "khabar.theme", // of the choice in the storage
  system: window.matchMedia("(prefers-color-scheme: dark)"),
  chosen: null, // "light" or "dark"; null: as the system
  recall() {
    try {
      const kept = window.localStorage.getItem(this.name);
      this.chosen = ["light", "dark"].includes(kept) ? kept : null;
    } catch {
      this.chosen = null; // no storage here: a file, or a browser that forbids it
    }
  },
  keep() {
    try {
      if (this.chosen === null) window.localStorage.removeItem(this.name);
      else window.localStorage.setItem(this.name, this.chosen);
    } catch {
      // the choice holds until the page is closed
    }
  },
  bySystem() {
    return this.system.matches ? "dark" : "light";
  },
  apply() {
    const now = this.chosen ?? this.bySystem();
    document.documentElement.dataset.theme = now;
    document.getElementById("theme")?.setAttribute("aria-pressed", String(now === "dark"));
  },
  /** The other of the two; one that the system has anyway is followed again. */
  turn() {
    const other = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    this.chosen = other === this.bySystem() ? null : other;
    this.keep();
    this.apply();
  },
  start() {
    document.getElementById("theme").addEventListener("click", () => this.turn());
    this.apply();
  },
};

theme.recall();
theme.apply();
theme.system.addEventListener("change", () => theme.apply());
