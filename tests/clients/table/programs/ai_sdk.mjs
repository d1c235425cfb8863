// The AI SDK through each of its providers for our three APIs. A line of JSON for each case.
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateObject, generateText, isStepCount, Output, streamObject, streamText, tool } from "ai";
import assert from "node:assert/strict";
import { z } from "zod";

globalThis.AI_SDK_LOG_WARNINGS = false;
const { CLIENT_URL: url, CLIENT_KEY: apiKey, CLIENT_MODEL: name } = process.env;
const baseURL = `${url}/v1`;
const openai = createOpenAI({ baseURL, apiKey });
const compatible = createOpenAICompatible({
  name: "pilotlight", baseURL, apiKey, includeUsage: true, supportsStructuredOutputs: true,
});
const anthropic = createAnthropic({ baseURL, apiKey });
const schema = z.object({ name: z.string(), age: z.number().int() });
const person = "Ada Lovelace is 36 years old. Who is that?";
const ada = { name: "Ada", age: 36 };
const weather = {
  prompt: "What is the weather in Paris?",
  tools: {
    get_weather: tool({
      description: "Get the weather of a city",
      inputSchema: z.object({ city: z.string() }),
      execute: async ({ city }) => `18 degrees in ${city}`,
    }),
  },
  stopWhen: isStepCount(3),
};

async function attempt(name, work) {
  let error = null;
  try {
    await work();
  } catch (raised) {
    console.error(raised);
    error = `${raised.name}: ${raised.message}`;
  }
  console.log(JSON.stringify({ case: name, error }));
}

async function answers(prefix, given) {
  await attempt(`${prefix}: generateText`, async () => {
    const { text } = await generateText({ ...given, prompt: "hi" });
    assert.equal(text, "Hello there.");
  });
  await attempt(`${prefix}: streamText`, async () => {
    const { textStream, usage } = streamText({ ...given, prompt: "hi" });
    let text = "";
    for await (const part of textStream) text += part;
    assert.equal(text, "Hello there.");
    assert.ok((await usage).outputTokens > 0);
  });
  await attempt(`${prefix}: generateObject`, async () => {
    const { object } = await generateObject({ ...given, schema, prompt: person });
    assert.deepEqual(object, ada);
  });
  await attempt(`${prefix}: streamObject`, async () => {
    const { object, partialObjectStream } = streamObject({ ...given, schema, prompt: person });
    for await (const part of partialObjectStream) assert.ok(part);
    assert.deepEqual(await object, ada);
  });
  await attempt(`${prefix}: Output.object with tools`, async () => {
    const { output } = await generateText({
      ...given, ...weather, prompt: person, output: Output.object({ schema }),
    });
    assert.deepEqual(output, ada);
  });
}

// A model that reasons before it calls a tool: the loop's second request sends that back.
async function loop(given) {
  const { text, steps } = await generateText({ ...given, ...weather });
  assert.match(text, /18 degrees/);
  assert.equal(steps.length, 2);
}

async function streamedLoop(given) {
  let text = "";
  for await (const part of streamText({ ...given, ...weather }).textStream) text += part;
  assert.match(text, /18 degrees/);
}

// A second turn sends the first one's messages back. OpenAI's provider shows no reasoning in chat,
// and for responses summaries of it alone, which a model of one's own does not make.
async function converse(given, reasoned) {
  const messages = [{ role: "user", content: "Think first." }];
  const first = await generateText({ ...given, messages });
  assert.equal(first.text, "I have thought.");
  assert.equal(first.reasoningText ?? null, reasoned);
  messages.push(...first.response.messages, { role: "user", content: "And now?" });
  const { text } = await generateText({ ...given, messages });
  assert.equal(text, "Hello there.");
}

async function cases(prefix, model, reasoned, options = {}) {
  const given = { model, maxRetries: 0, ...options };
  await answers(prefix, given);
  await attempt(`${prefix}: tool loop`, () => loop(given));
  await attempt(`${prefix}: streamed tool loop`, () => streamedLoop(given));
  await attempt(`${prefix}: second turn`, () => converse(given, reasoned));
}

const thought = "Let me think.";
await cases("openai-compatible", compatible(name), thought);
await cases("openai chat", openai.chat(name), null);
await cases("responses with `store: false`", openai.responses(name), null, {
  providerOptions: { openai: { store: false } },
});
await cases("anthropic", anthropic(name), thought);

// Without that setting it refers to what it takes for stored, and is told what to set.
const stored = { model: openai.responses(name), maxRetries: 0 };
await answers("responses", stored);
for (const [name, work] of [["tool loop", loop], ["second turn", (given) => converse(given, null)]]) {
  await attempt(`responses: refused ${name}`, () => assert.rejects(work(stored), /store: false/));
}
