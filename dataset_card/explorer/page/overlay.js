/**
 * Boxes, landmarks and pose axes as SVG over a frame, in the frame's own pixels.
 *
 * x right, y down, the first pixel's centre at (0.5, 0.5): the view box is "0 0 W H" and needs no shift. Widths and radii are
 * in pixels of the screen, whatever the zoom.
 */

import { h, s } from "./dom.js";

// iBUG 68: first and last landmark of a line, and whether it ends where it began (annotations/conventions.py)
const LINES = [
  [0, 16],
  [17, 21],
  [22, 26],
  [27, 30],
  [31, 35],
  [36, 41, true],
  [42, 47, true],
  [48, 59, true],
  [60, 67, true],
];
const EDGES = LINES.flatMap(([first, last, closed]) => {
  const pairs = Array.from({ length: last - first }, (_, i) => [first + i, first + i + 1]);
  return closed ? [...pairs, [last, first]] : pairs;
});
const NOSE_TIP = 30;
const AXIS_LENGTH = 0.32; // of the box's longer side, as annotations/draw.py has it
const POINTS = 68;
const MAX_FACES = 64;
const RADIUS = 2.6; // px of the screen, of a face that is
const FACE = 120; // px wide or more there; the dots of a smaller one are smaller, or they would hide it
const LEAST = 0.35; // of the radius
const HALO = 8; // px of the screen

/** Names of `landmark_state`, by value. */
export const STATES = ["outside", "self-occluded", "occluded by an object", "visible"];

/**
 * Ends of a head's axes in the image: x (the subject's left), y (up), z (toward the camera).
 *
 * `R = Ry(yaw) Rx(-pitch) Rz(-roll)`, angles in degrees (annotations/pose.py).
 * @param {number[]} pose yaw, pitch, roll
 * @param {number[]} origin of the axes
 * @param {number} length px of an axis that lies in the image plane
 * @returns {{axis: "x"|"y"|"z", tip: number[], depth: number}[]} the farthest first
 */
export function poseAxes(pose, origin, length) {
  const [yaw, pitch, roll] = pose.map((degrees) => (degrees * Math.PI) / 180);
  const [cy, sy, cp, sp, cr, sr] = [
    Math.cos(yaw),
    Math.sin(yaw),
    Math.cos(-pitch),
    Math.sin(-pitch),
    Math.cos(-roll),
    Math.sin(-roll),
  ];
  const columns = {
    x: [cy * cr + sy * sp * sr, cp * sr, -sy * cr + cy * sp * sr],
    y: [-cy * sr + sy * sp * cr, cp * cr, sy * sr + cy * sp * cr],
    z: [sy * cp, -sp, cy * cp],
  };
  return Object.entries(columns)
    .map(([axis, [right, up, near]]) => ({
      axis,
      tip: [origin[0] + length * right, origin[1] - length * up],
      depth: near,
    }))
    .sort((a, b) => a.depth - b.depth);
}

const known = (values, size) => Array.isArray(values) && values.length === size && values.every(Number.isFinite);

/**
 * What is known of the faces of a frame.
 * @returns {{faces: {bbox, landmarks, states, pose}[], extra: number[][]}}
 */
export function facesOf(record, n) {
  if (record.faces) {
    const faces = record.faces.slice(0, MAX_FACES).map((face) => ({
      bbox: face.bbox,
      landmarks: face.landmarks,
      states: face.landmark_state,
      pose: face.head_pose,
    }));
    return { faces, extra: [] };
  }
  const frames = record.frames ?? {};
  const face = {
    bbox: frames.bbox?.[n],
    landmarks: frames.landmarks?.[n],
    states: frames.landmark_state?.[n],
    pose: frames.head_pose?.[n],
  };
  return { faces: [face], extra: (frames.extra_bboxes?.[n] ?? []).filter((box) => known(box, 4)).slice(0, MAX_FACES) };
}

