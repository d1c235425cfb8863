"""Anthropic's messages: request, content blocks, message, events of a stream."""
