/** The choice of a model, with the state of each. */

import { byId, fill, h } from "./dom.js";

/** @typedef {import("./api.js").Model} Model */

/** What the page calls the states of a model. @type {Record<string, string>} */
export const STATES = {
  absent: "not loaded",
  loading: "loading",
  ready: "ready",
  draining: "unloading",
  failed: "failed to load",
  unsupported: "not supported",
  invalid: "damaged",
};

export class ModelPicker {
  /** @param {(model: string) => void} onChoice */
  constructor(onChoice) {
    this.#select.addEventListener("change", () => {
      this.#showState();
      onChoice(this.#select.value);
    });
  }

  #select = byId("model", HTMLSelectElement);
  #dot = byId("model-dot", HTMLElement);
  #state = byId("model-state", HTMLElement);
  /** @type {Model[]} */
  #models = [];
  #shown = "";

  get current() {
    return this.#models.find((model) => model.id === this.#select.value);
  }

  /**
   * Show the models; return the one that is chosen.
   * @param {Model[]} models
   * @param {string} wanted
   */
  show(models, wanted) {
    const shown = JSON.stringify([models, wanted]);
    if (shown === this.#shown) return this.#select.value; // an open list stays open
    this.#shown = shown;
    this.#models = models;
    const usable = models.filter(isUsable);
    const chosen =
      usable.find((model) => model.id === wanted) ??
      usable.find((model) => model.state === "ready") ??
      usable[0];
    const options = models.map((model) =>
      h(
        "option",
        {
          value: model.id,
          disabled: !isUsable(model),
          selected: model === chosen,
          title: model.error,
        },
        isUsable(model) ? model.id : `${model.id} (${why(model)})`,
      ),
    );
    fill(this.#select, ...options);
    this.#showState();
    return chosen?.id ?? "";
  }

  /**
   * Note the state of a model that a stream reports.
   * @param {string} id
   * @param {string} state
   */
  note(id, state) {
    const model = this.#models.find((one) => one.id === id);
    if (!model || model.state === state) return;
    model.state = state;
    this.#shown = "";
    this.#showState();
  }

  #showState() {
    const model = this.current;
    this.#dot.className = `dot ${model?.state ?? ""}`;
    this.#state.textContent = model ? (STATES[model.state] ?? model.state) : "no model";
  }
}

/** @param {Model} model */
function isUsable(model) {
  return why(model) === "";
}

/**
 * Return why a model cannot chat; empty if it can.
 * @param {Model} model
 */
function why({ state, capabilities }) {
  if (state === "unsupported" || state === "invalid") return STATES[state];
  return (capabilities ?? ["completion"]).includes("completion") ? "" : "writes no text";
}
