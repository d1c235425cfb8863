"""OpenAI's chat completions: request, messages, completion, chunks."""
