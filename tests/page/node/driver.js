/**
 * Drives Chromium for the tests: reads one step a line from standard input, a JSON list of a verb
 * and its arguments, and writes what it returns, or what it throws.
 */

import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const TIMEOUT = 15_000;
const axe = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
const browser = await chromium.launch({
  executablePath: process.argv[2],
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
});

/** @type {import("playwright-core").Page} */
let page;
/** @type {string[]} */
let problems = [];
/** @type {unknown} */
let sent = null;
let requests = 0;
let pending = 0;

/** @type {Record<string, (...args: any[]) => unknown>} */
const verbs = {
  /** Open a window of its own, with nothing stored. */
  async open(url, { width = 1100, height = 760, dark = false, scale = 1, touch = false } = {}) {
    await page?.context().close();
    problems = [];
    pending = 0;
    const context = await browser.newContext({
      viewport: { width, height },
      colorScheme: dark ? "dark" : "light",
      deviceScaleFactor: scale,
      hasTouch: touch,
      locale: "en-US",
      reducedMotion: "reduce",
      permissions: ["clipboard-read", "clipboard-write"],
    });
    context.setDefaultTimeout(TIMEOUT);
    page = await context.newPage();
    page.on("console", (message) => {
      if (message.type() === "error" || message.type() === "warning") problems.push(message.text());
    });
    page.on("pageerror", (error) => problems.push(String(error)));
    page.on("dialog", (dialog) => dialog.accept());
    page.on("request", (request) => {
      requests += 1;
      pending += 1;
      if (request.method() === "POST") sent = request.postDataJSON();
      const { protocol, origin } = new URL(request.url());
      if (protocol.startsWith("http") && origin !== new URL(url).origin)
        problems.push(`request to ${request.url()}`);
    });
    page.on("requestfinished", () => {
      pending -= 1;
    });
    page.on("requestfailed", () => {
      pending -= 1;
    });
    await page.addInitScript(() => {
      document.addEventListener("securitypolicyviolation", (event) => {
        const violation = `${event.violatedDirective} ${event.blockedURI}`;
        queueMicrotask(() => {
          throw new Error(`policy violated: ${violation}`);
        });
      });
    });
    await page.goto(url);
  },
  leave: () => page?.goto("about:blank"),
  reload: () => page.reload(),
  click: (role, name) => page.getByRole(role, { name, exact: true }).last().click(),
  fill: (label, text) => page.getByLabel(label, { exact: true }).last().fill(text),
  press: (keys) => page.keyboard.press(keys),
  type: (text) => page.keyboard.type(text),
  /** Wait until the page shows a text. */
  see: (text) => page.getByText(text).last().waitFor(),
  /** Wait until an element is there and visible. */
  find: (selector) => page.locator(selector).last().waitFor(),
  /** Wait until there is no such visible element. */
  gone: (selector) => page.locator(selector).last().waitFor({ state: "hidden" }),
  text: (selector) => page.locator(selector).last().innerText(),
  count: (selector) => page.locator(selector).count(),
  attribute: (selector, name) => page.locator(selector).last().getAttribute(name),
  focused: () =>
    page.evaluate(
      () => document.activeElement?.getAttribute("aria-label") ?? document.activeElement?.id,
    ),
  evaluate: (expression) => page.evaluate(expression),
  upload: (selector, path) => page.locator(selector).setInputFiles(path),
  offline: () => page.context().setOffline(true),
  online: () => page.context().setOffline(false),
  /** Return the text of the file that a click downloads. */
  async download(role, name) {
    const [file] = await Promise.all([page.waitForEvent("download"), verbs.click(role, name)]);
    return readFile(await file.path(), "utf8");
  },
  /** Have one address return a JSON text of the test's. */
  /** Stop the page's clock, and let time pass on it. */
  clock: () => page.clock.install(),
  forward: (milliseconds) => page.clock.runFor(milliseconds),
  /** Wait until no request is under way, nor one that follows from its response. */
  async settle() {
    for (let quiet = 0; quiet < 5; quiet = pending === 0 ? quiet + 1 : 0) {
      await new Promise((resolve) => setTimeout(resolve, 40));
    }
  },
  /** Return how many requests were sent so far. */
  requests: () => requests,
  /** Return the body of the last chat request. */
  sent: () => sent,
  answer: (path, json) => page.route(`**${path}`, (route) => route.fulfill({ json })),
  /** Return what axe finds serious or critical. */
  async axe() {
    // Through the debugger: the page's own policy allows no script of another origin.
    if (await page.evaluate("!window.axe")) await page.evaluate(await readFile(axe, "utf8"));
    const { violations } = await page.evaluate("axe.run({resultTypes: ['violations']})");
    return violations
      .filter((one) => ["serious", "critical"].includes(one.impact))
      .map((one) => `${one.id}: ${one.nodes.map((node) => node.target.join(" ")).join(", ")}`);
  },
  screenshot: (path) =>
    page.screenshot({ path, animations: "disabled", caret: "hide" }).then(() => null),
  /** Pretend that another tab covers this one. */
  hide: () => setHidden(true),
  show: () => setHidden(false),
  /** Drop a picture of one colour on the chat, as from another window. */
  drop: () =>
    page.evaluate(async () => {
      const canvas = document.createElement("canvas");
      canvas.width = canvas.height = 3000;
      canvas.getContext("2d")?.fillRect(0, 0, 3000, 3000);
      const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
      const data = new DataTransfer();
      data.items.add(new File([blob], "black.png", { type: "image/png" }));
      data.items.add(new File(["none"], "broken.png", { type: "image/png" }));
      const event = new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
      document.querySelector("#chat-view")?.dispatchEvent(event);
    }),
  /** Choose a file, as in the dialog of a button. */
  choose: (selector, path) => page.setInputFiles(selector, path),
  /** Return and forget the errors, policy violations and requests elsewhere so far. */
  problems: () => problems.splice(0),
};

/** @param {boolean} hidden */
function setHidden(hidden) {
  return page.evaluate((value) => {
    Object.defineProperty(document, "hidden", { value, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  }, hidden);
}

for await (const line of createInterface({ input: process.stdin })) {
  const [verb, ...args] = JSON.parse(line);
  let outcome;
  try {
    outcome = { value: (await verbs[verb](...args)) ?? null };
  } catch (error) {
    outcome = { thrown: `${verb} ${JSON.stringify(args)}: ${error.message}` };
  }
  process.stdout.write(`${JSON.stringify(outcome)}\n`);
}
await browser.close();
