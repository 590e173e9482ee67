/** The page: puts the parts together and keeps them in step with the address. */

import { button, count, fill, h, memory, settled, visible } from "./dom.js";
import { createChips, createFilterPanel } from "./filter_panel.js";
import { createGrid } from "./grid.js";
import { createGridBar } from "./grid_bar.js";
import { listenToKeys, showHelp } from "./keys.js";
import { emptyPage, say, showBanners, toast } from "./notices.js";
import { createResults } from "./results.js";
import { createSource } from "./source.js";
import { createState, filters, query, same, VIEWS } from "./state.js";
import { createTopBar, TITLES } from "./top_bar.js";

const $ = (id) => document.getElementById(id);
const NARROW = matchMedia("(max-width: 60rem)");
const OTHER_VIEWS = {
  map: () => import("./identity_map.js"),
  findings: () => import("./findings_view.js"),
  decisions: () => import("./decisions_view.js"),
  figures: () => import("./figures_view.js"),
};
const state = createState();
const source = createSource();
let about = null;
let lost = null;
let panel = null;
let place = -1; // of the open item in the results
let keeping = false; // the place in the grid, when the same is asked again
let viewEnd = null;
const results = createResults(source, { changed: onResults });
const gridHost = h("div", { class: "grid", id: "results" });
const message = h("div", { class: "message" });
const grid = createGrid(gridHost, { results, source, state, open: openItem });
const filterPanel = createFilterPanel($("filters"), { state, close: () => drawer(false) });
const gridBar = createGridBar({
  state,
  resize: (size) => grid.resize(size),
  filters: () => drawer(!$("filters").classList.contains("open")),
});
const topBar = createTopBar(
  { views: $("views"), search: $("search"), tools: $("tools") },
  { state, submit: () => grid.focus(0) },
);
const paintChips = createChips(gridBar.chips, { state });

function openItem(item, index) {
  place = index;
  const frame = item.hit ?? 0;
  state.set({ item: { side: results.side, key: item.key }, frame });
}

/** One item on or back in the results. */
async function go(step) {
  const { item } = state.get();
  if (!item) return;
  if (place < 0 || results.at(place)?.key !== item.key) place = await results.locate(item.key);
  const next = place < 0 ? null : await results.load(place + step);
  if (!next) {
    toast(
      place < 0
        ? "This item is not among those that the filters show."
        : step > 0
          ? "This was the last item."
          : "This was the first item.",
    );
    return;
  }
  place += step;
  grid.reveal(place);
  state.set({ item: { side: results.side, key: next.key }, frame: next.hit ?? 0 }, { replace: true });
}

function close() {
  state.set({ item: null, frame: 0 });
}

function drawer(open) {
  $("filters").classList.toggle("open", open);
  gridBar.filterButton.setAttribute("aria-expanded", String(open));
  if (open) $("filters").querySelector("button, summary")?.focus();
  else if (NARROW.matches) gridBar.filterButton.focus();
}

function onResults(what) {
  gridHost.classList.toggle("old", results.busy && results.total !== null);
  if (what === "asked") return;
  if (what === "page") return void grid.update();
  if (keeping) grid.stay();
  else grid.update(true);
  keeping = false;
  const { total, frames, error } = results;
  if (error) {
    gridBar.tell(null);
    return void fill(
      message,
      emptyPage("The items could not be read", error.message, {
        action: button("Try again", { class: "primary", on: () => ask() }),
      }),
    );
  }
  say(gridBar.tell(total, frames));
  fill(message, total ? null : nothing());
}

function nothing() {
  if (filters(state.get()).length) {
    return emptyPage("Nothing has all of this", "No frame meets every condition at once. Take one away.", {
      action: button("Clear all filters", { class: "primary", on: () => state.clear() }),
    });
  }
  return about.state === "building"
    ? emptyPage(
        "Nothing is finished yet",
        "This release is being built. Items appear here as their shards are written.",
        { next: about.next },
      )
    : emptyPage("There are no items", "This release has no clip, still or scene that can be read.", {
        next: about.next,
      });
}

