/** Server-sent events, comments included: they carry the timing of a request. */

/** @typedef {{kind: "data" | "comment", text: string}} ServerEvent */

/** Splits the text of a stream into events. */
export class EventParser {
  #buffer = "";
  /** @type {string[]} */
  #data = [];

  /**
   * @param {string} text
   * @returns {ServerEvent[]}
   */
  push(text) {
    const lines = (this.#buffer + text).split("\n");
    this.#buffer = lines.pop() ?? "";
    return lines.flatMap((line) => this.#line(line.endsWith("\r") ? line.slice(0, -1) : line));
  }

  /**
   * @param {string} line
   * @returns {ServerEvent[]}
   */
  #line(line) {
    if (line.startsWith(":")) return [{ kind: "comment", text: line.slice(1).trim() }];
    if (line.startsWith("data:")) this.#data.push(line.slice(5).replace(/^ /, ""));
    if (line !== "" || !this.#data.length) return [];
    const text = this.#data.join("\n");
    this.#data = [];
    return [{ kind: "data", text }];
  }
}

/**
 * Yield the events of a response's body. Safari cannot iterate over a stream, so it is read.
 * @param {ReadableStream<Uint8Array>} body
 * @returns {AsyncGenerator<ServerEvent>}
 */
export async function* readEvents(body) {
  const parser = new EventParser();
  const decoder = new TextDecoder();
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield* parser.push(decoder.decode(value, { stream: true }));
    }
  } finally {
    reader.releaseLock();
  }
}
