/** The server view: models, slots, queue, caches, and the latest requests of this tab. */

import { Poller } from "./activity.js";
import { byId, fill, h } from "./dom.js";
import { gauge, parseMetrics, usageOf } from "./metrics.js";
import { STATES } from "./picker.js";
import { recentRequests } from "./recent.js";
import { duration, timingBar } from "./timing.js";

/** @typedef {import("./api.js").Model} Model */

const EVERY_MS = 2000;

export class ServerView {
  /**
   * @param {import("./api.js").Api} api
   * @param {() => Promise<Model[]>} models
   */
  constructor(api, models) {
    this.#api = api;
    this.#models = models;
    this.#poller = new Poller(
      () => this.#poll(),
      EVERY_MS,
      (paused) => {
        this.#note.textContent = paused ? "Paused after a minute without a movement or a key." : "";
      },
    );
    fill(
      this.#element,
      h(
        "div",
        { class: "column" },
        h("h1", {}, "Server"),
        this.#summary,
        this.#note,
        this.#cards,
        this.#table,
        this.#recent,
      ),
    );
  }

  #api;
  #models;
  #poller;
  #element = byId("server-view", HTMLElement);
  #summary = h("p", { class: "hint" });
  #note = h("p", { class: "hint", role: "status" });
  #cards = h("div", { class: "cards" });
  #table = h("div", { class: "scroller", tabindex: "0", role: "group", "aria-label": "Models" });
  #recent = h("section");

  start() {
    this.#element.hidden = false;
    this.#showRecent();
    this.#poller.start();
  }

  stop() {
    this.#element.hidden = true;
    this.#poller.stop();
  }

  async #poll() {
    try {
      const models = await this.#models();
      this.#show(models, parseMetrics(await this.#api.metrics()));
    } catch (error) {
      this.#note.textContent = error instanceof Error ? error.message : String(error);
    }
  }

  /**
   * @param {Model[]} models
   * @param {import("./metrics.js").Sample[]} samples
   */
  #show(models, samples) {
    const version = samples.find((one) => one.name === "pilotlight_build_info")?.labels.version;
    const start = gauge(samples, "pilotlight_start_seconds");
    this.#summary.textContent = [
      version && `Pilotlight ${version}`,
      start !== null && start > 0 && `started in ${duration(start * 1000)}`,
      `${models.length} model${models.length === 1 ? "" : "s"}`,
    ]
      .filter(Boolean)
      .join(" · ");
    const loaded = models.filter(
      (model) => model.state === "ready" || model.state === "loading" || model.state === "draining",
    );
    fill(this.#cards, ...loaded.map((model) => card(model, usageOf(samples, model.id))));
    fill(this.#table, modelTable(models));
    this.#showRecent();
  }

  #showRecent() {
    const requests = recentRequests();
    fill(
      this.#recent,
      h("h2", {}, "Latest requests of this tab"),
      requests.length
        ? h("div", { class: "requests" }, ...requests.slice(0, 20).map(requestRow))
        : h("p", { class: "hint" }, "None yet."),
    );
  }
}

/**
 * @param {Model} model
 * @param {import("./metrics.js").Usage} usage
 */
function card(model, usage) {
  const cached = usage.promptTokens ? usage.cachedTokens / usage.promptTokens : 0;
  return h(
    "section",
    { class: "card", "aria-label": model.id },
    h(
      "h2",
      {},
      h("span", { class: `dot ${model.state}`, "aria-hidden": "true" }),
      model.id,
      h("span", { class: "hint" }, STATES[model.state] ?? model.state),
    ),
    meter("Slots in use", usage.slotsBusy, usage.slots, `${usage.slotsBusy} of ${usage.slots}`),
    meter(
      "KV cache",
      usage.kvTokens,
      usage.kvCapacity,
      `${count(usage.kvTokens)} of ${count(usage.kvCapacity)} tokens`,
    ),
    meter(
      "Prompt tokens from the cache",
      cached,
      1,
      `${count(usage.cachedTokens)} of ${count(usage.promptTokens)}`,
    ),
    h(
      "dl",
      { class: "facts" },
      fact("Prompt cache", prompts(usage)),
      fact("Waiting requests", String(usage.waiting)),
      fact("Requests", count(usage.answers)),
      fact("Tokens written", count(usage.completionTokens)),
      fact("First token", usage.firstToken === null ? "–" : duration(usage.firstToken * 1000)),
      fact("Tokens/s", usage.tokensPerSecond === null ? "–" : usage.tokensPerSecond.toFixed(1)),
    ),
  );
}

/**
 * @param {string} label
 * @param {number} value
 * @param {number} most
 * @param {string} text
 */
function meter(label, value, most, text) {
  const bar = h("progress", { max: most || 1, value, "aria-label": `${label}: ${text}` });
  return h(
    "div",
    { class: "meter" },
    h("div", {}, h("span", {}, label), h("span", { class: "hint" }, text)),
    bar,
  );
}

/**
 * @param {string} label
 * @param {string} value
 */
function fact(label, value) {
  return h("div", {}, h("dt", {}, label), h("dd", {}, value));
}

/** @param {Model[]} models */
function modelTable(models) {
  const rows = models.map((model) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, model.id),
      h(
        "td",
        {},
        h("span", { class: `dot ${model.state}`, "aria-hidden": "true" }),
        STATES[model.state] ?? model.state,
      ),
      h("td", {}, model.backend ?? "–"),
      h(
        "td",
        { class: "number" },
        model.context_length === null ? "–" : count(model.context_length),
      ),
      h("td", {}, model.error ?? ""),
    ),
  );
  const titles = ["Model", "State", "Backend", "Context", ""];
  const heads = titles.map((title) => (title ? h("th", { scope: "col" }, title) : h("td")));
  return h("table", {}, h("thead", {}, h("tr", {}, ...heads)), h("tbody", {}, ...rows));
}

/** @param {import("./recent.js").RecentRequest} request */
function requestRow(request) {
  const { usage } = request;
  const tokens = usage ? `${usage.prompt} + ${usage.completion} tokens` : "";
  const line = [request.model, request.outcome, tokens, duration(request.totalMs)]
    .filter(Boolean)
    .join(" · ");
  return h(
    "details",
    {},
    h("summary", {}, h("time", {}, new Date(request.time).toLocaleTimeString()), " ", line),
    timingBar(request.timing, request.decodeMs),
    request.id && h("p", { class: "request-id" }, "Request ", h("code", {}, request.id)),
  );
}

/** @param {import("./metrics.js").Usage} usage */
function prompts({ cachedPrompts, promptCacheBytes }) {
  if (!cachedPrompts) return "empty";
  return `${count(cachedPrompts)} prompt${cachedPrompts === 1 ? "" : "s"}, ${(promptCacheBytes / 1e6).toFixed(1)} MB`;
}

/** @param {number} value */
function count(value) {
  return Math.round(value).toLocaleString("en");
}
