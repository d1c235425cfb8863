/** The parts of the page that need no browser. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { addChunk, canContinue, emptyAnswer, hasBegun } from "./page/answer.js";
import { gauge, parseMetrics, usageOf } from "./page/metrics.js";
import { defaultOptions, openCalls, requestOf, toolsOf } from "./page/request.js";
import { fieldsOf, schemaOf } from "./page/schema.js";
import { asCurl, asPython, asTypeScript } from "./page/snippets.js";
import { EventParser } from "./page/sse.js";
import { exported, imported } from "./page/store.js";
import { duration, parseServerTiming, summary, timeline } from "./page/timing.js";

const TARGET = {
  origin: "http://localhost:8080/",
  chatPath: "v1/chat/completions",
  needsKey: false,
};

/** @param {object} [fields] */
function conversation(fields) {
  return {
    id: "c",
    title: "",
    updated: 0,
    model: "m",
    options: defaultOptions(),
    messages: [],
    ...fields,
  };
}

/** @param {string} content @param {string[]} [images] */
function user(content, images = []) {
  return { role: "user", content, images };
}

/** @param {object} fields */
function assistant(fields) {
  return { ...emptyAnswer("m"), finish: "stop", ...fields };
}

// ── events ──────────────────────────────────────────────────────────────────────────────────────

test("events are the same however the stream is cut", () => {
  const text =
    ': a comment\n\ndata: {"a":1}\r\n\r\nevent: x\ndata: one\ndata: two\n\ndata:[DONE]\n\n';
  const expected = [
    { kind: "comment", text: "a comment" },
    { kind: "data", text: '{"a":1}' },
    { kind: "data", text: "one\ntwo" },
    { kind: "data", text: "[DONE]" },
  ];
  for (const size of [1, 2, 7, text.length]) {
    const parser = new EventParser();
    const pieces = text.match(new RegExp(`[^]{1,${size}}`, "g")) ?? [];
    assert.deepEqual(
      pieces.flatMap((piece) => parser.push(piece)),
      expected,
    );
  }
});

test("an event that is not ended is not reported", () => {
  assert.deepEqual(new EventParser().push("data: half"), []);
  assert.deepEqual(new EventParser().push("data: whole line\n"), []);
});

// ── answers ─────────────────────────────────────────────────────────────────────────────────────

test("chunks become one message", () => {
  const answer = emptyAnswer("m");
  const deltas = [
    { role: "assistant", content: "" },
    { reasoning_content: "Hm" },
    { reasoning_content: "m." },
    { content: "He" },
    { content: "llo" },
    {
      tool_calls: [
        { index: 0, id: "c1", type: "function", function: { name: "f", arguments: "" } },
      ],
    },
    { tool_calls: [{ index: 0, function: { arguments: '{"a"' } }] },
    { tool_calls: [{ index: 0, function: { arguments: ":1}" } }] },
  ];
  assert.equal(hasBegun(answer), false);
  for (const delta of deltas)
    assert.equal(addChunk(answer, { choices: [{ delta, finish_reason: null }] }), null);
  addChunk(answer, { choices: [{ delta: {}, finish_reason: "tool_calls" }] });
  addChunk(answer, {
    choices: [],
    usage: {
      prompt_tokens: 7,
      completion_tokens: 5,
      prompt_tokens_details: { cached_tokens: 3 },
      completion_tokens_details: { reasoning_tokens: 2 },
    },
  });
  assert.equal(answer.content, "Hello");
  assert.equal(answer.reasoning, "Hmm.");
  assert.deepEqual(answer.toolCalls, [{ id: "c1", name: "f", arguments: '{"a":1}' }]);
  assert.equal(answer.finish, "tool_calls");
  assert.deepEqual(answer.usage, { prompt: 7, cached: 3, completion: 5, reasoning: 2 });
  assert.equal(hasBegun(answer), true);
});

test("a chunk about the load says how far it is", () => {
  const loading = { state: "loading", progress: 0.5, retry_after: 2, phase: "read" };
  assert.deepEqual(addChunk(emptyAnswer("m"), { choices: [], loading }), {
    state: "loading",
    progress: 0.5,
    retryAfter: 2,
    phase: "read",
  });
});

