/** Gray or temperature to colour: gain control, palettes, look-up tables. */

// as in thermvision.annotations.radiometry: most and least of the pixels that a bin of the histogram counts
const PLATEAU = 0.0075;
const FLOOR = 0.0004;
const BINS = 512;
const SPAN = [0.01, 0.99]; // of the pixels, for the linear stretch
const ROOM = [0.005, 0.998]; // of the pixels, for equalisation

export const AGC = ["stored", "linear", "equalise", "manual"];

/**
 * Colours by name.
 * @param {Object<string, string>} palettes base64 of 256 x red, green, blue
 * @returns {Map<string, Uint8Array>}
 */
export function readPalettes(palettes) {
  const tables = new Map();
  for (const [name, text] of Object.entries(palettes ?? {})) {
    const table = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    if (table.length === 768) tables.set(name, table);
  }
  if (!tables.has("white-hot"))
    tables.set(
      "white-hot",
      Uint8Array.from({ length: 768 }, (_, i) => Math.floor(i / 3)),
    );
  return tables;
}

/** How often each value occurs. @param {Uint8Array|Uint16Array} values @param {number} levels @param {boolean} [skipZero] */
export function histogram(values, levels, skipZero = false) {
  const counts = new Uint32Array(levels);
  for (let i = 0; i < values.length; i++) counts[values[i]]++;
  if (skipZero) counts[0] = 0; // 0 K: no measurement
  return counts;
}

/** The smallest value that at least a share of all do not exceed; 0 of an empty histogram. */
export function percentile(counts, share) {
  let total = 0;
  for (const c of counts) total += c;
  let sum = 0;
  for (let value = 0; value < counts.length; value++) {
    sum += counts[value];
    if (sum && sum >= share * total) return value;
  }
  return 0;
}

/**
 * Gain control of one frame.
 * @param {Uint32Array} counts histogram of the frame
 * @param {{agc: string, low?: number, high?: number}} tone `low` and `high` in the histogram's values, for "manual"
 * @returns {{gray: Uint8Array, low: number, high: number}} gray of every value, and the values that become black and white
 */
export function gain(counts, { agc, low, high }) {
  const levels = counts.length;
  const gray = new Uint8Array(levels);
  if (agc === "stored" && levels === 256) {
    for (let v = 0; v < 256; v++) gray[v] = v;
    return { gray, low: 0, high: 255 };
  }
  if (agc === "equalise") return equalise(counts, gray);
  let [first, last] = [low, high];
  if (agc !== "manual" || !(Number.isFinite(low) && Number.isFinite(high) && low < high)) {
    [first, last] = SPAN.map((share) => percentile(counts, share));
    if (last <= first) last = first + 1;
  }
  const slope = 255 / (last - first);
  for (let v = 0; v < levels; v++) gray[v] = Math.round(Math.min(255, Math.max(0, (v - first) * slope)));
  return { gray, low: first, high: last };
}

/** Histogram equalisation in which no bin counts for more than a plateau: flat walls do not take all the contrast. */
function equalise(counts, gray) {
  const low = percentile(counts, ROOM[0]);
  const high = Math.max(low + 1, percentile(counts, ROOM[1]));
  const bins = Math.min(BINS, high - low + 1);
  const binned = new Float64Array(bins);
  let total = 0;
  for (let v = 0; v < counts.length; v++) {
    const bin = Math.min(bins - 1, Math.max(0, Math.floor(((v - low) * bins) / (high - low + 1))));
    binned[bin] += counts[v];
    total += counts[v];
  }
  const share = Array.from(binned, (c) => Math.min(c, PLATEAU * total) + FLOOR * total);
  const sum = share.reduce((a, b) => a + b, 0) || 1;
  let below = 0;
  const starts = [...share.map((s) => (below += s) - s), below];
  for (let v = 0; v < gray.length; v++) {
    const place = Math.min(bins, Math.max(0, ((v - low) * bins) / (high - low + 1)));
    const bin = Math.min(bins - 1, Math.floor(place));
    gray[v] = Math.round((255 * (starts[bin] + (place - bin) * (starts[bin + 1] - starts[bin]))) / sum);
  }
  return { gray, low, high };
}

/** Pixels, as `ImageData` stores them, of every value. @param {Uint8Array} gray of every value @param {Uint8Array} palette */
export function colourTable(gray, palette) {
  const bytes = new Uint8ClampedArray(4 * gray.length);
  for (let v = 0; v < gray.length; v++) {
    const p = 3 * gray[v];
    bytes.set([palette[p], palette[p + 1], palette[p + 2], 255], 4 * v);
  }
  return new Uint32Array(bytes.buffer);
}

/** Look every value up. @param {Uint8Array|Uint16Array} values @param {Uint32Array} table @param {Uint32Array} out */
export function paint(values, table, out) {
  for (let i = 0; i < values.length; i++) out[i] = table[values[i]];
}

/** Counts of 0.01 K of a temperature in degrees Celsius, and back. */
export const toCounts = (celsius) => (celsius + 273.15) * 100;
export const toCelsius = (counts) => counts / 100 - 273.15;

/**
 * A bar of the colours between two temperatures, with their numbers.
 * @returns {{element: HTMLElement, show: (table: Uint32Array, low: number, high: number) => void, hide: () => void}}
 */
export function createColourBar() {
  const element = document.createElement("div");
  element.className = "colour-bar";
  element.hidden = true;
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width: 256, height: 1 });
  canvas.setAttribute("aria-hidden", "true");
  const labels = Array.from({ length: 3 }, () => document.createElement("span"));
  const scale = document.createElement("div");
  scale.append(...labels);
  element.append(canvas, scale);
  const context = canvas.getContext("2d");
  return {
    element,
    show(table, low, high) {
      const image = new ImageData(256, 1);
      const out = new Uint32Array(image.data.buffer);
      for (let i = 0; i < 256; i++) out[i] = table[Math.round(low + ((high - low) * i) / 255)];
      context.putImageData(image, 0, 0);
      [low, (low + high) / 2, high].forEach((value, i) => {
        labels[i].textContent = `${toCelsius(value).toFixed(1)} °C`;
      });
      element.hidden = false;
    },
    hide() {
      element.hidden = true;
    },
  };
}