const counting = settled(async (side, words) => {
  words.set("facets", "1");
  words.set("limit", "1");
  const mine = words.toString();
  counting.last = mine;
  try {
    const answer = await source.items(side, words);
    if (counting.last === mine) filterPanel.count(answer.facets);
  } catch {
    filterPanel.count({});
  }
}, 0);

function ask() {
  const now = state.get();
  const side = about.sides[now.side] ? now.side : "a";
  results.ask(side, query(now));
  counting(side, new URLSearchParams(query(now)));
}

function paintBars() {
  topBar.paint(about);
  gridBar.paint(about);
  $("filters").hidden = state.get().view !== "grid";
}

async function showView() {
  const { view } = state.get();
  viewEnd?.();
  viewEnd = null;
  if (view === "grid") {
    fill($("view"), gridBar.element, message, gridHost);
    grid.stay();
    return;
  }
  const host = h(
    "div",
    { class: "scroll", "data-view": view, tabindex: 0, role: "region", "aria-label": TITLES[view] },
    h("p", { class: "soft", text: "Loading…" }),
  );
  fill($("view"), host);
  try {
    const { show } = await OTHER_VIEWS[view]();
    if (state.get().view === view && host.isConnected)
      viewEnd = (await show(host, { about, source, state, toast, decided })) ?? null;
  } catch (error) {
    fill(
      host,
      emptyPage(`${TITLES[view]} could not be shown`, error.message, { action: button("Try again", { on: showView }) }),
    );
  }
}

/** After a decision was saved: the tile and the tables follow. */
function decided(side, key, news) {
  results.patch(side, key, news);
  counting(results.side, new URLSearchParams(query(state.get())));
}

async function showItem(before) {
  const { item, view } = state.get();
  if (!item && !panel) return;
  const { createItemPanel } = await import("./item_panel.js");
  panel ??= createItemPanel($("panel"), {
    about: () => about,
    source,
    state,
    go,
    close,
    full,
    decided,
    narrow: NARROW,
  });
  const now = state.get();
  if (now.item) {
    const opened = $("panel").hidden;
    $("panel").hidden = false;
    document.body.classList.add("with-item");
    document.body.classList.toggle("full", memory.get("full", false));
    cover();
    await panel.open(now.item, now.frame, now.pin && !same(now.pin, now.item) ? now.pin : null);
    if (opened && !$("panel").contains(document.activeElement)) $("panel").focus({ preventScroll: true });
    if (opened && now.view === "grid") {
      place = place >= 0 && results.at(place)?.key === now.item.key ? place : await results.locate(now.item.key);
      if (place >= 0) grid.reveal(place);
    }
    grid.mark();
  } else if (!$("panel").hidden) {
    const inside = $("panel").contains(document.activeElement) || document.activeElement === document.body;
    panel.close();
    $("panel").hidden = true;
    document.body.classList.remove("with-item", "full");
    cover();
    grid.mark();
    if (inside && before?.item && view === "grid") place >= 0 ? grid.focus(place) : grid.focus();
    else if (inside) $("view").focus();
  }
}

function full() {
  memory.set("full", document.body.classList.toggle("full"));
  cover();
}

/** What lies under a panel that covers it can neither be seen nor reached. */
function cover() {
  const over = !$("panel").hidden && (NARROW.matches || document.body.classList.contains("full"));
  for (const element of [$("view"), $("filters")]) element.inert = over;
  // on a narrow screen the panel lies over the bar too
  for (const element of [document.querySelector(".bar"), $("banners")]) element.inert = over && NARROW.matches;
  document.body.classList.toggle("covered", over);
}

