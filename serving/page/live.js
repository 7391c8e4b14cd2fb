"use strict";
/* The page of the service: the seed article first, then what the reader pastes and asks. */

function startLive() {
  const place = byId("reading");
  const state = { labels: {}, model: {}, known: false, seed: null, now: null, turn: 0 };
  const say = (words) => (byId("status").textContent = words);

  /** `entry` is {article, prediction, model, look}; it is what the page shows from now on. */
  function show(entry) {
    state.now = entry;
    lamp.out();
    tip.hide();
    const model = { ...state.model, ...entry.model };
    showModel(model);
    place.replaceChildren(reading(entry, state.labels, model, askTarget));
  }
  /** Has an article read and the labels learnt; another model than the known one may have other labels. */
  async function read(article, signal) {
    const [answer] = await Promise.all([tag(article, signal), learn()]);
    if (answer.model.version !== state.model.version) {
      state.known = false;
      await learn();
    }
    return { article, ...answer, look: freshLook() };
  }
  function emptySheet() {
    const sheet = el("article", { class: "sheet" }, el("div", { class: "text" }, ...waiting(9)));
    const drawn = reading({ article: { text: "" }, prediction: null, look: freshLook() }, {}, {});
    drawn.querySelector(".sheet").replaceWith(sheet);
    place.replaceChildren(drawn);
  }
  async function learn() {
    if (state.known) return;
    const [labels, model] = await Promise.all([ask("v1/labels"), ask("v1/model")]);
    Object.assign(state, { labels, model, known: true });
  }
  /** The text stays if it came; boxes that would wait for ever go. */
  function giveUp(error) {
    place.querySelectorAll(".margin, .sheet:has(.waiting)").forEach((box) => box.remove());
    place.firstElementChild?.removeAttribute("aria-busy");
    drawFailure(byId("failure"), failureOf(error), readSeed);
  }
  async function readSeed() {
    const turn = ++state.turn;
    byId("failure").hidden = true;
    emptySheet();
    say("يُقرأ المقال");
    try {
      const [article] = await Promise.all([ask("v1/seed"), learn()]);
      if (turn !== state.turn) return;
      show({ article, prediction: null, look: freshLook() });
      state.seed = await read(article);
      if (turn !== state.turn) return;
      show(state.seed);
      say("قُرئ المقال");
    } catch (error) {
      if (turn !== state.turn) return;
      giveUp(error);
      say("");
    }
  }
  function toSeed() {
    byId("back").hidden = true;
    if (!state.seed) return readSeed();
    state.turn += 1;
    show(state.seed);
    window.scrollTo({ top: 0 });
    place.focus({ preventScroll: true });
    return null;
  }
  /** What comes of a refusal is for the panel to say: what was being read before goes on. */
  async function readPasted(article, signal) {
    const entry = await read(article, signal);
    state.turn += 1;
    byId("failure").hidden = true;
    byId("back").hidden = false;
    show(entry);
    byId("panel").close();
    say("قُرئ المقال");
    window.scrollTo({ top: 0 });
    place.focus({ preventScroll: true });
  }
  /** One more stance toward a target of the reader's own; the others stay, and so does the reader's look. */
  async function askTarget(words) {
    const entry = state.now;
    const known = entry.prediction.stances.findIndex((stance) => stance.target === words);
    if (known >= 0) return toStance(known);
    const { stances } = (await tag({ ...entry.article, targets: [words], claims: [] })).prediction;
    if (!stances.length) throw { plain: "لم تجب الخدمة عن هذا الهدف." };
    entry.prediction = { ...entry.prediction, stances: [...entry.prediction.stances, ...stances] };
    if (state.now !== entry) return null;
    show(entry);
    const { target, label } = stances[0];
    say(`الموقف من ${target}: ${state.labels.stances[label] ?? label}`);
    return toStance(entry.prediction.stances.length - 1);
  }
  function toStance(at) {
    const opener = place.querySelectorAll(".attitudes-section .attitude > button")[at];
    opener.focus();
    if (opener.getAttribute("aria-expanded") !== "true") opener.click();
  }
  byId("back").addEventListener("click", toSeed);
  startPanel(readPasted, () => state.model.limits?.code_points ?? null);
  readSeed();
}
