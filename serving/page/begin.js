"use strict";
/* The last script. Served, the page asks the service; in a file it finds articles and predictions in #khabar-data. */

function begin() {
  theme.start();
  startTip();
  startLamp();
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || byId("panel")?.open) return;
    if (!tip.element.hidden) tip.hide();
    else if (lamp.found) lamp.close();
  });
  const data = byId("khabar-data");
  if (data) startShelf(JSON.parse(data.textContent));
  else startLive();
  window.addEventListener("beforeprint", () => { // after the shelf has drawn what was closed
    for (const names of document.querySelectorAll(".names")) names.showAll();
  });
}

begin();
