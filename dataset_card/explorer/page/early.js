/* Run before the first paint, because modules wait: a remembered theme never flashes, and the first answer is asked for at once. */
(function () {
  "use strict";
  let chosen = null;
  try {
    chosen = JSON.parse(localStorage.getItem("thermvision.theme"));
  } catch {
    /* no storage: the system's theme */
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  window.earlyAbout = fetch("data/about.json", { credentials: "same-origin", cache: "no-cache" });
  window.earlyAbout.catch(() => {});
})();
