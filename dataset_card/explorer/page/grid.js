/** The grid of items: only the tiles in view are in the document, whatever the number of items. */

import { count, counted, fill, h, icon, settled, visible, words } from "./dom.js";
import { address } from "./state.js";
import { createScrollRange } from "./scroll_range.js";

/** Least width of a tile and height of its caption in pixels, by size. */
const SIZES = { small: [104, 26], medium: [162, 46], large: [290, 50] };
const GAP = 10;
const STEPS = 8; // thumbnails that a pointer moving over a clip goes through
const SIGNS = {
  accept: ["accept", "accepted"],
  reject: ["reject", "rejected"],
  tag: ["tag", "tagged"],
  relabel: ["label", "relabelled"],
};

/** What a tile says to those who hear it. */
function spoken(item) {
  return [
    item.id,
    item.kind,
    item.category ?? item.sequence ?? "",
    item.frames > 1 ? counted(item.frames, "frame") : "",
    item.findings ? counted(item.findings, "finding") : "",
    SIGNS[item.decision]?.[1] ?? "",
    (item.tags ?? []).join(", "),
    item.change ?? "",
  ]
    .filter(Boolean)
    .map(words)
    .join(", ");
}

/**
 * @param {HTMLElement} host scrolls
 * @param {{results: object, source: object, state: object, open: (item: object, index: number) => void}} options
 */