function banners() {
  const lines = [];
  if (lost) lines.push({ level: "fail", text: lost });
  if (about?.state === "building")
    lines.push({
      level: "info",
      text: "This release is being built; finished shards are shown and more follow.",
      next: about.next,
    });
  const problems = about?.problems ?? [];
  if (problems.length) {
    const details = problems.map(({ path, message: text }) => `${path}: ${text}`);
    lines.push(
      problems.length === 1
        ? { level: "warn", text: `One file is left out. ${details[0]}` }
        : { level: "warn", text: `${count(problems.length)} files are left out; everything else is shown.`, details },
    );
  }
  const { pin, item } = state.get();
  if (pin && !item)
    lines.push({ level: "info", text: `${pin.id ?? "One item"} is pinned: open another to see both side by side.` });
  showBanners(lines);
}

/** What `about` says, into the page. */
function begin() {
  const { a, b } = about.sides;
  $("name").textContent = visible(a.name);
  $("name").title = a.name;
  $("version").textContent = [
    a.version ? `v${a.version}` : "",
    b ? `against v${b.version}` : "",
    about.mode === "static" || about.read_only ? "read-only" : "",
  ]
    .filter(Boolean)
    .join(" · ");
  document.title = `${a.name} ${a.version ?? ""}`.trim();
  filterPanel.build(about);
  paintBars();
  banners();
}

/** Live pages see what changed: shards that were finished, decisions of others, a server that went away. */
async function watch() {
  const pause = about?.loading ? 600 : about?.state === "building" ? 2500 : 10000;
  await new Promise((wake) => setTimeout(wake, pause));
  if (!document.hidden && source.live) {
    const before = about;
    try {
      const news = await source.open();
      about = news;
      const changed = news.generation !== before?.generation || news.state !== before?.state;
      if (lost || changed || before?.loading !== news.loading) {
        lost = null;
        begin();
        keeping = true;
        ask();
      }
    } catch (error) {
      if (error.status === 0) lost = error.message;
      banners();
    }
  }
  watch();
}

state.listen((now, before) => {
  paintBars();
  if (!about) return;
  const asked = (one) => `${one.side}?${query(one)}`;
  if (asked(now) !== asked(before)) {
    place = -1;
    paintChips();
    filterPanel.paint();
    ask();
  }
  if (now.view !== before.view) showView();
  if (!same(now.item, before.item) || !same(now.pin, before.pin)) {
    showItem(before);
    banners();
  } else if (now.item && now.frame !== before.frame) panel?.seek(now.frame);
});

const inItem = (name) => () => (state.get().item && panel ? panel.command(name) : false);
listenToKeys({
  search: () => topBar.search.focus(),
  help: showHelp,
  escape: () => {
    if ($("filters").classList.contains("open")) return drawer(false);
    if (state.get().item) return panel?.command("escape") === false ? close() : undefined;
    if (document.activeElement === topBar.search) return topBar.search.blur();
    return false;
  },
  previous: () => (state.get().item ? void go(-1) : false),
  next: () => (state.get().item ? void go(1) : false),
  full: () => (state.get().item ? full() : false),
  ...Object.fromEntries(VIEWS.map((view, at) => [`view-${at}`, () => state.set({ view, item: null, frame: 0 })])),
  ...Object.fromEntries(
    [
      "play",
      "back",
      "on",
      "finding",
      "other",
      "pin",
      "accept",
      "reject",
      "tag",
      "box",
      "relabel",
      "from",
      "to",
      "undo",
      "zoom-in",
      "zoom-out",
      "zoom-whole",
      "cross",
    ].map((name) => [name, inItem(name)]),
  ),
});
NARROW.addEventListener("change", cover);

$("skip").addEventListener("click", () => (state.get().view === "grid" ? grid.focus() : $("view").focus()));
paintBars();
fill($("view"), gridBar.element, message, gridHost);
source.open().then(
  (answer) => {
    about = answer;
    begin();
    paintChips();
    ask();
    if (state.get().view !== "grid") showView();
    if (state.get().item) showItem(null);
    watch();
  },
  (error) => {
    fill(
      $("view"),
      emptyPage("The release could not be opened", error.message, {
        action: button("Try again", { class: "primary", on: () => location.reload() }),
      }),
    );
  },
);
