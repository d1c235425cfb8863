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
    `-d ${shell(JSON.stringify(body, null, 2))}`,
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
  const fields = Object.entries(known).map(([name, value]) => `    ${name}=${python(value, 1)},`);
  if (Object.keys(extra).length) fields.push(`    extra_body=${python(extra, 1)},`);
  return [
    ...(target.needsKey ? ["import os", ""] : []),
    "from openai import OpenAI",
    "",
    `client = OpenAI(base_url=${python(baseUrl(target))}, api_key=${key})`,
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
  const fields = Object.entries(known).map(([name, value]) => `  ${name}: ${indented(value)},`);
  // Spread, because an object literal may have no fields that its type does not know.
  if (Object.keys(extra).length) fields.push(`  ...(${indented(extra)} as object),`);
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

/** @param {unknown} value */
function indented(value) {
  return JSON.stringify(value, null, 2).replaceAll("\n", "\n  ");
}

/** @param {string} text */
function shell(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/**
 * A value as a Python literal. Python reads JSON's strings, escapes included: JSON.stringify
 * escapes lone surrogates.
 * @param {any} value
 * @param {number} [depth]
 * @returns {string}
 */
function python(value, depth = 0) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const isList = Array.isArray(value);
  const items = isList
    ? value.map((one) => python(one, depth + 1))
    : Object.entries(value).map(([name, one]) => `${JSON.stringify(name)}: ${python(one, depth + 1)}`);
  const [open, close] = isList ? "[]" : "{}";
  if (!items.length) return open + close;
  const indent = "    ".repeat(depth + 1);
  return `${open}\n${items.map((item) => `${indent}${item},\n`).join("")}${"    ".repeat(depth)}${close}`;
}
