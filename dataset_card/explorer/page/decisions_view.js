/** The table of decisions, newest first. */

import { button, count, counted, fill, h, select } from "./dom.js";
import { decide, spelled, stands, standing, takesBack, taking } from "./deciding.js";
import { emptyPage } from "./notices.js";

const SHOWN = 300;

/** @param {HTMLElement} host @param {{about: object, source: object, state: object, decided: Function}} context */
export async function show(host, { about, source, state, decided }) {
  let answer = await source.decisions();
  let action = "";
  let shown = SHOWN;
  const fixed = about.mode === "static" || about.read_only;

  async function takeBack(decision) {
    const place = { side: decision.side, key: decision.key };
    if (!(await decide({ about, source }, taking(decision, place)))) return;
    answer = await source.decisions();
    decided(place.side, place.key, standing(answer.decisions.filter((one) => one.item_id === decision.item_id)));
    draw();
    (host.querySelector("tbody button") ?? host).focus();
  }

  function row(decision, all) {
    const here = decision.key !== null && decision.key !== undefined;
    const holds = stands(decision, all);
    const [act, what] = spelled(decision, all);
    const item = here
      ? h("button", {
          type: "button",
          class: "link",
          text: decision.item_id,
          on: {
            click: () =>
              state.set({
                item: { side: decision.side ?? "a", key: decision.key },
                frame: decision.first_frame ?? 0,
              }),
          },
        })
      : h("span", { text: decision.item_id });
    return h(
      "tr",
      { class: holds ? "" : takesBack(decision) ? "soft" : "withdrawn", data: { decision: decision.decision_id } },
      h("td", { class: "when", text: decision.when.slice(0, 19).replace("T", " ") }),
      h("td", { text: decision.who }),
      h("td", {}, h("b", { class: { accept: "good", reject: "bad" }[act] ?? "", text: act })),
      h("td", { class: "wordy" }, item),
      h("td", { class: "wordy", text: what }),
      h("td", { class: "wordy", text: decision.why }),
      h(
        "td",
        {},
        decision.of === "another version" ? `v${decision.version}` : "",
        here && holds && !fixed
          ? button("Take back", { icon: "back", class: "plain", on: () => takeBack(decision) })
          : null,
      ),
    );
  }

  function draw() {
    const { decisions = [], path, conflicts = [], torn = [], problem } = answer;
    const notes = [
      ...(problem ? [problem] : []),
      ...conflicts.map((one) => (typeof one === "string" ? one : (one.message ?? JSON.stringify(one)))),
      ...torn.map((one) => one.message ?? String(one)),
    ];
    const chosen = decisions.filter((one) => !action || one.action === action).toReversed();
    if (!decisions.length && !notes.length) {
      fill(
        host,
        emptyPage(
          "No decisions yet",
          fixed
            ? "Nobody has decided anything about this release."
            : "Open an item and press a to accept, x to reject, t to tag, b to correct the box.",
          { next: path ? null : undefined },
        ),
      );
      if (path && !fixed) host.append(h("p", { class: "empty soft", text: `They will be saved in ${path}.` }));
      return;
    }
    fill(
      host,
      h(
        "div",
        { class: "head" },
        h("h2", { text: "Decisions" }),
        h("span", { class: "soft", text: `${counted(decisions.length, "line")} in ${path ?? "the table"}` }),
        h(
          "div",
          { class: "right" },
          select([["", "every action"], "accept", "reject", "tag", "relabel"], {
            value: action,
            "aria-label": "Action",
            on: (value) => {
              action = value;
              draw();
              host.querySelector("select").focus();
            },
          }),
        ),
      ),
      notes.length
        ? h(
            "section",
            { class: "fact" },
            h("h3", { text: "To be settled" }),
            h("ul", {}, ...notes.map((text) => h("li", { class: "doubt", text }))),
          )
        : null,
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
              ...["When (UTC)", "Who", "Action", "Item", "What", "Why"].map((text) => h("th", { text })),
              h("td", {}),
            ),
          ),
          h("tbody", {}, ...chosen.slice(0, shown).map((one) => row(one, decisions))),
        ),
      ),
      chosen.length > shown
        ? button(`${count(chosen.length - shown)} more`, {
            on: () => {
              shown += SHOWN;
              draw();
            },
          })
        : null,
      fixed
        ? null
        : h(
            "p",
            { class: "soft" },
            "Make them the next version: ",
            h("code", { text: "thermvision apply DIR --decisions TABLE --out NEXT" }),
          ),
    );
  }
  draw();
}
