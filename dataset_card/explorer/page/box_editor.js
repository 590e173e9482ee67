/** Moving and resizing a face box by pointer and keys; boxes are `[x, y, width, height]` in pixels of the frame. */

import { s } from "./dom.js";
import { ARROWS } from "./probe.js";

const LEAST = 2; // px of the frame: smaller is a slip of the hand
const HANDLE = 9; // px of the screen; the invisible part that takes a finger is larger
const GRASP = 26;
// which edges a handle moves: -1 left or top, 1 right or bottom
const HANDLES = { nw: [-1, -1], n: [0, -1], ne: [1, -1], e: [1, 0], se: [1, 1], s: [0, 1], sw: [-1, 1], w: [-1, 0] };

const between = (value, low, high) => Math.min(high, Math.max(low, value));
const tenth = (value) => Math.round(value * 10) / 10;

/** A box moved, kept whole within a frame of a size. */
export function moved([x, y, w, h], dx, dy, [width, height]) {
  return [between(x + dx, 0, width - w), between(y + dy, 0, height - h), w, h];
}

/** A box whose edges on one side, -1 or 1, are moved; it neither leaves the frame nor turns inside out. */
export function resized([x, y, w, h], [sx, sy], dx, dy, [width, height]) {
  let [left, top, right, bottom] = [x, y, x + w, y + h];
  if (sx < 0) left = between(left + dx, 0, right - LEAST);
  if (sx > 0) right = between(right + dx, left + LEAST, width);
  if (sy < 0) top = between(top + dy, 0, bottom - LEAST);
  if (sy > 0) bottom = between(bottom + dy, top + LEAST, height);
  return [left, top, right - left, bottom - top];
}

/** The box between two corners, within the frame. */
export function spanned([ax, ay], [bx, by], [width, height]) {
  const [x1, x2] = [ax, bx].map((v) => between(v, 0, width)).sort((a, b) => a - b);
  const [y1, y2] = [ay, by].map((v) => between(v, 0, height)).sort((a, b) => a - b);
  return [x1, y1, x2 - x1, y2 - y1];
}

/** A box to 0.1 px, still within the frame. */
export function rounded(box, [width, height]) {
  const [x, y] = [tenth(box[0]), tenth(box[1])];
  return [x, y, tenth(Math.min(box[2], width - x)), tenth(Math.min(box[3], height - y))];
}

/** A box cut to the frame. */
function inside([x, y, w, h], size) {
  return spanned([x, y], [x + w, y + h], size);
}

/**
 * An editor within a player's overlay.
 * @param {SVGSVGElement} svg
 * @param {{toFrame: (event: PointerEvent) => number[], size: () => number[], fingers: () => number,
 *     original: () => number[]|null, onBox: (box: number[]|null) => void}} calls `original`: of the frame shown, where Escape
 *     goes back to
 */
