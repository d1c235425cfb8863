/** The latest requests of this tab: ids, figures and times, and nothing of what was said. */

/**
 * @typedef {{id: string, time: number, model: string, outcome: string,
 *   usage: import("./answer.js").Usage | null, timing: Record<string, number>, decodeMs: number,
 *   totalMs: number}} RecentRequest
 */

const KEY = "pilotlight-recent";
const MOST = 50;

/** @returns {RecentRequest[]} the latest first */
export function recentRequests() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY) ?? "[]");
  } catch {
    return [];
  }
}

/** @param {RecentRequest} request */
export function remember(request) {
  sessionStorage.setItem(KEY, JSON.stringify([request, ...recentRequests()].slice(0, MOST)));
}
