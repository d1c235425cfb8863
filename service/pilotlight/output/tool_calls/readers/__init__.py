"""Readers: each takes one tool call of a family of formats out of the text, piece by piece."""
