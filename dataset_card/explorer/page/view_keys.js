/** Keys of the picture itself: the box that is edited first, then zoom, then the cross-hair. */

import { ARROWS } from "./probe.js";

const STEP = 1.25; // zoom of a key
const STRIDE = 60; // px of the screen that a key moves what is zoomed

/**
 * @param {HTMLElement} view has the focus
 * @param {{editor: object, zoom: object, probe: object}} parts each takes the keys that are its own
 */
export function listenToView(view, { editor, zoom, probe }) {
  view.addEventListener("keydown", (event) => {
    let taken = true;
    const arrow = ARROWS[event.key];
    if (editor.key(event)) taken = true;
    else if (event.altKey && arrow && zoom.factor > 1) zoom.pan(-STRIDE * arrow[0], -STRIDE * arrow[1]);
    else if (event.ctrlKey || event.metaKey || event.altKey) taken = false;
    else if (event.key === "+" || event.key === "=") zoom.zoom(STEP);
    else if (event.key === "-") zoom.zoom(1 / STEP);
    else if (event.key === "0") zoom.reset();
    else taken = probe.key(event);
    if (!taken) return;
    event.preventDefault();
    event.stopPropagation();
  });
}
