// What a program does with types that openapi-typescript made of the document, and openapi-fetch:
// `CASE BASE_URL REQUEST`. What it got is written as JSON.

import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";
import { serve } from "./serve.js";

type Schemas = components["schemas"];
type Chunk = Schemas["ChatCompletionChunk"];

await serve(async (name, baseUrl, given) => {
  const request = given as Schemas["ChatCompletionRequest"];
  const client = createClient<paths>({ baseUrl });

  // A request as a person writes it: what has a default may be left out.
  const question: Schemas["ChatCompletionRequest"] = {
    model: "spark",
    messages: [
      { role: "system", content: "You are helpful." },
      { role: "user", content: [{ type: "text", text: "What is 2+2?" }] },
    ],
    tools: [{ type: "function", function: { name: "f", parameters: { type: "object" } } }],
    tool_choice: "none",
    temperature: 0,
  };

  async function ask(body: Schemas["ChatCompletionRequest"], wait?: string) {
    return client.POST("/v1/chat/completions", {
      body,
      params: wait === undefined ? {} : { header: { Prefer: `wait=${wait}` } },
    });
  }

  // A success is one of two media types; a program tells them apart by what it asked for.
  function said(completion: Schemas["ChatCompletion"] | { data: string }) {
    if (!("choices" in completion)) throw new Error("this is a stream");
    const [choice] = completion.choices;
    if (choice === undefined) throw new Error("there is no choice");
    // Every field of these is always there; the compiler holds the document to it.
    const object: "chat.completion" = completion.object;
    const role: "assistant" = choice.message.role;
    const index: number = choice.index;
    const total: number = completion.usage.total_tokens;
    return { object, role, index, total, reason: choice.finish_reason, content: choice.message.content };
  }

  async function* events(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
    const decoder = new TextDecoder();
    let text = "";
    for await (const bytes of body) {
      text += decoder.decode(bytes, { stream: true });
      for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
        if (text.startsWith("data: ")) yield text.slice(6, end);
        text = text.slice(end + 2);
      }
    }
  }

  const cases: Record<string, () => Promise<unknown>> = {
    question: async () => {
      const { data } = await ask(question);
      return data && said(data);
    },

    answer: async () => {
      const { data, error, response } = await ask(request);
      if (data !== undefined) return said(data);
      const { message, type, param, code } = error.error;
      return { status: response.status, message, type, param, code };
    },

    stream: async () => {
      const { data } = await client.POST("/v1/chat/completions", {
        body: { ...request, stream: true },
        parseAs: "stream",
      });
      if (!data) throw new Error("there is no stream");
      const pieces: string[] = [];
      let reason: Chunk["choices"][number]["finish_reason"] = null;
      for await (const event of events(data)) {
        if (event === "[DONE]") return { pieces, reason };
        const [choice] = (JSON.parse(event) as Chunk).choices;
        if (choice?.delta.content) pieces.push(choice.delta.content);
        reason = choice?.finish_reason ?? reason;
      }
      throw new Error("the stream has no end");
    },

    // This client knows no retries, so the program does what the headers say.
    patience: async () => {
      const statuses: number[] = [];
      for (;;) {
        const { data, error, response } = await ask(request, "1");
        statuses.push(response.status);
        if (data !== undefined) return { statuses, ...said(data) };
        if (error.error.code !== "model_loading") throw new Error(error.error.message);
        const seconds = Number(response.headers.get("Retry-After"));
        if (!(seconds >= 1)) throw new Error(`Retry-After is ${seconds}`);
        await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
      }
    },

    // Or it has the server hold its request for longer.
    held: async () => {
      const { data } = await ask(request, "30");
      return data && said(data);
    },

    models: async () => {
      const { data } = await client.GET("/v1/models");
      const [first] = data?.data ?? [];
      if (first === undefined) throw new Error("there is no model");
      const one = await client.GET("/v1/models/{model}", { params: { path: { model: first.id } } });
      const nobody = await client.GET("/v1/models/{model}", { params: { path: { model: "nobody" } } });
      return { first, same: one.data, nobody: nobody.error?.error.code };
    },

    health: async () => {
      const live = await client.GET("/livez");
      const ready = await client.GET("/readyz", { params: { query: { model: request.model } } });
      return { live: live.data?.status, ready: ready.data?.status };
    },
  };

  const wanted = cases[name];
  if (wanted === undefined) throw new Error(`there is no case ${name}`);
  return await wanted();
});
