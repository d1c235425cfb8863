// Print what zod 4, zod 3, TypeBox, valibot, arktype and effect make of ordinary types, a JSON
// object a line.
//
//     npm install zod@4 zod3@npm:zod@3 zod-to-json-schema @sinclair/typebox \
//         valibot @valibot/to-json-schema arktype effect@3
//     node javascript_schemas.mjs > javascript.jsonl
//
// Run it where these are installed: copy it there.

import { readFileSync } from "node:fs";
import * as z4 from "zod";
import { z as z3 } from "zod3";
import { zodToJsonSchema } from "zod-to-json-schema";
import { Type as T } from "@sinclair/typebox";
import * as v from "valibot";
import { toJsonSchema } from "@valibot/to-json-schema";
import { type } from "arktype";
import { JSONSchema, Schema as S } from "effect";

const version = (name) =>
  JSON.parse(readFileSync(`node_modules/${name}/package.json`, "utf8")).version;
const emit = (generator, name, schema) =>
  console.log(JSON.stringify({ generator, type: name, schema }));
const each = (generator, types, make) => {
  for (const [name, build] of Object.entries(types)) {
    try {
      emit(generator, name, make(build()));
    } catch (error) {
      console.error(`${generator} ${name}: ${String(error.message).split("\n")[0]}`);
    }
  }
};

