/** The items that a query finds: pages of them, fetched as they are looked at, kept for a while. */

export const PAGE = 120;
const KEPT = 80;

/**
 * @typedef {object} Results
 * @param {ReturnType<import("./source.js").createSource>} source
 * @param {{changed: (what: "asked"|"answered"|"page"|"failed") => void}} options called when there is news
 */
export function createResults(source, { changed }) {
  let side = "a";
  let query = new URLSearchParams();
  let pages = new Map();
  let asked = new Map();
  let epoch = 0;
  let total = null;
  let frames = null;
  let generation = null;
  let error = null;
  let busy = false;

  function fetchPage(number, mine = epoch) {
    if (asked.has(number)) return asked.get(number).promise;
    const stop = new AbortController();
    const words = new URLSearchParams(query);
    words.set("offset", String(number * PAGE));
    words.set("limit", String(PAGE));
    const promise = source.items(side, words, stop.signal).then(
      (answer) => {
        if (mine !== epoch) return null;
        asked.delete(number);
        if (generation !== null && answer.generation !== generation) return ask(side, query);
        pages.set(number, answer.items);
        if (pages.size > KEPT) pages.delete(pages.keys().next().value);
        changed("page");
        return answer.items;
      },
      (reason) => {
        if (mine !== epoch) return null;
        asked.delete(number);
        if (reason.name !== "AbortError") {
          error = reason;
          changed("failed");
        }
        return null;
      },
    );
    asked.set(number, { promise, stop });
    return promise;
  }

  /** Ask anew; what was found before stays until the answer is here. */
  async function ask(newSide, newQuery) {
    asked.forEach(({ stop }) => stop.abort());
    asked = new Map();
    epoch += 1;
    const mine = epoch;
    side = newSide;
    query = new URLSearchParams(newQuery);
    busy = true;
    changed("asked");
    const words = new URLSearchParams(query);
    words.set("offset", "0");
    words.set("limit", String(PAGE));
    const stop = new AbortController();
    asked.set(0, { promise: Promise.resolve(null), stop });
    try {
      const answer = await source.items(side, words, stop.signal);
      if (mine !== epoch) return;
      asked.delete(0);
      pages = new Map([[0, answer.items]]);
      ({ total, frames } = answer);
      generation = answer.generation ?? null;
      error = null;
      busy = false;
      changed("answered");
    } catch (reason) {
      if (mine !== epoch || reason.name === "AbortError") return;
      asked.delete(0);
      error = reason;
      busy = false;
      changed("failed");
    }
  }

  return {
    ask,
    get side() {
      return side;
    },
    get total() {
      return total;
    },
    get frames() {
      return frames;
    },
    get error() {
      return error;
    },
    /** Whether an answer is awaited and what is here is of the query before. */
    get busy() {
      return busy;
    },
    /** The item at a place in the order, null when it is not here yet. */
    at: (index) => pages.get(Math.floor(index / PAGE))?.[index % PAGE] ?? null,
    /** Fetch what lies between two places, both inclusive, and stop fetching what does not. */
    want(first, last) {
      if (busy || total === null) return;
      const [from, to] = [Math.floor(first / PAGE), Math.floor(last / PAGE)];
      for (const [number, { stop }] of asked) {
        if (number < from - 1 || number > to + 1) {
          stop.abort();
          asked.delete(number);
        }
      }
      for (let number = from; number <= to; number += 1) {
        if (!pages.has(number) && number * PAGE < total) fetchPage(number);
      }
    },
    /** The item at a place, fetched when needed; null beyond the ends. */
    async load(index) {
      if (total === null || index < 0 || index >= total) return null;
      const number = Math.floor(index / PAGE);
      const page = pages.get(number) ?? (await fetchPage(number));
      return page?.[index % PAGE] ?? null;
    },
    /** Where in the order an item is, -1 when it is not among the first 12,000 and was not looked at. */
    async locate(key) {
      for (const [number, page] of pages) {
        const here = page.findIndex((item) => item.key === key);
        if (here >= 0) return number * PAGE + here;
      }
      // without filters the order is that of the keys, so its own page is the likeliest
      const likely = Math.floor(key / PAGE);
      const mine = epoch;
      for (const number of [likely, ...Array(Math.min(100, Math.ceil((total ?? 0) / PAGE))).keys()]) {
        if (mine !== epoch || number * PAGE >= (total ?? 0)) continue;
        const page = pages.get(number) ?? (await fetchPage(number));
        const here = page?.findIndex((item) => item.key === key) ?? -1;
        if (here >= 0) return number * PAGE + here;
      }
      return -1;
    },
    /** Put news of one item into what is here, such as a decision. */
    patch(itemSide, key, news) {
      if (itemSide !== side) return;
      for (const page of pages.values()) {
        const here = page.findIndex((item) => item.key === key);
        if (here >= 0) page[here] = { ...page[here], ...news };
      }
      changed("page");
    },
  };
}
