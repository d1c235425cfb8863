"""From token pieces to events: text, then reasoning, then tool calls."""