// What zod 3 and 4 have in common.
const common = (z) => ({
  string: () => z.string(),
  number: () => z.number(),
  boolean: () => z.boolean(),
  null: () => z.null(),
  any: () => z.any(),
  unknown: () => z.unknown(),
  never: () => z.object({ a: z.never().optional() }),
  bigint: () => z.bigint(),
  date: () => z.date(),
  undefined: () => z.object({ a: z.undefined() }),
  min: () => z.string().min(1),
  max: () => z.string().max(20),
  length: () => z.string().length(3),
  nonempty: () => z.string().nonempty(),
  email: () => z.string().email(),
  url: () => z.string().url(),
  uuid: () => z.string().uuid(),
  cuid: () => z.string().cuid(),
  cuid2: () => z.string().cuid2(),
  ulid: () => z.string().ulid(),
  nanoid: () => z.string().nanoid(),
  regex: () => z.string().regex(/^[a-z0-9-]+$/),
  regexFlags: () => z.string().regex(/^abc$/i),
  lookahead: () => z.string().regex(/^(?!admin$)[a-z]+$/),
  unanchored: () => z.string().regex(/foo|bar/),
  startsWith: () => z.string().startsWith("sk-"),
  endsWith: () => z.string().endsWith(".ts"),
  includes: () => z.string().includes("@"),
  trim: () => z.string().trim().toLowerCase(),
  datetime: () => z.string().datetime(),
  datetimeOffset: () => z.string().datetime({ offset: true }),
  datetimeLocal: () => z.string().datetime({ local: true, precision: 3 }),
  isoDate: () => z.string().date(),
  isoTime: () => z.string().time(),
  duration: () => z.string().duration(),
  emoji: () => z.string().emoji(),
  base64: () => z.string().base64(),
  base64url: () => z.string().base64url(),
  jwt: () => z.string().jwt(),
  int: () => z.number().int(),
  intMin: () => z.number().int().min(1).max(10),
  positive: () => z.number().positive(),
  nonnegative: () => z.number().nonnegative(),
  negative: () => z.number().int().negative(),
  multipleOf: () => z.number().multipleOf(0.01),
  step: () => z.number().int().step(5),
  finite: () => z.number().finite(),
  safe: () => z.number().safe(),
  literal: () => z.literal("a"),
  literalNumber: () => z.literal(3),
  literalBoolean: () => z.literal(true),
  literalNull: () => z.literal(null),
  enum: () => z.enum(["a", "b"]),
  nativeEnum: () => z.nativeEnum({ A: "a", B: "b" }),
  nativeEnumNumbers: () => z.nativeEnum({ A: 0, B: 1, 0: "A", 1: "B" }),
  array: () => z.array(z.string()),
  arrayMin: () => z.array(z.number()).min(1),
  arrayMax: () => z.array(z.number()).max(3),
  arrayLength: () => z.array(z.number()).length(2),
  nested: () => z.array(z.array(z.object({ a: z.string() }))),
  tuple: () => z.tuple([z.string(), z.number()]),
  tupleOne: () => z.tuple([z.number()]),
  tupleRest: () => z.tuple([z.string()]).rest(z.boolean()),
  tupleEmpty: () => z.tuple([]),
  set: () => z.set(z.string()),
  map: () => z.map(z.string(), z.number()),
  object: () => z.object({ a: z.string(), b: z.number().optional() }),
  objectEmpty: () => z.object({}),
  strict: () => z.object({ a: z.string() }).strict(),
  passthrough: () => z.object({ a: z.string() }).passthrough(),
  catchall: () => z.object({ a: z.string() }).catchall(z.number()),
  partial: () => z.object({ a: z.string(), b: z.number() }).partial(),
  required: () => z.object({ a: z.string().optional() }).required(),
  pick: () => z.object({ a: z.string(), b: z.number() }).pick({ a: true }),
  extend: () => z.object({ a: z.string() }).extend({ b: z.boolean() }),
  merge: () => z.object({ a: z.string() }).merge(z.object({ b: z.boolean() })),
  described: () => z.object({ a: z.string().describe("the a") }).describe("an object"),
  nullable: () => z.object({ a: z.string().nullable() }),
  nullish: () => z.object({ a: z.number().nullish() }),
  nullableEnum: () => z.enum(["a", "b"]).nullable(),
  nullableObject: () => z.object({ a: z.object({ b: z.string() }).nullable() }),
  default: () => z.object({ a: z.string().default("x") }),
  catch: () => z.object({ a: z.string().catch("x") }),
  readonly: () => z.array(z.string()).readonly(),
  brand: () => z.string().brand("id"),
  union: () => z.union([z.string(), z.number()]),
  unionNull: () => z.union([z.string(), z.number(), z.null()]),
  unionLiterals: () => z.union([z.literal("a"), z.literal("b"), z.literal(1)]),
  unionObjects: () => z.union([z.object({ a: z.string() }), z.object({ b: z.number() })]),
  discriminated: () =>
    z.discriminatedUnion("type", [
      z.object({ type: z.literal("a"), x: z.string() }),
      z.object({ type: z.literal("b"), y: z.number() }),
    ]),
  discriminatedNumber: () =>
    z.discriminatedUnion("v", [
      z.object({ v: z.literal(1), x: z.string() }),
      z.object({ v: z.literal(2), y: z.number() }),
    ]),
  discriminatedNested: () =>
    z.array(
      z.discriminatedUnion("kind", [
        z.object({ kind: z.literal("text"), text: z.string().min(1) }),
        z.object({ kind: z.literal("image"), url: z.string().url(), alt: z.string().optional() }),
        z.object({ kind: z.enum(["audio", "video"]), seconds: z.number().int().min(0) }),
      ]),
    ),
  intersection: () => z.intersection(z.object({ a: z.string() }), z.object({ b: z.number() })),
  and: () => z.object({ a: z.string() }).and(z.record(z.string(), z.string())),
  record: () => z.record(z.string(), z.number()),
  recordAny: () => z.record(z.string(), z.any()),
  recordEnum: () => z.record(z.enum(["a", "b"]), z.number()),
  recordRegex: () => z.record(z.string().regex(/^x-/), z.string()),
  recordMin: () => z.record(z.string().min(2), z.string()),
  recordUuid: () => z.record(z.string().uuid(), z.object({ n: z.number() })),
  recordOfRecords: () => z.object({ m: z.record(z.string(), z.record(z.string(), z.boolean())) }),
  refine: () => z.string().refine((text) => text.length > 3),
  effects: () => z.preprocess((x) => x, z.string()),
  pipe: () => z.string().pipe(z.string().min(1)),
  lazy: () => {
    const node = z.object({ value: z.number(), next: z.lazy(() => node).nullable() });
    return node;
  },
  tree: () => {
    const tree = z.object({ name: z.string(), children: z.array(z.lazy(() => tree)) });
    return tree;
  },
  json: () => {
    const value = z.lazy(() =>
      z.union([z.string(), z.number(), z.boolean(), z.null(), z.array(value), z.record(z.string(), value)]),
    );
    return z.object({ value });
  },
  shared: () => {
    const address = z.object({ street: z.string(), zip: z.string().regex(/^\d{5}$/) });
    return z.object({ home: address, work: address.optional(), more: z.array(address) });
  },
  person: () =>
    z.object({
      name: z.string().min(1).max(40),
      age: z.number().int().min(0).max(150),
      email: z.string().email().optional(),
      roles: z.array(z.enum(["admin", "user"])).min(1).max(2),
      born: z.string().date().nullable(),
      meta: z.record(z.string(), z.union([z.string(), z.number()])),
    }),
});