test("an error in a stream is kept with what came before it", () => {
  const answer = emptyAnswer("m");
  addChunk(answer, { choices: [{ delta: { content: "Half" } }] });
  addChunk(answer, { error: { message: "the engine failed", code: "inference_error" } });
  assert.equal(answer.content, "Half");
  assert.equal(answer.error, "the engine failed");
});

test("only an answer that was cut can be continued", () => {
  assert.equal(canContinue(assistant({ content: "Half", finish: null })), true);
  assert.equal(canContinue(assistant({ content: "Half", finish: "length" })), true);
  assert.equal(canContinue(assistant({ content: "Whole", finish: "stop" })), false);
  assert.equal(canContinue(assistant({ content: "", finish: null })), false);
});

// ── requests ────────────────────────────────────────────────────────────────────────────────────

test("a request has only what was set", () => {
  assert.deepEqual(requestOf(conversation({ messages: [user("hi")] })), {
    model: "m",
    messages: [{ role: "user", content: "hi" }],
  });
});

test("a request has every option", () => {
  const options = {
    system: "Be brief.",
    temperature: 0,
    topP: 0.5,
    topK: 0,
    minP: 0.1,
    maxTokens: 9,
    seed: 0,
    reasoning: "none",
    tools: '{"name": "f", "parameters": {}}',
    schema: '{"type": "object"}',
  };
  assert.deepEqual(requestOf(conversation({ options, messages: [user("hi")] })), {
    model: "m",
    messages: [
      { role: "system", content: "Be brief." },
      { role: "user", content: "hi" },
    ],
    temperature: 0,
    top_p: 0.5,
    top_k: 0,
    min_p: 0.1,
    max_completion_tokens: 9,
    seed: 0,
    reasoning_effort: "none",
    tools: [{ type: "function", function: { name: "f", parameters: {} } }],
    response_format: {
      type: "json_schema",
      json_schema: { name: "response", schema: { type: "object" } },
    },
  });
});

test("images come before the text, and alone if there is none", () => {
  const image = { type: "image_url", image_url: { url: "data:image/png;base64,AA" } };
  const [both, alone] = requestOf(
    conversation({
      messages: [user("What?", [image.image_url.url]), user("", [image.image_url.url])],
    }),
  ).messages;
  assert.deepEqual(both.content, [image, { type: "text", text: "What?" }]);
  assert.deepEqual(alone.content, [image]);
});

test("calls and their results are sent back, failed answers are not", () => {
  const calls = [{ id: "c1", name: "f", arguments: "{}" }];
  const messages = [
    user("hi"),
    assistant({ error: "the server cannot be reached" }),
    assistant({ toolCalls: calls, reasoning: "Hm." }),
    { role: "tool", callId: "c1", content: "42" },
  ];
  assert.deepEqual(requestOf(conversation({ messages })).messages, [
    { role: "user", content: "hi" },
    {
      role: "assistant",
      content: "",
      reasoning_content: "Hm.",
      tool_calls: [{ id: "c1", type: "function", function: { name: "f", arguments: "{}" } }],
    },
    { role: "tool", tool_call_id: "c1", content: "42" },
  ]);
  assert.deepEqual(openCalls(messages.slice(0, 3)), calls);
  assert.deepEqual(openCalls(messages), []);
});

test("tools may be one function, a list, or OpenAI's objects", () => {
  const whole = { type: "function", function: { name: "f" } };
  assert.deepEqual(toolsOf('{"name": "f"}'), [whole]);
  assert.deepEqual(toolsOf(JSON.stringify([whole, { name: "f" }])), [whole, whole]);
  assert.throws(() => toolsOf("{"), SyntaxError);
});

// ── schemas ─────────────────────────────────────────────────────────────────────────────────────

