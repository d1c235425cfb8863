"""Messages: Anthropic's request, its answer, and the events of a stream."""
