/** A conversation as the body of a chat request. Pure. */

/**
 * @typedef {{role: "user", content: string, images: string[]}} UserMessage
 * @typedef {{role: "tool", callId: string, content: string}} ToolMessage
 * @typedef {import("./answer.js").AssistantMessage} AssistantMessage
 * @typedef {UserMessage | AssistantMessage | ToolMessage} Message
 * @typedef {{system: string, temperature: number | null, topP: number | null, topK: number | null,
 *   minP: number | null, maxTokens: number | null, seed: number | null, reasoning: string,
 *   tools: string, schema: string}} Options
 * @typedef {{id: string, title: string, updated: number, model: string, options: Options,
 *   messages: Message[]}} Conversation
 */

/** @returns {Options} */
export function defaultOptions() {
  return {
    system: "",
    temperature: null,
    topP: null,
    topK: null,
    minP: null,
    maxTokens: null,
    seed: null,
    reasoning: "",
    tools: "",
    schema: "",
  };
}

/**
 * @param {string} model
 * @param {Options} options
 * @returns {Conversation}
 */
export function newConversation(model, options) {
  // crypto.randomUUID is missing where the page comes over plain HTTP.
  const random = crypto.getRandomValues(new Uint32Array(3));
  const id = Array.from(random, (part) => part.toString(36)).join("");
  return { id, title: "", updated: Date.now(), model, options: { ...options }, messages: [] };
}

/**
 * Return the request that continues a conversation. Raises `SyntaxError` for tools and schemas
 * that are no JSON.
 * @param {Conversation} conversation
 * @returns {Record<string, any>}
 */
export function requestOf(conversation) {
  const { options } = conversation;
  const system = options.system.trim() ? [{ role: "system", content: options.system }] : [];
  /** @type {Record<string, any>} */
  const body = {
    model: conversation.model,
    messages: [...system, ...conversation.messages.filter(hasContent).map(wireMessage)],
  };
  const given = {
    temperature: options.temperature,
    top_p: options.topP,
    top_k: options.topK,
    min_p: options.minP,
    max_completion_tokens: options.maxTokens,
    seed: options.seed,
    reasoning_effort: options.reasoning || null,
  };
  for (const [name, value] of Object.entries(given)) if (value !== null) body[name] = value;
  if (options.tools.trim()) body.tools = toolsOf(options.tools);
  if (options.schema.trim()) {
    const json_schema = { name: "response", schema: JSON.parse(options.schema) };
    body.response_format = { type: "json_schema", json_schema };
  }
  return body;
}

/**
 * The request with what the page itself needs: a stream, its usage, and how the model loads.
 * @param {Record<string, any>} body
 */
export function streamed(body) {
  return {
    ...body,
    stream: true,
    stream_options: { include_usage: true, include_loading: "events" },
  };
}

/**
 * Return tools as the API has them; functions may be given without the object around them.
 * @param {string} text
 * @returns {any[]}
 */
export function toolsOf(text) {
  const given = JSON.parse(text);
  const tools = Array.isArray(given) ? given : [given];
  return tools.map((tool) =>
    tool?.type === undefined ? { type: "function", function: tool } : tool,
  );
}

/**
 * Return the calls of the last answer that have no result yet.
 * @param {Message[]} messages
 */
export function openCalls(messages) {
  const last = messages.findLast((message) => message.role === "assistant");
  if (last?.role !== "assistant") return [];
  const answered = new Set(
    messages.map((message) => (message.role === "tool" ? message.callId : "")),
  );
  return last.toolCalls.filter((call) => !answered.has(call.id));
}

/**
 * Whether a message says anything: answers that failed or were stopped at once do not.
 * @param {Message} message
 */
function hasContent(message) {
  return message.role !== "assistant" || message.content !== "" || message.toolCalls.length > 0;
}

/** @param {Message} message */
function wireMessage(message) {
  switch (message.role) {
    case "user":
      return { role: "user", content: message.images.length ? parts(message) : message.content };
    case "tool":
      return { role: "tool", tool_call_id: message.callId, content: message.content };
    case "assistant":
      return wireAnswer(message);
  }
}

/** @param {UserMessage} message */
function parts(message) {
  const images = message.images.map((url) => ({ type: "image_url", image_url: { url } }));
  return message.content ? [...images, { type: "text", text: message.content }] : images;
}

/** @param {AssistantMessage} message */
function wireAnswer(message) {
  /** @type {Record<string, any>} */
  const wire = { role: "assistant", content: message.content };
  if (message.reasoning) wire.reasoning_content = message.reasoning;
  if (message.toolCalls.length) {
    wire.tool_calls = message.toolCalls.map(({ id, name, arguments: args }) => ({
      id,
      type: "function",
      function: { name, arguments: args },
    }));
  }
  return wire;
}
