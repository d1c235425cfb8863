"""Grammars of tool calls, as Lark for llguidance."""
