/** Two items, or one item of two versions, frame by frame beside each other, under a swipe, or as their difference. */

import { h } from "./dom.js";
import { createLegend } from "./overlay.js";
import { newest, pace } from "./pacing.js";
import { createPlayer } from "./player.js";

export const MODES = ["side", "swipe", "difference"];
const WORDS = { side: "side by side", swipe: "swipe", difference: "difference" };
let groups = 0;

/**
 * How much two gray frames differ, pixel by pixel.
 * @returns {{gray: Uint8Array, mean: number, most: number, changed: number}} `changed`: share of pixels that differ at all
 * @throws {Error} their sizes differ
 */
export function difference(one, other) {
  if (one.width !== other.width || one.height !== other.height) {
    throw new Error(`No difference: ${one.width} x ${one.height} and ${other.width} x ${other.height} pixels.`);
  }
  const gray = new Uint8Array(one.gray.length);
  let [sum, most, changed] = [0, 0, 0];
  for (let i = 0; i < gray.length; i++) {
    const d = Math.abs(one.gray[i] - other.gray[i]);
    gray[i] = d;
    sum += d;
    if (d) changed++;
    if (d > most) most = d;
  }
  return { gray, mean: sum / gray.length, most, changed: changed / gray.length };
}

/**
 * Two players in step by frame number; the shorter clip waits at its last frame.
 * @param {HTMLElement} host is filled
 * @param {{palettes: object, onFrame?: (n: number) => void, onState?: (state: object) => void,
 *     onTemperature?: (at: object|null, side: "left"|"right") => void, names?: Object<string, string>}} options `names` of the
 *     sides a and b
 */
