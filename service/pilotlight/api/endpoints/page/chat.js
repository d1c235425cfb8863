/** One conversation: what its buttons do, and how its turns are shown. */

import { addChunk, emptyAnswer, hasBegun } from "./answer.js";
import { ApiError } from "./api.js";
import { byId, say } from "./dom.js";
import { LoadingView } from "./loading.js";
import { remember } from "./recent.js";
import { requestOf, streamed } from "./request.js";
import { parseServerTiming } from "./timing.js";
import { AssistantTurn, userTurn } from "./turns.js";

/**
 * @typedef {import("./request.js").Conversation} Conversation
 * @typedef {import("./answer.js").AssistantMessage} AssistantMessage
 * @typedef {{api: import("./api.js").Api, askForKey: (fault: string) => Promise<boolean>,
 *   onChange: (conversation: Conversation) => void, onBusy: (busy: boolean) => void, onCode: (body: any) => void,
 *   onState: (model: string, state: string) => void}} Surroundings
 */

const NEAR_END = 80;
/** Pixels from the end within which the view follows the answer. */
const IDLE_SHARE = 4;
/** Time between two renderings of an answer that streams, in multiples of what the last one took. */

export class Chat {
  /**
   * @param {Conversation} conversation
   * @param {Surroundings} surroundings
   */
  constructor(conversation, surroundings) {
    this.conversation = conversation;
    this.#surroundings = surroundings;
    this.#toEnd.addEventListener("click", () => this.#follow(true));
    this.#scroller.addEventListener("scroll", () => this.#showToEnd(), { passive: true });
  }

  #surroundings;
  #scroller = byId("scroller", HTMLElement);
  #turns = byId("turns", HTMLElement);
  #toEnd = byId("to-end", HTMLButtonElement);
  /** @type {AbortController | null} */
  #running = null;
  /** @type {AssistantTurn | null} */
  #last = null;

  get busy() {
    return this.#running !== null;
  }

  /** @param {Conversation} conversation */
  open(conversation) {
    this.stop();
    this.conversation = conversation;
    this.show();
    this.#follow(true);
  }

  /**
   * @param {string} text
   * @param {string[]} images
   */
  async send(text, images) {
    const { conversation } = this;
    conversation.messages.push({ role: "user", content: text, images });
    conversation.title ||= text.trim().replace(/\s+/g, " ").slice(0, 80) || "Image";
    await this.#answer();
  }

  stop() {
    this.#running?.abort();
  }

  show() {
    const { messages } = this.conversation;
    const last = messages.findLastIndex((message) => message.role !== "tool");
    this.#last = null;
    this.#turns.replaceChildren();
    messages.forEach((message, index) => {
      if (message.role === "user") this.#turns.append(userTurn(message, index, this.#actions));
      if (message.role !== "assistant") return;
      const turn = new AssistantTurn(message, index, this.#actions);
      const isLast = index === last;
      turn.update({ busy: isLast && this.busy, isLast, results: this.#results(index) });
      this.#turns.append(turn.element);
      if (isLast) this.#last = turn;
    });
    this.#showToEnd();
  }

  /**
   * Return the results of the calls of an answer.
   * @param {number} index
   * @returns {Map<string, string>}
   */
  #results(index) {
    /** @type {Map<string, string>} */
    const results = new Map();
    for (const message of this.conversation.messages.slice(index + 1)) {
      if (message.role !== "tool") break;
      results.set(message.callId, message.content);
    }
    return results;
  }

  /** @type {import("./turns.js").Actions} */
  #actions = {
    regenerate: (index) => this.#from(index),
    edit: (index, text) => this.#edit(index, text),
    resume: () => this.#resume(),
    results: (results) => {
      for (const result of results) this.conversation.messages.push({ role: "tool", ...result });
      void this.#answer();
    },
    code: (index) => {
      const messages = this.conversation.messages.slice(0, index);
      this.#surroundings.onCode({ ...this.conversation, messages });
    },
  };

  /**
   * Answer again from a turn on.
   * @param {number} index
   */
  #from(index) {
    this.stop();
    this.conversation.messages.length = index;
    void this.#answer();
  }

