/** What is drawn over the picture, and how gray or heat become colour. */

import { field, fill, h, memory, select, words } from "./dom.js";

const LAYERS = [
  ["boxes", "box"],
  ["landmarks", "landmarks"],
  ["axes", "pose"],
  ["extra", "other faces"],
];
const AGCS = [
  ["stored", "as stored"],
  ["linear", "linear 1–99 %"],
  ["equalise", "equalised"],
  ["manual", "manual"],
];

/**
 * @param {{palettes: string[], layers: (chosen: object) => void, tone: (chosen: object) => void}} options
 */
export function createToneBar({ palettes, layers, tone }) {
  const chosen = { boxes: true, landmarks: true, axes: true, extra: true, ...memory.get("layers", {}) };
  const state = { input: "gray", palette: memory.get("palette", palettes[0]), agc: "stored", low: null, high: null };
  if (!palettes.includes(state.palette)) [state.palette] = palettes;
  let heat = null;

  const boxes = LAYERS.map(([name, text]) => {
    const box = h("input", {
      type: "checkbox",
      data: { layer: name },
      on: {
        change: () => {
          chosen[name] = box.checked;
          memory.set("layers", chosen);
          layers({ ...chosen });
        },
      },
    });
    box.checked = chosen[name];
    return h("label", { class: "layer" }, box, text);
  });
  const input = select(
    [
      ["gray", "as published"],
      ["heat", "temperature"],
    ],
    {
      value: "gray",
      on: (value) => {
        state.input = value;
        if (value === "heat" && state.agc === "stored") state.agc = "linear";
        if (value === "gray" && state.agc === "manual") state.agc = "stored";
        paint();
        send();
      },
    },
  );
  const look = select(
    palettes.map((name) => [name, words(name)]),
    {
      value: state.palette,
      on: (value) => {
        state.palette = value;
        memory.set("palette", value);
        send();
      },
    },
  );
  const agc = select(AGCS, {
    value: "stored",
    on: (value) => {
      state.agc = value;
      paint();
      send();
    },
  });
  const limits = ["low", "high"].map((name) =>
    h("input", {
      type: "number",
      step: "any",
      class: "limit",
      "aria-label": `${name === "low" ? "Coldest" : "Hottest"} shown`,
      data: { limit: name },
      on: {
        input: (event) => {
          const value = event.target.value.trim() === "" ? NaN : Number(event.target.value);
          state[name] = Number.isFinite(value) ? value : null;
          send();
        },
      },
    }),
  );
  const window_ = h("span", { class: "window" }, limits[0], "to", limits[1], h("span", { class: "unit" }));
  const inputField = field("Input", input, "beside");
  const element = h(
    "div",
    { class: "tone" },
    h("div", { class: "layers", role: "group", "aria-label": "Drawn over the picture" }, ...boxes),
    inputField,
    field("Palette", look, "beside"),
    field("Contrast", agc, "beside"),
    window_,
  );

  function paint() {
    inputField.hidden = !heat;
    input.value = state.input;
    for (const option of agc.options)
      option.hidden = option.disabled = option.value === "stored" && state.input === "heat";
    agc.value = state.agc;
    window_.hidden = state.agc !== "manual";
    fill(window_.querySelector(".unit"), state.input === "heat" ? "°C" : "of 255");
    if (state.agc === "manual") {
      const usual = state.input === "heat" ? [20, 40] : [0, 255];
      limits.forEach((limit, at) => {
        const name = limit.dataset.limit;
        state[name] ??= usual[at];
        if (document.activeElement !== limit) limit.value = state[name];
      });
    } else [state.low, state.high] = [null, null];
  }

  function send() {
    const { low, high, ...rest } = state;
    tone(state.agc === "manual" ? { ...rest, low, high } : rest);
  }

  return {
    element,
    /** Another item: it may have no temperatures. */
    open(record) {
      heat = record.heat ?? null;
      const { frames, faces } = record;
      const there = {
        boxes: faces || frames?.bbox,
        landmarks: faces ? faces.some((one) => one.landmarks) : frames?.landmarks,
        axes: faces ? faces.some((one) => one.head_pose) : frames?.head_pose,
        extra: frames?.extra_bboxes?.some((one) => one?.length),
      };
      LAYERS.forEach(([name], at) => {
        boxes[at].hidden = !there[name];
      });
      if (!heat && state.input === "heat") [state.input, state.agc] = ["gray", "stored"];
      paint();
      layers({ ...chosen });
      send();
    },
  };
}