function place(rect, box) {
  const shown = known(box, 4);
  rect.toggleAttribute("hidden", !shown);
  if (shown) ["x", "y", "width", "height"].forEach((name, i) => rect.setAttribute(name, box[i]));
}

/** The drawing of one face; its elements are made once and then moved. */
function createFace(index) {
  const edge = s("rect", { class: "edge" });
  const box = s("rect", { class: "bbox", data: { face: index } });
  const shade = s("path", { class: "edge lines" });
  const lines = STATES.map((_, state) => s("path", { class: "lines", data: { lines: state } }));
  const halo = s("path", { class: "halo" });
  const dots = Array.from({ length: POINTS }, (_, i) => s("circle", { data: { landmark: i, face: index } }));
  const crosses = s("path", { class: "crosses" });
  const axes = s("g", { class: "axes" });
  const shadows = ["x", "y", "z"].map(() => s("line", { class: "edge" }));
  const arms = Object.fromEntries(["x", "y", "z"].map((axis) => [axis, s("line", { data: { axis, face: index } })]));
  const points = s("g", { class: "points" }, shade, ...lines, halo, ...dots, crosses);
  const element = s("g", { class: "face" }, s("g", { class: "boxes" }, edge, box), points, axes);
  let radius = 0;
  let marked = [];
  let [unit, width] = [1, Infinity];

  function drawCrosses() {
    const r = radius * 0.75;
    crosses.setAttribute(
      "d",
      marked.map(([x, y]) => `M${x - r} ${y - r}l${2 * r} ${2 * r}m0 ${-2 * r}l${-2 * r} ${2 * r}`).join(""),
    );
  }

  function drawPoints(landmarks, states) {
    const there = Array.isArray(landmarks) && landmarks.length === POINTS;
    points.toggleAttribute("hidden", !there);
    if (!there) return;
    const state = (i) => (STATES[states?.[i]] ? states[i] : 3);
    const drawn = landmarks.map((point) => known(point, 2));
    const paths = STATES.map(() => "");
    for (const [a, b] of EDGES) {
      if (!drawn[a] || !drawn[b]) continue;
      paths[Math.min(state(a), state(b))] += `M${landmarks[a].join(" ")}L${landmarks[b].join(" ")}`;
    }
    shade.setAttribute("d", paths.join(""));
    lines.forEach((line, i) => line.setAttribute("d", paths[i]));
    // a line of no length with round caps is a dot that keeps its size on the screen
    halo.setAttribute(
      "d",
      landmarks
        .filter((_, i) => drawn[i])
        .map(([x, y]) => `M${x} ${y}h0`)
        .join(""),
    );
    dots.forEach((dot, i) => {
      dot.toggleAttribute("hidden", !drawn[i]);
      if (!drawn[i]) return;
      dot.setAttribute("cx", landmarks[i][0]);
      dot.setAttribute("cy", landmarks[i][1]);
      dot.dataset.state = state(i);
    });
    marked = landmarks.filter((_, i) => drawn[i] && state(i) === 2);
    drawCrosses();
  }

  function drawAxes({ bbox, landmarks, pose }) {
    const there = known(pose, 3) && known(bbox, 4);
    axes.toggleAttribute("hidden", !there);
    if (!there) return;
    const tip = landmarks?.[NOSE_TIP];
    const origin = Array.isArray(landmarks) ? tip : [bbox[0] + bbox[2] / 2, bbox[1] + bbox[3] / 2];
    if (!known(origin, 2)) {
      axes.toggleAttribute("hidden", true);
      return;
    }
    poseAxes(pose, origin, AXIS_LENGTH * Math.max(bbox[2], bbox[3])).forEach(({ axis, tip: end }, i) => {
      for (const line of [shadows[i], arms[axis]]) {
        [
          ["x1", origin[0]],
          ["y1", origin[1]],
          ["x2", end[0]],
          ["y2", end[1]],
        ].forEach(([name, value]) => line.setAttribute(name, value));
        axes.append(line); // what points at the camera is drawn last
      }
    });
  }

  /** Dots of a size on the screen. */
  function resize() {
    const part = Math.min(1, Math.max(LEAST, Math.round((10 * width) / unit / FACE) / 10)); // in steps: no flicker
    if (radius === RADIUS * unit * part) return;
    radius = RADIUS * unit * part;
    dots.forEach((dot) => dot.setAttribute("r", radius));
    halo.style.setProperty("stroke-width", HALO * part);
    drawCrosses();
  }

  return {
    element,
    show(face) {
      width = known(face.bbox, 4) ? face.bbox[2] : Infinity;
      resize();
      place(edge, face.bbox);
      place(box, face.bbox);
      drawPoints(face.landmarks, face.states);
      drawAxes(face);
    },
    /** @param {number} unit px of the frame that are one px of the screen */
    scale(value) {
      unit = value;
      resize();
    },
  };
}

