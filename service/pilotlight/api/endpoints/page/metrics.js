/** Prometheus' text format, and what the server view shows of it. Pure. */

/**
 * @typedef {{name: string, labels: Record<string, string>, value: number}} Sample
 * @typedef {{model: string, slots: number, slotsBusy: number, waiting: number, kvTokens: number,
 *   kvCapacity: number, promptTokens: number, cachedTokens: number, completionTokens: number,
 *   answers: number, firstToken: number | null, tokensPerSecond: number | null,
 *   cachedPrompts: number, promptCacheBytes: number}} Usage
 */

/**
 * @param {string} text
 * @returns {Sample[]}
 */
export function parseMetrics(text) {
  /** @type {Sample[]} */
  const samples = [];
  for (const line of text.split("\n")) {
    const match = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line);
    if (!match) continue;
    /** @type {Record<string, string>} */
    const labels = {};
    for (const [, name, value] of (match[2] ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) {
      labels[name] = value.replace(/\\(.)/g, (_, one) => (one === "n" ? "\n" : one));
    }
    samples.push({ name: match[1], labels, value: Number(match[3].replace("Inf", "Infinity")) });
  }
  return samples;
}

/**
 * Return the use of one model.
 * @param {Sample[]} samples
 * @param {string} model
 * @returns {Usage}
 */
export function usageOf(samples, model) {
  /** @param {string} name */
  const sum = (name) =>
    samples
      .filter((one) => one.name === `pilotlight_${name}` && one.labels.model === model)
      .reduce((total, one) => total + one.value, 0);
  /** @param {string} name */
  const mean = (name) => (sum(`${name}_count`) ? sum(`${name}_sum`) / sum(`${name}_count`) : null);
  const perToken = mean("time_per_output_token_seconds");
  return {
    model,
    slots: sum("slots"),
    slotsBusy: sum("slots_busy"),
    waiting: sum("requests_waiting"),
    kvTokens: sum("kv_tokens"),
    kvCapacity: sum("kv_capacity_tokens"),
    promptTokens: sum("prompt_tokens_total"),
    cachedTokens: sum("cached_tokens_total"),
    completionTokens: sum("completion_tokens_total"),
    answers: sum("request_seconds_count"),
    firstToken: mean("time_to_first_token_seconds"),
    tokensPerSecond: perToken ? 1 / perToken : null,
    cachedPrompts: sum("prompt_cache_entries"),
    promptCacheBytes: sum("prompt_cache_bytes"),
  };
}

/**
 * Return the value of a metric without labels; null if the server does not report it.
 * @param {Sample[]} samples
 * @param {string} name
 */
export function gauge(samples, name) {
  return samples.find((one) => one.name === name)?.value ?? null;
}
