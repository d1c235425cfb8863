/** What a user sees until the first token: the phases of a cold start, its progress, the time. */

import { fill, h } from "./dom.js";

/** @type {[string, string][]} */
const STEPS = [
  ["fetch", "Fetch"],
  ["read", "Read"],
  ["load", "Load"],
  ["warm", "Warm up"],
  ["prompt", "Prompt"],
];

/** Shows one wait. */
export class LoadingView {
  /** @param {string} model */
  constructor(model) {
    this.#model = model;
    this.#began = performance.now();
    this.#bar.max = 1;
    this.element = h("div", { class: "load-card" }, this.#title, this.#bar, this.#steps);
    this.show(null);
    this.#timer = setInterval(() => this.#tick(), 100);
  }

  #model;
  #began;
  #timer;
  #title = h("p", { class: "loading-title" });
  #clock = h("span", { class: "clock" });
  #bar = h("progress", { "aria-label": "Progress of the load" });
  #steps = h("ol", { class: "steps" });
  #fetched = false;

  /** @param {import("./answer.js").Loading | null} loading */
  show(loading) {
    const isLoading = loading?.state === "loading";
    this.#bar.hidden = !loading;
    this.#steps.hidden = !loading;
    if (loading) this.#bar.value = isLoading ? loading.progress : 1;
    fill(this.#title, h("span", {}, this.#text(loading)), this.#clock);
    this.#tick();
    const current = isLoading ? loading.phase : loading ? "prompt" : null;
    this.#fetched ||= current === "fetch";
    const steps = STEPS.filter(([name]) => name !== "fetch" || this.#fetched);
    const at = steps.findIndex(([name]) => name === current);
    fill(
      this.#steps,
      ...steps.map(([, label], index) =>
        h(
          "li",
          {
            class: index < at ? "past" : index === at ? "now" : "",
            "aria-current": index === at && "step",
          },
          label,
        ),
      ),
    );
  }

  stop() {
    clearInterval(this.#timer);
    this.element.remove();
  }

  /** @param {import("./answer.js").Loading | null} loading */
  #text(loading) {
    if (!loading) return `Waiting for ${this.#model}`;
    if (loading.state !== "loading") return `${this.#model} is ready and reads the prompt`;
    const left = loading.retryAfter;
    const percent = `${Math.floor(100 * loading.progress)} %`;
    return `Loading ${this.#model}: ${percent}${left ? `, about ${Math.ceil(left)} s left` : ""}`;
  }

  #tick() {
    this.#clock.textContent = `${((performance.now() - this.#began) / 1000).toFixed(1)} s`;
  }
}
