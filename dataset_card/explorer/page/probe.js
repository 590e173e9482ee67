/** Temperature at a point of the frame: under the pointer, or under a cross-hair that keys move. */

/** Arrow keys and where they point. */
export const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/**
 * @param {HTMLElement} view of the pointer
 * @param {{toFrame: (event: PointerEvent) => number[], size: () => number[], cross: (at: number[]|null) => void,
 *     heat: () => (object|null), frame: () => number, busy: () => boolean,
 *     onTemperature: (at: {celsius: number, x: number, y: number}|null) => void}} calls `busy`: nothing is fetched now
 */
export function createProbe(view, { toFrame, size, cross, heat, frame, busy, onTemperature }) {
  let pointer = null;
  let probe = null;
  const point = () => probe ?? pointer;

  /** Tell the temperature of the frame that is shown, and fetch it where it is not here yet. */
  async function read() {
    const [warmth, n, at] = [heat(), frame(), point()];
    if (!at || !warmth?.has(n)) return onTemperature(null);
    let counts = warmth.cached(n);
    if (!counts) {
      if (busy()) return onTemperature(null);
      counts = await warmth.load(n).catch(() => null);
      if (warmth !== heat() || n !== frame() || at !== point()) return undefined; // a later call answers
    }
    const celsius = counts && warmth.celsiusAt(counts, at[0], at[1]);
    if (celsius === null) return onTemperature(null);
    return onTemperature({ celsius: Math.round(celsius * 10) / 10, x: Math.floor(at[0]), y: Math.floor(at[1]) });
  }

  function put(at) {
    probe = at;
    cross(probe);
    read();
  }

  view.addEventListener("pointermove", (event) => {
    pointer = toFrame(event);
    read();
  });
  view.addEventListener("pointerleave", () => {
    pointer = null;
    read();
  });

  const self = {
    read,
    get on() {
      return probe !== null;
    },
    /** The cross-hair, in the middle at first. */
    set(on) {
      const [width, height] = size();
      put(on ? (probe ?? [Math.floor(width / 2) + 0.5, Math.floor(height / 2) + 0.5]) : null);
    },
    /** Keys: c is the cross-hair, arrows move it, with Shift by ten, Escape takes it away. @returns {boolean} taken */
    key(event) {
      const arrow = ARROWS[event.key];
      if (event.key === "c" && heat()) self.set(!probe);
      else if (event.key === "Escape" && probe) self.set(false);
      else if (arrow && probe) {
        const [width, height] = size();
        const by = event.shiftKey ? 10 : 1;
        put([
          Math.min(width - 0.5, Math.max(0.5, probe[0] + by * arrow[0])),
          Math.min(height - 0.5, Math.max(0.5, probe[1] + by * arrow[1])),
        ]);
      } else return false;
      return true;
    },
    clear() {
      pointer = probe = null;
      cross(null);
    },
  };
  return self;
}