export function createGrid(host, { results, source, state, open }) {
  const range = createScrollRange();
  const canvas = h("div", { class: "tiles", role: "list", "aria-label": "Items" });
  const tiles = new Map();
  let [size, ratio, columns, wide, rowHeight] = ["medium", 1, 1, 162, 218];
  let top = 0;
  let active = 0;
  let moved = 0;
  let quick = false;
  let frame = 0;
  host.append(canvas);

  const inset = () => parseFloat(getComputedStyle(host).paddingLeft) || 0;

  function measure() {
    const width = host.clientWidth - 2 * inset();
    if (width <= 0) return;
    const before = [columns, rowHeight];
    const first = Math.floor(top / rowHeight) * columns;
    const [least, caption] = SIZES[size];
    columns = Math.max(1, Math.floor((width + GAP) / (least + GAP)));
    wide = (width - GAP * (columns - 1)) / columns;
    rowHeight = Math.round(wide / ratio) + caption + GAP;
    canvas.style.setProperty("--tile", `${wide}px`);
    canvas.style.setProperty("--picture", `${Math.round(wide / ratio)}px`);
    range.fit(Math.ceil((results.total ?? 0) / columns) * rowHeight + GAP, host.clientHeight);
    canvas.style.setProperty("height", `${range.height}px`);
    // the same item stays at the top when tiles change their size
    const alike = before[0] === columns && before[1] === rowHeight;
    move(range.goTo(alike ? top : Math.floor(first / columns) * rowHeight));
  }

  function move({ top: place, scrollTop }) {
    top = place;
    if (Math.abs(host.scrollTop - scrollTop) >= 1) host.scrollTop = scrollTop;
    draw();
  }

  function tile() {
    const image = h("img", { alt: "", decoding: "async", draggable: "false" });
    image.addEventListener("load", () => image.classList.add("there"));
    image.addEventListener("error", () => image.getAttribute("src") && image.parentElement.classList.add("broken"));
    const parts = {
      picture: h("span", { class: "picture" }, image),
      id: h("b"),
      more: h("span", { class: "soft" }),
      image,
      badges: h("span", { class: "badges" }),
      kind: h("span", { class: "kind" }),
      mark: h("span", { class: "mark" }),
    };
    parts.picture.append(parts.kind, parts.badges, parts.mark);
    const link = h("a", { class: "tile" }, parts.picture, h("span", { class: "caption" }, parts.id, parts.more));
    const element = h("div", { class: "place", role: "listitem" }, link);
    const made = { element, link, parts, item: null, index: -1 };
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey || !made.item) return;
      event.preventDefault();
      active = made.index;
      open(made.item, made.index);
    });
    link.addEventListener("focus", () => {
      active = made.index;
      roving();
    });
    link.addEventListener("pointermove", (event) => event.pointerType === "mouse" && leaf(made, event));
    link.addEventListener("pointerleave", () => show(made));
    return made;
  }

  /** The pointer's place over a clip chooses the thumbnail, so that a clip can be seen without opening it. */
  const leaf = (made, event) => {
    const { item } = made;
    if (!source.live || !item || item.frames < 2) return;
    const part = Math.min(0.999, Math.max(0, event.offsetX / made.parts.picture.clientWidth));
    const number = Math.floor((Math.floor(part * STEPS) / (STEPS - 1)) * (item.frames - 1));
    show(made, number);
    made.parts.mark.style.setProperty("--at", part.toFixed(3));
  };

  function show(made, number = made.item?.cover) {
    const { image, picture } = made.parts;
    if (!made.item) return;
    const url = source.thumb(results.side, made.item.key, number);
    picture.classList.toggle("leafing", number !== made.item.cover);
    if (image.getAttribute("src") === url || (quick && number === made.item.cover)) return;
    if (number === made.item.cover) image.classList.remove("there");
    image.src = url;
  }

  function put(made, index) {
    const item = results.at(index);
    if (made.index !== index) {
      made.index = index;
      made.element.setAttribute("aria-posinset", index + 1);
      made.link.dataset.index = index;
    }
    made.element.setAttribute("aria-setsize", results.total);
    const row = Math.floor(index / columns);
    const x = (index % columns) * (wide + GAP);
    made.element.style.setProperty("transform", `translate(${x}px, ${row * rowHeight - range.offset}px)`);
    if (made.item !== item) {
      const { parts } = made;
      if (made.item?.key !== item?.key) {
        parts.image.removeAttribute("src");
        parts.image.classList.remove("there");
        parts.picture.classList.remove("broken");
      }
      made.item = item;
      made.element.classList.toggle("waiting", !item);
      if (item) describe(made, item);
      else {
        made.link.removeAttribute("href");
        parts.id.textContent = parts.more.textContent = "";
        fill(parts.badges);
        fill(parts.kind);
      }
    }
    if (item) show(made);
  }

  function describe(made, item) {
    const { parts, link } = made;
    const now = state.get();
    link.href = address({ ...now, item: { side: results.side, key: item.key }, frame: item.hit ?? 0 });
    link.dataset.key = item.key;
    link.setAttribute("aria-label", spoken(item));
    link.title = visible(item.id);
    parts.id.textContent = visible(item.id);
    parts.more.textContent = [
      words(item.category ?? item.sequence ?? item.config),
      item.frames > 1 && Number.isFinite(item.hits) && item.hits < item.frames
        ? `${count(item.hits)} of ${counted(item.frames, "frame")}`
        : "",
    ]
      .filter(Boolean)
      .join(" · ");
    fill(
      parts.kind,
      item.kind === "still" ? null : icon(item.kind === "clip" ? "clip" : "scenes"),
      item.frames > 1 ? h("span", { text: count(item.frames) }) : null,
    );
    const sign = SIGNS[item.decision];
    fill(
      parts.badges,
      item.change && item.change !== "same"
        ? h("span", { class: "badge change", text: item.change, title: "against the other version" })
        : null,
      item.findings
        ? h(
            "span",
            { class: "badge finding", title: counted(item.findings, "finding") },
            icon("flag"),
            h("span", { text: count(item.findings) }),
          )
        : null,
      sign ? h("span", { class: `badge ${item.decision}`, title: sign[1] }, icon(sign[0])) : null,
    );
    link.classList.toggle("rejected", item.decision === "reject");
  }

  function roving() {
    const now = state.get().item;
    for (const made of tiles.values()) {
      made.link.tabIndex = made.index === active ? 0 : -1;
      const open = Boolean(now && made.item && now.side === results.side && now.key === made.item.key);
      if (open) made.link.setAttribute("aria-current", "true");
      else made.link.removeAttribute("aria-current");
    }
  }

  function draw() {
    frame = 0;
    const total = results.total ?? 0;
    const above = Math.max(0, Math.floor(top / rowHeight) - 1);
    const below = Math.floor((top + host.clientHeight) / rowHeight) + 1;
    const [first, last] = [above * columns, Math.min(total, (below + 1) * columns) - 1];
    if (total) results.want(first, last);
    const focused = canvas.contains(document.activeElement) ? active : -1;
    active = Math.min(active, Math.max(0, total - 1));
    const free = [];
    for (const [index, made] of tiles) {
      if ((index < first || index > last) && (index !== focused || index >= total)) {
        tiles.delete(index);
        free.push(made);
      }
    }
    for (let index = first; index <= last; index += 1) {
      let made = tiles.get(index);
      if (!made) {
        made = free.pop() ?? tile();
        tiles.set(index, made);
        if (!made.element.isConnected) canvas.append(made.element);
      }
      put(made, index);
    }
    free.forEach((made) => made.element.remove());
    if (!tiles.has(active) && tiles.size && focused < 0) active = Math.max(first, Math.min(last, active));
    roving();
  }

  /** The tiles in the document in their order, for those who read it rather than see it. */
  function sort() {
    const held = canvas.contains(document.activeElement) ? document.activeElement : null;
    [...tiles.keys()]
      .sort((one, other) => one - other)
      .forEach((index, at) => {
        const { element } = tiles.get(index);
        if (canvas.children[at] !== element) canvas.insertBefore(element, canvas.children[at] ?? null);
      });
    if (held && document.activeElement !== held) held.focus({ preventScroll: true });
  }

  const calm = settled(() => {
    quick = false;
    draw();
    sort();
  }, 90);
  host.addEventListener(
    "scroll",
    () => {
      const now = performance.now();
      const place = range.scrolled(host.scrollTop);
      // flying past: names at once, pictures when it stops
      quick = Math.abs(place.top - top) > 3 * host.clientHeight || (quick && now - moved < 90);
      moved = now;
      top = place.top;
      if (Math.abs(host.scrollTop - place.scrollTop) >= 1) host.scrollTop = place.scrollTop;
      if (!frame) frame = requestAnimationFrame(draw);
      calm();
    },
    { passive: true },
  );

  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    const page = Math.max(1, Math.floor(host.clientHeight / rowHeight)) * columns;
    const steps = {
      ArrowLeft: -1,
      ArrowRight: 1,
      ArrowUp: -columns,
      ArrowDown: columns,
      PageUp: -page,
      PageDown: page,
      Home: -Infinity,
      End: Infinity,
    };
    const step = steps[event.key];
    if (step === undefined) return;
    event.preventDefault();
    focus(Math.max(0, Math.min((results.total ?? 1) - 1, active + step)));
  });

  /** Bring an item into view. */
  function reveal(index) {
    const row = Math.floor(index / columns) * rowHeight;
    const tall = host.clientHeight;
    if (row < top) move(range.goTo(row));
    else if (row + rowHeight > top + tall) move(range.goTo(row + rowHeight - tall + GAP));
  }

  function focus(index = active) {
    active = index;
    reveal(index);
    if (!tiles.has(index)) draw();
    tiles.get(index)?.link.focus({ preventScroll: true });
    roving();
  }

  new ResizeObserver(() => measure()).observe(host);

  return {
    /** After the results changed; `fresh`: they are of another query. */
    update(fresh = false) {
      if (fresh) {
        const first = results.at(0);
        const seen = first ? first.width / first.height : 1;
        ratio = Math.min(1.6, Math.max(0.75, Number.isFinite(seen) ? seen : 1));
        [active, top] = [0, 0];
        host.scrollTop = 0;
        range.goTo(0);
        measure();
      } else if (!frame) frame = requestAnimationFrame(draw);
    },
    /** The same query again, as after a reconnect: stay where we are. */
    stay: () => measure(),
    resize(name) {
      size = name in SIZES ? name : "medium";
      canvas.dataset.size = size;
      measure();
    },
    focus,
    reveal(index) {
      active = index;
      reveal(index);
      roving();
    },
    mark: roving,
  };
}
