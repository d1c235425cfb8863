/** A chat request as curl, Python and TypeScript. Pure. Keys are read from a variable, never shown. */

/** @typedef {{origin: string, chatPath: string, needsKey: boolean}} Target */

const EXTRA = new Set(["top_k", "min_p"]);
/** What OpenAI's clients type as part of the API; they send other fields too, if told how. */

/**
 * @param {Record<string, any>} body
 * @param {Target} target
 */
export function asCurl(body, target) {
  const lines = [
    `curl ${shell(target.origin + target.chatPath)}`,
    "-H 'Content-Type: application/json'",
    ...(target.needsKey ? ['-H "Authorization: Bearer $PILOTLIGHT_KEY"'] : []),
    `-d ${shell(literal(body, JSON_STYLE))}`,
  ];
  return lines.join(" \\\n  ");
}

/**
 * @param {Record<string, any>} body
 * @param {Target} target
 */
export function asPython(body, target) {
  const key = target.needsKey ? 'os.environ["PILOTLIGHT_KEY"]' : '"none"';
  const [known, extra] = split(body);
  const fields = Object.entries(known).map(
    ([name, value]) => `    ${name}=${literal(value, PYTHON, 1, name.length + 6)},`,
  );
  if (Object.keys(extra).length) fields.push(`    extra_body=${literal(extra, PYTHON, 1, 16)},`);
  return [
    ...(target.needsKey ? ["import os", ""] : []),
    "from openai import OpenAI",
    "",
    `client = OpenAI(base_url=${JSON.stringify(baseUrl(target))}, api_key=${key})`,
    "completion = client.chat.completions.create(",
    ...fields,
    ")",
    "print(completion.choices[0].message.content)",
  ].join("\n");
}

/**
 * @param {Record<string, any>} body
 * @param {Target} target
 */
export function asTypeScript(body, target) {
  const key = target.needsKey ? "process.env.PILOTLIGHT_KEY" : '"none"';
  const [known, extra] = split(body);
  const fields = Object.entries(known).map(
    ([name, value]) => `  ${name}: ${literal(value, TYPESCRIPT, 1, name.length + 5)},`,
  );
  // Spread, because an object literal may have no fields that its type does not know.
  if (Object.keys(extra).length) fields.push(`  ...(${literal(extra, TYPESCRIPT, 1)} as object),`);
  return [
    'import OpenAI from "openai";',
    "",
    `const client = new OpenAI({ baseURL: ${JSON.stringify(baseUrl(target))}, apiKey: ${key} });`,
    "const completion = await client.chat.completions.create({",
    ...fields,
    "});",
    "console.log(completion.choices[0].message.content);",
  ].join("\n");
}

/** @param {Target} target */
function baseUrl(target) {
  return target.origin + target.chatPath.replace(/\/chat\/completions$/, "");
}

/** @param {Record<string, any>} body */
function split(body) {
  const known = Object.entries(body).filter(([name]) => !EXTRA.has(name));
  const extra = Object.entries(body).filter(([name]) => EXTRA.has(name));
  return [Object.fromEntries(known), Object.fromEntries(extra)];
}

/** @param {string} text */
function shell(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/**
 * How a language writes a value. Strings are JSON's in all of them: JSON.stringify escapes lone
 * surrogates, which Python would refuse.
 * @typedef {{null: string, true: string, false: string, comma: string, indent: string}} Style
 */

/** @type {Style} */
const JSON_STYLE = { null: "null", true: "true", false: "false", comma: "", indent: "  " };
/** @type {Style} */
const TYPESCRIPT = { ...JSON_STYLE, comma: "," };
/** @type {Style} */
const PYTHON = { null: "None", true: "True", false: "False", comma: ",", indent: "    " };

const WIDTH = 80;

/**
 * A value as a literal, on one line if it fits.
 * @param {any} value
 * @param {Style} style
 * @param {number} depth
 * @param {number} before columns that the line has before it
 * @returns {string}
 */
function literal(value, style, depth = 0, before = 0) {
  if (value === null) return style.null;
  if (typeof value === "boolean") return value ? style.true : style.false;
  if (typeof value !== "object") return JSON.stringify(value);
  const isList = Array.isArray(value);
  const [open, close] = isList ? "[]" : "{}";
  /** @type {[string, any][]} */
  const items = isList
    ? value.map((one) => ["", one])
    : Object.entries(value).map(([name, one]) => [`${JSON.stringify(name)}: `, one]);
  const line =
    open + items.map(([name, one]) => name + literal(one, style, 0, -1e9)).join(", ") + close;
  if (before + line.length <= WIDTH || !items.length) return line;
  const indent = style.indent.repeat(depth + 1);
  const lines = items.map(
    ([name, one]) => indent + name + literal(one, style, depth + 1, indent.length + name.length),
  );
  return `${open}\n${lines.join(",\n")}${style.comma}\n${style.indent.repeat(depth)}${close}`;
}
