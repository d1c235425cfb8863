/** A JSON Schema as the rows of a form, and back. Pure. */

/** @typedef {{name: string, type: string, required: boolean}} Field */

/** What a row can say, by the name of its type. @type {Record<string, Record<string, any>>} */
const TYPES = {
  text: { type: "string" },
  number: { type: "number" },
  integer: { type: "integer" },
  "yes or no": { type: "boolean" },
  "list of texts": { type: "array", items: { type: "string" } },
};

export const TYPE_NAMES = Object.keys(TYPES);

/**
 * @param {Field[]} fields
 * @returns {string} empty for no fields
 */
export function schemaOf(fields) {
  const named = fields.filter((field) => field.name.trim());
  if (!named.length) return "";
  const schema = {
    type: "object",
    properties: Object.fromEntries(named.map((field) => [field.name.trim(), TYPES[field.type]])),
    required: named.filter((field) => field.required).map((field) => field.name.trim()),
    additionalProperties: false,
  };
  return JSON.stringify(schema, null, 2);
}

/**
 * Return the rows that say the same as a schema; null if rows cannot say it.
 * @param {string} text
 * @returns {Field[] | null}
 */
export function fieldsOf(text) {
  if (!text.trim()) return [];
  try {
    const schema = JSON.parse(text);
    const fields = Object.entries(schema.properties ?? {}).map(([name, property]) => ({
      name,
      type: TYPE_NAMES.find((one) => same(TYPES[one], property)) ?? "",
      required: (schema.required ?? []).includes(name),
    }));
    return same(JSON.parse(schemaOf(fields) || "null"), schema) ? fields : null;
  } catch {
    return null;
  }
}

/**
 * @param {unknown} one
 * @param {unknown} other
 */
function same(one, other) {
  return JSON.stringify(one) === JSON.stringify(other);
}
