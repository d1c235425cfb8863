/** A response's chunks, folded into one assistant message. Pure. */

/**
 * @typedef {{id: string, name: string, arguments: string}} ToolCall
 * @typedef {{prompt: number, cached: number, completion: number, reasoning: number}} Usage
 * @typedef {{state: string, progress: number, retryAfter: number | null, phase: string | null}} Loading
 * @typedef {{role: "assistant", content: string, reasoning: string, toolCalls: ToolCall[],
 *   finish: string | null, model: string, error: string | null, usage: Usage | null,
 *   timing: Record<string, number>, decodeMs: number, requestId: string | null}} AssistantMessage
 */

/**
 * @param {string} model
 * @returns {AssistantMessage}
 */
export function emptyAnswer(model) {
  return {
    role: "assistant",
    content: "",
    reasoning: "",
    toolCalls: [],
    finish: null,
    model,
    error: null,
    usage: null,
    timing: {},
    decodeMs: 0,
    requestId: null,
  };
}

/**
 * Add a chunk to an answer; return what it says of the load, if anything.
 * @param {AssistantMessage} answer
 * @param {any} chunk
 * @returns {Loading | null}
 */
export function addChunk(answer, chunk) {
  if (chunk.error) answer.error = chunk.error.message ?? "the response ended with an error";
  if (chunk.usage) answer.usage = usageOf(chunk.usage);
  for (const choice of chunk.choices ?? []) {
    const delta = choice.delta ?? {};
    answer.content += delta.content ?? "";
    answer.reasoning += delta.reasoning_content ?? "";
    for (const call of delta.tool_calls ?? []) addCall(answer.toolCalls, call);
    answer.finish = choice.finish_reason ?? answer.finish;
  }
  if (!chunk.loading) return null;
  const { state, progress, retry_after: retryAfter, phase } = chunk.loading;
  return { state, progress, retryAfter, phase: phase ?? null };
}

/**
 * Whether the model has written anything.
 * @param {AssistantMessage} answer
 */
export function hasBegun(answer) {
  return answer.content !== "" || answer.reasoning !== "" || answer.toolCalls.length > 0;
}

/**
 * Whether the server can continue this message where it ended.
 * @param {AssistantMessage} answer
 */
export function canContinue(answer) {
  return answer.content !== "" && !answer.toolCalls.length && answer.finish !== "stop";
}

/**
 * @param {ToolCall[]} calls
 * @param {any} delta
 */
function addCall(calls, delta) {
  calls[delta.index] ??= { id: "", name: "", arguments: "" };
  const call = calls[delta.index];
  call.id += delta.id ?? "";
  call.name += delta.function?.name ?? "";
  call.arguments += delta.function?.arguments ?? "";
}

/**
 * @param {any} usage
 * @returns {Usage}
 */
function usageOf(usage) {
  return {
    prompt: usage.prompt_tokens,
    cached: usage.prompt_tokens_details?.cached_tokens ?? 0,
    completion: usage.completion_tokens,
    reasoning: usage.completion_tokens_details?.reasoning_tokens ?? 0,
  };
}
