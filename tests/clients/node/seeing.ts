// What programs with OpenAI's client and with the AI SDK do with a picture:
// `CASE URL MODEL QUESTION PNG`, the picture in base64. Each case is what the model answers.

import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, streamText } from "ai";
import type { LanguageModel, ModelMessage } from "ai";
import OpenAI from "openai";
import type { ChatCompletionMessageParam } from "openai/resources/chat/completions";
import type { ResponseInput } from "openai/resources/responses/responses";
import { serve } from "./serve.js";

const KEY = { apiKey: "none" };

await serve(async (name, url, ...given) => {
  const [model, question, png] = given as [string, string, string];
  const baseURL = `${url}/v1`;
  const client = new OpenAI({ ...KEY, baseURL, maxRetries: 0 });
  const image = `data:image/png;base64,${png}`;
  const messages: ChatCompletionMessageParam[] = [
    {
      role: "user",
      content: [
        { type: "image_url", image_url: { url: image } },
        { type: "text", text: question },
      ],
    },
  ];
  const input: ResponseInput = [
    {
      role: "user",
      content: [
        { type: "input_image", image_url: image, detail: "auto" },
        { type: "input_text", text: question },
      ],
    },
  ];

  function sdk(of: LanguageModel) {
    const shown: ModelMessage[] = [
      {
        role: "user",
        content: [
          { type: "image", image: Buffer.from(png, "base64"), mediaType: "image/png" },
          { type: "text", text: question },
        ],
      },
    ];
    return { model: of, messages: shown, temperature: 0, maxRetries: 0 };
  }

  async function whole(of: LanguageModel): Promise<string> {
    return (await generateText(sdk(of))).text;
  }

  async function streamed(of: LanguageModel): Promise<string> {
    let text = "";
    for await (const part of streamText(sdk(of)).textStream) text += part;
    return text;
  }

  const compatible = createOpenAICompatible({ name: "pilotlight", baseURL, ...KEY })(model);
  const anthropic = createAnthropic({ baseURL, ...KEY })(model);
  const responses = createOpenAI({ baseURL, ...KEY }).responses(model);
  const cases: Record<string, () => Promise<string | null | undefined>> = {
    chat: async () => {
      const answer = await client.chat.completions.create({ model, messages, temperature: 0 });
      return answer.choices[0]?.message.content;
    },
    "chat streamed": async () => {
      const stream = client.chat.completions.stream({ model, messages, temperature: 0 });
      return stream.finalContent();
    },
    responses: async () => (await client.responses.create({ model, input, temperature: 0 })).output_text,
    "responses streamed": async () => {
      const stream = client.responses.stream({ model, input, temperature: 0 });
      return (await stream.finalResponse()).output_text;
    },
    "AI SDK chat": () => whole(compatible),
    "AI SDK chat streamed": () => streamed(compatible),
    "AI SDK responses": () => whole(responses),
    "AI SDK responses streamed": () => streamed(responses),
    "AI SDK messages": () => whole(anthropic),
    "AI SDK messages streamed": () => streamed(anthropic),
  };

  const wanted = cases[name];
  if (wanted === undefined) throw new Error(`there is no case ${name}`);
  return wanted();
});
