/** The filters: every value with how many items have it, and the head angles. */

import { button, count, fill, h, icon, words } from "./dom.js";
import { createAngleFilter } from "./angle_filter.js";
import { ANGLES } from "./state.js";

/** Filters in the order shown: name in queries, heading, name in `facets` where that is another. */
const SECTIONS = [
  ["config", "kind"],
  ["category", "category"],
  ["sequence", "sequence"],
  ["gender", "gender"],
  ["split", "split"],
  ["expression", "expression"],
  ["pose", "head pose"],
  ["glasses", "glasses"],
  ["mask", "mask"],
  ["headwear", "headwear"],
  ["beard", "beard"],
  ["hairstyle", "hairstyle"],
  ["jewellery", "jewellery"],
  ["finding", "findings", "findings"],
  ["decision", "decision"],
  ["change", "change"],
  ["source", "labels from", "annotation_source"],
];
const OPEN = new Set(["config", "category", "gender", "expression", "pose"]);
const DECISIONS = ["accept", "reject", "tag", "relabel", "none"];
const CHANGES = ["same", "changed", "added", "removed"];
const NAMES = { video: "clips", image: "stills", scenes: "scenes" };
const LONG = 12;

/**
 * @param {HTMLElement} host
 * @param {{state: object, close: () => void}} options
 */
export function createFilterPanel(host, { state, close }) {
  let counts = {};
  let rows = new Map();
  let angles = new Map();

  function values(about, name, facet) {
    if (name === "finding") return about.findings ?? [];
    if (name === "decision") return DECISIONS;
    if (name === "change") return about.sides.b ? CHANGES : [];
    return about.facets?.[facet ?? name] ?? [];
  }

  function section(name, heading, listed) {
    const chosen = h("span", { class: "chosen", hidden: true });
    const list = h("ul", { class: "values" });
    const lines = listed.map((value) => {
      const box = h("input", {
        type: "checkbox",
        data: { filter: name, value },
        on: { change: () => state.toggle(name, value, box.checked) },
      });
      const number = h("span", { class: "number" });
      const bar = h("span", { class: "bar-of" });
      const label = h(
        "label",
        { class: "value", title: value },
        box,
        h("span", { class: "name", text: words(NAMES[value] ?? value) }),
        number,
        bar,
      );
      return { value, box, number, bar, label, item: h("li", {}, label) };
    });
    list.append(...lines.slice(0, LONG).map(({ item }) => item));
    if (lines.length > LONG) {
      const more = h(
        "li",
        {},
        button(`${lines.length - LONG} more`, {
          class: "plain",
          on: () => {
            more.remove();
            list.append(...lines.slice(LONG).map(({ item }) => item));
            lines[LONG].box.focus();
          },
        }),
      );
      list.append(more);
    }
    rows.set(name, { lines, chosen });
    return h(
      "details",
      { class: "facet", open: OPEN.has(name), data: { facet: name } },
      h("summary", {}, icon("chevron"), h("span", { text: heading }), chosen),
      list,
    );
  }

  function pose(about) {
    const known = ANGLES.filter((name) => about.ranges?.[name]?.every((value) => Number.isFinite(value)));
    if (!known.length) return null;
    for (const name of known) {
      angles.set(
        name,
        createAngleFilter(name, about.ranges[name], (low, high) => {
          const angle = { ...state.get().angles, [name]: [low, high] };
          if (low === null && high === null) delete angle[name];
          state.set({ angles: angle }, { replace: true });
        }),
      );
    }
    return h(
      "details",
      { class: "facet", open: true, data: { facet: "pose" } },
      h("summary", {}, icon("chevron"), h("span", { text: "head pose" })),
      ...known.map((name) => angles.get(name).element),
    );
  }

  function paint() {
    const { choices, angles: chosen } = state.get();
    for (const [name, { lines, chosen: badge }] of rows) {
      const here = counts[name] ?? counts[SECTIONS.find(([other]) => other === name)[2]] ?? null;
      const most = Math.max(1, ...Object.values(here ?? {}));
      for (const { value, box, number, bar, label } of lines) {
        box.checked = (choices[name] ?? []).includes(value);
        const many = here ? (here[value] ?? 0) : null;
        number.textContent = many === null ? "" : count(many);
        bar.style.setProperty("--part", many === null ? 0 : (many / most).toFixed(4));
        label.classList.toggle("none", many === 0);
      }
      const many = (choices[name] ?? []).length;
      badge.textContent = many;
      badge.hidden = !many;
    }
    for (const [name, filter] of angles) filter.show(chosen[name] ?? [null, null]);
  }

  return {
    /** Build it from what the release has. */
    build(about) {
      rows = new Map();
      angles = new Map();
      const open = new Map([...host.querySelectorAll("details")].map((one) => [one.dataset.facet, one.open]));
      const sections = SECTIONS.map(([name, heading, facet]) => {
        if (name === "pose") return pose(about);
        const listed = values(about, name, facet);
        const active = state.get().choices[name] ?? [];
        // one value for everything chooses nothing
        return listed.length > 1 || active.length || (listed.length && ["finding", "decision"].includes(name))
          ? section(name, heading, listed)
          : null;
      });
      fill(
        host,
        h(
          "div",
          { class: "top" },
          h("h2", { text: "Filters" }),
          button("Close the filters", { icon: "close", quiet: true, class: "plain", on: close }),
        ),
        ...sections,
      );
      host.querySelectorAll("details").forEach((one) => {
        const active = (state.get().choices[one.dataset.facet] ?? []).length > 0;
        one.open = open.get(one.dataset.facet) ?? (one.open || active);
      });
      paint();
    },
    /** Items per value, of the items that the other filters leave. */
    count(facets) {
      counts = facets ?? {};
      paint();
    },
    paint,
  };
}

/** The active filters as buttons that take them away. */
export function createChips(host, { state }) {
  return function paint() {
    const { q, choices, angles } = state.get();
    const chips = [];
    const add = (text, on) =>
      chips.push(
        h(
          "button",
          {
            type: "button",
            class: "chip",
            "aria-label": `Remove the filter ${text}`,
            title: text,
            on: {
              click: () => {
                on();
                (host.querySelector("button") ?? document.querySelector(".tile[tabindex='0']"))?.focus();
              },
            },
          },
          h("span", { text }),
          icon("close"),
        ),
      );
    if (q) add(`“${q}”`, () => state.set({ q: "" }));
    for (const [name, values] of Object.entries(choices)) {
      for (const value of values) add(`${name}: ${words(value)}`, () => state.toggle(name, value, false));
    }
    for (const [name, [low, high]] of Object.entries(angles)) {
      const text =
        low === null ? `${name} ≤ ${high}°` : high === null ? `${name} ≥ ${low}°` : `${name} ${low}° to ${high}°`;
      add(text, () => {
        const left = { ...state.get().angles };
        delete left[name];
        state.set({ angles: left });
      });
    }
    if (chips.length > 1) chips.push(button("Clear all", { class: "plain", on: () => state.clear() }));
    fill(host, ...chips);
  };
}
