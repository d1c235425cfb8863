/** The server's API. Addresses are relative to the page, so a proxy may serve it under a prefix. */

import { readEvents } from "./sse.js";

/**
 * @typedef {{id: string, state: string, backend: string | null, context_length: number | null,
 *   error: string | null, capabilities?: string[], input_modalities?: string[]}} Model
 * @typedef {{requestId: string | null, serverTiming: string | null,
 *   events: AsyncGenerator<import("./sse.js").ServerEvent>}} Stream
 */

/** An error that the server returned, or that kept a request from reaching it. */
export class ApiError extends Error {
  /**
   * @param {string} message
   * @param {{status?: number, code?: string | null, retryAfter?: number | null, requestId?: string | null}} [details]
   */
  constructor(message, details = {}) {
    super(message);
    this.status = details.status ?? 0;
    this.code = details.code ?? null;
    this.retryAfter = details.retryAfter ?? null;
    this.requestId = details.requestId ?? null;
  }
}

export class Api {
  /**
   * @param {string} chatPath empty if the server has no chat endpoint
   * @param {() => string | null} key
   */
  constructor(chatPath, key) {
    this.chatPath = chatPath;
    this.#key = key;
  }

  /** @type {() => string | null} */
  #key;

  /** @returns {Promise<Model[]>} */
  async models() {
    const response = await this.#fetch("v1/models");
    return (await response.json()).data;
  }

  /** @returns {Promise<string>} */
  async metrics() {
    return (await this.#fetch("metrics")).text();
  }

  /**
   * @param {unknown} body
   * @param {AbortSignal} signal
   * @returns {Promise<Stream>}
   */
  async chat(body, signal) {
    const response = await this.#fetch(this.chatPath, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
      signal,
    });
    if (!response.body) throw new ApiError("the response has no body");
    return {
      requestId: response.headers.get("x-request-id"),
      serverTiming: response.headers.get("server-timing"),
      events: readEvents(response.body),
    };
  }

  /**
   * @param {string} path
   * @param {RequestInit} [request]
   */
  async #fetch(path, request = {}) {
    const headers = new Headers(request.headers);
    const key = this.#key();
    if (key !== null) headers.set("Authorization", `Bearer ${key}`);
    let response;
    try {
      response = await fetch(path, { ...request, headers, cache: "no-store" });
    } catch (error) {
      if (error instanceof DOMException && error.name === "AbortError") throw error;
      throw new ApiError("The server cannot be reached.");
    }
    if (!response.ok) throw await errorOf(response);
    return response;
  }
}

/**
 * @param {Response} response
 * @returns {Promise<ApiError>}
 */
async function errorOf(response) {
  const text = await response.text().catch(() => "");
  /** @type {{message?: string, code?: string}} */
  let error = {};
  try {
    error = JSON.parse(text).error ?? {};
  } catch {
    // A proxy's own error page.
  }
  const retryAfter = Number.parseFloat(response.headers.get("retry-after") ?? "");
  return new ApiError(error.message ?? `HTTP status ${response.status}`, {
    status: response.status,
    code: error.code ?? null,
    retryAfter: Number.isFinite(retryAfter) ? retryAfter : null,
    requestId: response.headers.get("x-request-id"),
  });
}
