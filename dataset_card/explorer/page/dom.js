/** Making elements from text and properties; nothing here, or elsewhere, reads data as HTML. */

const SVG = "http://www.w3.org/2000/svg";

/** Strokes on a grid of 24 x 24. */
const ICONS = {
  accept: "M5 13l4 4L19 7",
  back: "M9 7L4 12l5 5M4 12h10a5 5 0 0 1 5 5v1",
  box: "M5 9V5h4M15 5h4v4M19 15v4h-4M9 19H5v-4",
  chevron: "M9 6l6 6-6 6",
  clip: "M4 6h16v12H4zM10.5 9.5v5l4-2.5z",
  close: "M6 6l12 12M18 6L6 18",
  compare: "M4 5h7v14H4zM13 5h7v14h-7z",
  copy: "M9 9h10v10H9zM5 15V5h10",
  filter: "M4 6h16M7 12h10M10 18h4",
  flag: "M6 20V5h11l-2 4 2 4H6",
  full: "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5",
  heat: "M12 4a2 2 0 0 1 2 2v8a4 4 0 1 1-4 0V6a2 2 0 0 1 2-2zM12 10v8",
  help: "M9 9a3 3 0 1 1 4 2.8c-.8.4-1 1-1 2.2M12 17.5v.5",
  label: "M4 5h8l8 7.5-7.5 7.5L4 12zM8 9h.01",
  last: "M6 6l9 6-9 6zM18 6v12",
  left: "M15 6l-6 6 6 6",
  first: "M18 6l-9 6 9 6zM6 6v12",
  moon: "M19 14.5A8 8 0 0 1 9.5 5 8 8 0 1 0 19 14.5z",
  pause: "M8 5v14M16 5v14",
  pin: "M9 4h6l-1 6 3 3H7l3-3zM12 13v7",
  play: "M7 5l12 7-12 7z",
  reject: "M6 6l12 12M18 6L6 18",
  right: "M9 6l6 6-6 6",
  scenes: "M4 5h16v14H4zM9 13a2 2 0 1 0 0-4 2 2 0 0 0 0 4M15 13a2 2 0 1 0 0-4 2 2 0 0 0 0 4",
  search: "M11 17a6 6 0 1 0 0-12 6 6 0 0 0 0 12zM15.5 15.5L20 20",
  still: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4",
  sun: "M12 16a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM12 3v2M12 19v2M3 12h2M19 12h2M5.6 5.6L7 7M17 17l1.4 1.4M5.6 18.4L7 17M17 7l1.4-1.4",
  system: "M4 5h16v11H4zM9 20h6M12 16v4",
  tag: "M4 4h8l8 8-8 8-8-8zM8.5 8.5h.01",
};

/**
 * An element.
 * @param {string} tag
 * @param {Object<string, any>} [properties] `class`, `text`, `data` (dataset), `on` (listeners); true, false and null are
 *     attributes there or not; all else are attributes.
 * @param {...(Node|string|null|undefined|false)} children
 * @returns {HTMLElement}
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  set(element, properties);
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An SVG element, as `h`. */
export function s(tag, properties = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  set(element, properties);
  element.append(...children.filter(Boolean));
  return element;
}

/** Text whose controls that turn the order of letters round are seen rather than obeyed: no "exe.png" that is no picture. */
export const visible = (text) =>
  String(text).replace(
    /[\u202a-\u202e\u2066-\u2069]/g,
    (sign) => `⟨U+${sign.codePointAt(0).toString(16).toUpperCase()}⟩`,
  );

/** Properties of `h` onto an element that is there. */
export function set(element, properties) {
  for (const [name, value] of Object.entries(properties)) {
    if (name === "text") element.textContent = visible(value ?? "");
    else if (name === "class") element.setAttribute("class", value);
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name === "on") for (const [event, call] of Object.entries(value)) element.addEventListener(event, call);
    else if (value === null || value === undefined || value === false) element.removeAttribute(name);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  return element;
}

/** Put children in place of those an element has. */
export function fill(element, ...children) {
  element.replaceChildren(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** A drawn sign; decoration, so its button needs a label. */
export function icon(name) {
  return s(
    "svg",
    { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true", data: { icon: name } },
    s("path", { d: ICONS[name] ?? "" }),
  );
}

/**
 * A button.
 * @param {string} label read aloud, and shown unless `quiet`.
 * @param {{icon?: string, quiet?: boolean, key?: string, class?: string, title?: string, on: () => void}} options
 */
export function button(label, { icon: sign, quiet = false, key, class: classes = "", title, on, ...more }) {
  return h(
    "button",
    {
      type: "button",
      class: `button ${classes}`.trim(),
      "aria-label": quiet ? label : null,
      title: title ?? (key ? `${label} (${key})` : quiet ? label : null),
      "aria-keyshortcuts": key ?? null,
      on: { click: on },
      ...more,
    },
    sign ? icon(sign) : null,
    quiet ? null : h("span", { text: label }),
    key && !quiet ? h("kbd", { "aria-hidden": "true", text: key }) : null,
  );
}

let labels = 0;

/** A label beside its field. */
export function field(label, input, classes = "") {
  input.id = input.id || `field-${++labels}`;
  return h("div", { class: `field ${classes}`.trim() }, h("label", { for: input.id, text: label }), input);
}

/** A choice; options are values, or pairs of value and words. */
export function select(options, { value, on, ...more } = {}) {
  const element = h(
    "select",
    { ...more, on: { change: () => on?.(element.value) } },
    ...options.map((option) => {
      const [name, words] = Array.isArray(option) ? option : [option, option];
      return h("option", { value: name, text: words });
    }),
  );
  if (value !== undefined && value !== null) element.value = value;
  return element;
}

const NUMBER = new Intl.NumberFormat("en");

/** 12345 as "12,345". */
export const count = (number) => NUMBER.format(number ?? 0);

/** A number and its noun: "1 item", "2 items". */
export const counted = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;

/** Names of the schema in words. */
export const words = (name) => String(name).replaceAll("_", " ");

/** At most one call in so many milliseconds, the last one always. */
export function settled(call, milliseconds) {
  let timer = 0;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => call(...values), milliseconds);
  };
}

/** What the browser remembers for this page; nothing where storage is off. */
export const memory = {
  get(name, otherwise = null) {
    try {
      return JSON.parse(localStorage.getItem(`thermvision.${name}`)) ?? otherwise;
    } catch {
      return otherwise;
    }
  },
  set(name, value) {
    try {
      localStorage.setItem(`thermvision.${name}`, JSON.stringify(value));
    } catch {
      /* no storage: forgotten at the next load */
    }
  },
};
