/** Boxes that a reviewer drew, dashed beside the stored ones on the frames they are about. */

import { s, set } from "./dom.js";
import { stands } from "./deciding.js";

const watched = new WeakMap();

/**
 * Draw them over the player in `host`, now and whenever its overlay shows another frame.
 * @param {HTMLElement} host of the player; its overlay is the svg with `data-frame`
 * @param {object} record
 */
export function decidedBoxes(host, record) {
  watched.get(host)?.disconnect();
  const boxes = (record.decisions ?? []).filter(
    (one) => one.action === "relabel" && one.column === "bbox" && stands(one, record.decisions),
  );
  const overlay = host.querySelector("svg[data-frame]") ?? host.querySelector("svg");
  if (!overlay) return;
  overlay.querySelectorAll("[data-layer='decided']").forEach((one) => one.remove());
  if (!boxes.length) return;
  const mark = s("rect", { class: "decided", "vector-effect": "non-scaling-stroke", data: { layer: "decided" } });
  const draw = () => {
    const frame = Number(overlay.dataset.frame ?? 0);
    const held = boxes.findLast(
      (one) =>
        one.first_frame === null ||
        one.first_frame === undefined ||
        (one.first_frame <= frame && frame <= one.last_frame),
    );
    const value = held?.value;
    const box = Array.isArray(value?.[0]) ? value[frame - (held.first_frame ?? 0)] : value;
    if (Array.isArray(box)) set(mark, { x: box[0], y: box[1], width: box[2], height: box[3], visibility: null });
    else mark.setAttribute("visibility", "hidden");
    if (!mark.isConnected) overlay.append(mark);
  };
  const observer = new MutationObserver(draw);
  observer.observe(overlay, { attributes: true, attributeFilter: ["data-frame"], childList: true });
  watched.set(host, observer);
  draw();
}
