/** All fetching: the one place where a live server and a static export differ. Addresses are relative to the page. */

export class SourceError extends Error {
  /** @param {string} message words for the reader @param {number} status of the answer, 0: there was none */
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

async function ask(path, options = {}, early = null) {
  let answer;
  try {
    answer = await (early ?? fetch(path, { credentials: "same-origin", cache: "no-cache", ...options }));
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new SourceError("The server does not answer. Is `thermvision view` still running in its terminal?");
  }
  let body = null;
  try {
    body = await answer.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    if (answer.ok) throw new SourceError(`${path} is no JSON; start thermvision view again`, answer.status);
  }
  if (!answer.ok) {
    const message =
      answer.status === 404 && !body?.error
        ? `${path} is not there (404); is the token in the address the one that thermvision view printed?`
        : (body?.error ?? `${path}: the server answered ${answer.status}`);
    throw new SourceError(message, answer.status);
  }
  return body;
}

/**
 * The data of this page.
 *
 * `open` must be called first; it says whether the page is live or static.
 */
export function createSource() {
  let live = true;
  let generation = 0;
  const tables = new Map();
  const items = new Map();

  async function table(side) {
    if (!tables.has(side)) {
      const promise = Promise.all([ask(`data/${side}/items.json`), import("./static_filter.js")]);
      promise.catch(() => tables.delete(side));
      tables.set(side, promise);
    }
    const [rows, { filterItems }] = await tables.get(side);
    return { rows, filterItems };
  }

  return {
    get live() {
      return live;
    },
    /** What the page needs to start. A later call tells whether the release was read anew (`generation`). */
    async open() {
      const early = window.earlyAbout; // of early.js, once
      window.earlyAbout = null;
      const about = await ask("data/about.json", {}, early);
      live = about.mode !== "static";
      if (about.generation !== generation) items.clear();
      generation = about.generation;
      return about;
    },
    /** A page of the grid. @param {string} side @param {URLSearchParams} query @param {AbortSignal} [signal] */
    async items(side, query, signal) {
      if (live) return ask(`data/${side}/items.json?${query}`, { signal });
      const { rows, filterItems } = await table(side);
      return filterItems(rows, query);
    },
    /** Everything about one item; `fresh` asks again (after a decision). */
    async item(side, key, { fresh = false } = {}) {
      const path = `data/${side}/item/${key}.json`;
      if (fresh || !items.has(path)) {
        const promise = ask(path);
        promise.catch(() => items.delete(path));
        items.set(path, promise);
        // a clip of 300 frames is some 500 kB of JSON
        if (items.size > 24) items.delete(items.keys().next().value);
      }
      return items.get(path);
    },
    /** Whether `item` answers with what was fetched before. */
    kept: (side, key) => items.has(`data/${side}/item/${key}.json`),
    map: (side) => ask(`data/${side}/map.json`),
    findings: () => ask("data/findings.json"),
    decisions: () => ask("data/decisions.json"),
    figures: () => ask("data/figures.json"),
    /** Append a decision to the table. */
    decide: (body) =>
      ask("data/decisions.json", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(body),
      }),
    thumb: (side, key, frame) => `data/${side}/thumb/${key}/${frame}.jpg`,
    figure: (name) => `data/figure/${encodeURIComponent(name)}`,
  };
}