const only4 = {
  "z.email": () => z4.email(),
  "z.email rfc5322": () => z4.email({ pattern: z4.regexes.rfc5322Email }),
  "z.email html5": () => z4.email({ pattern: z4.regexes.html5Email }),
  "z.email unicode": () => z4.email({ pattern: z4.regexes.unicodeEmail }),
  "z.uuid": () => z4.uuid(),
  "z.uuidv4": () => z4.uuidv4(),
  "z.uuidv7": () => z4.uuidv7(),
  "z.guid": () => z4.guid(),
  "z.url": () => z4.url(),
  "z.httpUrl": () => z4.httpUrl(),
  "z.hostname": () => z4.hostname(),
  "z.ipv4": () => z4.ipv4(),
  "z.ipv6": () => z4.ipv6(),
  "z.cidrv4": () => z4.cidrv4(),
  "z.cidrv6": () => z4.cidrv6(),
  "z.mac": () => z4.mac(),
  "z.e164": () => z4.e164(),
  "z.emoji": () => z4.emoji(),
  "z.xid": () => z4.xid(),
  "z.ksuid": () => z4.ksuid(),
  "z.hex": () => z4.hex(),
  "z.iso.datetime": () => z4.iso.datetime(),
  "z.iso.date": () => z4.iso.date(),
  "z.iso.time": () => z4.iso.time(),
  "z.iso.duration": () => z4.iso.duration(),
  "z.int": () => z4.int(),
  "z.int32": () => z4.int32(),
  "z.uint32": () => z4.uint32(),
  "z.float32": () => z4.float32(),
  "z.float64": () => z4.float64(),
  "z.strictObject": () => z4.strictObject({ a: z4.string() }),
  "z.looseObject": () => z4.looseObject({ a: z4.string() }),
  "z.partialRecord": () => z4.partialRecord(z4.enum(["a", "b"]), z4.number()),
  "z.record of numbers": () => z4.record(z4.number(), z4.string()),
  "z.record of literals": () => z4.record(z4.union([z4.literal("a"), z4.literal("b")]), z4.int()),
  "z.literal of several": () => z4.literal(["a", 1, true, null]),
  "z.templateLiteral": () => z4.templateLiteral(["v", z4.number(), ".", z4.enum(["a", "b"])]),
  "z.stringbool": () => z4.stringbool(),
  "z.json": () => z4.json(),
  "z.file": () => z4.file(),
  "z.meta": () => z4.string().meta({ id: "Name", title: "Name", examples: ["Ada"] }),
  "z.registered": () => {
    const money = z4.object({ cents: z4.int() }).meta({ id: "Money" });
    return z4.object({ price: money, tax: money });
  },
  "z.getter recursion": () => {
    const category = z4.object({
      name: z4.string(),
      get children() {
        return z4.array(category);
      },
    });
    return category;
  },
  "z.xor": () => z4.xor([z4.object({ a: z4.string() }), z4.object({ b: z4.string() })]),
};

