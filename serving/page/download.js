"use strict";
/* What is shown, as a file: made in the page, sent to nobody. */

const CSV_COLUMNS = ["kind", "id", "about", "label", "coarse", "confidence", "start", "end", "text", "normalized", "mention_of"];

/** The buttons that give what is shown of an article; offsets in the files are those of the service: code points. */
function downloads(article, prediction, model, filter) {
  const shown = () => shownOf(prediction, filter);
  const json = () => {
    const answer = { article: { title: article.title ?? null, text: article.text }, result: shown(),
      model: { name: model?.name ?? null, version: model?.version ?? null } };
    saveFile("khabar.json", "application/json", `${JSON.stringify(answer, null, 2)}\n`);
  };
  const csv = () => saveFile("khabar.csv", "text/csv;charset=utf-8", `\ufeff${csvOf(article.text, shown())}`);
  return el("div", { class: "downloads", role: "group", "aria-label": "تنزيل ما يظهر الآن" },
    el("span", { "aria-hidden": "true" }, "تنزيل ما يظهر:"),
    button({ class: "quiet", "aria-label": "تنزيل بصيغة JSON" }, json, el("bdi", { lang: "en" }, "JSON")),
    button({ class: "quiet", "aria-label": "تنزيل بصيغة CSV" }, csv, el("bdi", { lang: "en" }, "CSV")));
}

function saveFile(name, type, content) {
  const address = URL.createObjectURL(new Blob([content], { type }));
  el("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60000);
}

/** One table of all that was read: a row for each entity and topic, and for each sentence of a stance or claim. */
function csvOf(text, { entities, topics, stances, claims }) {
  const points = [...text];
  const attitude = (kind, about, { label, confidence, evidence }) =>
    (evidence.length ? evidence : [[null, null]]).map(([start, end]) => ({ kind, about, label, confidence, start, end,
      text: start === null ? null : points.slice(start, end).join("") }));
  const rows = [
    ...topics.map(({ label, confidence }) => ({ kind: "topic", label, confidence })),
    ...stances.flatMap((stance) => attitude("stance", stance.target, stance)),
    ...claims.flatMap((claim) => attitude("claim", claim.claim, claim)),
    ...entities.map((entity) => ({ kind: "entity", ...entity })),
  ];
  const lines = rows.map((row) => CSV_COLUMNS.map((column) => csvCell(row[column] ?? "")).join(","));
  return [CSV_COLUMNS.join(","), ...lines, ""].join("\r\n");
}

/** A cell in quotes where it needs them; what a spreadsheet would take for a formula begins with an apostrophe. */
function csvCell(value) {
  const plain = typeof value === "string" && /^[=+\-@\t\r\n＝＋－＠]/u.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
}
