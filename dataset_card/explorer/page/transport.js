/** What moves through a clip: play, step, the slider, and a strip that shows what happens when. */

import { button, counted, fill, h, icon, s, select, set, words } from "./dom.js";

const SPEEDS = [
  ["0.1", "0.1×"],
  ["0.25", "0.25×"],
  ["0.5", "0.5×"],
  ["1", "1×"],
  ["2", "2×"],
];
/** Colours of expressions on the strip; `neutral` has none. Told apart by name in the legend and the table of labels too. */
const COLOURS = {
  smile: "#f0a818",
  frown: "#5b8def",
  surprise: "#d86fb5",
  blink: "#8f9aa6",
  open: "#2fb39a",
  talk: "#c3d34f",
};

/** Runs of equal values: [value, first, last] each. */
export function runs(values) {
  const found = [];
  values.forEach((value, at) => {
    const last = found[found.length - 1];
    if (last && last[0] === value) last[2] = at;
    else found.push([value, at, at]);
  });
  return found;
}

/**
 * @param {{seek: (n: number) => void, step: (d: number) => void, toggle: () => void, speed: (x: number) => void}} calls
 */
export function createTransport({ seek, step, toggle, speed }) {
  let count = 1;
  let fps = null;
  const slider = h("input", {
    type: "range",
    class: "scrub",
    min: 0,
    max: 0,
    step: 1,
    value: 0,
    "aria-label": "Frame",
    on: { input: () => seek(Number(slider.value)) },
  });
  const number = h("input", {
    type: "number",
    class: "frame-number",
    min: 0,
    max: 0,
    step: 1,
    value: 0,
    "aria-label": "Frame number",
    on: { change: () => seek(Math.max(0, Math.min(count - 1, Math.round(Number(number.value) || 0)))) },
  });
  const [last, seconds] = [h("span"), h("span", { class: "seconds" })];
  const of = h("span", { class: "soft of" }, last, seconds);
  const play = button("Play", { icon: "play", quiet: true, key: "Space", class: "play", on: toggle });
  const strip = h("div", { class: "strip" });
  const legend = h("div", { class: "strip-legend soft" });
  const element = h(
    "div",
    { class: "transport" },
    h(
      "div",
      { class: "transport-row" },
      button("First frame", { icon: "first", quiet: true, class: "plain", on: () => seek(0) }),
      button("One frame back", { icon: "left", quiet: true, class: "plain", key: "←", on: () => step(-1) }),
      play,
      button("One frame on", { icon: "right", quiet: true, class: "plain", key: "→", on: () => step(1) }),
      button("Last frame", { icon: "last", quiet: true, class: "plain", on: () => seek(count - 1) }),
      slider,
      number,
      of,
      select(SPEEDS, { value: "1", "aria-label": "Speed", class: "speed", on: (value) => speed(Number(value)) }),
    ),
    strip,
    legend,
  );
  strip.addEventListener("pointerdown", (event) => {
    const go = (now) => {
      const box = strip.getBoundingClientRect();
      seek(Math.max(0, Math.min(count - 1, Math.floor(((now.clientX - box.left) / box.width) * count))));
    };
    go(event);
    strip.setPointerCapture(event.pointerId);
    strip.addEventListener("pointermove", go);
    strip.addEventListener("pointerup", () => strip.removeEventListener("pointermove", go), { once: true });
  });
  const head = s("line", { class: "head", y1: 0, y2: 34, "vector-effect": "non-scaling-stroke" });

  function draw(record) {
    const frames = record.frames ?? {};
    const parts = [];
    const seen = new Set();
    for (const [value, first, last] of runs(frames.expression ?? [])) {
      if (!COLOURS[value]) continue;
      seen.add(value);
      parts.push(s("rect", { x: first, y: 0, width: last - first + 1, height: 7, fill: COLOURS[value] }));
    }
    const yaws = (frames.head_pose ?? []).map((pose) => pose?.[0] ?? null);
    const most = Math.max(10, ...yaws.map((yaw) => Math.abs(yaw ?? 0)));
    const turned = yaws.some((yaw) => yaw !== null);
    if (turned) {
      parts.push(s("line", { class: "zero", x1: 0, x2: count, y1: 18, y2: 18, "vector-effect": "non-scaling-stroke" }));
      for (const [there, first, last] of runs(yaws.map((yaw) => yaw !== null))) {
        if (!there) continue;
        const points = yaws
          .slice(first, last + 1)
          .map((yaw, at) => `${first + at + 0.5},${(18 + (yaw / most) * 9).toFixed(2)}`);
        parts.push(s("polyline", { class: "yaw", points: points.join(" "), "vector-effect": "non-scaling-stroke" }));
      }
    }
    const span = (one, kind, y) =>
      s("rect", {
        class: kind,
        x: one.first_frame ?? 0,
        y,
        height: 3,
        width: (one.last_frame ?? count - 1) - (one.first_frame ?? 0) + 1,
      });
    const heat = record.heat?.frames ?? [];
    if (heat.length < count)
      for (const at of heat) parts.push(s("rect", { class: "heat", x: at, y: 31, height: 3, width: 1 }));
    for (const finding of record.findings ?? []) parts.push(span(finding, "finding", 27.5));
    for (const decision of record.decisions ?? []) {
      if (decision.action === "reject" && !decision.superseded_by) parts.push(span(decision, "rejected", 24));
    }
    strip.hidden = legend.hidden = !parts.length;
    fill(
      strip,
      s("svg", { viewBox: `0 0 ${count} 34`, preserveAspectRatio: "none", "aria-hidden": "true" }, ...parts, head),
    );
    const sign = (name, colour) =>
      h(
        "span",
        {},
        s("svg", { viewBox: "0 0 8 8", "aria-hidden": "true" }, s("rect", { width: 8, height: 8, rx: 2, ...colour })),
        name,
      );
    fill(
      legend,
      ...[...seen].map((name) => sign(words(name), { fill: COLOURS[name] })),
      turned ? sign(`yaw, ±${Math.round(most)}°`, { class: "yaw-sign" }) : null,
      parts.some((part) => part.classList.contains("rejected")) ? sign("rejected", { class: "rejected" }) : null,
      record.findings?.length ? sign("finding", { class: "finding" }) : null,
      heat.length && heat.length < count
        ? sign(`temperatures, ${counted(heat.length, "frame")}`, { class: "heat" })
        : null,
    );
  }

  return {
    element,
    /** Another item. */
    open(record) {
      count = Math.max(1, record.num_frames);
      fps = record.fps;
      set(slider, { max: count - 1 });
      set(number, { max: count - 1 });
      element.hidden = count === 1;
      draw(record);
      this.show(0);
    },
    /** Draw the strip again, after a decision. */
    draw,
    show(frame) {
      slider.value = frame;
      slider.setAttribute("aria-valuetext", `frame ${frame} of ${count}`);
      if (document.activeElement !== number) number.value = frame;
      last.textContent = ` / ${count - 1}`;
      seconds.textContent = fps ? ` · ${(frame / fps).toFixed(2)} s` : "";
      set(head, { x1: frame + 0.5, x2: frame + 0.5 });
    },
    playing(on) {
      fill(play, icon(on ? "pause" : "play"));
      play.setAttribute("aria-label", on ? "Pause" : "Play");
      play.title = on ? "Pause (Space)" : "Play (Space)";
    },
  };
}
