/** What the page says by itself: banners that stay, toasts that go. */

import { button, fill, h } from "./dom.js";

/** A line at the bottom for some seconds, read aloud. @param {string} text @param {{fail?: boolean}} [options] */
export function toast(text, { fail = false } = {}) {
  const host = document.getElementById("toasts");
  const element = h("div", { class: `toast${fail ? " fail" : ""}`, text });
  host.append(element);
  while (host.childElementCount > 3) host.firstElementChild.remove();
  setTimeout(() => element.remove(), fail ? 12000 : 4500);
}

/** Words that only a screen reader says. */
export function say(text) {
  document.getElementById("status").textContent = text;
}

const dismissed = new Set();

/**
 * The banners above everything; each is `{level: "warn"|"fail"|"info", text, details?: string[], next?: string}`.
 */
export function showBanners(banners) {
  const host = document.getElementById("banners");
  fill(
    host,
    ...banners
      .filter(({ text }) => !dismissed.has(text))
      .map(({ level, text, details = [], next }) => {
        const element = h("div", { class: `banner ${level}` });
        const list = details.length
          ? h("details", {}, h("summary", { text }), h("ul", {}, ...details.map((line) => h("li", { text: line }))))
          : h("span", { text });
        element.append(
          h("div", {}, list, next ? h("div", {}, h("code", { class: "next", text: next })) : null),
          button("Close this notice", {
            icon: "close",
            quiet: true,
            class: "plain",
            on: () => {
              dismissed.add(text);
              element.remove();
            },
          }),
        );
        return element;
      }),
  );
}

/** What stands where results would: a heading, words, and what to type or press. */
export function emptyPage(title, text, { next, action } = {}) {
  return h(
    "div",
    { class: "empty" },
    h("h2", { text: title }),
    h("p", { text }),
    next ? h("code", { text: next }) : null,
    action ?? null,
  );
}
