/**
 * The grid of a static export: the same filters, order and counts as the server's (filters.py, matching.py and
 * counting.py), over the whole table (static_table.py). A test asks both the same and compares.
 */

const POSE = ["yaw", "pitch", "roll"];
const ATTRIBUTES = ["hairstyle", "beard", "glasses", "mask", "headwear", "jewellery"];
const OF_ITEMS = ["config", "split", "gender", "category", "sequence", ...ATTRIBUTES];
const MANY = [...OF_ITEMS, "expression", "source", "subject", "finding", "decision", "change"];
const SORTS = ["id", "subject", "yaw", "frames", "findings"];
const NEVER_UNKNOWN = ["config", "split", "category", "sequence"];
const UNKNOWN = "unknown";
const MAX_LIMIT = 500;

const opened = new WeakMap();

function bytes(text) {
  const raw = atob(text ?? "");
  const found = new Uint8Array(raw.length);
  for (let n = 0; n < raw.length; n += 1) found[n] = raw.charCodeAt(n);
  return found.buffer;
}

/** The columns of a table, unpacked once. */
function open(table) {
  let found = opened.get(table);
  if (!found) {
    const { frames } = table;
    found = {
      start: new Int32Array(bytes(frames.start)),
      index: new Int32Array(bytes(frames.index)),
      expression: new Int16Array(bytes(frames.expression)),
      angles: Object.fromEntries(POSE.map((name) => [name, new Float32Array(bytes(frames[name]))])),
      coverYaw: new Float32Array(bytes(table.cover_yaw)),
      search: table.items.map((item) => {
        const who = item.people ? item.people.map(([subject]) => subject ?? "").join(" ") : (item.subject ?? "");
        return `${item.id}\n${who}`.toLowerCase();
      }),
    };
    opened.set(table, found);
  }
  return found;
}

/** What is asked for: lists of values by name, limits of angles, order and page. */
function read(params) {
  const given = params instanceof URLSearchParams ? params : new URLSearchParams(params);
  const asked = { many: {}, limits: {}, q: "", sort: null, desc: false, offset: 0, limit: 100, facets: false };
  for (const [name, value] of given) {
    const known = name === "annotation_source" ? "source" : name;
    const pose = /^(yaw|pitch|roll)_(min|max)$/.exec(known);
    if (MANY.includes(known)) (asked.many[known] ??= []).push(value);
    else if (known === "q") asked.q = value;
    else if (value === "") continue;
    else if (pose) asked.limits[known] = number(known, value);
    else if (known === "sort" && SORTS.includes(value)) asked.sort = value;
    else if (known === "desc" || known === "facets")
      asked[known] = ["1", "true", "on", "yes"].includes(value.toLowerCase());
    else if (known === "offset") asked.offset = number(known, value);
    else if (known === "limit") asked.limit = Math.min(number(known, value), MAX_LIMIT);
    else throw new Error(`no filter is called ${name}=${value.slice(0, 60)}`);
  }
  return asked;
}

function number(name, value) {
  const found = Number(value);
  if (!Number.isFinite(found)) throw new Error(`${name} is ${value.slice(0, 60)}; allowed: a number`);
  return found;
}

const onFrames = (asked) => Boolean(asked.many.expression || asked.many.finding || Object.keys(asked.limits).length);
const without = (asked, name) => ({ ...asked, many: { ...asked.many, [name]: undefined } });
const valueOf = (item, name) => (ATTRIBUTES.includes(name) ? item.attributes[name] : item[name]);
const oneOf = (value, wanted) => wanted.includes(value ?? UNKNOWN);

