"use strict";
/* The dialog in which another article is pasted. */

/** `send` reads the article of the dialog or throws, and gives up when the dialog is closed; `limit()` is how many code points it may have, once that is known. */
function startPanel(send, limit) {
  const [panel, form, text, problem] = [byId("panel"), byId("form"), byId("text"), byId("problem")];
  const submit = byId("submit");
  let busy = false;
  let leaving = null; // of what is being read
  const codePoints = () => codePointTable(text.value).length - 1;
  const count = () => {
    const most = limit() === null ? "" : ` من ${number.format(limit())}`;
    byId("count").textContent = `${number.format(codePoints())}${most} رمز`;
  };
  const setBusy = (on) => {
    busy = on;
    form.setAttribute("aria-busy", String(on));
    submit.setAttribute("aria-disabled", String(on));
    submit.textContent = on ? "يُقرأ المقال…" : "حلّل";
  };
  const refuse = (message) => {
    drawFailure(problem, articleFailure(message));
    text.focus();
  };
  const asked = () => {
    const targets = byId("targets").value.split("\n").map((line) => line.trim()).filter(Boolean);
    const claim = byId("claim").value.trim();
    return { text: text.value, targets: targets.length ? targets : "auto", claims: claim ? [claim] : [] };
  };
  async function read() {
    if (busy) return;
    problem.hidden = true;
    if (!text.value.trim()) refuse("empty");
    else if (limit() !== null && codePoints() > limit()) refuse("limit");
    else {
      setBusy(true);
      leaving = new AbortController();
      try {
        await send(asked(), leaving.signal);
      } catch (error) {
        if (error.left) return;
        drawFailure(problem, failureOf(error), error.needsKey ? read : null);
        problem.scrollIntoView({ block: "nearest" });
      } finally {
        setBusy(false);
      }
    }
  }
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    read();
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) read();
  });
  text.addEventListener("input", count);
  for (const field of [text, byId("targets"), byId("claim")]) turning(field);
  panel.addEventListener("close", () => leaving?.abort());
  byId("close").addEventListener("click", () => panel.close());
  byId("open").addEventListener("click", () => {
    panel.showModal();
    text.focus();
    count();
  });
}
