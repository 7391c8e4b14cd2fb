"use strict";
/* One article with what was read in it: the sheet, its margin and its index of names. */

/** An article drawn; without a prediction (null) the text stands as it will and the margin waits.

    `look` is how the reader looks at it; `askTarget`, where there is a service, asks for one more target. */
function reading({ article, prediction, look }, labels, model, askTarget = null) {
  const text = article.text;
  const toUtf16 = reader(text);
  const filter = filterOf(look);
  const experimental = model?.experimental ?? [];
  const sheet = el("article", { class: "sheet", "aria-label": "المقال" });
  const body = el("div", { class: "text" });
  const entities = prediction?.entities ?? [];
  const marks = marksOf(body, labels, entities, filter);
  const find = (attitude, about, names) => foundIn(text, toUtf16, attitude, about, names);
  const stances = prediction?.stances.map((stance) => find(stance, stance.target, labels.stances)) ?? null;
  const claims = prediction?.claims.map((claim) => find(claim, claim.claim, labels.claims)) ?? [];
  const evidence = [...(stances ?? []), ...claims].flatMap((found) => found.pieces);
  drawText(body, article, { text, spans: spansOf(entities, toUtf16), evidence, markOf: marks.markOf });
  marks.update();
  sheet.append(body);
  if (prediction) {
    if (entities.length) sheet.append(el("p", { class: "sr-only" }, "الأسهم تنتقل من اسم إلى اسم."));
    if (prediction.groups?.length) sheet.append(namesSection(prediction, labels, look, filter, marks));
    sheet.append(downloads(article, prediction, model, filter));
  }
  const names = (prediction?.groups ?? []).slice(0, 20).map((group) => group.name);
  const asking = prediction && askTarget ? targetField(names, askTarget) : null;
  const margin = el("aside", { class: "margin", "aria-label": "ما قُرئ في المقال" },
    topicSection(prediction, labels, experimental),
    legendSection(prediction, labels, look, filter, sheet),
    attitudeSection("الموقف من", stances, experimental.includes("stance"), asking),
    claims.length ? attitudeSection("المقولة", claims, experimental.includes("claim")) : null);
  return el("div", { class: "reading", "aria-busy": prediction ? null : "true" }, margin, sheet);
}

function spansOf(entities, toUtf16) {
  return entities
    .map((entity) => ({ entity, range: toUtf16(entity.start, entity.end) }))
    .filter(({ range }) => range)
    .map(({ entity, range: [start, end] }) => ({ entity, start, end }));
}

function drawText(body, article, view) {
  const title = article.title?.trim();
  const titled = Boolean(title) && view.text.trimStart().split("\n", 1)[0].trim() !== title;
  if (titled) body.append(el("h2", { dir: dirOf(title) }, article.title));
  body.append(...linesOf(view.text, titled).map((line) => drawLine(line, view)));
}

function showModel(model) {
  const name = el("bdi", {}, `${model.name ?? ""} ${model.version ?? ""}`.trim());
  byId("model").replaceChildren("النموذج: ", name);
}
