/** Markdown to a document fragment: marked parses, highlight.js colours, DOMPurify sanitizes. */

import { copy, h, iconButton } from "./dom.js";
import hljs from "./vendor/core.min.js";
import { Marked } from "./vendor/marked.esm.js";
import "./vendor/purify.min.js";

/** The languages that can be coloured, by the names that models write. @type {Record<string, string>} */
const LANGUAGES = {
  bash: "bash",
  c: "cpp",
  cpp: "cpp",
  "c++": "cpp",
  console: "bash",
  diff: "diff",
  go: "go",
  html: "xml",
  java: "java",
  javascript: "javascript",
  js: "javascript",
  json: "json",
  jsx: "javascript",
  patch: "diff",
  py: "python",
  python: "python",
  rs: "rust",
  rust: "rust",
  sh: "bash",
  shell: "bash",
  sql: "sql",
  svg: "xml",
  ts: "typescript",
  tsx: "typescript",
  typescript: "typescript",
  xml: "xml",
  yaml: "yaml",
  yml: "yaml",
};

const ALLOWED = {
  ALLOWED_TAGS: [
    ..."a b blockquote br code del em h1 h2 h3 h4 h5 h6 hr i img input kbd li ol p pre s span".split(
      " ",
    ),
    ..."strong sub sup table tbody td th thead tr u ul".split(" "),
  ],
  ALLOWED_ATTR: [
    "align",
    "alt",
    "checked",
    "class",
    "disabled",
    "href",
    "src",
    "start",
    "title",
    "type",
  ],
  ALLOW_DATA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};

const PLAIN_TAG = /&lt;(\/?(?:b|br|code|del|em|i|kbd|s|strong|sub|sup|u)) ?\/?&gt;/gi;
/** Markup that an answer may have beside Markdown; other tags are shown as they are written. */

/** Languages under way. @type {Map<string, Promise<void>>} */
const pending = new Map();

const marked = new Marked({
  gfm: true,
  breaks: true,
  renderer: {
    html: ({ text }) => escaped(text).replace(PLAIN_TAG, "<$1>"),
    code({ text, lang }) {
      const name = (lang ?? "").trim().split(/\s/)[0].toLowerCase();
      const language = LANGUAGES[name];
      const coloured =
        language && hljs.getLanguage(language)
          ? hljs.highlight(text, { language, ignoreIllegals: true }).value
          : escaped(text);
      const kind = /^[a-z0-9+#-]{1,20}$/.test(name) ? ` class="language-${name}"` : "";
      return `<pre><code${kind}>${coloured}\n</code></pre>`;
    },
  },
});

DOMPurify.addHook("afterSanitizeAttributes", (node) => {
  // The page's own classes would let a model imitate its controls.
  const classes = [...node.classList].filter(
    (one) => /^(hljs|language)-/.test(one) || /^(function_|class_)$/.test(one),
  );
  node.removeAttribute("class");
  if (classes.length) node.setAttribute("class", classes.join(" "));
  if (node instanceof HTMLAnchorElement) {
    node.target = "_blank";
    node.rel = "noopener noreferrer";
  }
  if (node instanceof HTMLInputElement && !(node.type === "checkbox" && node.disabled))
    node.remove();
  if (node instanceof HTMLImageElement) replaceImage(node);
});

/**
 * Show the address instead of an image elsewhere: to fetch it would tell its server what was said.
 * @param {HTMLImageElement} image
 */
function replaceImage(image) {
  const source = image.getAttribute("src") ?? "";
  if (source.startsWith("data:image/")) return;
  image.replaceWith(
    h("a", { href: source, target: "_blank", rel: "noopener noreferrer" }, image.alt || source),
  );
}

/**
 * Return a text as HTML, which is sanitized afterwards. What is nested too deeply for marked, such
 * as the thousands of `>` of a model that repeats itself, is shown as it is written.
 * @param {string} text
 */
function parsed(text) {
  try {
    return marked.parse(text, { async: false });
  } catch {
    return `<p>${escaped(text)}</p>`;
  }
}

/** @param {string} text */
function escaped(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

/**
 * Return a text as a fragment. If a language has to be loaded first, *again* is called later.
 * @param {string} text
 * @param {() => void} again
 * @returns {DocumentFragment}
 */
export function rendered(text, again) {
  const fragment = DOMPurify.sanitize(parsed(text), ALLOWED);
  for (const code of fragment.querySelectorAll("pre > code")) frame(code, again);
  for (const table of fragment.querySelectorAll("table")) {
    const scroller = h("div", {
      class: "scroller",
      tabindex: "0",
      role: "group",
      "aria-label": "Table",
    });
    table.replaceWith(scroller);
    scroller.append(table);
  }
  return fragment;
}

/**
 * Return code as a block with its name and a button that copies it.
 * @param {string} code
 * @param {string} language
 * @param {() => void} again
 */
export function codeBlock(code, language, again) {
  let longest = 2;
  for (const [ticks] of code.matchAll(/`+/g)) longest = Math.max(longest, ticks.length);
  const fence = "`".repeat(longest + 1);
  return rendered(`${fence}${language}\n${code}\n${fence}`, again);
}

/**
 * @param {Element} code
 * @param {() => void} again
 */
function frame(code, again) {
  const name = /language-(\S+)/.exec(code.className)?.[1] ?? "";
  const language = LANGUAGES[name];
  if (language && !hljs.getLanguage(language)) void loadLanguage(language).then(again);
  const block = code.parentElement;
  if (!block) return;
  const button = iconButton("Copy code", "copy", () =>
    copy(button, (code.textContent ?? "").trimEnd()),
  );
  const head = h("div", { class: "code-head" }, h("span", {}, name || "text"), button);
  block.tabIndex = 0; // a block that scrolls has to be reachable by keyboard
  block.setAttribute("role", "group");
  block.setAttribute("aria-label", `Code: ${name || "text"}`);
  const figure = h("div", { class: "code" }, head);
  block.replaceWith(figure);
  figure.append(block);
}

/** @param {string} language */
function loadLanguage(language) {
  let loading = pending.get(language);
  if (!loading) {
    loading = import(`./vendor/${language}.min.js`).then((grammar) =>
      hljs.registerLanguage(language, grammar.default),
    );
    pending.set(language, loading);
  }
  return loading;
}
