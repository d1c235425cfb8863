/** Where the time of a response went: parsed, laid out on a time axis, and drawn as a bar. */

import { h } from "./dom.js";

/**
 * @typedef {Record<string, number>} Phases milliseconds by the name of a phase
 * @typedef {{name: string, start: number, end: number, lane: number}} Segment
 */

/** @type {Record<string, string>} */
const LABELS = {
  import: "start of the server",
  fetch: "fetch files",
  read: "read files",
  load: "load weights",
  warm: "warm up",
  queue: "wait for a slot",
  prefill: "read the prompt",
  first: "until the first token",
  decode: "write the answer",
};

const SHORTEST_MS = 20;
/** A shorter answer came in a few packets: its rate would be the network's. */

const SAME_START_MS = 1000;
/** A load that begins later did not wait for the server: that was running already. */

const LOAD = ["fetch", "read", "load", "warm"];

/**
 * Parse a `Server-Timing` header.
 * @param {string} text
 * @returns {Phases}
 */
export function parseServerTiming(text) {
  /** @type {Phases} */
  const phases = {};
  for (const [, name, milliseconds] of text.matchAll(/([a-z_]+);dur=([0-9.]+)/g)) {
    phases[name] = Number.parseFloat(milliseconds);
  }
  return phases;
}

/**
 * Lay phases out on a time axis that begins at 0 with the earliest of them.
 *
 * `hold` leads from the request's arrival to the ready model, and the phases of the load end there;
 * `begin` and `import` both begin with the process. So a load may overlap the import.
 * @param {Phases} phases
 * @param {number} decodeMs
 * @returns {{segments: Segment[], arrival: number}}
 */
export function timeline(phases, decodeMs) {
  /** @type {Segment[]} */
  const segments = [];
  const ready = phases.hold ?? 0;
  const loading = LOAD.reduce((sum, name) => sum + (phases[name] ?? 0), 0);
  let at = ready - loading;
  const started = phases.import ?? 0;
  const waited = (phases.begin ?? Number.POSITIVE_INFINITY) - started;
  if (started > 0 && waited < SAME_START_MS) {
    // Without the moments between the start and its first load, which nothing happens in.
    const executed = at - started + Math.max(0, -waited);
    segments.push({ name: "import", start: executed, end: executed + started, lane: 0 });
  }
  for (const name of LOAD) at = push(segments, name, at, phases[name]);
  at = push(segments, "queue", ready, phases.queue);
  at = push(segments, "prefill", at, phases.prefill);
  // The server reports the phases of cold starts alone; of other answers the page knows this much.
  if (phases.prefill === undefined) push(segments, "first", at, (phases.first_token ?? at) - at);
  push(segments, "decode", phases.first_token ?? at, decodeMs);
  const origin = Math.min(0, ...segments.map((segment) => segment.start));
  const placed = segments.map((one) => ({
    ...one,
    start: one.start - origin,
    end: one.end - origin,
  }));
  const importing = placed.find((one) => one.name === "import");
  for (const one of placed) {
    one.lane = importing && one !== importing && one.start < importing.end - 0.5 ? 1 : 0;
  }
  return { segments: placed, arrival: -origin };
}

/**
 * @param {Segment[]} segments
 * @param {string} name
 * @param {number} start
 * @param {number | undefined} length
 */
function push(segments, name, start, length) {
  if (length === undefined) return start;
  if (length > 0) segments.push({ name, start, end: start + length, lane: 0 });
  return start + length;
}

/** @param {number} milliseconds */
export function duration(milliseconds) {
  if (milliseconds < 10) return `${milliseconds.toFixed(1)} ms`;
  return milliseconds < 1000
    ? `${milliseconds.toFixed(0)} ms`
    : `${(milliseconds / 1000).toFixed(2)} s`;
}

/**
 * One line about an answer: time to first token, rate, tokens, cached tokens.
 * @param {import("./answer.js").AssistantMessage} answer
 * @returns {string}
 */
export function summary(answer) {
  const { usage, timing, decodeMs } = answer;
  const parts = [];
  if (timing.first_token !== undefined)
    parts.push(`${duration(timing.first_token)} to first token`);
  if (usage) {
    const rate =
      decodeMs > SHORTEST_MS && usage.completion > 1
        ? ((usage.completion - 1) * 1000) / decodeMs
        : null;
    if (rate !== null) parts.push(`${rate < 10 ? rate.toFixed(1) : rate.toFixed(0)} tokens/s`);
    parts.push(`${usage.completion} token${usage.completion === 1 ? "" : "s"}`);
    if (usage.cached) parts.push(`${usage.cached} of ${usage.prompt} cached`);
  }
  return parts.join(" · ");
}

/**
 * Draw the phases as a bar with a list below it.
 * @param {Phases} phases
 * @param {number} decodeMs
 * @returns {HTMLElement}
 */
export function timingBar(phases, decodeMs) {
  const { segments } = timeline(phases, decodeMs);
  const whole = Math.max(1, ...segments.map((segment) => segment.end));
  const bar = h("div", { class: "bar", "aria-hidden": "true" });
  for (const { name, start, end, lane } of segments) {
    const segment = h("span", {
      class: `phase ${name}`,
      title: `${LABELS[name]}: ${duration(end - start)}`,
    });
    segment.style.left = `${(100 * start) / whole}%`;
    segment.style.width = `${(100 * (end - start)) / whole}%`;
    segment.style.top = `${lane * 0.55}rem`;
    bar.append(segment);
  }
  bar.classList.toggle(
    "two",
    segments.some((segment) => segment.lane === 1),
  );
  const rows = segments.map(({ name, start, end }) =>
    h(
      "div",
      {},
      h("dt", {}, h("span", { class: `swatch ${name}`, "aria-hidden": "true" }), LABELS[name]),
      h("dd", {}, duration(end - start)),
    ),
  );
  return h("div", { class: "timing" }, bar, h("dl", {}, ...rows));
}
