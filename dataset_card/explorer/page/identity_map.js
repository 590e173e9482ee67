/** The map of identities: people whose faces are alike lie together. A list beside it says the same in words. */

import { button, counted, field, fill, h, memory, s, select, set, words } from "./dom.js";
import { emptyPage } from "./notices.js";

/** Colours that all eyes tell apart on the dark ground (Okabe and Ito, 2008), each with a shape of its own. */
const LOOKS = [
  ["#56b4e9", "circle"],
  ["#e69f00", "square"],
  ["#2fc49a", "triangle"],
  ["#cc79a7", "diamond"],
  ["#f0e442", "circle"],
  ["#d55e00", "square"],
];
const FACES = 400;
const LISTED = 300;

function shape(kind, r) {
  if (kind === "square") return s("rect", { x: -r, y: -r, width: 2 * r, height: 2 * r, rx: r / 4 });
  if (kind === "triangle") return s("path", { d: `M0 ${-1.2 * r}L${1.15 * r} ${0.9 * r}H${-1.15 * r}Z` });
  if (kind === "diamond") return s("path", { d: `M0 ${-1.3 * r}L${1.3 * r} 0L0 ${1.3 * r}L${-1.3 * r} 0Z` });
  return s("circle", { r });
}

/** The point next to another in a direction of an arrow key: the nearest within 45 degrees of it, else within 80. */
export function neighbour(points, at, [dx, dy]) {
  let best = [-1, Infinity];
  points.forEach((point, index) => {
    if (index === at) return;
    const [x, y] = [point.px - points[at].px, point.py - points[at].py];
    const [along, across] = [x * dx + y * dy, Math.abs(x * dy - y * dx)];
    if (along <= 0) return;
    const cost = Math.hypot(x, y) * (across <= along ? 1 : across <= 5.7 * along ? 3 : Infinity);
    if (cost < best[1]) best = [index, cost];
  });
  return best[0];
}

