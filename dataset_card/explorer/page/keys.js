/** The keyboard: one table of keys, which the help shows and one listener obeys. */

import { button, h, memory } from "./dom.js";

/** Groups of keys in the help; each is keys, words, and the name of the command. */
export const KEYS = {
  Everywhere: [
    ["/", "search", "search"],
    ["1 … 5", "grid, map, findings, decisions, figures", null],
    ["?", "these keys", "help"],
    ["Esc", "close what is open", "escape"],
    ["Tab", "to the next control", null],
  ],
  Grid: [
    ["← ↑ ↓ →", "move", null],
    ["Enter", "open", null],
    ["Home, End", "first, last", null],
  ],
  Item: [
    ["Space", "play or pause", "play"],
    ["← →", "one frame back, on", null],
    ["Shift+← →", "item before, after", null],
    ["k, j", "item before, after", "previous next"],
    ["n", "to the next finding", "finding"],
    ["f", "over the whole page", "full"],
    ["o", "other version beside it", "other"],
    ["p", "pin; the next item opens beside it", "pin"],
    ["+ − 0", "zoom in, out, whole", "zoom-in zoom-out zoom-whole"],
    ["Alt+← ↑ ↓ →", "move what is zoomed", null],
    ["c", "cross-hair that reads temperatures; arrows move it", "cross"],
  ],
  Deciding: [
    ["a", "accept", "accept"],
    ["x", "reject", "reject"],
    ["t", "tag", "tag"],
    ["b", "correct the box", "box"],
    ["l", "change a label", "relabel"],
    ["[ ]", "first, last frame it is about", "from to"],
    ["u", "take back the last decision", "undo"],
    ["Enter", "save", null],
  ],
};

const COMMANDS = {
  "/": "search",
  "?": "help",
  1: "view-0",
  2: "view-1",
  3: "view-2",
  4: "view-3",
  5: "view-4",
  " ": "play",
  k: "previous",
  j: "next",
  n: "finding",
  f: "full",
  o: "other",
  p: "pin",
  a: "accept",
  x: "reject",
  t: "tag",
  b: "box",
  l: "relabel",
  "[": "from",
  "]": "to",
  u: "undo",
  "+": "zoom-in",
  "=": "zoom-in",
  "-": "zoom-out",
  0: "zoom-whole",
  c: "cross",
  Escape: "escape",
  ArrowLeft: "back",
  ArrowRight: "on",
};

const typing = (target) =>
  target.matches?.(
    "input:not([type=checkbox], [type=radio], [type=range], [type=button]), textarea, select, [contenteditable]",
  );

/**
 * Listen, and call `commands[name]()`; a command that returns false leaves the key to the browser.
 * @param {Object<string, () => (boolean|void)>} commands
 */
export function listenToKeys(commands) {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    const name =
      event.shiftKey && event.key.startsWith("Arrow")
        ? { ArrowLeft: "previous", ArrowRight: "next" }[event.key]
        : (COMMANDS[event.key] ?? COMMANDS[event.key.toLowerCase()]);
    if (!name || !commands[name]) return;
    if (document.querySelector("dialog[open]")) return;
    if (name !== "escape") {
      if (typing(event.target) || (event.target.closest?.("summary") && event.key === " ")) return;
      if (event.key.length === 1 && event.key !== " " && !memory.get("letters", true)) return;
      // a focused control keeps the keys that work it
      if (event.key === " " && event.target.matches?.("button, a, input")) return;
      if (event.key.startsWith("Arrow") && !event.shiftKey && event.target.matches?.("input, .tile, .map-point"))
        return;
    }
    if (commands[name]() !== false) event.preventDefault();
  });
}

/** The help: a dialog with the keys. */
export function showHelp() {
  const dialog = h("dialog", { "aria-labelledby": "help-title" });
  const letters = h("input", {
    type: "checkbox",
    id: "letters",
    on: { change: () => memory.set("letters", letters.checked) },
  });
  letters.checked = memory.get("letters", true);
  dialog.append(
    h(
      "header",
      {},
      h("h2", { id: "help-title", text: "Keys" }),
      button("Close", { icon: "close", quiet: true, class: "plain", on: () => dialog.close() }),
    ),
    h(
      "div",
      { class: "keys" },
      ...Object.entries(KEYS).map(([name, lines]) =>
        h(
          "section",
          {},
          h("h3", { text: name }),
          h("dl", {}, ...lines.flatMap(([keys, text]) => [h("dt", {}, h("kbd", { text: keys })), h("dd", { text })])),
        ),
      ),
    ),
    h("div", { class: "field beside" }, letters, h("label", { for: "letters", text: "Single letters are commands" })),
  );
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  document.body.append(dialog);
  dialog.showModal();
}
