/**
 * The player of an item: frames on a canvas, their annotations over them, temperature under the pointer.
 *
 * Pixels, overlay and frame number change together, from one picture that knows its own number; a newer request replaces
 * one that waits, so that scrubbing never falls behind.
 */

import { createBoxEditor } from "./box_editor.js";
import { openSource } from "./clip_source.js";
import { h } from "./dom.js";
import { createFrameCanvas } from "./frame_canvas.js";
import { createHeat, listFrames } from "./heat.js";
import { createLegend, createOverlay, facesOf } from "./overlay.js";
import { newest, pace } from "./pacing.js";
import { createProbe } from "./probe.js";
import { AGC } from "./tone.js";
import { listenToView } from "./view_keys.js";
import { createZoom } from "./zoom.js";

const IDLE = { loading: false, playing: false, frame: 0, frames: 0, fps: null, error: null, notice: null, heat: null };

/**
 * @param {HTMLElement} host is filled
 * @param {{palettes: Object<string, string>, onFrame?: (n: number) => void, onState?: (state: object) => void,
 *     onTemperature?: (at: {celsius: number, x: number, y: number}|null) => void,
 *     onBox?: (box: number[]|null) => void}} options
 */
export function createPlayer(
  host,
  { palettes, onFrame = () => {}, onState = () => {}, onTemperature = () => {}, onBox = () => {} },
) {
  const canvas = createFrameCanvas(palettes);
  const overlay = createOverlay();
  const stage = h("div", { class: "player-stage" }, canvas.element, overlay.element);
  const message = h("p", { class: "player-message", role: "status" });
  const view = h(
    "div",
    { class: "player-view", tabindex: "0", role: "application", "aria-label": "Frame viewer" },
    stage,
  );
  const legend = createLegend();
  const root = h("div", { class: "player" }, view, message, canvas.bar, legend);
  host.append(root);

  let tone = { input: "gray", palette: "white-hot", agc: "stored", low: null, high: null };
  let layers = { boxes: true, landmarks: true, axes: true, extra: true };
  let opened = null; // {side, record, source, heat, heatError, all: AbortController}
  let shown = null; // {picture, counts}
  let playing = null; // what stops it
  let speed = 1;

  const state = { ...IDLE, input: "gray", zoom: 1 };
  const tell = (change) => {
    Object.assign(state, change);
    message.textContent = state.error ?? state.notice ?? "";
    message.classList.toggle("error", Boolean(state.error));
    root.classList.toggle("loading", state.loading);
    onState({ ...state });
  };

  const size = () => canvas.size ?? [opened?.record.width || 1, opened?.record.height || 1];
  const editor = createBoxEditor(overlay.element, {
    toFrame: (event) => zoom.toFrame(event),
    size,
    fingers: () => zoom.fingers,
    original: () => boxOf(state.frame),
    onBox,
  });
  const zoom = createZoom(view, stage, {
    mayPan: (event) => !editor.on || event.buttons === 4,
    onScale(scale) {
      overlay.scale(1 / scale);
      editor.scale(1 / scale);
      if (Math.abs(state.zoom - (zoom?.factor ?? 1)) > 1e-6) tell({ zoom: zoom.factor });
    },
  });

  const probe = createProbe(view, {
    toFrame: (event) => zoom.toFrame(event),
    size,
    cross: overlay.cross,
    heat: () => (shown ? opened.heat : null),
    frame: () => state.frame,
    busy: () => Boolean(playing),
    onTemperature,
  });

  /** The canvas and the overlay take the size of the frames. */
  function fit(width, height) {
    if (!canvas.fit(width, height)) return;
    overlay.size(width, height);
    zoom.size(width, height);
  }

  const boxOf = (n) => {
    const box = opened && facesOf(opened.record, n).faces[0]?.bbox;
    return box?.every(Number.isFinite) ? box : null;
  };

  /** Pixels, overlay and number of what is shown: all three, at once. */
  function draw() {
    const { picture, counts } = shown;
    const { n } = picture;
    fit(picture.width, picture.height);
    Object.assign(state, canvas.draw(picture, counts, opened.heat, tone));
    canvas.element.setAttribute("aria-label", `Frame ${n} of ${opened.record.id}`);
    overlay.show(opened.record, n);
    editor.follow(boxOf(n));
  }

  /** What there is to say of a frame besides the frame. */
  function notice(asked) {
    const { source, heat, record } = opened;
    const n = shown.picture.n;
    if (n !== asked) return `The file ends at frame ${n}; its labels go on to ${source.count - 1}.`;
    if (tone.input === "heat" && !shown.counts) {
      if (!heat) return "There are no temperatures of this item; the stored gray is shown.";
      return (
        opened.heatError ??
        `Frame ${n} has no temperatures; the stored gray is shown. Frames that have: ${listFrames(heat.frames)}.`
      );
    }
    return source.note ?? record.problems?.[0] ?? null;
  }

  function present(picture, counts, asked = picture.n) {
    shown = { picture, counts };
    draw();
    tell({ frame: picture.n, input: counts ? "heat" : "gray", error: null, notice: notice(asked), loading: false });
    onFrame(picture.n);
    probe.read();
  }

  async function countsOf(n, item) {
    if (tone.input !== "heat" || !item.heat) return null;
    item.heatError = null;
    try {
      return await item.heat.load(n);
    } catch (error) {
      if (error.name !== "AbortError") item.heatError = error.message;
      return null;
    }
  }

  const clamp = (n) => Math.min(opened.source.count - 1, Math.max(0, Math.round(n) || 0));

  /** A frame that is ready to be shown: decoded, with its temperatures. @returns {Promise<{picture, commit: () => void}|null>} */
  async function prepare(n) {
    const item = opened;
    if (!item?.source) return null;
    const asked = clamp(n);
    const { input } = tone;
    const [picture, counts] = await Promise.all([item.source.frame(asked), countsOf(asked, item)]);
    if (item !== opened) return null;
    const commit = () => {
      if (item !== opened) return;
      present(picture, picture.n === asked ? counts : null, asked);
      if (tone.input !== input) show(asked); // it was changed while this came
    };
    return { picture, commit };
  }

  const show = newest(async (n) => {
    const item = opened;
    try {
      (await prepare(n))?.commit();
    } catch (error) {
      if (item === opened && error.name !== "AbortError") fail(error);
    }
  });

  function fail(error) {
    halt();
    if (!shown && opened) labelsAlone();
    tell({ loading: false, playing: false, error: error.message });
  }

  /** No pixels: the labels of the first frame over an empty one. */
  function labelsAlone() {
    const { record } = opened;
    const [width, height] = [record.width, record.height];
    if (!(width > 0 && height > 0 && width * height <= 2 ** 26)) return;
    fit(width, height);
    canvas.element.setAttribute("aria-label", `No pixels of ${record.id}`);
    overlay.show(record, state.frame);
  }

  function halt() {
    playing?.();
    playing = null;
  }

  function pause() {
    if (!playing) return;
    halt();
    tell({ playing: false });
    show(state.frame); // the video itself may be a frame further
  }

  async function play() {
    if (!opened?.source || opened.source.count < 2 || playing) return;
    const item = opened;
    const begin = state.frame >= item.source.count - 1 ? 0 : state.frame;
    let stopped = false;
    playing = () => (stopped = true);
    tell({ playing: true });
    await show(begin);
    if (stopped || item !== opened || !playing) return;
    const ended = (error) => {
      if (item !== opened) return;
      playing = null;
      if (error) fail(error);
      else tell({ playing: false });
    };
    if (item.source.stream && !(tone.input === "heat" && item.heat)) {
      playing = item.source.stream(
        speed,
        (picture) => item === opened && present(picture, null),
        async (error) => {
          if (!error && item === opened) await show(item.source.count - 1);
          ended(error);
        },
      );
      return;
    }
    // temperatures are only of some frames: those are shown, each until the next is due
    const wanted = (n) => tone.input !== "heat" || !item.heat || item.heat.has(n);
    const latest = (n) => {
      while (n > begin && !wanted(n)) n--;
      return n;
    };
    const run = pace({
      from: begin,
      count: item.source.count,
      fps: item.source.fps * speed,
      show: async (n) => latest(n) !== state.frame && show(latest(n)),
    });
    playing = run.stop;
    run.done.then(() => playing === run.stop && ended());
  }

  view.addEventListener("dblclick", () => !editor.on && zoom.reset());
  listenToView(view, { editor, zoom, probe });
  const hidden = () => document.hidden && pause();
  document.addEventListener("visibilitychange", hidden);

  /** The legend is there where it explains something. */
  function explain() {
    const { frames, faces } = opened?.record ?? {};
    legend.hidden = !layers.landmarks || !(frames?.landmark_state ?? faces?.some((face) => face.landmark_state));
  }

  function leave() {
    halt();
    opened?.all.abort();
    opened?.source?.close();
    opened = shown = null;
    probe.clear();
    editor.edit(false);
    overlay.clear();
    canvas.clear();
  }

  return {
    element: root,
    legend,
    /**
     * Show an item; resolves when its first frame, or what is wrong with it, is there.
     * @param {"a"|"b"} side @param {object} record @param {{frame?: number}} [options]
     */
    async open(side, record, { frame = 0 } = {}) {
      leave();
      const all = new AbortController();
      const item = { side, record, all, source: null, heat: null, heatError: null };
      opened = item;
      item.heat = createHeat(record, all.signal);
      explain();
      view.setAttribute(
        "aria-label",
        `Frame viewer of ${record.id}. Plus and minus zoom${item.heat ? ", c is a cross-hair for temperature that arrows move" : ""}.`,
      );
      tell({
        loading: true,
        playing: false,
        frame,
        frames: record.num_frames ?? 1,
        fps: record.fps ?? null,
        error: null,
        notice: null,
        heat: item.heat && { frames: item.heat.frames, text: listFrames(item.heat.frames) },
      });
      onTemperature(null);
      try {
        const source = await openSource(record, all.signal);
        if (item !== opened) return source.close();
        item.source = source;
        tell({ frames: source.count, fps: source.fps });
        await show(frame);
      } catch (error) {
        if (item === opened && error.name !== "AbortError") fail(error);
      }
      return undefined;
    },
    /** Show a frame; a newer call replaces one that waits. */
    async seek(n) {
      if (playing) halt();
      if (state.playing) tell({ playing: false });
      if (opened?.source) await show(n);
      else if (opened && state.error) {
        tell({ frame: Math.min(Math.max(0, Math.round(n)), Math.max(0, state.frames - 1)) });
        overlay.show(opened.record, state.frame);
        onFrame(state.frame);
      }
    },
    step(d) {
      return this.seek(state.frame + d);
    },
    play,
    pause,
    prepare,
    get playing() {
      return Boolean(playing);
    },
    get frame() {
      return state.frame;
    },
    get fps() {
      return opened?.source?.fps ?? null;
    },
    get frames() {
      return state.frames;
    },
    /** How fast to play: 1 is the clip's own pace. */
    setSpeed(factor) {
      speed = Math.min(8, Math.max(0.1, Number(factor) || 1));
      if (playing) {
        halt();
        play();
      }
    },
    /** Which of boxes, landmarks, axes and extra boxes are drawn. */
    setLayers(on) {
      layers = { ...layers, ...on };
      overlay.layers(layers);
      explain();
    },
    /** How values become colours; `low` and `high` of "manual" are °C of temperatures and levels of gray. */
    setTone(change) {
      tone = { ...tone, ...change };
      if (!AGC.includes(tone.agc)) tone.agc = "stored";
      if (!shown) return undefined;
      if (playing) {
        pause();
        return play();
      }
      const warm = tone.input === "heat" && Boolean(opened.heat?.has(state.frame));
      if (warm && !shown.counts) return show(state.frame);
      return present(shown.picture, warm ? shown.counts : null);
    },
    /** Correct the face box of the frame that is shown. */
    editBox(on) {
      if (on) pause();
      editor.edit(on && Boolean(opened), boxOf(state.frame));
      root.classList.toggle("editing", editor.on);
      if (on) view.focus({ preventScroll: true });
    },
    get box() {
      return editor.box;
    },
    /** Whether the box was changed since `editBox`; until then it is that of the frame shown. */
    get edited() {
      return editor.touched;
    },
    setBox: (box) => editor.set(box),
    /** A cross-hair whose temperature is told, and that arrow keys move; without a word the other way round. */
    setProbe(on = !probe.on) {
      probe.set(on);
      if (on) view.focus({ preventScroll: true });
    },
    zoom: (factor) => zoom.zoom(factor),
    resetZoom: () => zoom.reset(),
    /** Let go of the item: its bytes, its address, its requests. The player may open another. */
    close() {
      leave();
      tell({ loading: false, playing: false, frame: 0, frames: 0, error: null, notice: null, heat: null });
    },
    /** Let go of everything, for good. */
    destroy() {
      leave();
      zoom.close();
      document.removeEventListener("visibilitychange", hidden);
      root.remove();
    },
  };
}
