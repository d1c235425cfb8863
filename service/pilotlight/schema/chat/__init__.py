"""Chat completions: OpenAI's request with our additions, the answer, and the stream's chunks."""
