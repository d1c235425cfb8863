"""Control tokens are no text of an answer, but for those that its format is written with.

A model may sample `<|im_start|>` or `<|fim_pad|>` in the midst of an answer. Such tokens steer and
say nothing, so their names are left out, as llama-server does. Where a vocabulary makes control
tokens of the markers of reasoning and of calls (`[TOOL_CALLS]`, `<|channel|>`), their names go to
the parsers, which look for them. Tokens that the vocabulary calls user-defined are text.
"""

from collections.abc import Iterable

from msgspec import Struct

from pilotlight.output import reasoning, tool_calls

_READ = {"harmony": ("<|constrain|>", "<|return|>", "<|end|>"), "mistral_v11": ("[CALL_ID]",)}
"""By format, markers that are read and never asked for, so its grammar lacks them."""
_FUNCTION = tool_calls.Function(
    "f", {"type": "object", "properties": {"p": {"type": "string"}}, "required": ["p"]}
)


class Silent(Struct, frozen=True):
    """The bytes of the tokens that are left out of an answer."""

    text: frozenset[bytes] = frozenset()
    """Of a text's completion: all control tokens."""
    chat: frozenset[bytes] = frozenset()
    """Of an answer that is read for reasoning."""
    calls: frozenset[bytes] = frozenset()
    """Of one that is read for calls as well."""


def silent(names: Iterable[str], reasoning_format: str | None, call_format: str | None) -> Silent:
    """Return which of a model's control tokens, by their *names*, are left out of its answers."""
    names = frozenset(names)
    thought = reasoning.markers(reasoning_format)
    calls = () if call_format is None else _written(tool_calls.FORMATS[call_format])
    return Silent(
        text=_pieces(names, ()),
        chat=_pieces(names, thought),
        calls=_pieces(names, {*thought, *calls}),
    )


def _pieces(names: Iterable[str], markers: Iterable[str]) -> frozenset[bytes]:
    return frozenset(
        name.encode() for name in names if not any(name in marker for marker in markers)
    )


def _written(written: tool_calls.ToolCallFormat) -> tuple[str, ...]:
    """Return texts that hold all markers of calls: what opens them, and a call's whole grammar."""
    grammar = written.grammar([_FUNCTION], parallel=True)
    return (*written.openers, grammar.replace("\\", ""), *_READ.get(written.name, ()))
