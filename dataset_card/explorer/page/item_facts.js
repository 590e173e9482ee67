/** What is known of an item: labels of the frame shown, attributes, findings, decisions, and how it was made. */

import { button, counted, fill, h, visible, words } from "./dom.js";
import { STATES } from "./overlay.js";

const round = (value, digits = 1) => (Number.isFinite(value) ? value.toFixed(digits) : "–");

/** Rows of the table of labels of one frame: [name, value]. */
export function labelsOf(record, frame) {
  const frames = record.frames ?? {};
  const at = (name) => frames[name]?.[frame] ?? null;
  const rows = [];
  if (at("expression")) rows.push(["expression", words(at("expression"))]);
  const pose = at("head_pose");
  if (pose)
    ["yaw", "pitch", "roll"].forEach((name, k) => rows.push([name, pose[k] === null ? "–" : `${round(pose[k])}°`]));
  if (frames.bbox) {
    const box = at("bbox");
    rows.push([
      "face box",
      box ? `${round(box[0])}, ${round(box[1])} · ${round(box[2])} × ${round(box[3])} px` : "no face",
    ]);
  }
  if (at("bbox_score") !== null) rows.push(["score", round(at("bbox_score"), 3)]);
  if (at("face_count") !== null) rows.push(["faces", String(at("face_count"))]);
  const states = at("landmark_state");
  if (states) {
    rows.push([
      "landmarks",
      [3, 1, 2, 0]
        .map((state) => [states.filter((one) => one === state).length, STATES[state]])
        .filter(([many]) => many)
        .map(([many, name]) => `${many} ${name}`)
        .join(", "),
    ]);
  } else if (at("landmarks")) rows.push(["landmarks", "68"]);
  if (at("eye_openness") !== null) rows.push(["eyes open", round(at("eye_openness"), 2)]);
  if (at("mouth_openness") !== null) rows.push(["mouth open", round(at("mouth_openness"), 2)]);
  return rows;
}

/** Every text under a key that has "prompt" in its name. */
export function promptsOf(value, found = [], depth = 0) {
  if (value && typeof value === "object" && depth < 8) {
    for (const [name, inner] of Object.entries(value)) {
      if (typeof inner === "string" && inner && name.toLowerCase().includes("prompt")) found.push([name, inner]);
      else promptsOf(inner, found, depth + 1);
    }
  }
  return found;
}

/** A value of JSON as a tree; branches are made when they are opened. */
export function tree(value, name = null, depth = 0) {
  const label = name === null ? [] : [h("span", { class: "tree-name", text: name })];
  if (value === null || typeof value !== "object") {
    const text = typeof value === "string" ? value : JSON.stringify(value);
    return h(
      "div",
      { class: "leaf" },
      ...label,
      h("span", { class: `tree-${value === null ? "null" : typeof value}`, text }),
    );
  }
  const entries = Object.entries(value);
  const flat =
    Array.isArray(value) && entries.length <= 12 && value.every((one) => one === null || typeof one !== "object");
  if (!entries.length || flat)
    return h("div", { class: "leaf" }, ...label, h("span", { class: "tree-number", text: JSON.stringify(value) }));
  const branch = h(
    "details",
    { class: "branch", open: depth === 0 },
    h(
      "summary",
      {},
      ...label,
      h("span", { class: "soft", text: counted(entries.length, Array.isArray(value) ? "value" : "field") }),
    ),
  );
  const grow = () => {
    if (branch.open && branch.childElementCount === 1)
      branch.append(...entries.slice(0, 400).map(([key, inner]) => tree(inner, key, depth + 1)));
  };
  branch.addEventListener("toggle", grow);
  if (depth === 0) grow();
  return branch;
}

const pairs = (rows) =>
  h("dl", { class: "pairs" }, ...rows.flatMap(([name, value]) => [h("dt", { text: name }), h("dd", {}, value)]));
const size = (bytes) => (bytes > 1e6 ? `${(bytes / 1e6).toFixed(1)} MB` : `${Math.round(bytes / 1e3)} kB`);

function section(title, ...children) {
  return h("section", { class: "fact" }, h("h3", { text: title }), ...children);
}

function attributes(record, subject) {
  const rows = [];
  if (record.subject)
    rows.push([
      "subject",
      h("button", {
        type: "button",
        class: "link",
        text: record.subject,
        on: { click: () => subject(record.subject) },
      }),
    ]);
  for (const name of ["gender", "split", "category", "sequence"])
    if (record[name]) rows.push([name, words(record[name])]);
  for (const [name, value] of Object.entries(record.attributes ?? {})) if (value) rows.push([name, words(value)]);
  if (record.annotation_source) rows.push(["labels from", record.annotation_source.replaceAll("_", " ")]);
  rows.push(["size", `${record.width} × ${record.height} px${record.fps ? `, ${record.fps} frames a second` : ""}`]);
  const { media } = record;
  if (media?.bytes) rows.push(["file", `${media.codec ?? media.type}, ${size(media.bytes)}`]);
  if (record.heat)
    rows.push([
      "temperatures",
      `${counted(record.heat.frames.length, "frame")}, ${record.heat.width} × ${record.heat.height}${Number.isFinite(record.heat.ambient) ? `, air ${round(record.heat.ambient)} °C` : ""}`,
    ]);
  rows.push(["stored in", h("span", { class: "mono", text: `${record.shard}, row ${record.row}` })]);
  return section("About", pairs(rows));
}