/**
 * The overlay of a player.
 * @returns {{element: SVGSVGElement, show: (record: object, n: number) => void, clear: () => void,
 *     size: (w: number, h: number) => void, scale: (unit: number) => void, layers: (on: object) => void,
 *     cross: (at: number[]|null) => void}}
 */
export function createOverlay() {
  const faces = [];
  const group = s("g", { class: "faces" });
  const extras = s("g", { class: "extras" });
  const cross = s("path", { class: "probe", hidden: true });
  const element = s(
    "svg",
    { class: "overlay", viewBox: "0 0 1 1", preserveAspectRatio: "none", "aria-hidden": "true" },
    extras,
    group,
    cross,
  );
  let unit = 1;
  let [width, height] = [1, 1];

  return {
    element,
    size(w, h) {
      [width, height] = [w, h];
      element.setAttribute("viewBox", `0 0 ${w} ${h}`);
    },
    scale(value) {
      unit = value;
      faces.forEach((face) => face.scale(unit));
    },
    show(record, n) {
      const { faces: all, extra } = facesOf(record, n);
      while (faces.length < all.length) {
        const face = createFace(faces.length);
        face.scale(unit);
        faces.push(face);
        group.append(face.element);
      }
      faces.forEach((face, i) => {
        face.element.toggleAttribute("hidden", i >= all.length);
        face.show(all[i] ?? {});
      });
      extras.replaceChildren(
        ...extra.flatMap((box) =>
          ["edge", "extra"].map((name) => {
            const rect = s("rect", { class: name });
            place(rect, box);
            return rect;
          }),
        ),
      );
      element.dataset.frame = n;
    },
    clear() {
      faces.length = 0;
      group.replaceChildren();
      extras.replaceChildren();
      cross.toggleAttribute("hidden", true);
      delete element.dataset.frame;
    },
    /** Which layers are drawn: boxes, landmarks, axes, extra. */
    layers(on) {
      for (const [name, value] of Object.entries(on)) element.classList.toggle(`no-${name}`, !value);
    },
    /** A cross-hair at a point of the frame. */
    cross(at) {
      cross.toggleAttribute("hidden", !at);
      if (at) cross.setAttribute("d", `M0 ${at[1]}H${width}M${at[0]} 0V${height}`);
    },
  };
}

/** What the landmarks' colours and shapes mean: a list for under the frame. @returns {HTMLElement} */
export function createLegend() {
  const sample = (state) =>
    s(
      "svg",
      { class: "overlay sample", viewBox: "0 0 14 14", width: 14, height: 14, "aria-hidden": "true" },
      s("path", { class: "halo", d: "M7 7h0" }),
      s("circle", { cx: 7, cy: 7, r: RADIUS + 0.6, data: { state } }),
      state === 2 ? s("path", { class: "crosses", d: "M4.7 4.7l4.6 4.6m0 -4.6l-4.6 4.6" }) : null,
    );
  return h(
    "ul",
    { class: "landmark-legend", "aria-label": "Landmarks" },
    ...[3, 1, 2, 0].map((state) => h("li", { data: { state } }, sample(state), h("span", { text: STATES[state] }))),
  );
}
