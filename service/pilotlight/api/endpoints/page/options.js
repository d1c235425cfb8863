/** The dialog with the options of a chat: system prompt, sampling, tools, schema. */

import { byId, fill, h, iconButton } from "./dom.js";
import { defaultOptions, toolsOf } from "./request.js";
import { fieldsOf, schemaOf, TYPE_NAMES } from "./schema.js";

/** @typedef {import("./request.js").Options} Options */

const TEXTS = /** @type {const} */ (["system", "tools", "schema", "reasoning"]);
const NUMBERS = /** @type {const} */ (["temperature", "topP", "topK", "minP", "maxTokens", "seed"]);

const EXAMPLE = JSON.stringify(
  {
    name: "get_weather",
    description: "Get the current weather of a city",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
  null,
  2,
);

export class OptionsDialog {
  /** @param {() => void} onChange */
  constructor(onChange) {
    this.#onChange = onChange;
    byId("options-form", HTMLFormElement).addEventListener("submit", (event) =>
      event.preventDefault(),
    );
    byId("options-form", HTMLFormElement).addEventListener("input", (event) =>
      this.#read(event.target),
    );
    byId("tools-example", HTMLButtonElement).addEventListener("click", () => {
      field("tools").value = EXAMPLE;
      this.#read(field("tools"));
    });
    byId("add-field", HTMLButtonElement).addEventListener("click", () => {
      this.#showFields([...this.#fields, { name: "", type: TYPE_NAMES[0], required: true }]);
      this.#list.querySelector("li:last-child input")?.dispatchEvent(new Event("focus"));
      /** @type {HTMLElement | null} */ (this.#list.querySelector("li:last-child input"))?.focus();
    });
  }

  #onChange;
  #dialog = byId("options-dialog", HTMLDialogElement);
  #list = byId("fields", HTMLUListElement);
  #options = defaultOptions();
  /** @type {import("./schema.js").Field[]} */
  #fields = [];

  /** @param {Options} options changed in place */
  open(options) {
    this.#options = options;
    for (const name of TEXTS) field(name).value = options[name];
    for (const name of NUMBERS)
      field(name).value = options[name] === null ? "" : String(options[name]);
    this.#showFields(fieldsOf(options.schema));
    this.#check();
    this.#dialog.showModal();
  }

  /** @param {EventTarget | null} changed */
  #read(changed) {
    if (changed === field("schema")) this.#showFields(fieldsOf(field("schema").value));
    for (const name of TEXTS) this.#options[name] = field(name).value;
    for (const name of NUMBERS) {
      const value = Number.parseFloat(field(name).value);
      this.#options[name] = Number.isFinite(value) ? value : null;
    }
    this.#check();
    this.#onChange();
  }

  #check() {
    byId("tools-fault", HTMLElement).textContent = faultOf(field("tools").value, toolsOf);
    byId("schema-fault", HTMLElement).textContent = faultOf(field("schema").value, JSON.parse);
  }

  /** @param {import("./schema.js").Field[] | null} fields null if the form cannot show the schema */
  #showFields(fields) {
    byId("add-field", HTMLButtonElement).hidden = fields === null;
    this.#fields = fields ?? [];
    fill(this.#list, ...this.#fields.map((one, index) => this.#row(one, index)));
  }

  /**
   * @param {import("./schema.js").Field} one
   * @param {number} index
   */
  #row(one, index) {
    const write = () => {
      field("schema").value = schemaOf(this.#fields);
      this.#read(null);
    };
    const number = index + 1;
    const name = h("input", {
      value: one.name,
      placeholder: "name",
      "aria-label": `Name of field ${number}`,
      spellcheck: "false",
    });
    const type = h(
      "select",
      { "aria-label": `Type of field ${number}` },
      ...TYPE_NAMES.map((label) => h("option", { selected: label === one.type }, label)),
    );
    const required = h("input", { type: "checkbox", checked: one.required });
    const change = () => {
      Object.assign(one, { name: name.value, type: type.value, required: required.checked });
      write();
    };
    for (const control of [name, type, required]) control.addEventListener("input", change);
    const remove = iconButton(`Remove field ${number}`, "trash", () => {
      this.#showFields(this.#fields.filter((other) => other !== one));
      write();
    });
    return h("li", {}, name, type, h("label", { class: "check" }, required, "required"), remove);
  }
}

/**
 * Return how many options differ from their defaults.
 * @param {Options} options
 */
export function changedOptions(options) {
  const defaults = defaultOptions();
  const names = /** @type {(keyof Options)[]} */ (Object.keys(defaults));
  return names.filter((name) => options[name] !== defaults[name] && options[name] !== "").length;
}

/** @param {string} id */
function field(id) {
  return /** @type {HTMLInputElement} */ (byId(id, HTMLElement));
}

/**
 * @param {string} text
 * @param {(text: string) => unknown} parse
 */
function faultOf(text, parse) {
  if (!text.trim()) return "";
  try {
    parse(text);
    return "";
  } catch (error) {
    return `Not valid JSON: ${error instanceof Error ? error.message : error}`;
  }
}
