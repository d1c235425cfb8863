/** The turns of a conversation as elements. */

import { canContinue } from "./answer.js";
import { copy, fill, h, icon, iconButton } from "./dom.js";
import { codeBlock, rendered } from "./markdown.js";
import { summary, timingBar } from "./timing.js";

/**
 * @typedef {import("./answer.js").AssistantMessage} AssistantMessage
 * @typedef {import("./request.js").UserMessage} UserMessage
 * @typedef {{regenerate: (index: number) => void, edit: (index: number, text: string) => void,
 *   resume: () => void, results: (results: {callId: string, content: string}[]) => void,
 *   code: (index: number) => void}} Actions
 */

/**
 * @param {UserMessage} message
 * @param {number} index
 * @param {Actions} actions
 */
export function userTurn(message, index, actions) {
  const body = h("div", { class: "bubble" });
  const buttons = h("div", { class: "actions" });
  const turn = h("article", { class: "turn user", "aria-label": "You" }, body, buttons);
  const show = () => {
    const images = message.images.map((url, at) => h("img", { src: url, alt: `Image ${at + 1}` }));
    fill(
      body,
      images.length > 0 && h("div", { class: "images" }, ...images),
      h("p", {}, message.content),
    );
    fill(
      buttons,
      iconButton("Edit this message", "edit", () =>
        editor(turn, body, buttons, message.content, show, (text) => actions.edit(index, text)),
      ),
      copyButton("Copy this message", () => message.content),
    );
  };
  show();
  return turn;
}

/**
 * @param {HTMLElement} turn
 * @param {HTMLElement} body
 * @param {HTMLElement} buttons
 * @param {string} text
 * @param {() => void} cancel
 * @param {(text: string) => void} save
 */
function editor(turn, body, buttons, text, cancel, save) {
  const area = h("textarea", { "aria-label": "Edit the message", rows: 3 });
  area.value = text;
  const submit = () => area.value.trim() !== "" && save(area.value);
  turn.classList.add("editing");
  const end = () => {
    turn.classList.remove("editing");
    cancel();
    turn.querySelector("button")?.focus();
  };
  area.addEventListener("keydown", (event) => {
    if (event.key === "Escape") end();
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) submit();
  });
  fill(body, area);
  fill(
    buttons,
    h("button", { type: "button", class: "quiet", onclick: end }, "Cancel"),
    h("button", { type: "button", onclick: submit }, "Save"),
  );
  area.focus();
}

/**
 * @param {string} label
 * @param {() => string} text
 */
function copyButton(label, text) {
  const button = iconButton(label, "copy", () => copy(button, text()));
  return button;
}

/** One turn of the assistant; it is updated in place while it streams, so that folds stay open. */
export class AssistantTurn {
  /**
   * @param {AssistantMessage} message
   * @param {number} index
   * @param {Actions} actions
   */
  constructor(message, index, actions) {
    this.#message = message;
    this.#index = index;
    this.#actions = actions;
    this.element = h(
      "article",
      { class: "turn assistant", "aria-label": message.model || "Assistant" },
      this.#wait,
      this.#reasoning,
      this.#content,
      this.#calls,
      this.#fault,
      this.#foot,
    );
  }

