/** Saving a decision: who says so, and what was saved. */

import { button, field, h, memory, words } from "./dom.js";
import { toast } from "./notices.js";

/** Value of the tag that takes another decision back: it judges nothing itself. */
export const TAKEN_BACK = "taken back";
const DONE = { accept: "Accepted", reject: "Rejected", tag: "Tagged", relabel: "Relabelled" };

/** The reviewer: of the server, else of this browser; null before anybody said. */
export const reviewer = (about) => about.who ?? memory.get("who");

/** Ask for the reviewer's name, once for this browser; null when nothing was said. @returns {Promise<string|null>} */
export function askName() {
  return new Promise((answer) => {
    const name = h("input", {
      type: "text",
      maxlength: 200,
      required: true,
      autocomplete: "name",
      value: memory.get("who", ""),
    });
    const dialog = h("dialog", { "aria-labelledby": "who-title" });
    dialog.append(
      h(
        "form",
        {
          method: "dialog",
          class: "who",
          on: {
            submit: (event) => {
              event.preventDefault();
              if (!name.value.trim()) return;
              memory.set("who", name.value.trim());
              dialog.close("said");
            },
          },
        },
        h("h2", { id: "who-title", text: "Who decides?" }),
        h("p", { class: "soft", text: "Your name is written beside every decision, and remembered in this browser." }),
        field("Name", name),
        h(
          "div",
          { class: "form-end" },
          button("Cancel", { on: () => dialog.close() }),
          h("button", { type: "submit", class: "button primary", text: "Go on" }),
        ),
      ),
    );
    dialog.addEventListener("close", () => {
      answer(dialog.returnValue === "said" ? memory.get("who") : null);
      dialog.remove();
    });
    document.body.append(dialog);
    dialog.showModal();
    name.focus();
  });
}

/** What a decision says in a few words: "glasses: none", "face box: 10, 12, 40, 50 · frames 3–9". */
export function told(decision) {
  const { action, column, value, first_frame: first, last_frame: last } = decision;
  const what =
    action === "relabel"
      ? `${column === "bbox" ? "face box" : words(column)}: ${Array.isArray(value) ? value.flat(2).slice(0, 4).join(", ") : value === null ? "none" : words(value)}`
      : action === "tag"
        ? value
        : "";
  const where =
    first === null || first === undefined ? "" : first === last ? `frame ${first}` : `frames ${first}–${last}`;
  return [what, where].filter(Boolean).join(" · ");
}

/**
 * Append a decision; says so, or says why not.
 * @param {{about: object, source: object}} context
 * @param {object} body of the request, without `who`
 * @returns {Promise<object|null>} the decision as it stands in the table, null when it was not saved
 */
export async function decide({ about, source }, body) {
  const who = reviewer(about) ?? (await askName());
  if (!who) return null;
  try {
    const { decision } = await source.decide({ ...body, who });
    const kept = memory.get("reasons", {});
    const kind = body.column === "bbox" ? "box" : body.action;
    const list = [body.why, ...(kept[kind] ?? []).filter((one) => one !== body.why)];
    if (!body.supersedes) memory.set("reasons", { ...kept, [kind]: list.slice(0, 6) });
    const done = body.supersedes ? "Taken back" : DONE[body.action];
    toast(
      `${done}: ${[decision.item_id, told(decision)].filter(Boolean).join(" · ")}. Saved in ${about.decisions_path ?? "the decision table"}.`,
    );
    return decision;
  } catch (error) {
    toast(`Not saved: ${error.message}`, { fail: true });
    return null;
  }
}

/** The body of a decision that takes another back. */
export function taking(decision, place, why = "taken back") {
  return {
    side: place.side,
    key: place.key,
    item_id: decision.item_id,
    action: "tag",
    value: TAKEN_BACK,
    why,
    first_frame: decision.first_frame ?? null,
    last_frame: decision.last_frame ?? null,
    supersedes: decision.decision_id,
  };
}

/** Whether a decision only takes another back. */
export const takesBack = ({ action, value, supersedes }) =>
  action === "tag" && value === TAKEN_BACK && Boolean(supersedes);

/** Whether a decision still counts: nobody took it back, and it is not itself the taking back. */
export const stands = (decision, all) =>
  !takesBack(decision) && !decision.superseded_by && !all.some((other) => other.supersedes === decision.decision_id);

/** What a line of the table does and of what, for those who read it: ["reject", "frames 3–9"]. */
export function spelled(decision, all) {
  if (!takesBack(decision)) return [decision.action, told(decision)];
  const before = all.find((one) => one.decision_id === decision.supersedes);
  return ["take back", before ? [before.action, told(before)].filter(Boolean).join(" · ") : decision.supersedes];
}

/** What is decided of an item as its tile shows it: the last verdict that stands, else the last word. */
export function standing(decisions) {
  const left = decisions.filter((one) => stands(one, decisions) && one.of !== "another version");
  const verdict = left.findLast(({ action }) => action === "accept" || action === "reject");
  return {
    decision: (verdict ?? left.at(-1))?.action ?? null,
    tags: left.filter(({ action }) => action === "tag").map(({ value }) => value),
  };
}
