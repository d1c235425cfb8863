// What a program with OpenAI's own client does: `CASE BASE_URL REQUEST [OPTIONS]`.
// What the client made of the answers is written as JSON, its errors under `error`.

import OpenAI from "openai";
import type { ClientOptions } from "openai";
import type {
  ChatCompletionChunk,
  ChatCompletionCreateParamsNonStreaming as Request,
} from "openai/resources/chat/completions";
import { serve } from "./serve.js";

await serve(async (name, baseURL, given, options = {}) => {
  const request = given as Request;
  const client = new OpenAI({
    baseURL,
    apiKey: "none",
    ...(options as ClientOptions),
  });

  async function chunks(): Promise<ChatCompletionChunk[]> {
    const told: ChatCompletionChunk[] = [];
    for await (const chunk of await client.chat.completions.create({ ...request, stream: true })) {
      told.push(chunk);
    }
    return told;
  }

  const cases: Record<string, () => Promise<unknown>> = {
    answer: () => client.chat.completions.create(request),
    stream: chunks,

    // The client's own accumulator, which throws where chunks do not make an answer.
    accumulated: () => client.chat.completions.stream({ ...request, stream: true }).finalChatCompletion(),

    // Tools that the client runs itself, and whose results it sends back until there is an answer.
    runTools: async () => {
      const cities: unknown[] = [];
      const runner = client.chat.completions.runTools({
        ...request,
        stream: false,
        tools: [
          {
            type: "function",
            function: {
              name: "get_weather",
              description: "Get the weather of a city",
              parameters: {
                type: "object",
                properties: { city: { type: "string" } },
                required: ["city"],
              },
              parse: JSON.parse as (text: string) => { city: string },
              function: ({ city }: { city: string }) => {
                cities.push(city);
                return "sunny";
              },
            },
          },
        ],
      });
      const content = await runner.finalContent();
      return { cities, content, roles: runner.messages.map((message) => message.role) };
    },

    // Leaves a stream after its first piece; the next request has to get the slot.
    abort: async () => {
      const left = await client.chat.completions.create({ ...request, stream: true });
      for await (const chunk of left) {
        if (chunk.choices[0]?.delta.content) break; // the client's iterator aborts its request
      }
      const controller = new AbortController();
      const aborted = client.chat.completions.create(request, { signal: controller.signal });
      setTimeout(() => controller.abort(), 200);
      const error = await aborted.then(
        () => null,
        (reason: unknown) => reason,
      );
      const next = await client.chat.completions.create({ ...request, max_tokens: 1 });
      return {
        error: error instanceof OpenAI.APIUserAbortError,
        finish_reason: next.choices[0]?.finish_reason,
      };
    },

    // The client's parser throws where an answer does not keep the schema.
    parsed: async () => {
      const answer = await client.chat.completions.parse({ ...request, stream: false });
      return answer.choices.map((choice) => choice.message.parsed);
    },

    completion: () =>
      client.completions.create({ model: request.model, prompt: "1, 2, 3,", max_tokens: 8, echo: true }),

    completions: async () => {
      const pieces: string[] = [];
      const stream = await client.completions.create({
        model: request.model,
        prompt: "1, 2, 3,",
        max_tokens: 8,
        temperature: 0,
        stream: true,
      });
      for await (const chunk of stream) pieces.push(chunk.choices[0]?.text ?? "");
      return pieces;
    },

    response: () => client.responses.create({ model: request.model, input: "What is 2+2?" }),

    // The client's own accumulator of events.
    responses: async () => {
      const stream = client.responses.stream({ model: request.model, input: "What is 2+2?" });
      const types: string[] = [];
      for await (const event of stream) types.push(event.type);
      return { types, final: await stream.finalResponse() };
    },

    // The client asks for base64 and makes numbers of it.
    embeddings: () => client.embeddings.create({ model: request.model, input: ["a dog", "a cat"] }),

    models: async () => {
      const ids: string[] = [];
      for await (const model of client.models.list()) ids.push(model.id);
      return { ids, first: await client.models.retrieve(ids[0] ?? "") };
    },
  };

  const wanted = cases[name];
  if (wanted === undefined) throw new Error(`there is no case ${name}`);
  try {
    return await wanted();
  } catch (error) {
    if (!(error instanceof OpenAI.APIError)) throw error;
    const { status, code, param, type, message } = error;
    return { error: { class: error.constructor.name, status, code, param, type, message } };
  }
});
