/** A range of one head angle in degrees: two numbers, and a slider with two ends. */

import { h, settled } from "./dom.js";

/**
 * @param {string} name yaw, pitch or roll
 * @param {[number, number]} bounds least and greatest angle of the release
 * @param {(low: number|null, high: number|null) => void} changed null: no bound
 * @returns {{element: HTMLElement, show: (pair: [number|null, number|null]) => void}}
 */
export function createAngleFilter(name, bounds, changed) {
  const [least, most] = [Math.floor(bounds[0]), Math.ceil(bounds[1])];
  const send = settled(() => {
    const [low, high] = [number(texts[0], least), number(texts[1], most)];
    changed(low, high);
  }, 180);
  const texts = ["least", "greatest"].map((end, at) =>
    h("input", {
      type: "number",
      step: "any",
      min: -180,
      max: 180,
      placeholder: at ? most : least,
      "aria-label": `${end} ${name} in degrees`,
      "data-angle": `${name}_${at ? "max" : "min"}`,
      on: {
        input: () => {
          paint();
          send();
        },
      },
    }),
  );
  const sliders = ["least", "greatest"].map((end, at) =>
    h("input", {
      type: "range",
      min: least,
      max: most,
      step: 1,
      value: at ? most : least,
      "aria-label": `${end} ${name}`,
      on: {
        input: () => {
          const [low, high] = sliders.map((slider) => Number(slider.value));
          if (low > high) sliders[at].value = at ? low : high;
          const value = Number(sliders[at].value);
          texts[at].value = value === (at ? most : least) ? "" : value;
          paint();
          send();
        },
      },
    }),
  );
  const track = h("div", { class: "two" }, ...sliders);
  const element = h(
    "div",
    { class: "angle", role: "group", "aria-label": `${name} in degrees` },
    h("span", { class: "name", text: name }),
    ...texts,
    track,
  );

  function number(input, otherwise) {
    const value = input.value.trim() === "" ? NaN : Number(input.value);
    return Number.isFinite(value) && value !== otherwise ? value : null;
  }

  function paint() {
    const span = Math.max(1e-9, most - least);
    const [low, high] = texts.map((text, at) => number(text, NaN) ?? (at ? most : least));
    sliders[0].value = low;
    sliders[1].value = high;
    track.style.setProperty("--low", Math.min(1, Math.max(0, (low - least) / span)));
    track.style.setProperty("--high", Math.min(1, Math.max(0, (high - least) / span)));
  }

  return {
    element,
    show(pair) {
      texts.forEach((text, at) => {
        if (document.activeElement !== text) text.value = pair[at] ?? "";
      });
      paint();
    },
  };
}
