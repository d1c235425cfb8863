"""Control tokens that are skipped in the output: all but the markers of the model's formats.

A model may sample `<|im_start|>` or `<|fim_pad|>` within its output. Such names are not text, so
they are skipped, as in llama-server and as vLLM's `skip_special_tokens` does. A vocabulary may
also make control tokens of the markers of reasoning and of tool calls (`[TOOL_CALLS]`,
`<|channel|>`): those go to the parsers. Tokens that GGUF marks as user-defined are text.
"""

from collections.abc import Iterable

from msgspec import Struct

from pilotlight.output import reasoning, tool_calls

_READ_ONLY = {"harmony": ("<|constrain|>", "<|return|>", "<|end|>"), "mistral_v11": ("[CALL_ID]",)}
"""Markers that a format's reader accepts, and its grammar never writes."""
_EXAMPLE = tool_calls.Function(
    "f", {"type": "object", "properties": {"p": {"type": "string"}}, "required": ["p"]}
)


class SkippedTokens(Struct, frozen=True):
    """The bytes of the tokens that are skipped, by what the output is parsed for."""

    text: frozenset[bytes] = frozenset()
    """Text completions: all control tokens."""
    chat: frozenset[bytes] = frozenset()
    """Chat: all but the markers of reasoning."""
    tool_calls: frozenset[bytes] = frozenset()
    """Chat with tools: all but the markers of reasoning and of tool calls."""


def skipped_tokens(
    names: Iterable[str], reasoning_format: str | None, call_format: str | None
) -> SkippedTokens:
    """Return which control tokens of these *names* are skipped in a model's output."""
    names = frozenset(names)
    thinking = reasoning.markers(reasoning_format)
    calls = () if call_format is None else _written(tool_calls.FORMATS[call_format])
    return SkippedTokens(
        text=_pieces(names, ()),
        chat=_pieces(names, thinking),
        tool_calls=_pieces(names, {*thinking, *calls}),
    )


def _pieces(names: Iterable[str], markers: Iterable[str]) -> frozenset[bytes]:
    return frozenset(
        name.encode() for name in names if not any(name in marker for marker in markers)
    )


def _written(written: tool_calls.ToolCallFormat) -> tuple[str, ...]:
    """Return texts that contain all markers of a format: its openers, and its whole grammar."""
    grammar = written.grammar([_EXAMPLE], parallel=True)
    return (*written.openers, grammar.replace("\\", ""), *_READ_ONLY.get(written.name, ()))