export function createCompare(
  host,
  { palettes, names: versions = {}, onFrame = () => {}, onState = () => {}, onTemperature = () => {} },
) {
  const states = { left: {}, right: {} };
  const names = { left: h("p", { class: "compare-name" }), right: h("p", { class: "compare-name" }) };
  const sides = Object.fromEntries(
    ["left", "right"].map((side) => [side, h("div", { class: "compare-side", data: { side } }, names[side])]),
  );
  const canvas = h("canvas", { class: "difference", role: "img", "aria-label": "How much the two frames differ" });
  const context = canvas.getContext("2d");
  const caption = h("figcaption");
  const swipe = h("input", {
    type: "range",
    min: 0,
    max: 100,
    value: 50,
    "aria-label": "Where left ends and right begins, per cent",
  });
  const pair = h(
    "div",
    { class: "compare-pair" },
    sides.left,
    sides.right,
    h("figure", { class: "compare-difference" }, canvas, caption),
  );
  const group = `compare-${++groups}`;
  const choices = MODES.map((name) =>
    h("input", { type: "radio", name: group, value: name, on: { change: () => setMode(name) } }),
  );
  const modes = h(
    "fieldset",
    { class: "compare-modes" },
    h("legend", { text: "Compare as" }),
    ...choices.map((input) => h("label", {}, input, WORDS[input.value])),
  );
  const root = h("div", { class: "compare" }, modes, pair, h("div", { class: "compare-swipe" }, swipe), createLegend());
  host.append(root);
  swipe.addEventListener("input", () => root.style.setProperty("--swipe", `${swipe.value}%`));

  let mode = "side";
  let speed = 1;
  let boost = 4; // small differences are hard to see as they are
  let frame = 0;
  let pictures = null;
  let running = null;

  const tell = () => {
    const [{ frames: a = 1 }, { frames: b = 1 }] = [states.left, states.right];
    const errors = ["left", "right"]
      .map((side) => states[side].error && `${side}: ${states[side].error}`)
      .filter(Boolean);
    onState({
      playing: Boolean(running),
      frame,
      frames: Math.max(a, b),
      error: errors.join(" ") || null,
      mode,
      loading: Boolean(states.left.loading || states.right.loading),
      left: states.left,
      right: states.right,
    });
  };
  const make = (side) =>
    createPlayer(sides[side], {
      palettes,
      onState(state) {
        states[side] = state;
        tell();
      },
      onTemperature: (at) => onTemperature(at, side),
    });
  const left = make("left");
  const right = make("right");
  const both = [left, right];
  const count = () => Math.max(left.frames, right.frames, 1);

  function drawDifference() {
    if (mode !== "difference" || !pictures) return;
    try {
      const found = difference(...pictures);
      const { width, height } = pictures[0];
      Object.assign(canvas, { width, height });
      const image = new ImageData(width, height);
      const out = new Uint32Array(image.data.buffer);
      for (let i = 0; i < out.length; i++) out[i] = 0xff000000 | (Math.min(255, found.gray[i] * boost) * 0x10101);
      context.putImageData(image, 0, 0);
      canvas.dataset.frame = frame;
      caption.textContent = found.most
        ? `Frame ${frame}: mean ${found.mean.toFixed(2)}, largest ${found.most} of 255, ${(100 * found.changed).toFixed(1)} % of pixels; shown ${boost} times brighter`
        : `Frame ${frame}: no pixel differs`;
    } catch (error) {
      Object.assign(canvas, { width: 1, height: 1 });
      caption.textContent = error.message;
    }
  }

  const show = newest(async (n) => {
    // both are decoded before either is drawn: the two are always of the same number
    const ready = await Promise.all(both.map((player) => player.prepare(n).catch(() => null)));
    frame = n;
    ready.forEach((one, i) => (one ? one.commit() : both[i].seek(n))); // a player without pixels still has labels
    pictures = ready.every(Boolean) ? ready.map((one) => one.picture) : null;
    if (!pictures) caption.textContent = "No difference: the pixels of one of the two cannot be shown.";
    drawDifference();
    tell();
    onFrame(n);
  });

  /** "side", "swipe" or "difference"; `gain` multiplies the difference. */
  function setMode(name, { gain = boost } = {}) {
    if (!MODES.includes(name)) throw new Error(`mode is ${name}; allowed: ${MODES.join(", ")}`);
    mode = name;
    boost = gain;
    root.dataset.mode = name;
    choices.forEach((input) => (input.checked = input.value === name));
    drawDifference();
    tell();
  }

  function pause() {
    running?.stop();
    running = null;
    tell();
  }
  const hidden = () => document.hidden && running && pause();
  document.addEventListener("visibilitychange", hidden);
  setMode("side");

  return {
    element: root,
    left,
    right,
    /** Show two items. @param {[side, record]} one @param {[side, record]} other @param {{frame?: number}} [options] */
    async open(one, other, options = {}) {
      pause();
      pictures = null;
      frame = options.frame ?? 0;
      const versioned = one[0] !== other[0];
      for (const [name, [side, record]] of [
        [names.left, one],
        [names.right, other],
      ]) {
        name.textContent = versioned ? `${record.id} · ${versions[side] ?? side}` : record.id;
      }
      await Promise.all([left.open(...one, { frame }), right.open(...other, { frame })]);
      await show(Math.min(frame, count() - 1));
    },
    async seek(n) {
      if (running) pause();
      await show(Math.min(count() - 1, Math.max(0, Math.round(n) || 0)));
    },
    step(d) {
      return this.seek(frame + d);
    },
    play() {
      if (running || count() < 2) return;
      const run = pace({
        from: frame >= count() - 1 ? 0 : frame,
        count: count(),
        fps: (left.fps || right.fps || 25) * speed,
        show,
      });
      running = run;
      tell();
      run.done.then(() => running === run && pause());
    },
    pause,
    get playing() {
      return Boolean(running);
    },
    get frame() {
      return frame;
    },
    get frames() {
      return count();
    },
    /** How fast to play: 1 is the left clip's own pace. */
    setSpeed(factor) {
      speed = Math.min(8, Math.max(0.1, Number(factor) || 1));
      if (running) {
        pause();
        this.play();
      }
    },
    zoom: (factor) => both.forEach((player) => player.zoom(factor)),
    resetZoom: () => both.forEach((player) => player.resetZoom()),
    setProbe: (on) => left.setProbe(on),
    setLayers: (on) => both.forEach((player) => player.setLayers(on)),
    setTone: (tone) => Promise.all(both.map((player) => player.setTone(tone))),
    setMode,
    close() {
      pause();
      pictures = null;
      both.forEach((player) => player.close());
    },
    destroy() {
      this.close();
      document.removeEventListener("visibilitychange", hidden);
      both.forEach((player) => player.destroy());
      root.remove();
    },
  };
}