  /**
   * @param {number} index
   * @param {string} text
   */
  #edit(index, text) {
    this.stop();
    const { messages } = this.conversation;
    const message = messages[index];
    message.content = text;
    messages.length = index + 1;
    if (message.role === "user") return void this.#answer();
    if (message.role === "assistant") message.finish = null; // an edited answer can be continued
    this.show();
    this.#surroundings.onChange(this.conversation);
  }

  #resume() {
    const message = this.conversation.messages.at(-1);
    if (message?.role !== "assistant") return;
    const body = this.#body(message);
    Object.assign(message, { finish: null, usage: null, timing: {}, decodeMs: 0 });
    if (body) void this.#run(message, body);
    else this.#ended(this.conversation);
  }

  async #answer() {
    const { conversation } = this;
    const message = emptyAnswer(conversation.model);
    const body = this.#body(message);
    conversation.messages.push(message);
    if (body) await this.#run(message, body);
    else this.#ended(conversation);
  }

  /**
   * Return the body of the request that *message* is to answer; null, and an error in it, if the
   * options are not valid.
   * @param {AssistantMessage} message
   * @returns {Record<string, any> | null}
   */
  #body(message) {
    message.error = null;
    try {
      return streamed(requestOf(this.conversation));
    } catch {
      message.error = "The tools or the schema in the options are not valid JSON.";
      return null;
    }
  }

  /**
   * @param {AssistantMessage} message
   * @param {Record<string, any>} body
   */
  async #run(message, body) {
    this.stop();
    const { conversation } = this;
    const running = new AbortController();
    this.#running = running;
    this.#surroundings.onBusy(true);
    this.#surroundings.onChange(this.conversation);
    this.show();
    this.#follow(true);
    say("Waiting for the answer.");
    const began = performance.now();
    try {
      await this.#receive(message, body, running.signal);
    } catch (error) {
      const stopped = error instanceof DOMException && error.name === "AbortError";
      if (!stopped) message.error = error instanceof Error ? error.message : String(error);
      if (error instanceof ApiError) message.requestId = error.requestId;
    }
    this.#note(message, performance.now() - began);
    if (this.#running === running) {
      this.#running = null;
      this.#surroundings.onBusy(false);
    }
    this.#ended(conversation);
  }

  /**
   * @param {AssistantMessage} message
   * @param {Record<string, any>} body
   * @param {AbortSignal} signal
   */
  async #receive(message, body, signal) {
    const began = performance.now();
    const written = message.content.length + message.reasoning.length;
    const wait = new LoadingView(message.model);
    this.#last?.showWait(wait.element);
    /** @type {number | null} */
    let first = null;
    try {
      const stream = await this.#open(body, signal);
      message.requestId = stream.requestId;
      if (stream.serverTiming) message.timing = parseServerTiming(stream.serverTiming);
      for await (const event of stream.events) {
        if (event.kind === "comment") {
          if (event.text.startsWith("server-timing:"))
            message.timing = parseServerTiming(event.text);
          continue;
        }
        if (event.text === "[DONE]") break;
        const loading = addChunk(message, JSON.parse(event.text));
        if (loading) {
          wait.show(loading);
          this.#surroundings.onState(message.model, loading.state);
        }
        if (
          first === null &&
          hasBegun(message) &&
          message.content.length + message.reasoning.length + message.toolCalls.length > written
        ) {
          first = performance.now();
          wait.stop();
          message.timing.first_token ??= first - began;
        }
        if (first !== null) message.decodeMs = performance.now() - first;
        this.#refresh();
      }
    } finally {
      wait.stop();
    }
  }

  /**
   * Open the stream; ask for a key as long as the server refuses the one that there is.
   * @param {Record<string, any>} body
   * @param {AbortSignal} signal
   */
  async #open(body, signal) {
    for (;;) {
      try {
        return await this.#surroundings.api.chat(body, signal);
      } catch (error) {
        if (!(error instanceof ApiError) || error.status !== 401) throw error;
        if (!(await this.#surroundings.askForKey(error.message))) throw error;
      }
    }
  }

  #scheduled = false;
  #renderMs = 0;

  /** Show what has come: a long answer, which takes longer to render, less often. */
  #refresh() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setTimeout(() => requestAnimationFrame(() => this.#render()), this.#renderMs * IDLE_SHARE);
  }

  #render() {
    this.#scheduled = false;
    if (!this.busy) return;
    const began = performance.now();
    const follows = this.#isNearEnd();
    this.#last?.update({ busy: true, isLast: true, results: new Map() });
    if (follows) this.#follow(false);
    this.#showToEnd();
    this.#renderMs = performance.now() - began;
  }

  /** @param {Conversation} conversation */
  #ended(conversation) {
    conversation.updated = Date.now();
    this.#surroundings.onChange(conversation);
    if (conversation !== this.conversation || this.busy) return;
    const follows = this.#isNearEnd();
    this.show();
    if (follows) this.#follow(false);
    say("The answer has ended.");
  }

  /**
   * @param {AssistantMessage} message
   * @param {number} totalMs
   */
  #note(message, totalMs) {
    remember({
      id: message.requestId ?? "",
      time: Date.now(),
      model: message.model,
      outcome: message.error ? "error" : (message.finish ?? "stopped"),
      usage: message.usage,
      timing: message.timing,
      decodeMs: message.decodeMs,
      totalMs,
    });
  }

  #isNearEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
    return scrollHeight - scrollTop - clientHeight < NEAR_END;
  }

  /** @param {boolean} always */
  #follow(always) {
    if (always || !this.#isNearEnd()) this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }

  #showToEnd() {
    this.#toEnd.hidden = this.#isNearEnd();
  }
}
