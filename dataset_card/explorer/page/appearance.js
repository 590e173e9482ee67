/** How the page looks: its theme, and the size of its pictures. */

import { button, fill, h, icon, memory } from "./dom.js";
import { say } from "./notices.js";

/** The button that goes through the themes, remembered in this browser; `document` hears "theme" when it changes. */
export function createTheme() {
  const choices = ["system", "light", "dark"];
  const now = () => memory.get("theme", "system");
  const show = (control) => {
    const name = now();
    fill(control, icon({ system: "system", light: "sun", dark: "moon" }[name]));
    control.setAttribute("aria-label", `Theme: ${name}`);
    control.title = `Theme: ${name}`;
    if (name === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = name;
    document.dispatchEvent(new CustomEvent("theme"));
  };
  const control = button("Theme", {
    quiet: true,
    on: () => {
      memory.set("theme", choices[(choices.indexOf(now()) + 1) % choices.length]);
      show(control);
      say(`Theme: ${now()}`);
    },
  });
  control.id = "theme";
  show(control);
  return control;
}

/** The buttons for the size of pictures, remembered. @param {(size: string) => void} resize */
export function createSizes(resize) {
  const buttons = [
    ["small", "S"],
    ["medium", "M"],
    ["large", "L"],
  ].map(([name, letter]) =>
    h("button", {
      type: "button",
      class: "button",
      text: letter,
      "aria-label": `${name} pictures`,
      title: `${name} pictures`,
      "data-size": name,
      on: { click: () => set(name) },
    }),
  );
  const set = (name) => {
    memory.set("size", name);
    buttons.forEach((one) => one.setAttribute("aria-pressed", String(one.dataset.size === name)));
    resize(name);
  };
  set(memory.get("size", "medium"));
  return h("div", { class: "group", role: "group", "aria-label": "Size of the pictures" }, ...buttons);
}