function findings(record, seek) {
  if (!record.findings?.length) return null;
  return section(
    "Findings",
    h(
      "ul",
      { class: "lines" },
      ...record.findings.map((one) => {
        const where =
          one.first_frame === null || one.first_frame === undefined
            ? "whole item"
            : one.first_frame === one.last_frame
              ? `frame ${one.first_frame}`
              : `frames ${one.first_frame}–${one.last_frame}`;
        return h(
          "li",
          {},
          h(
            "button",
            { type: "button", class: "line", on: { click: () => seek(one.first_frame ?? 0) } },
            h("b", { text: words(one.code).replaceAll("-", " ") }),
            h("span", { class: "soft", text: ` ${where} · ${one.source}` }),
            h("span", { class: "more", text: one.message }),
          ),
        );
      }),
    ),
  );
}

function made(record, toast) {
  const parts = [];
  for (const [name, text] of promptsOf(record.provenance))
    parts.push(
      h("div", { class: "prompt" }, h("span", { class: "soft", text: words(name) }), h("blockquote", { text })),
    );
  if (record.command) {
    parts.push(
      h(
        "div",
        { class: "command" },
        h("code", { text: record.command }),
        button("Copy the command", {
          icon: "copy",
          quiet: true,
          on: async () => {
            try {
              await navigator.clipboard.writeText(record.command);
              toast("The command is in the clipboard.");
            } catch {
              getSelection().selectAllChildren(parts.at(-1).querySelector("code"));
              toast("The browser allows no copying here: the command is selected, press Ctrl+C.");
            }
          },
        }),
      ),
    );
  }
  if (record.provenance) {
    const details = h("details", { class: "provenance" }, h("summary", { text: "Provenance" }));
    details.addEventListener("toggle", () => {
      if (details.open && details.childElementCount === 1) {
        details.append(
          typeof record.provenance === "string"
            ? h("pre", { text: record.provenance })
            : h("div", { class: "tree" }, tree(record.provenance)),
        );
      }
    });
    parts.push(details);
  } else if (!record.command)
    parts.push(h("p", { class: "soft", text: "The release does not say how this item was made." }));
  return section("How it was made", ...parts);
}

/**
 * @param {{seek: (n: number) => void, subject: (id: string) => void, toast: (text: string) => void}} calls
 * @returns {{element: HTMLElement, open: (record: object, other?: object) => void, show: (frame: number) => void, decisions: HTMLElement}}
 */
export function createFacts({ seek, subject, toast }) {
  const labels = h("tbody");
  const head = h("tr");
  const decisions = h("div");
  const rest = h("div", { class: "rest" });
  const table = h("table", { class: "labels" }, h("thead", { hidden: true }, head), labels);
  const title = h("h3", { text: "Labels" });
  const element = h("div", { class: "facts" }, h("section", { class: "fact" }, title, table), rest);
  let [record, other] = [null, null];

  return {
    element,
    decisions,
    /** @param {object} now @param {object|null} [beside] the item it is compared with @param {string[]} [names] of the two */
    open(now, beside = null, names = [now.id, beside?.id]) {
      [record, other] = [now, beside];
      head.parentElement.hidden = !beside;
      fill(head, h("td"), h("th", { text: names[0] }), beside ? h("th", { text: names[1] }) : null);
      const problems = record.problems?.length
        ? section("Problems", ...record.problems.map((text) => h("p", { class: "bad", text })))
        : null;
      const changed = record.changed_columns?.length
        ? section("Changed between the versions", h("p", { text: record.changed_columns.map(words).join(", ") }))
        : null;
      fill(
        rest,
        problems,
        findings(record, seek),
        decisions,
        changed,
        attributes(record, subject),
        made(record, toast),
      );
    },
    show(frame) {
      if (!record) return;
      title.textContent = record.num_frames > 1 ? `Labels of frame ${frame}` : "Labels";
      const rows = labelsOf(record, Math.min(frame, record.num_frames - 1));
      const beside = other ? new Map(labelsOf(other, Math.min(frame, other.num_frames - 1))) : null;
      if (!rows.length) rows.push(["no labels", ""]);
      // rows are kept between frames: thirty tables a second would be felt
      while (labels.childElementCount > rows.length) labels.lastElementChild.remove();
      rows.forEach(([name, value], at) => {
        const row = labels.children[at] ?? labels.appendChild(h("tr", {}, h("th", { scope: "row" }), h("td")));
        row.children[0].textContent = name;
        row.children[1].textContent = visible(value);
        if (beside && row.childElementCount < 3) row.append(h("td"));
        if (!beside && row.childElementCount > 2) row.lastElementChild.remove();
        if (beside) {
          row.children[2].textContent = beside.get(name) ?? "–";
          row.classList.toggle("differs", (beside.get(name) ?? "–") !== value);
        } else row.classList.remove("differs");
      });
    },
  };
}
