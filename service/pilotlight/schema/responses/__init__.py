"""OpenAI's responses: request, items, response, events of a stream."""
