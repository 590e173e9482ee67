/**
 * Temperature of an item's frames: 16-bit sensor frames, 100 x kelvin, and where the sensor's pixels lie in the frame.
 *
 * Coordinates are continuous, x right, y down, the first pixel's centre at (0.5, 0.5), on both grids; `sensor_to_frame` is a
 * 3 x 3 matrix from the sensor's to the frame's.
 */

import { toCelsius } from "./tone.js";

const KEPT = 24; // frames: 3 MB at 256 x 256
const MAX_PIXELS = 16 * 2 ** 20;

/** Inverse of a 3 x 3 matrix, rows. @returns {number[][]|null} null: there is none */
export function invert([[a, b, c], [d, e, f], [g, h, i]]) {
  const cofactors = [
    [e * i - f * h, c * h - b * i, b * f - c * e],
    [f * g - d * i, a * i - c * g, c * d - a * f],
    [d * h - e * g, b * g - a * h, a * e - b * d],
  ];
  const det = a * cofactors[0][0] + b * cofactors[1][0] + c * cofactors[2][0];
  if (!Number.isFinite(det) || Math.abs(det) < 1e-12) return null;
  return cofactors.map((row) => row.map((value) => value / det));
}

/** A point through a 3 x 3 matrix. */
export function mapPoint(m, x, y) {
  const w = m[2][0] * x + m[2][1] * y + m[2][2];
  return [(m[0][0] * x + m[0][1] * y + m[0][2]) / w, (m[1][0] * x + m[1][1] * y + m[1][2]) / w];
}

/** Counts (height x width) of a zlib stream of little-endian uint16. @throws {Error} another length */
export async function inflate(stream, width, height) {
  const wanted = 2 * width * height;
  const bytes = new Uint8Array(wanted);
  let size = 0;
  const reader = stream.pipeThrough(new DecompressionStream("deflate")).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    if (size + value.length > wanted) {
      await reader.cancel();
      throw new Error(`The temperatures are more than ${width} x ${height}.`);
    }
    bytes.set(value, size);
    size += value.length;
  }
  if (size !== wanted) throw new Error(`The temperatures are fewer than ${width} x ${height}.`);
  const view = new DataView(bytes.buffer);
  return Uint16Array.from({ length: width * height }, (_, i) => view.getUint16(2 * i, true));
}

/**
 * The temperatures of an item, or null where it has none.
 * @param {object} record
 * @param {AbortSignal} signal
 */
export function createHeat(record, signal) {
  const { heat } = record;
  const back = heat?.sensor_to_frame && invert(heat.sensor_to_frame);
  if (!back || !heat.frames?.length || heat.width < 2 || heat.height < 2 || heat.width * heat.height > MAX_PIXELS)
    return null;
  const { width, height } = heat;
  const frames = new Set(heat.frames);
  const kept = new Map(); // n -> counts, least recently used first
  const coming = new Map();

  async function fetchFrame(n) {
    const answer = await fetch(heat.url.replace("{n}", n), { signal, credentials: "same-origin" });
    if (!answer.ok) {
      const said = await answer.json().catch(() => null);
      throw new Error(said?.error ?? `The temperatures of frame ${n} cannot be fetched (${answer.status}).`);
    }
    const counts = await inflate(answer.body, width, height);
    kept.set(n, counts);
    if (kept.size > KEPT) kept.delete(kept.keys().next().value);
    return counts;
  }

  const self = {
    frames: [...frames].sort((a, b) => a - b),
    width,
    height,
    has: (n) => frames.has(n),
    /** Counts of frame n (height x width) if they are here. @returns {Uint16Array|null} */
    cached: (n) => kept.get(n) ?? null,
    /** Counts of frame n, fetched once. @returns {Promise<Uint16Array|null>} null: the frame has none */
    async load(n) {
      if (!frames.has(n)) return null;
      const here = kept.get(n);
      if (here) {
        kept.delete(n);
        kept.set(n, here);
        return here;
      }
      if (!coming.has(n))
        coming.set(
          n,
          fetchFrame(n).finally(() => coming.delete(n)),
        );
      return coming.get(n);
    },
    /** Degrees Celsius at a point of the frame: of the sensor pixel it lies in. @returns {number|null} null: outside */
    celsiusAt(counts, x, y) {
      const [u, v] = mapPoint(back, x, y).map(Math.floor);
      if (!(u >= 0 && v >= 0 && u < width && v < height)) return null;
      const value = counts[v * width + u];
      return value ? toCelsius(value) : null;
    },
    /** A function from counts on the sensor's grid to counts on the frame's, bilinear; 0 where the sensor saw nothing. */
    resampler(frameWidth, frameHeight) {
      const size = frameWidth * frameHeight;
      const at = new Int32Array(size).fill(-1);
      const right = new Float32Array(size);
      const down = new Float32Array(size);
      for (let j = 0, i = 0; j < frameHeight; j++) {
        for (let k = 0; k < frameWidth; k++, i++) {
          const [u, v] = mapPoint(back, k + 0.5, j + 0.5);
          if (!(u >= 0 && v >= 0 && u <= width && v <= height)) continue;
          const x = Math.min(width - 2, Math.max(0, Math.floor(u - 0.5)));
          const y = Math.min(height - 2, Math.max(0, Math.floor(v - 0.5)));
          at[i] = y * width + x;
          right[i] = Math.min(1, Math.max(0, u - 0.5 - x));
          down[i] = Math.min(1, Math.max(0, v - 0.5 - y));
        }
      }
      const out = new Uint16Array(size);
      return (counts) => {
        for (let i = 0; i < size; i++) {
          const p = at[i];
          if (p < 0) continue;
          const above = counts[p] + (counts[p + 1] - counts[p]) * right[i];
          const below = counts[p + width] + (counts[p + width + 1] - counts[p + width]) * right[i];
          out[i] = above + (below - above) * down[i] + 0.5;
        }
        return out;
      };
    },
  };
  return self;
}

/** Frame numbers in words: "0, 15, 30 and 45", long runs shortened. */
export function listFrames(frames) {
  if (frames.length > 8) return `${frames.slice(0, 4).join(", ")}, … ${frames.at(-1)} (${frames.length} frames)`;
  return frames.length > 1 ? `${frames.slice(0, -1).join(", ")} and ${frames.at(-1)}` : String(frames[0] ?? "none");
}
