/** Conversations in IndexedDB: they never leave this browser but as a file that its user exports. */

import { defaultOptions } from "./request.js";

/** @typedef {import("./request.js").Conversation} Conversation */

const FORMAT = "pilotlight-conversations";

/**
 * @template T
 * @param {IDBRequest<T>} request
 * @returns {Promise<T>}
 */
function done(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

export class Store {
  /** @type {IDBDatabase | null} */
  #database = null;
  /** In private windows that have no IndexedDB, until the page is closed. @type {Map<string, Conversation>} */
  #memory = new Map();

  async open() {
    try {
      const request = indexedDB.open("pilotlight", 1);
      request.onupgradeneeded = () =>
        request.result.createObjectStore("conversations", { keyPath: "id" });
      this.#database = await done(request);
    } catch {
      this.#database = null;
    }
  }

  /** Return all conversations, the latest first. @returns {Promise<Conversation[]>} */
  async all() {
    const found = this.#database
      ? await done(this.#objects("readonly").getAll())
      : [...this.#memory.values()];
    return found.sort((one, other) => other.updated - one.updated);
  }

  /** @param {Conversation} conversation */
  async put(conversation) {
    const copy = structuredClone(conversation);
    if (this.#database) await done(this.#objects("readwrite").put(copy));
    else this.#memory.set(copy.id, copy);
  }

  /** @param {string} id */
  async delete(id) {
    if (this.#database) await done(this.#objects("readwrite").delete(id));
    else this.#memory.delete(id);
  }

  /** @param {IDBTransactionMode} mode */
  #objects(mode) {
    if (!this.#database) throw new Error("the database is not open");
    return this.#database.transaction("conversations", mode).objectStore("conversations");
  }
}

/** @param {Conversation[]} conversations */
export function exported(conversations) {
  return JSON.stringify({ format: FORMAT, version: 1, conversations }, null, 2);
}

/**
 * Return the conversations of an exported file. Raises an error that says what is wrong with it.
 * @param {string} text
 * @returns {Conversation[]}
 */
export function imported(text) {
  let file;
  try {
    file = JSON.parse(text);
  } catch {
    throw new Error("The file is not JSON.");
  }
  if (file?.format !== FORMAT || !Array.isArray(file.conversations)) {
    throw new Error("The file has no conversations of this page.");
  }
  return file.conversations.map(checked);
}

/**
 * @param {any} given
 * @param {number} index
 * @returns {Conversation}
 */
function checked(given, index) {
  const valid =
    typeof given?.id === "string" &&
    Array.isArray(given.messages) &&
    given.messages.every(isMessage);
  if (!valid) throw new Error(`conversations[${index}] is not a conversation.`);
  return {
    id: given.id,
    title: String(given.title ?? ""),
    updated: Number(given.updated) || 0,
    model: String(given.model ?? ""),
    options: checkedOptions(given.options ?? {}),
    messages: given.messages,
  };
}

/**
 * Return the options that are known and of the right type, and the defaults of others.
 * @param {Record<string, unknown>} given
 * @returns {import("./request.js").Options}
 */
function checkedOptions(given) {
  const options = defaultOptions();
  for (const [name, initial] of Object.entries(options)) {
    const kind = initial === null ? "number" : "string";
    if (typeof given[name] === kind) Object.assign(options, { [name]: given[name] });
  }
  return options;
}

/** @param {any} message */
function isMessage(message) {
  if (typeof message?.content !== "string") return false;
  switch (message.role) {
    case "user":
      return Array.isArray(message.images) && message.images.every(isImage);
    case "tool":
      return typeof message.callId === "string";
    case "assistant":
      return (
        typeof message.reasoning === "string" &&
        Array.isArray(message.toolCalls) &&
        message.toolCalls.every(isCall) &&
        typeof message.timing === "object" &&
        message.timing !== null
      );
    default:
      return false;
  }
}

/** @param {any} call */
function isCall(call) {
  return [call?.id, call?.name, call?.arguments].every((one) => typeof one === "string");
}

/** @param {unknown} url */
function isImage(url) {
  return typeof url === "string" && url.startsWith("data:image/");
}