/** @param {HTMLElement} host @param {{source: object, state: object}} context */
export async function show(host, { source, state }) {
  const side = state.get().side;
  let timer = 0;
  let observer = null;
  let ended = false;

  async function load() {
    const map = await source.map(side);
    if (ended) return;
    if (map.state === "computing") {
      const part = map.total ? map.done / map.total : 0;
      if (!host.querySelector("progress")) {
        fill(
          host,
          h(
            "div",
            { class: "empty", role: "status" },
            h("h2", { text: "Drawing the map" }),
            h("p", {}),
            h("progress", { max: 1, "aria-label": "Faces looked at" }),
          ),
        );
      }
      host.querySelector("progress").value = part;
      host.querySelector(".empty p").textContent = map.total
        ? `${map.done} of ${counted(map.total, "identity").replace("identitys", "identities")} looked at. It is kept for the next time.`
        : "Looking at the faces…";
      timer = setTimeout(
        () => load().catch((error) => fill(host, emptyPage("The map could not be drawn", error.message))),
        1000,
      );
    } else if (map.state === "ready" && map.points.length) draw(map);
    else fill(host, emptyPage("There is no map", map.reason ?? "This release names no identities."));
  }

  function draw({ points: given, method, people, looked_at: looked }) {
    const points = given.map((point) => ({ ...point }));
    let by = memory.get("map-by", "gender");
    let faces = points.length <= FACES && memory.get("map-faces", true);
    let active = 0;
    const plot = s("svg", {
      class: "plot",
      role: "group",
      "aria-label": "Map of identities; arrow keys move to the next one",
    });
    const card = h("div", { class: "map-card", hidden: true, "aria-hidden": "true" });
    const legend = h("div", { class: "map-legend" });
    const list = h("ul", { "aria-label": "Identities" });
    const search = h("input", {
      type: "search",
      placeholder: "Identity",
      "aria-label": "Find an identity",
      on: { input: () => listed() },
    });
    const picture = (point) => source.thumb(side, point.key, point.frame ?? point.cover ?? 0);
    const open = (point) => state.only({ subject: [point.subject] });
    const about = (point) => [point.gender, point.split, counted(point.items, "item")].filter(Boolean).join(", ");

    function values() {
      return [...new Set(points.map((point) => point[by] ?? "not known"))].sort();
    }

    const marks = points.map((point, index) => {
      const mark = s("g", {
        class: "map-point",
        tabindex: index ? -1 : 0,
        role: "button",
        "aria-label": `${point.subject}, ${about(point)}`,
        data: { subject: point.subject },
      });
      mark.addEventListener("click", () => open(point));
      mark.addEventListener("pointerenter", () => tell(index));
      mark.addEventListener("pointerleave", () => tell(-1));
      mark.addEventListener("focus", () => {
        marks[active].setAttribute("tabindex", -1);
        active = index;
        mark.setAttribute("tabindex", 0);
        // on top of its neighbours; moved itself it would lose the focus, and the click that is under way
        while (mark.nextSibling) plot.prepend(mark.nextSibling);
        tell(index);
      });
      mark.addEventListener("blur", () => tell(-1));
      mark.addEventListener("keydown", (event) => {
        const arrow = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
        if (arrow && !event.shiftKey) {
          event.preventDefault();
          const next = neighbour(points, index, arrow);
          if (next >= 0) marks[next].focus();
        } else if (event.key === "Enter" || event.key === " ") {
          event.preventDefault();
          open(point);
        }
      });
      return mark;
    });
    plot.append(...marks);

    function tell(index) {
      card.hidden = index < 0;
      if (index < 0) return;
      const point = points[index];
      fill(
        card,
        faces ? null : h("img", { src: picture(point), alt: "" }),
        h("p", {}, h("b", { text: point.subject }), h("br"), about(point)),
      );
      const [width, height] = [stage.clientWidth, stage.clientHeight];
      card.style.setProperty("left", `${point.px + 190 > width ? Math.max(4, point.px - 186) : point.px + 26}px`);
      card.style.setProperty("top", `${Math.max(4, Math.min(point.py - 30, height - (faces ? 70 : 240)))}px`);
    }

    function paint() {
      const kinds = values();
      const look = (point) => LOOKS[kinds.indexOf(point[by] ?? "not known") % LOOKS.length];
      const room = Math.sqrt((stage.clientWidth * stage.clientHeight) / points.length);
      const r = faces ? Math.max(12, Math.min(34, 0.28 * room)) : Math.max(4, Math.min(8, 0.14 * room));
      marks.forEach((mark, index) => {
        const point = points[index];
        const [colour, kind] = look(point);
        if (faces) {
          const clip = `clip-${index}`;
          fill(
            mark,
            s("clipPath", { id: clip }, s("circle", { r })),
            s("image", {
              href: picture(point),
              x: -1.15 * r,
              y: -1.15 * r,
              width: 2.3 * r,
              height: 2.3 * r,
              "clip-path": `url(#${clip})`,
              preserveAspectRatio: "xMidYMid slice",
            }),
            set(s("circle", { class: "ring", r, fill: "none", stroke: colour, "stroke-width": 2.5 }), {}),
            set(shape(kind, 4.5), {
              fill: colour,
              transform: `translate(${(0.72 * r).toFixed(1)} ${(0.72 * r).toFixed(1)})`,
              class: "shape",
            }),
          );
        } else fill(mark, set(shape(kind, r), { class: "shape", fill: colour }));
      });
      fill(
        legend,
        ...kinds
          .slice(0, LOOKS.length)
          .map((name, index) =>
            h(
              "span",
              {},
              s(
                "svg",
                { viewBox: "-7 -7 14 14", "aria-hidden": "true" },
                set(shape(LOOKS[index][1], 5), { fill: LOOKS[index][0] }),
              ),
              words(name),
            ),
          ),
      );
      position();
    }

    function position() {
      const [width, height] = [stage.clientWidth, stage.clientHeight];
      const pad = faces ? 48 : 28;
      set(plot, { viewBox: `0 0 ${width} ${height}` });
      points.forEach((point, index) => {
        point.px = pad + point.x * (width - 2 * pad);
        point.py = pad + 34 + point.y * Math.max(1, height - 2 * pad - 80);
        marks[index].setAttribute("transform", `translate(${point.px.toFixed(1)} ${point.py.toFixed(1)})`);
      });
    }

    function listed() {
      const text = search.value.trim().toLowerCase();
      const found = points
        .filter((point) => point.subject.toLowerCase().includes(text))
        .sort((one, other) => one.subject.localeCompare(other.subject, "en", { numeric: true }));
      fill(
        list,
        ...found.slice(0, LISTED).map((point) =>
          h(
            "li",
            {},
            h(
              "button",
              {
                type: "button",
                on: {
                  click: () => open(point),
                  focus: () => tell(points.indexOf(point)),
                  blur: () => tell(-1),
                  pointerenter: () => tell(points.indexOf(point)),
                  pointerleave: () => tell(-1),
                },
              },
              h("span", { text: point.subject }),
              h("span", { class: "soft", text: about(point) }),
            ),
          ),
        ),
        found.length > LISTED
          ? h("li", { class: "soft", text: `and ${found.length - LISTED} more: type a part of the name` })
          : null,
      );
    }

    const toggle = button("Faces", {
      class: "faces",
      "aria-pressed": String(faces),
      on: () => {
        faces = !faces;
        memory.set("map-faces", faces);
        toggle.setAttribute("aria-pressed", String(faces));
        paint();
      },
    });
    toggle.hidden = points.length > FACES;
    const note = [method, looked && people && looked < people ? `${looked} of ${people} identities, evenly drawn` : ""]
      .filter(Boolean)
      .join(" · ");
    const stage = h(
      "div",
      { class: "map-stage" },
      plot,
      h(
        "div",
        { class: "map-tools" },
        field(
          "Colour",
          select(
            [
              ["gender", "gender"],
              ["split", "split"],
            ],
            {
              value: by,
              on: (value) => {
                by = value;
                memory.set("map-by", by);
                paint();
              },
            },
          ),
          "beside",
        ),
        toggle,
        legend,
      ),
      card,
      h("p", { class: "map-note", text: note }),
    );
    const view = h("div", { class: "map-view" }, stage, h("div", { class: "map-list" }, search, list));
    host.replaceWith(view);
    observer = new ResizeObserver(position);
    paint();
    listed();
    observer.observe(stage);
  }

  await load();
  return () => {
    ended = true;
    clearTimeout(timer);
    observer?.disconnect();
  };
}