const zod4 = `zod ${version("zod")}`;
each(zod4, { ...common(z4.z), ...only4 }, (one) => z4.toJSONSchema(one));
each(`${zod4} input`, { default: common(z4.z).default, object: common(z4.z).object, catch: common(z4.z).catch, person: common(z4.z).person }, (one) =>
  z4.toJSONSchema(one, { io: "input" }),
);
for (const target of ["draft-7", "draft-4", "openapi-3.0"]) {
  const some = Object.fromEntries(
    Object.entries({ ...common(z4.z), ...only4 }).filter(([name]) =>
      /uple|nullable|ositive|int|record|person|discriminated|lazy|literal|email/i.test(name),
    ),
  );
  each(`${zod4} ${target}`, some, (one) => z4.toJSONSchema(one, { target }));
}
const zod3 = `zod ${version("zod3")} with zod-to-json-schema ${version("zod-to-json-schema")}`;
each(zod3, common(z3), (one) => zodToJsonSchema(one));
const strings = ["recordEnum", "tuple", "lazy", "shared", "person", "discriminated", "nullable"];
const of3 = Object.fromEntries(Object.entries(common(z3)).filter(([name]) => strings.includes(name)));
each(`${zod3} openAi`, of3, (one) => zodToJsonSchema(one, { target: "openAi" }));
each(`${zod3} openApi3`, of3, (one) => zodToJsonSchema(one, { target: "openApi3" }));
each(`${zod3} named`, of3, (one) => zodToJsonSchema(one, "Named"));

each(`TypeBox ${version("@sinclair/typebox")}`, {
  string: () => T.String(),
  email: () => T.String({ format: "email", minLength: 3 }),
  number: () => T.Number({ minimum: 0, exclusiveMaximum: 1 }),
  integer: () => T.Integer({ multipleOf: 2 }),
  null: () => T.Null(),
  literal: () => T.Literal("a"),
  union: () => T.Union([T.Literal("a"), T.Literal("b"), T.Null()]),
  array: () => T.Array(T.String(), { minItems: 1, maxItems: 3 }),
  unique: () => T.Array(T.String(), { uniqueItems: true }),
  tuple: () => T.Tuple([T.String(), T.Number()]),
  object: () => T.Object({ a: T.String(), b: T.Optional(T.Number()) }),
  closed: () => T.Object({ a: T.String() }, { additionalProperties: false }),
  record: () => T.Record(T.String(), T.Number()),
  recordUnion: () => T.Record(T.Union([T.Literal("a"), T.Literal("b")]), T.Number()),
  recordPattern: () => T.Record(T.RegExp(/^x-/), T.Number()),
  recordInteger: () => T.Record(T.Integer(), T.String()),
  intersect: () => T.Intersect([T.Object({ a: T.String() }), T.Object({ b: T.Number() })]),
  intersectClosed: () =>
    T.Intersect([T.Object({ a: T.String() }), T.Object({ b: T.Number() })], { unevaluatedProperties: false }),
  enum: () => T.Enum({ A: "a", B: "b" }),
  recursive: () => T.Recursive((This) => T.Object({ v: T.Number(), children: T.Array(This) })),
  templateLiteral: () => T.TemplateLiteral("v${0|1}"),
  any: () => T.Any(),
  unknown: () => T.Unknown(),
  never: () => T.Object({ a: T.Optional(T.Never()) }),
  not: () => T.Not(T.String()),
  date: () => T.String({ format: "date-time" }),
  partial: () => T.Partial(T.Object({ a: T.String() })),
  composite: () => T.Composite([T.Object({ a: T.String() }), T.Object({ b: T.Number() })]),
  keyof: () => T.KeyOf(T.Object({ a: T.String(), b: T.Number() })),
  regexp: () => T.RegExp(/^[a-z]+$/),
}, (one) => JSON.parse(JSON.stringify(one)));

