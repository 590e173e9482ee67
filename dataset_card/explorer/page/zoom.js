/** A stage that fits into a view, zoomed and moved by wheel, fingers, mouse and keys. */

const MOST = 16;

/**
 * @param {HTMLElement} view clips the stage
 * @param {HTMLElement} stage is sized and placed
 * @param {{onScale: (scale: number) => void, mayPan: (event: PointerEvent) => boolean}} calls `onScale` gets the pixels of the
 *     screen that are one of the frame's
 */
export function createZoom(view, stage, { onScale, mayPan }) {
  let [width, height] = [1, 1];
  let factor = 1;
  let [left, top] = [0, 0];
  const fingers = new Map();

  const fit = () => Math.min(view.clientWidth / width, view.clientHeight / height) || 1;

  function lay() {
    const scale = fit() * factor;
    const [w, h] = [width * scale, height * scale];
    // a stage smaller than the view is in its middle, a larger one leaves no gap
    left = w <= view.clientWidth ? (view.clientWidth - w) / 2 : Math.min(0, Math.max(view.clientWidth - w, left));
    top = h <= view.clientHeight ? (view.clientHeight - h) / 2 : Math.min(0, Math.max(view.clientHeight - h, top));
    stage.style.setProperty("width", `${w}px`);
    stage.style.setProperty("height", `${h}px`);
    stage.style.setProperty("transform", `translate(${left}px, ${top}px)`);
    view.classList.toggle("zoomed", factor > 1.001);
    stage.classList.toggle("coarse", scale >= 4);
    onScale(scale);
  }

  /** Zoom so that a point of the view stays where it is; its middle by default. */
  function zoom(by, x = view.clientWidth / 2, y = view.clientHeight / 2) {
    const before = factor;
    factor = Math.min(MOST, Math.max(1, factor * by));
    left = x - ((x - left) * factor) / before;
    top = y - ((y - top) * factor) / before;
    lay();
  }

  function pan(dx, dy) {
    left += dx;
    top += dy;
    lay();
  }

  const local = (event) => {
    const box = view.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };

  view.addEventListener(
    "wheel",
    (event) => {
      // a page that scrolls under the pointer must not get stuck on a frame
      if (!event.ctrlKey && !event.metaKey && !view.contains(document.activeElement)) return;
      event.preventDefault();
      zoom(Math.exp(-Math.max(-60, Math.min(60, event.deltaY)) / 160), ...local(event));
    },
    { passive: false },
  );
  view.addEventListener("pointerdown", (event) => {
    fingers.set(event.pointerId, local(event));
  });
  view.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    const now = local(event);
    fingers.set(event.pointerId, now);
    if (fingers.size === 2) {
      const other = [...fingers].find(([id]) => id !== event.pointerId)[1];
      const span = (point) => Math.hypot(point[0] - other[0], point[1] - other[1]) || 1;
      zoom(span(now) / span(before), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
      pan((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
    } else if (factor > 1.001 && mayPan(event)) {
      if (!view.hasPointerCapture(event.pointerId)) view.setPointerCapture(event.pointerId);
      pan(now[0] - before[0], now[1] - before[1]);
    }
  });
  for (const name of ["pointerup", "pointercancel", "pointerleave"]) {
    view.addEventListener(name, (event) => fingers.delete(event.pointerId));
  }
  const watcher = new ResizeObserver(lay);
  watcher.observe(view);

  return {
    zoom,
    pan,
    get factor() {
      return factor;
    },
    get fingers() {
      return fingers.size;
    },
    reset() {
      factor = 1;
      lay();
    },
    size(w, h) {
      [width, height] = [w, h];
      view.style.setProperty("--frame-ratio", String(w / h));
      lay();
    },
    /** Where on the frame a pointer is. @returns {number[]} x, y, may lie outside */
    toFrame(event) {
      const box = stage.getBoundingClientRect();
      return [((event.clientX - box.left) * width) / box.width, ((event.clientY - box.top) * height) / box.height];
    },
    close: () => watcher.disconnect(),
  };
}
