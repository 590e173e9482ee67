/** What `check`, `audit` and `dedupe` found, by kind; a kind is a filter of the grid. */

import { count, fill, h, words } from "./dom.js";
import { emptyPage } from "./notices.js";

const TONES = { pass: "good", fail: "bad", doubt: "doubt" };
const sign = (level) => h("span", { class: `verdict ${TONES[level] ?? "soft"}`, text: level });

function audits(audit) {
  if (!audit?.answers?.length) return null;
  return h(
    "section",
    {},
    h("div", { class: "head" }, h("h2", { text: "Audit" }), audit.verdict ? sign(audit.verdict) : null),
    h(
      "div",
      { class: "wide-table" },
      h(
        "table",
        {},
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            h("th", { text: "Question" }),
            h("th", { text: "Verdict" }),
            h("th", { text: "What was measured" }),
          ),
        ),
        h(
          "tbody",
          {},
          ...audit.answers.map(({ name, question, level, statement }) =>
            h(
              "tr",
              {},
              h("td", { text: question ?? words(name ?? "") }),
              h("td", {}, sign(level)),
              h("td", { text: statement ?? "" }),
            ),
          ),
        ),
      ),
    ),
  );
}

/** @param {HTMLElement} host @param {{source: object, state: object}} context */
export async function show(host, { source, state }) {
  const { kinds = [], sources = [], audit = null } = await source.findings();
  if (!kinds.length && !sources.length && !audit) {
    return void fill(
      host,
      emptyPage("No findings are shown", "Check a release, and start the explorer with what the check wrote.", {
        next: "thermvision check DIR --out FINDINGS && thermvision view DIR --findings FINDINGS",
      }),
    );
  }
  const most = Math.max(1, ...kinds.map(({ items }) => items));
  const rows = [...kinds]
    .sort((one, other) => other.items - one.items)
    .map(({ code, source: from, items, frames, message }) =>
      h(
        "tr",
        {},
        h(
          "td",
          {},
          h("button", {
            type: "button",
            class: "link",
            text: words(code).replaceAll("-", " "),
            title: code,
            data: { code },
            on: { click: () => state.only({ finding: [code] }) },
          }),
        ),
        h("td", { text: from }),
        h("td", { class: "number", "data-label": "Items" }, count(items), meter(items / most)),
        h("td", { class: "number", "data-label": "Frames", text: count(frames) }),
        h("td", { text: message ?? "" }),
      ),
    );
  fill(
    host,
    h(
      "div",
      { class: "head" },
      h("h2", { text: "Findings" }),
      kinds.length ? h("span", { class: "soft", text: "Choose a kind to see its items." }) : null,
    ),
    kinds.length
      ? h(
          "div",
          { class: "wide-table" },
          h(
            "table",
            {},
            h(
              "thead",
              {},
              h(
                "tr",
                {},
                h("th", { text: "Kind" }),
                h("th", { text: "From" }),
                h("th", { class: "number", text: "Items" }),
                h("th", { class: "number", text: "Frames" }),
                h("th", { text: "What was seen" }),
              ),
            ),
            h("tbody", {}, ...rows),
          ),
        )
      : h("p", {
          text: sources.some(({ problem }) => problem) ? "No findings are shown: see below why." : "Nothing was found.",
        }),
    audits(audit),
    sources.length
      ? h(
          "section",
          {},
          h("h2", { text: "Read from" }),
          h(
            "ul",
            {},
            ...sources.map(({ name, path, problem }) =>
              h(
                "li",
                {},
                h("b", { text: name ?? "" }),
                " ",
                h("span", { class: "mono soft", text: path ?? "" }),
                problem ? h("div", { class: "bad", text: problem }) : null,
              ),
            ),
          ),
        )
      : null,
  );
}

function meter(part) {
  const element = h("span", { class: "meter" });
  element.style.setProperty("--part", part.toFixed(4));
  return element;
}
