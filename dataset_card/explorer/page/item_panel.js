/** One item, opened: the player and what belongs to it, or two items side by side. */

import { button, fill, h, visible, words } from "./dom.js";
import { createDecisionBar } from "./decision_bar.js";
import { decidedBoxes } from "./decided_boxes.js";
import { standing } from "./deciding.js";
import { createFacts } from "./item_facts.js";
import { createPlayer } from "./player.js";
import { createToneBar } from "./tone_bar.js";
import { createTransport } from "./transport.js";
import { emptyPage, say, toast } from "./notices.js";

/**
 * @param {HTMLElement} host
 * @param {{about: () => object, source: object, state: object, go: (step: number) => void, close: () => void, full: () => void, decided: Function,
 *     narrow: MediaQueryList}} context
 */
export function createItemPanel(host, { about, source, state, go, close, full, decided, narrow }) {
  const stage = h("div", { class: "stage" });
  const playerHost = h("div", { class: "player-host" });
  const compareHost = h("div", { class: "compare-host", hidden: true });
  const warmth = h("output", { class: "warmth", "aria-live": "off" });
  const trouble = h("div", { class: "trouble", hidden: true });
  const palettes = about().palettes ?? {};
  const callbacks = { palettes, onFrame, onState, onTemperature, onBox: (box) => bar.boxMoved(box) };
  const player = createPlayer(playerHost, callbacks);
  let compare = null;
  let shown = player; // the player, or two of them
  let record = null;
  let turn = 0;
  let frame = 0;
  let aim = 0;
  let playing = false;
  let mode = "side"; // of comparing

  const transport = createTransport({
    seek: (n) => seek(n),
    step: (d) => step(d),
    toggle: () => (playing ? shown.pause() : shown.play()),
    speed: (x) => shown.setSpeed?.(x),
  });
  const tone = createToneBar({
    palettes: Object.keys(palettes),
    layers: (chosen) => shown.setLayers(chosen),
    tone: (chosen) => shown.setTone(chosen),
  });
  const facts = createFacts({ seek, toast, subject: (id) => state.only({ subject: [id] }) });
  const bar = createDecisionBar({
    about,
    source,
    player: () => player,
    frame: () => frame,
    changed: refresh,
    decided,
    next: () => go(1),
    toast,
  });
  const title = h("h2", { class: "item-title", id: "item-title" });
  const subtitle = h("span", { class: "soft subtitle" });
  const pin = button("Pin for comparing", {
    icon: "pin",
    quiet: true,
    key: "p",
    class: "plain",
    on: () => command("pin"),
  });
  const other = button("Beside the other version", {
    icon: "compare",
    quiet: true,
    key: "o",
    class: "plain",
    on: () => command("other"),
  });
  const compareTools = h("div", { class: "compare-tools", hidden: true });
  const skeleton = h("div", { class: "skeleton", hidden: true });
  const body = h(
    "div",
    { class: "panel-body" },
    h(
      "div",
      { class: "watch" },
      h("div", { class: "stage-wrap" }, stage, warmth),
      compareTools,
      transport.element,
      tone.element,
    ),
    facts.element,
  );
  stage.append(playerHost, compareHost, trouble, skeleton);
  fill(
    host,
    h(
      "header",
      { class: "panel-head" },
      button("Item before", { icon: "left", quiet: true, key: "k", class: "plain", on: () => go(-1) }),
      button("Item after", { icon: "right", quiet: true, key: "j", class: "plain", on: () => go(1) }),
      h("div", { class: "titles" }, title, subtitle),
      pin,
      other,
      button("Over the whole page", {
        icon: "full",
        quiet: true,
        key: "f",
        class: "plain wide-only",
        on: () => {
          full();
        },
      }),
      button("Close", { icon: "close", quiet: true, key: "Esc", class: "plain", on: close }),
    ),
    body,
    bar.element,
  );
  document.addEventListener("visibilitychange", () => !document.hidden && record && source.live && seeOthers());
  host.setAttribute("aria-labelledby", "item-title");
  host.removeAttribute("aria-label");
  facts.decisions.append(h("section", { class: "fact", hidden: true }, h("h3", { text: "Decisions" }), bar.list));
  host.addEventListener("keydown", (event) => {
    // Enter saves from the box editor as from the form's fields
    if (event.key === "Enter" && bar.kind === "box" && stage.contains(event.target)) {
      event.preventDefault();
      bar.save();
    }
  });

  function onFrame(n) {
    frame = n;
    if (playing) aim = n;
    transport.show(n);
    facts.show(n);
    bar.frameShown(n);
    state.setFrame(n);
  }

  function onState(now) {
    if (typeof now?.playing === "boolean" || now === "playing" || now === "paused") {
      playing = now === "playing" || now?.playing === true;
      transport.playing(playing);
    }
    if (now?.mode && now.mode !== mode) {
      mode = now.mode;
      proportion();
    }
    if (now?.error !== undefined) {
      trouble.hidden = true;
      if (now.error) say(String(now.error.message ?? now.error));
    }
  }

  function onTemperature(now) {
    warmth.textContent = now && Number.isFinite(now.celsius) ? `${now.celsius.toFixed(1)} °C` : "";
  }

  function seek(n) {
    if (!record) return;
    aim = Math.max(0, Math.min(record.num_frames - 1, n));
    shown.seek(aim);
  }

  /** From the frame that was asked for, which may not be shown yet: two quick steps are two frames. */
  const step = (d) => seek((playing ? frame : aim) + d);

  function paintHead() {
    title.textContent = visible(record.id);
    title.title = visible(record.id);
    const kind = { clip: "clip", still: "still", scene: "scene" }[record.kind] ?? record.kind;
    subtitle.textContent = [kind, words(record.category ?? record.sequence ?? ""), record.split]
      .filter(Boolean)
      .join(" · ");
    const { sides } = about();
    other.hidden = !sides.b;
    other.disabled = record.other === null || record.other === undefined;
    const { pin: pinned } = state.get();
    pin.setAttribute("aria-pressed", String(Boolean(pinned)));
    pin.title = pinned ? "Unpin (p)" : "Pin; the next item opens beside it (p)";
  }

  /** Width over height of what the stage holds. */
  function proportion() {
    const abreast = host.classList.contains("compared") && !narrow.matches && mode === "side" ? 2 : 1;
    stage.style.setProperty("--ratio", String((record.width / record.height) * abreast || 1));
  }

  /** The item again, after a decision; its decisions. */
  async function refresh(side, key) {
    try {
      const fresh = await source.item(side, key, { fresh: true });
      if (record?.side === side && record.key === key) {
        record = fresh;
        showDecisions();
        transport.draw(record);
      }
      return fresh.decisions ?? [];
    } catch {
      return null;
    }
  }

  /** What other people, and other windows, decided since this item was fetched. */
  async function seeOthers() {
    const { side, key, decisions = [] } = record;
    const news = await refresh(side, key);
    if (news && news.length !== decisions.length) decided(side, key, standing(news));
  }

  function showDecisions() {
    const readOnly = about().mode === "static" || about().read_only;
    bar.element.hidden = readOnly || about().state === "building";
    bar.open(record);
    facts.decisions.firstElementChild.hidden = !(record.decisions ?? []).length;
    decidedBoxes(playerHost, record);
  }

  async function openBoth(beside) {
    const { createCompare } = await import("./compare.js");
    const names = Object.fromEntries(Object.entries(about().sides).map(([side, one]) => [side, `v${one.version}`]));
    compare ??= createCompare(compareHost, { ...callbacks, names });
    if (bar.kind === "box") bar.close(false); // its box is drawn in the player that goes
    player.close();
    shown = compare;
    playerHost.hidden = true;
    compareHost.hidden = false;
    fill(
      compareTools,
      h("span", { class: "soft", text: "beside" }),
      h("b", { text: beside.id === record.id ? `${beside.id}, v${about().sides[beside.side].version}` : beside.id }),
      button("Stop comparing", { icon: "close", class: "plain", on: () => state.set({ pin: null }) }),
    );
    compareTools.hidden = false;
    await compare.open([record.side, record], [beside.side, beside], { frame });
  }

  async function openOne() {
    compare?.close();
    shown = player;
    compareHost.hidden = true;
    playerHost.hidden = false;
    compareTools.hidden = true;
    await player.open(record.side, record, { frame });
  }

  async function open(place, at, pinned) {
    turn += 1;
    const mine = turn;
    playing = false;
    transport.playing(false);
    onTemperature(null);
    const slow = setTimeout(() => {
      skeleton.hidden = false;
    }, 150);
    const kept = source.live && source.kept(place.side, place.key);
    try {
      const [now, beside] = await Promise.all([
        source.item(place.side, place.key),
        pinned ? source.item(pinned.side, pinned.key) : null,
      ]);
      if (mine !== turn) return;
      record = now;
      host.classList.remove("unread");
      host.classList.toggle("compared", Boolean(beside));
      document.body.classList.toggle("comparing", Boolean(beside));
      paintHead();
      transport.open(record);
      facts.open(
        record,
        beside,
        beside?.id === record.id ? [record, beside].map(({ side }) => `v${about().sides[side].version}`) : undefined,
      );
      frame = aim = Math.min(at, record.num_frames - 1);
      transport.show(frame);
      facts.show(frame);
      showDecisions();
      trouble.hidden = true;
      proportion();
      await (beside ? openBoth(beside) : openOne());
      if (mine !== turn) return;
      say(`${record.id}, ${subtitle.textContent}`);
      if (kept) seeOthers();
      tone.open(record);
      decidedBoxes(playerHost, record);
    } catch (error) {
      if (mine !== turn) return;
      // nothing of another item may stand beside the words, or be decided on
      record = null;
      bar.close(false);
      player.close();
      compare?.close();
      [title.textContent, subtitle.textContent] = ["An item", ""];
      host.classList.add("unread");
      trouble.hidden = false;
      fill(
        trouble,
        emptyPage("This item could not be opened", error.message, {
          action: button("Try again", { on: () => open(place, at, pinned) }),
        }),
      );
    } finally {
      clearTimeout(slow);
      if (mine === turn) skeleton.hidden = true;
    }
  }

  /** A command of the keyboard; false: not one of these now. */
  function command(name) {
    if (name === "escape") {
      if (!bar.kind) return false;
      bar.close();
      return true;
    }
    if (!record) return false;
    if (name === "play") return void (record.num_frames > 1 && (playing ? shown.pause() : shown.play()));
    if (name === "back") return void step(-1);
    if (name === "on") return void step(1);
    if (name === "from" || name === "to") return bar.bound(name);
    if (name === "zoom-in") return void shown.zoom(1.25);
    if (name === "zoom-out") return void shown.zoom(0.8);
    if (name === "zoom-whole") return void shown.resetZoom();
    if (name === "cross") return record.heat ? void shown.setProbe() : toast("This item has no temperatures.");
    if (name === "finding") {
      const starts = [...new Set((record.findings ?? []).map((one) => one.first_frame ?? 0))].sort(
        (one, two) => one - two,
      );
      if (!starts.length) return toast("This item has no findings.");
      return seek(starts.find((start) => start > frame) ?? starts[0]);
    }
    if (name === "other") {
      if (!about().sides.b) return toast("Start thermvision view with --against to see two versions.");
      if (record.other === null || record.other === undefined)
        return toast("The other version does not have this item.");
      const now = state.get().pin;
      const side = record.side === "a" ? "b" : "a";
      return state.set({ pin: now?.side === side && now.key === record.other ? null : { side, key: record.other } });
    }
    if (name === "pin") {
      state.set({ pin: state.get().pin ? null : { side: record.side, key: record.key } });
      paintHead();
      return toast(
        state.get().pin ? "Pinned: the next item that you open stands beside this one." : "No longer pinned.",
      );
    }
    if (bar.element.hidden) return toast("This page is read-only.");
    if (state.get().pin && name === "box") return toast("Stop comparing to correct a box.");
    return bar.start(name);
  }

  return {
    open,
    seek(n) {
      if (n !== frame) seek(n);
    },
    command,
    close() {
      turn += 1;
      document.body.classList.remove("comparing");
      bar.close(false);
      player.close();
      compare?.close();
      record = null;
    },
  };
}