test("fields become a schema and back", () => {
  const fields = [
    { name: "city", type: "text", required: true },
    { name: "sunny", type: "yes or no", required: false },
    { name: "tags", type: "list of texts", required: true },
  ];
  const schema = schemaOf(fields);
  assert.deepEqual(JSON.parse(schema).required, ["city", "tags"]);
  assert.deepEqual(fieldsOf(schema), fields);
  assert.equal(schemaOf([{ name: " ", type: "text", required: true }]), "");
  assert.deepEqual(fieldsOf(""), []);
});

test("a schema that rows cannot say stays a text", () => {
  assert.equal(fieldsOf('{"type": "array"}'), null);
  assert.equal(fieldsOf('{"properties": {"a": {"type": "string", "minLength": 1}}}'), null);
  assert.equal(fieldsOf("{"), null);
  assert.equal(fieldsOf("null"), null);
});

// ── snippets ────────────────────────────────────────────────────────────────────────────────────

test("snippets of a short request", () => {
  const body = { model: "m", messages: [{ role: "user", content: "It's 2+2?" }], top_k: 1 };
  assert.equal(
    asCurl(body, TARGET),
    `curl 'http://localhost:8080/v1/chat/completions' \\
  -H 'Content-Type: application/json' \\
  -d '{
  "model": "m",
  "messages": [{"role": "user", "content": "It'\\''s 2+2?"}],
  "top_k": 1
}'`,
  );
  assert.equal(
    asPython(body, TARGET),
    `from openai import OpenAI

client = OpenAI(base_url="http://localhost:8080/v1", api_key="none")
completion = client.chat.completions.create(
    model="m",
    messages=[{"role": "user", "content": "It's 2+2?"}],
    extra_body={"top_k": 1},
)
print(completion.choices[0].message.content)`,
  );
  assert.match(asTypeScript(body, TARGET), /^ {2}\.\.\.\(\{"top_k": 1\} as object\),$/m);
});

test("snippets read a key from a variable", () => {
  for (const write of [asCurl, asPython, asTypeScript]) {
    assert.match(
      write({ model: "m", messages: [] }, { ...TARGET, needsKey: true }),
      /PILOTLIGHT_KEY/,
    );
  }
});

test("Python has its own names for null, true and false", () => {
  const schema = { const: [null, true, false], text: "\ud800", long: "x".repeat(90) };
  const python = asPython({ model: "m", response_format: schema }, TARGET);
  assert.match(python, /\[None, True, False\]/);
  assert.match(python, /"\\ud800"/);
});

// ── conversations as files ──────────────────────────────────────────────────────────────────────

test("an exported conversation comes back", () => {
  const one = conversation({
    title: "T",
    messages: [user("hi"), assistant({ content: "Hello." })],
  });
  assert.deepEqual(imported(exported([one])), [one]);
});

test("options of an imported conversation are of their types", () => {
  const options = { system: 5, temperature: 0.5, topK: "9", schema: "{}", unknown: 1 };
  const [one] = imported(exported([conversation({ options })]));
  assert.deepEqual(one.options, { ...defaultOptions(), temperature: 0.5, schema: "{}" });
});

test("a file of something else is refused with a reason", () => {
  assert.throws(() => imported("nonsense"), /not JSON/);
  assert.throws(() => imported('{"format": "other"}'), /no conversations/);
  const file = (/** @type {any} */ given) =>
    JSON.stringify({ format: "pilotlight-conversations", version: 1, conversations: [given] });
  assert.throws(() => imported(file({ id: "c" })), /conversations\[0\]/);
  const call = { id: "c1", name: "f", arguments: {} };
  const odd = assistant({ toolCalls: [call] });
  assert.throws(() => imported(file(conversation({ messages: [odd] }))), /conversations\[0\]/);
  const tracked = user("hi", ["https://elsewhere.example/pixel.png"]);
  assert.throws(() => imported(file(conversation({ messages: [tracked] }))), /conversations\[0\]/);
});

// ── timing ──────────────────────────────────────────────────────────────────────────────────────

const HEADER =
  "import;dur=430.0, begin;dur=432.1, read;dur=12.0, load;dur=36.0, warm;dur=5.0, hold;dur=61.0, queue;dur=0.5, prefill;dur=2.0, first_token;dur=63.5";

