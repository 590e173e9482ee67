/** The bar at the top: the views, the search field, the theme and the help. */

import { button, fill, h, icon, settled } from "./dom.js";
import { createTheme } from "./appearance.js";
import { showHelp } from "./keys.js";
import { address, VIEWS } from "./state.js";

export const TITLES = { grid: "Grid", map: "Map", findings: "Findings", decisions: "Decisions", figures: "Figures" };

/**
 * @param {{views: HTMLElement, search: HTMLFormElement, tools: HTMLElement}} places  where its parts go
 * @param {{state: object, submit: () => void}} context  `submit`: after Enter in the search field
 * @returns {{search: HTMLInputElement, paint: (about: object|null) => void}}
 */
export function createTopBar(places, { state, submit }) {
  const links = VIEWS.map((view) =>
    h("a", {
      text: TITLES[view],
      data: { view },
      on: {
        click: (event) => {
          if (event.ctrlKey || event.metaKey || event.shiftKey) return;
          event.preventDefault();
          state.set({ view, item: null, frame: 0 });
        },
      },
    }),
  );
  fill(places.views, ...links);
  const search = h("input", {
    type: "search",
    id: "q",
    placeholder: "Item or subject",
    "aria-label": "Search by item or subject",
    autocomplete: "off",
    spellcheck: "false",
    maxlength: 200,
    on: { input: settled(() => state.set({ q: search.value.trim() }, { replace: true }), 120) },
  });
  fill(places.search, icon("search"), search);
  places.search.addEventListener("submit", (event) => {
    event.preventDefault();
    state.set({ q: search.value.trim(), view: "grid" });
    submit();
  });
  fill(places.tools, createTheme(), button("Keys and help", { icon: "help", quiet: true, key: "?", on: showHelp }));

  function paint(about) {
    const now = state.get();
    for (const link of links) {
      const { view } = link.dataset;
      link.href = address({ ...now, view, item: null, frame: 0 });
      if (view === now.view) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
      link.hidden = view === "figures" && !about?.has?.figures && now.view !== view;
    }
    if (document.activeElement !== search) search.value = now.q;
  }

  return { search, paint };
}