/** Whether an item fits every condition that is not about its frames. */
function fits(table, columns, asked, place) {
  const item = table.items[place];
  const { many } = asked;
  for (const name of OF_ITEMS) {
    const wanted = many[name];
    if (!wanted) continue;
    // a scene has the gender of anybody in it
    if (name === "gender" && item.people) {
      if (!item.people.some(([, gender]) => oneOf(gender, wanted))) return false;
    } else if (!oneOf(valueOf(item, name), wanted)) return false;
  }
  if (many.source && !oneOf(table.sources[item.source], many.source)) return false;
  if (many.subject) {
    const there = (item.people ?? []).some(([subject]) => subject !== null && many.subject.includes(subject));
    if (!there && !(item.subject !== null && many.subject.includes(item.subject))) return false;
  }
  if (asked.q && !columns.search[place].includes(asked.q.toLowerCase())) return false;
  if (many.decision) {
    const none = many.decision.includes("none") && !item.actions.length;
    if (!none && !item.actions.some((action) => many.decision.includes(action))) return false;
  }
  return !many.change || many.change.includes(item.change);
}

/** A test of single frames: limits, expressions and findings must hold on one frame together. */
function frameTest(table, columns, asked) {
  const limits = POSE.map((name) => [
    columns.angles[name],
    asked.limits[`${name}_min`],
    asked.limits[`${name}_max`],
  ]).filter(([, low, high]) => low !== undefined || high !== undefined);
  const wanted = asked.many.expression?.map((name) => (name === UNKNOWN ? -1 : code(table, name)));
  const codes = asked.many.finding;
  return (item, at) => {
    for (const [angles, low, high] of limits) {
      const angle = angles[at];
      // NaN, which is not known, is beyond every limit
      if (low !== undefined && !(angle >= low)) return false;
      if (high !== undefined && !(angle <= high)) return false;
    }
    if (wanted && !wanted.includes(columns.expression[at])) return false;
    return !codes || marked(item, columns.index[at], codes);
  };
}

function code(table, name) {
  const found = table.expressions.indexOf(name);
  return found >= 0 ? found : Number(/^class (\d+)$/.exec(name)?.[1] ?? NaN);
}

const marked = (item, frame, codes) =>
  item.found.some(([kind, first, last]) => codes.includes(kind) && first <= frame && frame <= last);

/** The places of the items that fit, and with conditions on frames how many fit, the first, and its yaw. */
function match(table, columns, asked) {
  const found = { places: [], hits: null, hit: null, yaw: null };
  const framed = onFrames(asked);
  if (framed) Object.assign(found, { hits: [], hit: [], yaw: [] });
  const test = framed ? frameTest(table, columns, asked) : null;
  table.items.forEach((item, place) => {
    if (!fits(table, columns, asked, place)) return;
    if (framed) {
      let hits = 0;
      let hit = 0;
      let yaw = NaN;
      for (let at = columns.start[place]; at < columns.start[place + 1]; at += 1) {
        if (!test(item, at)) continue;
        if (hits === 0) hit = columns.index[at];
        if (Number.isNaN(yaw)) yaw = columns.angles.yaw[at];
        hits += 1;
      }
      if (!hits) return;
      found.hits.push(Math.min(hits, item.frames));
      found.hit.push(hit);
      found.yaw.push(yaw);
    }
    found.places.push(place);
  });
  return found;
}

function ordered(table, columns, found, asked) {
  const order = found.places.map((_, n) => n);
  if (!asked.sort) return asked.desc ? order.reverse() : order;
  const item = (n) => table.items[found.places[n]];
  const by = {
    id: (n) => item(n).rank.id,
    subject: (n) => item(n).rank.subject,
    frames: (n) => (found.hits ? found.hits[n] : item(n).frames),
    yaw: (n) => (found.yaw ? found.yaw[n] : columns.coverYaw[found.places[n]]),
    findings: (n) => item(n).findings,
  }[asked.sort];
  const keys = order.map((n) => (asked.desc ? -by(n) : by(n)));
  // what is not known stays last either way
  return order.sort((a, b) => {
    if (Number.isNaN(keys[a]) || Number.isNaN(keys[b])) return Number.isNaN(keys[a]) - Number.isNaN(keys[b]) || a - b;
    return keys[a] - keys[b] || a - b;
  });
}