  #message;
  #index;
  #actions;
  #wait = h("div");
  #thought = h("div", { class: "prose" });
  #thoughtTitle = h("summary");
  #reasoning = h(
    "details",
    { class: "reasoning", hidden: true },
    this.#thoughtTitle,
    this.#thought,
  );
  #content = h("div", { class: "prose" });
  #calls = h("div");
  #fault = h("p", { class: "fault", role: "alert" });
  #foot = h("div", { class: "foot" });

  /** @param {HTMLElement | null} wait */
  showWait(wait) {
    fill(this.#wait, wait);
  }

  /**
   * Show the message as it is now.
   * @param {{busy: boolean, isLast: boolean, results: Map<string, string>}} state
   */
  update(state) {
    const { content, reasoning, toolCalls, error } = this.#message;
    this.element.setAttribute("aria-busy", String(state.busy));
    this.#reasoning.hidden = reasoning === "";
    const thinking = state.busy && content === "" && !toolCalls.length;
    this.#thoughtTitle.textContent = thinking ? "Reasoning …" : "Reasoning";
    this.#fill(this.#thought, reasoning);
    this.#fill(this.#content, content);
    this.element.classList.toggle("writing", state.busy && content !== "");
    this.#showCalls(state);
    fill(this.#fault, error);
    if (state.busy) fill(this.#foot);
    else this.#showFoot(state.isLast);
  }

  /**
   * @param {HTMLElement} element
   * @param {string} text
   */
  #fill(element, text) {
    element.replaceChildren(
      rendered(text, () => element.replaceChildren(rendered(text, () => {}))),
    );
  }

  /** @param {{busy: boolean, isLast: boolean, results: Map<string, string>}} state */
  #showCalls({ busy, isLast, results }) {
    const { toolCalls } = this.#message;
    const open = toolCalls.filter((call) => !results.has(call.id));
    const asks = isLast && !busy && open.length > 0;
    /** @type {Map<string, HTMLTextAreaElement>} */
    const areas = new Map();
    const cards = toolCalls.map((call) => {
      const shown = h("div", { class: "prose" });
      const show = () =>
        shown.replaceChildren(codeBlock(indentedJson(call.arguments), "json", show));
      show();
      const card = h("section", { class: "call", "aria-label": `Call of ${call.name}` });
      fill(card, h("h3", {}, "Calls ", h("code", {}, call.name)), shown);
      const result = results.get(call.id);
      if (result !== undefined)
        card.append(h("p", { class: "result" }, h("span", {}, "Result"), h("code", {}, result)));
      else if (asks) {
        const area = h("textarea", {
          class: "mono",
          rows: 2,
          placeholder: "What the function returns",
        });
        areas.set(call.id, area);
        card.append(h("label", { class: "result" }, h("span", {}, `Result of ${call.name}`), area));
      }
      return card;
    });
    if (!asks) return fill(this.#calls, ...cards);
    const submit = (/** @type {Event} */ event) => {
      event.preventDefault();
      this.#actions.results([...areas].map(([callId, area]) => ({ callId, content: area.value })));
    };
    const button = h(
      "button",
      { type: "submit" },
      open.length > 1 ? "Send results" : "Send result",
    );
    fill(
      this.#calls,
      h("form", { onsubmit: submit }, ...cards, h("div", { class: "buttons" }, button)),
    );
  }

  /** @param {boolean} isLast */
  #showFoot(isLast) {
    const message = this.#message;
    const actions = this.#actions;
    const ended =
      message.finish === null && !message.error
        ? "Stopped"
        : message.finish === "length"
          ? "Length limit"
          : "";
    const line = [ended, summary(message)].filter(Boolean).join(" · ");
    const details = h("details", { class: "figures" }, h("summary", {}, line || "Timing"));
    if (Object.keys(message.timing).length)
      details.append(timingBar(message.timing, message.decodeMs));
    if (message.requestId)
      details.append(h("p", { class: "request-id" }, "Request ", h("code", {}, message.requestId)));
    fill(
      this.#foot,
      h(
        "div",
        { class: "actions" },
        isLast &&
          canContinue(message) &&
          h(
            "button",
            { type: "button", class: "quiet", onclick: actions.resume },
            icon("more"),
            "Continue",
          ),
        iconButton(message.error ? "Try again" : "Regenerate", "refresh", () =>
          actions.regenerate(this.#index),
        ),
        message.content !== "" && copyButton("Copy this answer", () => message.content),
        message.content !== "" && iconButton("Edit this answer", "edit", () => this.#edit()),
        iconButton("This request as code", "code", () => actions.code(this.#index)),
      ),
      (line || message.requestId) && details,
    );
  }

  #edit() {
    const end = () => this.update({ busy: false, isLast: true, results: new Map() });
    editor(this.element, this.#content, this.#foot, this.#message.content, end, (text) =>
      this.#actions.edit(this.#index, text),
    );
  }
}

/** @param {string} text */
function indentedJson(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text; // a call that is still being written, or was cut
  }
}
