/** The API key: asked for when the server refuses a request, and kept for this tab alone. */

import { byId } from "./dom.js";

const KEY = "pilotlight-key";

export class Keys {
  #dialog = byId("key-dialog", HTMLDialogElement);
  #field = byId("key", HTMLInputElement);
  #fault = byId("key-fault", HTMLElement);
  /** @type {Promise<boolean> | null} */
  #asking = null;

  /** @returns {string | null} */
  get current() {
    return sessionStorage.getItem(KEY);
  }

  forget() {
    sessionStorage.removeItem(KEY);
  }

  /**
   * Ask for a key; return whether one was given.
   * @param {string} fault why the last one was refused; empty the first time
   * @returns {Promise<boolean>}
   */
  ask(fault) {
    this.#asking ??= this.#ask(fault).finally(() => {
      this.#asking = null;
    });
    return this.#asking;
  }

  /** @param {string} fault */
  #ask(fault) {
    this.#field.value = "";
    this.#fault.textContent = fault;
    this.#dialog.returnValue = "";
    this.#dialog.showModal();
    this.#field.focus();
    return new Promise((resolve) => {
      this.#dialog.addEventListener(
        "close",
        () => {
          const key = this.#field.value.trim();
          const given = this.#dialog.returnValue === "use" && key !== "";
          if (given) sessionStorage.setItem(KEY, key);
          this.#field.value = "";
          resolve(given);
        },
        { once: true },
      );
    });
  }
}