test("a cold start is laid out on one axis", () => {
  const phases = parseServerTiming(`server-timing: ${HEADER}`);
  assert.equal(phases.first_token, 63.5);
  const { segments, arrival } = timeline(phases, 100);
  assert.deepEqual(segments, [
    { name: "import", start: 0, end: 430, lane: 0 },
    { name: "read", start: 430, end: 442, lane: 0 },
    { name: "load", start: 442, end: 478, lane: 0 },
    { name: "warm", start: 478, end: 483, lane: 0 },
    { name: "queue", start: 483, end: 483.5, lane: 0 },
    { name: "prefill", start: 483.5, end: 485.5, lane: 0 },
    { name: "decode", start: 485.5, end: 585.5, lane: 0 },
  ]);
  assert.equal(arrival, 422);
});

test("a load that began during the import has a lane of its own", () => {
  const phases = { import: 400, begin: 100, read: 50, load: 100, hold: 20, first_token: 25 };
  const lanes = Object.fromEntries(timeline(phases, 0).segments.map((one) => [one.name, one]));
  assert.deepEqual(lanes.import, { name: "import", start: 0, end: 400, lane: 0 });
  assert.deepEqual(lanes.read, { name: "read", start: 100, end: 150, lane: 1 });
  assert.deepEqual(lanes.load, { name: "load", start: 150, end: 250, lane: 1 });
});

test("a server that was running already did not start for this answer", () => {
  const phases = {
    import: 400,
    begin: 60_000,
    read: 10,
    load: 30,
    warm: 5,
    hold: 45,
    prefill: 5,
    first_token: 50,
  };
  assert.deepEqual(
    timeline(phases, 0).segments.map((one) => one.name),
    ["read", "load", "warm", "prefill"],
  );
});

test("a warm answer has no load", () => {
  const { segments } = timeline({ queue: 0, prefill: 8, first_token: 9 }, 100);
  assert.deepEqual(segments, [
    { name: "prefill", start: 0, end: 8, lane: 0 },
    { name: "decode", start: 9, end: 109, lane: 0 },
  ]);
  assert.deepEqual(timeline({ first_token: 9 }, 100).segments, [
    { name: "first", start: 0, end: 9, lane: 0 },
    { name: "decode", start: 9, end: 109, lane: 0 },
  ]);
});

test("figures of an answer", () => {
  const usage = { prompt: 20, cached: 16, completion: 41, reasoning: 0 };
  const answer = assistant({ usage, timing: { first_token: 63.5 }, decodeMs: 1000 });
  assert.equal(summary(answer), "64 ms to first token · 40 tokens/s · 41 tokens · 16 of 20 cached");
  assert.equal(summary(emptyAnswer("m")), "");
  assert.deepEqual([3.14, 314, 3140].map(duration), ["3.1 ms", "314 ms", "3.14 s"]);
});

// ── metrics ─────────────────────────────────────────────────────────────────────────────────────

test("metrics are parsed, odd names included", () => {
  const samples = parseMetrics(`# HELP pilotlight_slots Slots.
# TYPE pilotlight_slots gauge
pilotlight_slots{model="a \\"b\\", c\\\\d"} 4.0
pilotlight_prompt_tokens_total{model="m"} 1e+03
pilotlight_time_to_first_token_seconds_bucket{le="+Inf",model="m"} 2.0
pilotlight_time_to_first_token_seconds_sum{model="m"} 3.0
pilotlight_time_to_first_token_seconds_count{model="m"} 2.0
pilotlight_start_seconds 0.5
`);
  assert.equal(samples[0].labels.model, 'a "b", c\\d');
  assert.equal(usageOf(samples, 'a "b", c\\d').slots, 4);
  const usage = usageOf(samples, "m");
  assert.equal(usage.promptTokens, 1000);
  assert.equal(usage.firstToken, 1.5);
  assert.equal(usage.tokensPerSecond, null);
  assert.equal(gauge(samples, "pilotlight_start_seconds"), 0.5);
  assert.equal(gauge(samples, "nothing"), null);
});
