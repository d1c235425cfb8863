"""Output parsing: token bytes become text, reasoning, content and tool calls."""