// a source may be called __proto__
const noCounts = () => Object.create(null);

function tally(values) {
  const counts = noCounts();
  for (const value of values) counts[value] = (counts[value] ?? 0) + 1;
  return counts;
}

/** Items by value of each name, under the conditions on all other names. */
function countValues(table, columns, asked) {
  const kept = new Map();
  const placesFor = (name) => {
    const other = asked.many[name] ? name : "";
    if (!kept.has(other)) kept.set(other, match(table, columns, other ? without(asked, other) : asked).places);
    return kept.get(other).map((place) => table.items[place]);
  };
  const facets = {};
  for (const name of table.columns) {
    const values = placesFor(name).flatMap((item) => {
      if (name === "gender" && item.people) return [...new Set(item.people.map(([, gender]) => gender ?? UNKNOWN))];
      const value = valueOf(item, name);
      return value === null && NEVER_UNKNOWN.includes(name) ? [] : [value ?? UNKNOWN];
    });
    facets[name] = tally(values);
  }
  facets.annotation_source = tally(placesFor("source").map((item) => table.sources[item.source] ?? UNKNOWN));
  facets.expression = byFrame(table, columns, asked, "expression", (item, at) => {
    const name = columns.expression[at];
    return [name < 0 ? UNKNOWN : (table.expressions[name] ?? `class ${name}`)];
  });
  facets.finding = byFinding(table, columns, asked);
  const judged = placesFor("decision");
  facets.decision = tally(judged.flatMap((item) => item.actions));
  facets.decision.none = judged.filter((item) => !item.actions.length).length;
  if (table.changes) facets.change = tally(placesFor("change").flatMap((item) => (item.change ? [item.change] : [])));
  return facets;
}

function byFrame(table, columns, asked, name, valuesOf) {
  const other = without(asked, name);
  const test = onFrames(other) ? frameTest(table, columns, other) : () => true;
  const counts = noCounts();
  for (const place of match(table, columns, other).places) {
    const item = table.items[place];
    const seen = new Set();
    for (let at = columns.start[place]; at < columns.start[place + 1]; at += 1) {
      if (test(item, at)) valuesOf(item, at).forEach((value) => seen.add(value));
    }
    for (const value of seen) counts[value] = (counts[value] ?? 0) + 1;
  }
  return counts;
}

function byFinding(table, columns, asked) {
  const other = without(asked, "finding");
  if (onFrames(other)) {
    return byFrame(table, columns, asked, "finding", (item, at) =>
      item.found
        .filter(([, first, last]) => first <= columns.index[at] && columns.index[at] <= last)
        .map(([kind]) => kind),
    );
  }
  const places = match(table, columns, other).places;
  return tally(places.flatMap((place) => [...new Set(table.items[place].found.map(([kind]) => kind))]));
}

/**
 * A page of the grid, as the server's `items.json`.
 *
 * @param {object} table `data/SIDE/items.json` of a static export
 * @param {URLSearchParams|string} params the same names and values that the server takes
 * @returns {object} total, frames, offset, generation, items and, when asked for, facets
 */
export function filterItems(table, params) {
  const columns = open(table);
  const asked = read(params);
  const found = match(table, columns, asked);
  const page = ordered(table, columns, found, asked).slice(asked.offset, asked.offset + asked.limit);
  const items = page.map((n) => {
    const item = table.items[found.places[n]];
    const hit = found.hit ? found.hit[n] : null;
    return { ...item, hit, hits: found.hits ? found.hits[n] : null };
  });
  const frames = found.hits
    ? found.hits.reduce((sum, n) => sum + n, 0)
    : found.places.reduce((sum, place) => sum + table.items[place].frames, 0);
  return {
    total: found.places.length,
    frames,
    offset: asked.offset,
    generation: table.generation,
    loading: false,
    items,
    ...(asked.facets ? { facets: countValues(table, columns, asked) } : {}),
  };
}
