/** The canvas that a frame is drawn on, from gray or from temperature, and the colour bar that goes with it. */

import { h } from "./dom.js";
import { colourTable, createColourBar, gain, histogram, paint, readPalettes, toCelsius, toCounts } from "./tone.js";

const LEVELS = 65536; // of 16-bit counts

/** @param {Object<string, string>} palettes by name, as the server gives them */
export function createFrameCanvas(palettes) {
  const colours = readPalettes(palettes);
  const element = h("canvas", { class: "frame", role: "img", "aria-label": "Frame" });
  const context = element.getContext("2d", { willReadFrequently: true });
  const bar = createColourBar();
  let image = null;
  let resampled = null; // {heat, resample}: of the item and size that are shown

  return {
    element,
    bar: bar.element,
    /** Pixels of the frame; null: none yet. @returns {number[]|null} */
    get size() {
      return image && [image.width, image.height];
    },
    /** Take a size. @returns {boolean} whether it is another */
    fit(width, height) {
      if (image?.width === width && image.height === height) return false;
      image = new ImageData(width, height);
      Object.assign(element, { width, height });
      resampled = null;
      return true;
    },
    /**
     * Draw a picture, or its temperatures where `counts` are given; the size must fit.
     * @returns {{low: number|null, high: number|null}} the temperatures, in degrees Celsius, that are darkest and brightest
     */
    draw({ n, gray, width, height }, counts, heat, tone) {
      const palette = colours.get(tone.palette) ?? colours.get("white-hot");
      const out = new Uint32Array(image.data.buffer);
      let limits = { low: null, high: null };
      if (counts) {
        if (resampled?.heat !== heat) resampled = { heat, resample: heat.resampler(width, height) };
        const [low, high] = [tone.low, tone.high].map((celsius) => (celsius === null ? NaN : toCounts(celsius)));
        const tuned = gain(histogram(counts, LEVELS, true), { agc: tone.agc, low, high });
        const table = colourTable(tuned.gray, palette);
        table[0] = 0; // no measurement: the page shows through
        paint(resampled.resample(counts), table, out);
        bar.show(table, tuned.low, tuned.high);
        limits = { low: toCelsius(tuned.low), high: toCelsius(tuned.high) };
      } else {
        // limits in degrees mean nothing for the gray that stands in for temperatures
        const agc = tone.input === "heat" ? "stored" : tone.agc;
        const tuned = gain(agc === "stored" ? new Uint32Array(256) : histogram(gray, 256), { ...tone, agc });
        paint(gray, colourTable(tuned.gray, palette), out);
        bar.hide();
      }
      context.putImageData(image, 0, 0);
      Object.assign(element.dataset, { frame: n, input: counts ? "heat" : "gray" });
      return limits;
    },
    /** Nothing is shown. */
    clear() {
      image = resampled = null;
      Object.assign(element, { width: 1, height: 1 });
      delete element.dataset.frame;
      delete element.dataset.input;
      bar.hide();
    },
  };
}
