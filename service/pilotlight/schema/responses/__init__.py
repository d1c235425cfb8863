"""Responses: OpenAI's other request for an answer, its answer, and the events of a stream."""
