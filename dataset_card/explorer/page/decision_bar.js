/** The bar of decisions under an item, and the small form that each opens. */

import { button, counted, field, fill, h, memory, select, words } from "./dom.js";
import { askName, decide, reviewer, spelled, stands, standing, takesBack, taking, told } from "./deciding.js";

const ACTIONS = {
  accept: { label: "Accept", sign: "accept", key: "a", head: "Accept", reason: "looks right" },
  reject: { label: "Reject", sign: "reject", key: "x", head: "Reject", reason: "" },
  tag: { label: "Tag", sign: "tag", key: "t", head: "Tag", reason: "seen in review" },
  box: { label: "Box", sign: "box", key: "b", head: "Correct the face box", reason: "box is off" },
  relabel: { label: "Label", sign: "label", key: "l", head: "Change a label", reason: "label is wrong" },
  undo: { label: "Take back", sign: "back", key: "u", head: "Take back", reason: "taken back" },
};
/** Columns with a value a frame; those of the whole item take no frames. */
const OF_FRAMES = ["bbox", "expression"];

/**
 * @param {{about: () => object, source: object, player: () => object, frame: () => number, changed: (side: string, key: number) => Promise<void>,
 *     decided: Function, next: () => void, toast: Function}} context
 */
export function createDecisionBar(context) {
  const buttons = new Map(
    Object.entries(ACTIONS).map(([name, { label, sign, key }]) => [
      name,
      button(label, { icon: sign, key, class: `act ${name}`, on: () => open(name) }),
    ]),
  );
  const advance = h("input", { type: "checkbox", on: { change: () => memory.set("advance", advance.checked) } });
  advance.checked = memory.get("advance", false);
  const who = h("button", {
    type: "button",
    class: "link",
    on: {
      click: async () => {
        await askName();
        paintWho();
      },
    },
  });
  const form = h("form", {
    class: "decide-form",
    hidden: true,
    autocomplete: "off",
    on: {
      submit: (event) => {
        event.preventDefault();
        save();
      },
    },
  });
  const element = h(
    "div",
    { class: "decide", role: "region", "aria-label": "Decide" },
    form,
    h(
      "div",
      { class: "decide-row" },
      ...buttons.values(),
      h("span", { class: "decide-end" }, h("label", { class: "layer" }, advance, "go on after"), who),
    ),
  );
  const list = h("ul", { class: "lines" });
  let record = null;
  let kind = null;
  let parts = {};
  let opener = null;
  let marks = {}; // frames given before a form was opened

  function paintWho() {
    const name = record ? reviewer(context.about()) : null;
    who.hidden = Boolean(context.about().who) || !name;
    who.textContent = name ? `as ${name}` : "";
    who.title = "Change the name";
  }

  /** Which frames a decision is about: of the whole item there are none to give. */
  function frameFields(whole) {
    if (record.num_frames < 2) return null;
    const last = record.num_frames - 1;
    const given = Object.keys(marks).length > 0;
    const entry = (name, value = context.frame()) =>
      h("input", {
        type: "number",
        min: 0,
        max: last,
        step: 1,
        value,
        required: true,
        "aria-label": name,
        class: "frame-number",
        on: {
          input: () => {
            parts.frames.given = true;
          },
        },
      });
    const [first, second] = [entry("First frame", marks.first), entry("Last frame", marks.second)];
    const choice = select(
      [
        ["whole", `all ${counted(record.num_frames, "frame")}`],
        ["these", "frames"],
      ],
      { value: whole && !given ? "whole" : "these", on: () => paint() },
    );
    const pair = h("span", { class: "pair" }, first, "to", second);
    const paint = () => {
      pair.hidden = choice.value === "whole";
    };
    paint();
    parts.frames = { choice, first, second, paint, given };
    return h(
      "div",
      { class: "field frames-field" },
      h("label", { for: (choice.id = "decide-frames"), text: "About" }),
      h("div", { class: "pair" }, choice, pair),
    );
  }

  function open(name) {
    if (!record) return;
    if (kind === name) return void focusFirst();
    close(false);
    if (name === "undo" && !last()) return context.toast("There is no decision on this item to take back.");
    if ((name === "box" && record.kind === "scene") || (name === "relabel" && record.kind === "scene"))
      return context.toast("Faces of scenes cannot be relabelled; reject the scene.");
    opener = document.activeElement;
    kind = name;
    parts = {};
    const listed = memory.get("reasons", {})[name] ?? [];
    const reason = name === "undo" ? ACTIONS.undo.reason : (listed[0] ?? ACTIONS[name].reason);
    parts.why = h("input", {
      type: "text",
      required: true,
      maxlength: 2000,
      value: reason,
      placeholder: "in a few words",
      list: "reasons",
    });
    const recent = h("datalist", { id: "reasons" }, ...listed.map((one) => h("option", { value: one })));
    const body = [];
    if (name === "tag") {
      parts.value = h("input", { type: "text", required: true, maxlength: 200, list: "tags" });
      body.push(
        field("Tag", parts.value),
        h("datalist", { id: "tags" }, ...memory.get("tags", []).map((one) => h("option", { value: one }))),
      );
    }
    if (name === "relabel") body.push(...labelFields());
    if (name === "box") body.push(...boxFields());
    if (name === "undo")
      body.push(h("p", { class: "undo-what", text: `${last().action} ${told(last())} · ${last().why}`.trim() }));
    else body.push(frameFields(name !== "box"));
    body.push(
      h("div", { class: "field why" }, h("label", { for: (parts.why.id = "decide-why"), text: "Why" }), parts.why),
      recent,
    );
    fill(
      form,
      h("h3", { text: ACTIONS[name].head }),
      h("div", { class: "decide-fields" }, ...body),
      h(
        "div",
        { class: "form-end" },
        button("Cancel", { key: "Esc", on: () => close() }),
        h(
          "button",
          { type: "submit", class: "button primary" },
          h("span", { text: "Save" }),
          h("kbd", { "aria-hidden": "true", text: "Enter" }),
        ),
      ),
    );
    form.hidden = false;
    form.setAttribute("aria-label", ACTIONS[name].head);
    buttons.get(name).setAttribute("aria-expanded", "true");
    parts.frames?.paint();
    parts.column?.dispatchEvent(new Event("change"));
    focusFirst();
  }

  function focusFirst() {
    if (kind === "box") {
      context.player().editBox(true);
      return;
    }
    const target = parts.column ?? parts.value ?? parts.why;
    target.focus();
    target.select?.();
  }

  function labelFields() {
    const choices = Object.entries(context.about().relabelled ?? {}).filter(
      ([, values]) => Array.isArray(values) && values.length,
    );
    const held = h("div", { class: "field" });
    parts.column = select(
      choices.map(([name]) => [name, words(name)]),
      {
        on: (name) => {
          const now = name === "expression" ? record.frames?.expression?.[context.frame()] : record.attributes?.[name];
          parts.value = select(
            [...choices.find(([other]) => other === name)[1].map((one) => [one, words(one)]), ["", "not known"]],
            { value: now ?? "" },
          );
          parts.value.id = "decide-value";
          fill(held, h("label", { for: "decide-value", text: "Is" }), parts.value);
          if (parts.frames) parts.frames.choice.closest(".field").hidden = !OF_FRAMES.includes(name);
        },
      },
    );
    return [field("Label", parts.column), held];
  }

  function boxFields() {
    parts.box = ["x", "y", "width", "height"].map((name) =>
      h("input", {
        type: "number",
        step: "any",
        class: "box-number",
        "aria-label": `${name} in pixels`,
        required: true,
        on: {
          input: () => {
            if (parts.box.every((one) => one.value)) context.player().setBox(parts.box.map((one) => Number(one.value)));
            aboutFrame(context.frame());
          },
        },
      }),
    );
    fillBox(record.frames?.bbox?.[context.frame()]);
    parts.none = h("input", {
      type: "checkbox",
      on: {
        change: () =>
          parts.box.forEach((one) => {
            one.disabled = parts.none.checked;
          }),
      },
    });
    return [
      h(
        "div",
        { class: "field", role: "group", "aria-label": "Face box in pixels" },
        h("span", { class: "label", text: "x, y, width, height" }),
        h("div", { class: "pair" }, ...parts.box),
      ),
      h("label", { class: "layer" }, parts.none, "no face"),
    ];
  }

  /** The numbers of a box; none where there is no face. */
  function fillBox(box) {
    parts.box.forEach((one, at) => {
      one.value = box ? Math.round(box[at] * 10) / 10 : "";
    });
  }

  /** What the form is about, as long as nobody gave frames. */
  function aboutFrame(frame) {
    if (!parts.frames || parts.frames.given) return;
    parts.frames.first.value = parts.frames.second.value = frame;
  }

  function value() {
    if (kind === "tag") return parts.value.value.trim();
    if (kind === "relabel") return parts.value.value || null;
    return parts.none.checked ? null : parts.box.map((one) => Math.round(Number(one.value) * 10) / 10);
  }

  async function save() {
    if (!kind || !record || form.classList.contains("saving")) return;
    if (!form.reportValidity()) return;
    const about = record;
    const column = kind === "relabel" ? parts.column.value : kind === "box" ? "bbox" : null;
    let [first, second] = [null, null];
    if (parts.frames?.choice.value === "these" && (column === null || OF_FRAMES.includes(column))) {
      [first, second] = [Number(parts.frames.first.value), Number(parts.frames.second.value)].sort(
        (one, other) => one - other,
      );
    }
    const place = { side: about.side, key: about.key };
    const body =
      kind === "undo"
        ? taking(last(), place, parts.why.value.trim())
        : {
            ...place,
            item_id: about.id,
            action: kind === "box" ? "relabel" : kind,
            first_frame: first,
            last_frame: second,
            why: parts.why.value.trim(),
            ...(column ? { column } : {}),
            ...(kind === "accept" || kind === "reject" ? {} : { value: value() }),
          };
    form.classList.add("saving");
    const decision = await decide({ about: context.about(), source: context.source }, body);
    form.classList.remove("saving");
    if (!decision) return;
    if (kind === "tag")
      memory.set("tags", [body.value, ...memory.get("tags", []).filter((one) => one !== body.value)].slice(0, 20));
    const onward = advance.checked && (body.action === "accept" || body.action === "reject");
    const here = () => record?.side === about.side && record.key === about.key; // and not another item meanwhile
    if (here()) {
      marks = {};
      close();
    }
    const decisions = await context.changed(about.side, about.key);
    if (decisions) context.decided(about.side, about.key, standing(decisions));
    paintWho();
    if (onward && here()) context.next();
  }

  function close(back = true) {
    if (kind === "box") context.player().editBox(false);
    if (kind) buttons.get(kind).removeAttribute("aria-expanded");
    kind = null;
    form.hidden = true;
    fill(form);
    if (back && opener?.isConnected) opener.focus({ preventScroll: true });
  }

  const last = () => (record?.decisions ?? []).findLast((one) => stands(one, record.decisions)) ?? null;

  return {
    element,
    list,
    /** Another item, or the same after a decision. */
    open(now) {
      if (record && (record.key !== now.key || record.side !== now.side)) {
        marks = {};
        close(false);
      }
      record = now;
      paintWho();
      const all = record.decisions ?? [];
      buttons.get("undo").disabled = !last();
      const { decision } = standing(all);
      for (const name of ["accept", "reject"])
        buttons.get(name).setAttribute("aria-pressed", String(decision === name));
      fill(
        list,
        ...all.toReversed().map((one) => {
          const [action, what] = spelled(one, all);
          return h(
            "li",
            { class: stands(one, all) ? "" : takesBack(one) ? "soft" : "withdrawn" },
            h("b", { class: { accept: "good", reject: "bad" }[action] ?? "", text: action }),
            h("span", { text: ` ${what}` }),
            h("span", { class: "more", text: one.why }),
            h("span", {
              class: "soft",
              text: `${one.who}, ${one.when.slice(0, 16).replace("T", " ")}${one.of === "another version" ? ` · on version ${one.version}` : ""}`,
            }),
          );
        }),
      );
    },
    start: open,
    close,
    /** The editor moved the box. */
    boxMoved(box) {
      if (kind !== "box") return;
      parts.none.checked = false;
      for (const one of parts.box) one.disabled = false;
      fillBox(box);
      aboutFrame(context.frame());
    },
    /** Another frame is shown: a box that nobody changed yet is now that frame's. */
    frameShown(frame) {
      if (kind !== "box" || context.player().edited || parts.none.checked) return;
      fillBox(record.frames?.bbox?.[frame]);
      aboutFrame(frame);
    },
    /** "from" or "to": the frame shown begins or ends what the form is about, or, where none is open, the next one. */
    bound(which) {
      const end = which === "from" ? "first" : "second";
      if (!kind && record.num_frames > 1) {
        marks[end] = context.frame();
        context.toast(`The next decision ${end === "first" ? "begins" : "ends"} at frame ${marks[end]}.`);
      }
      if (!parts.frames || !kind) return;
      parts.frames.choice.value = "these";
      parts.frames.paint();
      parts.frames.given = true;
      parts.frames[end].value = context.frame();
    },
    save,
    get kind() {
      return kind;
    },
  };
}
