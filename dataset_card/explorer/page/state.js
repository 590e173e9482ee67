/** What is shown, kept in the address after "#": a reload, a bookmark and a link come back to the same place. */

/** Filters of which several values may be chosen; in the address and in queries under the same name. */
export const CHOICES = [
  "config",
  "split",
  "gender",
  "category",
  "sequence",
  "expression",
  "hairstyle",
  "beard",
  "glasses",
  "mask",
  "headwear",
  "jewellery",
  "source",
  "subject",
  "finding",
  "decision",
  "change",
];
/** Filters by angle, in degrees. */
export const ANGLES = ["yaw", "pitch", "roll"];
export const VIEWS = ["grid", "map", "findings", "decisions", "figures"];
export const SORTS = ["id", "subject", "yaw", "frames", "findings"];
const DIGITS = /^\d{1,9}$/;

/**
 * @typedef {{side: "a"|"b", key: number}} Place an item
 * @typedef {{view: string, q: string, choices: Object<string, string[]>, angles: Object<string, [number|null, number|null]>,
 *     sort: string, desc: boolean, side: "a"|"b", item: Place|null, frame: number, pin: Place|null}} State
 */

function place(text) {
  const [side, key] = (text ?? "").split(":");
  return (side === "a" || side === "b") && DIGITS.test(key ?? "") ? { side, key: Number(key) } : null;
}

function angle(text) {
  const value = text === null || text.trim() === "" ? NaN : Number(text);
  return Number.isFinite(value) ? value : null;
}

/** The state an address means; what makes no sense in it is passed over. @returns {State} */
export function parse(hash) {
  const words = new URLSearchParams(hash.replace(/^#/, ""));
  const choices = {};
  for (const name of CHOICES) {
    const values = [...new Set(words.getAll(name))].slice(0, 100);
    if (values.length) choices[name] = values;
  }
  const angles = {};
  for (const name of ANGLES) {
    const pair = [angle(words.get(`${name}_min`)), angle(words.get(`${name}_max`))];
    if (pair.some((value) => value !== null)) angles[name] = pair;
  }
  const frame = words.get("frame") ?? "";
  return {
    view: VIEWS.includes(words.get("view")) ? words.get("view") : "grid",
    q: (words.get("q") ?? "").slice(0, 200),
    choices,
    angles,
    sort: SORTS.includes(words.get("sort")) ? words.get("sort") : "id",
    desc: words.get("desc") === "1",
    side: words.get("side") === "b" ? "b" : "a",
    item: place(words.get("item")),
    frame: DIGITS.test(frame) ? Number(frame) : 0,
    pin: place(words.get("pin")),
  };
}

/** The address of a state, without what is as usual. @param {State} state */
export function address(state) {
  const words = new URLSearchParams();
  if (state.view !== "grid") words.set("view", state.view);
  if (state.side === "b") words.set("side", "b");
  for (const [name, value] of filters(state)) words.append(name, value);
  if (state.sort !== "id") words.set("sort", state.sort);
  if (state.desc) words.set("desc", "1");
  if (state.item) words.set("item", `${state.item.side}:${state.item.key}`);
  if (state.item && state.frame) words.set("frame", String(state.frame));
  if (state.pin) words.set("pin", `${state.pin.side}:${state.pin.key}`);
  return `#${words}`.replaceAll("%3A", ":");
}

/** Names and values of the filters, as a query has them. @param {State} state @returns {[string, string][]} */
export function filters(state) {
  const pairs = state.q ? [["q", state.q]] : [];
  for (const name of CHOICES) for (const value of state.choices[name] ?? []) pairs.push([name, value]);
  for (const name of ANGLES) {
    const [low, high] = state.angles[name] ?? [null, null];
    if (low !== null) pairs.push([`${name}_min`, String(low)]);
    if (high !== null) pairs.push([`${name}_max`, String(high)]);
  }
  return pairs;
}

/** The query of the grid: filters and order. @param {State} state */
export function query(state) {
  const pairs = filters(state);
  if (state.sort !== "id") pairs.push(["sort", state.sort]);
  if (state.desc) pairs.push(["desc", "1"]);
  return new URLSearchParams(pairs);
}

/** Whether two places are the same item. */
export const same = (one, other) => one?.side === other?.side && one?.key === other?.key;

/**
 * The state of the page. Listeners are called with the state and the one before, after each change, be it by `set` or by
 * the browser's back button.
 */
export function createState() {
  let state = parse(location.hash);
  const listeners = [];
  let waiting = 0;
  const tell = (before) => listeners.forEach((listener) => listener(state, before));

  const write = (replace) => {
    clearTimeout(waiting);
    waiting = 0;
    const text = address(state);
    if (text === location.hash || (text === "#" && !location.hash)) return;
    const where = text === "#" ? location.pathname + location.search : text;
    if (replace) history.replaceState(null, "", where);
    else history.pushState(null, "", where);
  };

  window.addEventListener("popstate", () => {
    const before = state;
    clearTimeout(waiting);
    state = parse(location.hash);
    tell(before);
  });
  window.addEventListener("pagehide", () => waiting && write(true));

  return {
    get: () => state,
    /** Change some of it; `replace` leaves no entry in the browser's history. */
    set(patch, { replace = false } = {}) {
      const before = state;
      if (waiting) write(true);
      state = { ...state, ...patch };
      write(replace);
      tell(before);
    },
    /** The frame that is shown: written a moment later, because browsers refuse many changes of the address a second. */
    setFrame(frame) {
      if (frame === state.frame) return;
      state = { ...state, frame };
      clearTimeout(waiting);
      waiting = setTimeout(() => write(true), 250);
    },
    /** Choose or leave one value of a filter. */
    toggle(name, value, on = !(state.choices[name] ?? []).includes(value)) {
      const left = (state.choices[name] ?? []).filter((other) => other !== value);
      const choices = { ...state.choices, [name]: on ? [...left, value] : left };
      if (!choices[name].length) delete choices[name];
      this.set({ choices });
    },
    /** Only these filters, shown in the grid. */
    only(choices) {
      this.set({ view: "grid", q: "", choices, angles: {}, item: null, frame: 0 });
    },
    clear() {
      this.set({ q: "", choices: {}, angles: {} });
    },
    listen: (listener) => listeners.push(listener),
  };
}
