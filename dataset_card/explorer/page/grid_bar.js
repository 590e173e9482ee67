/** The row above the grid: how many there are, the active filters, which release, the order and the size of tiles. */

import { button, count, counted, fill, h, select } from "./dom.js";
import { createSizes } from "./appearance.js";

const ORDERS = [
  ["id", "in order"],
  ["subject", "by subject"],
  ["yaw", "by yaw"],
  ["frames", "by frames"],
  ["findings", "by findings"],
];

/**
 * @param {{state: object, resize: (size: string) => void, filters: () => void}} context  `filters`: open or close them
 * @returns {{element: HTMLElement, chips: HTMLElement, filterButton: HTMLButtonElement,
 *     paint: (about: object|null) => void, tell: (total: number|null, frames: number) => string}}
 */
export function createGridBar({ state, resize, filters }) {
  const tally = h("span", { class: "tally" });
  const chips = h("div", { class: "chips" });
  const sideChoice = select([["a", "this release"]], {
    value: "a",
    "aria-label": "Release",
    on: (side) => state.set({ side }),
  });
  const orderChoice = select(ORDERS, {
    "aria-label": "Order",
    on: (sort) => state.set({ sort, desc: sort === "findings" || sort === "frames" }),
  });
  const arrow = h("span", { text: "↑", "aria-hidden": "true" });
  const turn = button("Turn the order round", {
    quiet: true,
    class: "turn",
    on: () => state.set({ desc: !state.get().desc }),
  });
  turn.append(arrow);
  const filterButton = button("Filters", {
    icon: "filter",
    class: "only-narrow",
    on: filters,
    "aria-expanded": "false",
  });
  const element = h(
    "div",
    { class: "toolbar" },
    tally,
    chips,
    filterButton,
    h("div", { class: "right" }, sideChoice, h("div", { class: "group" }, orderChoice, turn), createSizes(resize)),
  );
  let named = "";

  function paint(about) {
    const now = state.get();
    const { a, b } = about?.sides ?? {};
    if (b && named !== `${a.version} ${b.version}`) {
      named = `${a.version} ${b.version}`;
      fill(
        sideChoice,
        h("option", { value: "a", text: `v${a.version}` }),
        h("option", { value: "b", text: `v${b.version}` }),
      );
    }
    orderChoice.value = now.sort;
    arrow.textContent = now.desc ? "↓" : "↑";
    sideChoice.value = now.side;
    sideChoice.hidden = !b;
    filterButton.hidden = now.view !== "grid";
  }

  /** The numbers of what was found, null: not known; `frames` NaN: their labels are still being read. */
  function tell(total, frames) {
    if (total === null) return void fill(tally, "");
    const known = Number.isFinite(frames);
    fill(
      tally,
      h("b", { text: count(total) }),
      ` item${total === 1 ? "" : "s"}`,
      known ? ", " : null,
      known ? h("b", { text: count(frames) }) : null,
      known ? ` frame${frames === 1 ? "" : "s"}` : null,
    );
    return [counted(total, "item"), known ? counted(frames, "frame") : ""].filter(Boolean).join(", ");
  }

  return { element, chips, filterButton, paint, tell };
}
