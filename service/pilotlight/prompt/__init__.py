"""Prompts: conversations, chat templates, and the control tokens in their texts."""
