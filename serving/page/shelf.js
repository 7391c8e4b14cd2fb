"use strict";
/* A file of articles with what was read in them, made by serving/view.py: it asks nobody. */

function firstLine(article) {
  return article.title?.trim() || article.text.trim().split("\n", 1)[0].slice(0, 160) || article.id || "";
}

function briefOf(prediction, labels) {
  if (prediction.error) return "لم يُقرأ";
  const topic = prediction.topics[0];
  const names = `الأسماء: ${number.format(prediction.entities.length)}`;
  return [topic && (labels.topics[topic.label] ?? topic.label), names].filter(Boolean).join(" · ");
}

function startShelf({ items, labels, model }) {
  showModel(model);
  const draw = ({ article, prediction }) => {
    if (!prediction.error) return reading({ article, prediction, look: freshLook() }, labels, model);
    const box = el("div", { class: "failure" });
    drawFailure(box, articleFailure(prediction.error));
    return box;
  };
  if (items.length === 1) {
    byId("reading").append(draw(items[0]));
    return;
  }
  const shelf = el("ol", { class: "shelf" });
  for (const item of items) {
    const summary = el("summary", {}, el("span", { class: "name" }, el("bdi", { dir: dirOf(firstLine(item.article)) }, firstLine(item.article))),
      el("span", { class: "brief" }, briefOf(item.prediction, labels)));
    const details = el("details", {}, summary);
    const open = () => details.children.length === 1 && details.append(draw(item));
    details.addEventListener("toggle", () => details.open && open());
    window.addEventListener("beforeprint", () => {
      open();
      details.open = true;
    });
    shelf.append(el("li", {}, details));
  }
  shelf.querySelector("details")?.setAttribute("open", "");
  byId("reading").append(shelf);
}