export function createBoxEditor(svg, { toFrame, size, fingers, original, onBox }) {
  let on = false;
  let box = null;
  let touched = false;
  let drag = null;
  let unit = 1;

  const shade = s("path", { class: "edit-shade" });
  const edge = s("rect", { class: "edit-edge" });
  const rect = s("rect", { class: "edit-box" });
  const handles = Object.entries(HANDLES).map(([name, sides]) => {
    const grasp = s("rect", { class: "edit-grasp", data: { handle: name } });
    const knob = s("rect", { class: "edit-knob" });
    return { name, sides, grasp, knob };
  });
  const group = s(
    "g",
    { class: "edit", hidden: true },
    shade,
    edge,
    rect,
    ...handles.map((k) => k.knob),
    ...handles.map((k) => k.grasp),
  );
  svg.append(group);

  function lay(element, [x, y, w, h]) {
    [
      ["x", x],
      ["y", y],
      ["width", w],
      ["height", h],
    ].forEach(([name, value]) => element.setAttribute(name, value));
  }

  function draw() {
    group.toggleAttribute("hidden", !on);
    svg.classList.toggle("editing", on);
    const [width, height] = size();
    const hole = box ? `M${box[0]} ${box[1]}v${box[3]}h${box[2]}v${-box[3]}z` : "";
    shade.setAttribute("d", `M0 0H${width}V${height}H0z${hole}`);
    [edge, rect, ...handles.flatMap((k) => [k.grasp, k.knob])].forEach((element) =>
      element.toggleAttribute("hidden", !box),
    );
    if (!box) return;
    lay(edge, box);
    lay(rect, box);
    for (const {
      sides: [sx, sy],
      grasp,
      knob,
    } of handles) {
      const [x, y] = [box[0] + (box[2] * (sx + 1)) / 2, box[1] + (box[3] * (sy + 1)) / 2];
      // on a small box large grasps would leave nothing to move it by
      const reach = Math.min(GRASP * unit, Math.max(HANDLE * unit, Math.min(box[2], box[3]) / 3));
      for (const [element, side] of [
        [grasp, reach],
        [knob, HANDLE * unit],
      ])
        lay(element, [x - side / 2, y - side / 2, side, side]);
    }
  }

  function put(next, tell = true) {
    box = next && rounded(next, size());
    touched = true;
    draw();
    if (tell) onBox(box && [...box]);
  }

  svg.addEventListener("pointerdown", (event) => {
    if (!on || event.button !== 0 || fingers() > 1) return;
    const at = toFrame(event);
    const handle = handles.find((k) => k.grasp === event.target);
    const kind = handle ? "resize" : event.target === rect ? "move" : "draw";
    drag = {
      id: event.pointerId,
      kind,
      sides: handle?.sides,
      from: at,
      box: box && [...box],
      touched,
      begun: kind !== "draw",
    };
    svg.setPointerCapture(event.pointerId);
  });
  svg.addEventListener("pointermove", (event) => {
    if (drag?.id !== event.pointerId) return;
    if (fingers() > 1) return cancel();
    const at = toFrame(event);
    const [dx, dy] = [at[0] - drag.from[0], at[1] - drag.from[1]];
    if (!drag.begun && Math.hypot(dx, dy) < 3 * unit) return;
    drag.begun = true;
    if (drag.kind === "draw") put(spanned(drag.from, at, size()), false);
    else if (drag.kind === "move") put(moved(drag.box, dx, dy, size()), false);
    else put(resized(drag.box, drag.sides, dx, dy, size()), false);
  });
  svg.addEventListener("pointerup", (event) => {
    if (drag?.id !== event.pointerId) return;
    const { begun, box: before, kind } = drag;
    if (begun && kind === "draw" && !(box?.[2] >= LEAST && box?.[3] >= LEAST)) return cancel();
    drag = null;
    if (begun && String(box) !== String(before)) onBox(box && [...box]);
  });
  svg.addEventListener("pointercancel", () => drag && cancel());

  function cancel() {
    ({ box, touched } = drag);
    drag = null;
    draw();
  }

  return {
    get on() {
      return on;
    },
    get box() {
      return box && [...box];
    },
    get touched() {
      return touched;
    },
    /** Start from a box, or from none: then one is drawn; false ends it. */
    edit(value, from = null) {
      on = value;
      drag = null;
      touched = false;
      box = on && from ? rounded(inside(from, size()), size()) : null;
      draw();
    },
    /** The box of another frame, as long as nothing was changed. */
    follow(from) {
      if (on && !touched && !drag) this.edit(true, from);
    },
    set(next) {
      if (on) put(next && inside(next, size()), false);
    },
    /** @param {number} value px of the frame that are one px of the screen */
    scale(value) {
      unit = value;
      if (on) draw();
    },
    /** Keys: arrows move, with Alt or Ctrl they resize, Shift is ten at once, Escape goes back. @returns {boolean} taken */
    key(event) {
      if (!on) return false;
      if (event.key === "Escape") {
        if (drag) cancel();
        else if (touched) {
          const from = original();
          put(from && inside(from, size()));
          touched = false;
        } else return false;
        return true;
      }
      const direction = ARROWS[event.key];
      if (!direction || !box || drag) return false;
      const [dx, dy] = direction.map((d) => d * (event.shiftKey ? 10 : 1));
      put(event.altKey || event.ctrlKey ? resized(box, [1, 1], dx, dy, size()) : moved(box, dx, dy, size()));
      return true;
    },
  };
}
