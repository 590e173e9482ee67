/** What to do when more is asked than can be done: the newest, and what is due. */

/**
 * A function that does the newest of the things asked of it, one at a time, and forgets those in between.
 * @param {(value: any) => Promise<void>} run
 * @returns {(value: any) => Promise<void>} done when nothing waits any more
 */
export function newest(run) {
  let waiting = null;
  let running = null;
  return (value) => {
    waiting = { value };
    running ??= (async () => {
      try {
        while (waiting) {
          const { value: next } = waiting;
          waiting = null;
          await run(next);
        }
      } finally {
        running = null;
      }
    })();
    return running;
  };
}

/**
 * Calls a function for the frame that is due, at a clip's own pace, until the last; slow frames are left out.
 * @param {{from: number, count: number, fps: number, show: (n: number) => Promise<void>}} options `fps` as it is watched
 * @returns {{stop: () => void, done: Promise<void>}}
 */
export function pace({ from, count, fps, show }) {
  let stopped = false;
  const done = (async () => {
    const start = performance.now();
    for (let n = from; !stopped && n < count - 1;) {
      await new Promise((resolve) => requestAnimationFrame(resolve));
      const due = Math.min(count - 1, from + Math.floor(((performance.now() - start) * fps) / 1000));
      if (stopped || due === n) continue;
      n = due;
      await show(n);
    }
  })();
  return { stop: () => (stopped = true), done };
}