each(`valibot ${version("valibot")}`, {
  string: () => v.string(),
  email: () => v.pipe(v.string(), v.email()),
  url: () => v.pipe(v.string(), v.url()),
  uuid: () => v.pipe(v.string(), v.uuid()),
  isoDate: () => v.pipe(v.string(), v.isoDate()),
  isoTimestamp: () => v.pipe(v.string(), v.isoTimestamp()),
  ipv4: () => v.pipe(v.string(), v.ipv4()),
  regex: () => v.pipe(v.string(), v.regex(/^[a-z]+$/)),
  length: () => v.pipe(v.string(), v.minLength(1), v.maxLength(9)),
  nonEmpty: () => v.pipe(v.string(), v.nonEmpty()),
  integer: () => v.pipe(v.number(), v.integer(), v.minValue(0)),
  number: () => v.pipe(v.number(), v.gtValue(0), v.ltValue(1)),
  picklist: () => v.picklist(["a", "b"]),
  literal: () => v.literal(3),
  nullable: () => v.nullable(v.string()),
  object: () => v.object({ a: v.string(), b: v.optional(v.number()) }),
  strict: () => v.strictObject({ a: v.string() }),
  loose: () => v.looseObject({ a: v.string() }),
  rest: () => v.objectWithRest({ a: v.string() }, v.number()),
  tuple: () => v.tuple([v.string(), v.number()]),
  strictTuple: () => v.strictTuple([v.string(), v.number()]),
  array: () => v.pipe(v.array(v.string()), v.minLength(1)),
  record: () => v.record(v.string(), v.number()),
  recordPicklist: () => v.record(v.picklist(["a", "b"]), v.number()),
  union: () => v.union([v.string(), v.number()]),
  variant: () =>
    v.variant("type", [
      v.object({ type: v.literal("a"), x: v.string() }),
      v.object({ type: v.literal("b"), y: v.number() }),
    ]),
  intersect: () => v.intersect([v.object({ a: v.string() }), v.object({ b: v.number() })]),
  any: () => v.any(),
}, (one) => toJsonSchema(one));

each(`arktype ${version("arktype")}`, {
  string: () => type("string"),
  email: () => type("string.email"),
  uuid: () => type("string.uuid"),
  date: () => type("string.date.iso"),
  url: () => type("string.url"),
  length: () => type("1 <= string <= 9"),
  integer: () => type("number.integer >= 0"),
  number: () => type("0 < number < 1"),
  divisor: () => type("number % 5"),
  union: () => type("string | number | null"),
  literals: () => type("'a' | 'b' | 1"),
  array: () => type("string[] >= 1"),
  object: () => type({ a: "string", "b?": "number" }),
  closed: () => type({ "+": "reject", a: "string" }),
  tuple: () => type(["string", "number"]),
  record: () => type({ "[string]": "number" }),
  discriminated: () => type({ type: "'a'", x: "string" }, "|", { type: "'b'", y: "number" }),
  intersection: () => type({ a: "string" }, "&", { b: "number" }),
  regex: () => type(/^[a-z]+$/),
  boolean: () => type("boolean"),
}, (one) => one.toJsonSchema());

each(`effect ${version("effect")}`, {
  string: () => S.String,
  number: () => S.Number,
  boolean: () => S.Boolean,
  int: () => S.Int,
  positive: () => S.Number.pipe(S.positive()),
  between: () => S.Number.pipe(S.between(0, 1)),
  length: () => S.String.pipe(S.minLength(1), S.maxLength(9)),
  nonEmpty: () => S.NonEmptyString,
  pattern: () => S.String.pipe(S.pattern(/^[a-z]+$/)),
  uuid: () => S.UUID,
  literal: () => S.Literal("a", "b"),
  mixed: () => S.Literal("a", 1, true, null),
  nullOr: () => S.NullOr(S.String),
  optional: () => S.Struct({ a: S.optional(S.String) }),
  struct: () => S.Struct({ a: S.String, b: S.Number }),
  array: () => S.Array(S.String),
  nonEmptyArray: () => S.NonEmptyArray(S.Number),
  tuple: () => S.Tuple(S.String, S.Number),
  record: () => S.Record({ key: S.String, value: S.Number }),
  recordPattern: () => S.Record({ key: S.String.pipe(S.pattern(/^x/)), value: S.Number }),
  union: () => S.Union(S.Struct({ _tag: S.Literal("a"), x: S.String }), S.Struct({ _tag: S.Literal("b") })),
  recursive: () => {
    const node = S.Struct({ v: S.Number, next: S.NullOr(S.suspend(() => node)) }).annotations({ identifier: "Node" });
    return node;
  },
  enums: () => S.Enums({ A: "a", B: 1 }),
  template: () => S.TemplateLiteral("v", S.Number),
  unknown: () => S.Unknown,
  object: () => S.Object,
  date: () => S.DateFromString,
}, (one) => JSONSchema.make(one));
