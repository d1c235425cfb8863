"""What an answer is to look like. Values alone; `build` makes them into llguidance's grammars."""

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from msgspec import Struct


class JsonSchema(Struct, frozen=True):
    """A JSON value that is valid by *schema*, in the order of its properties."""

    schema: Any
    """As decoded from JSON: an object, or true for any value."""
    strict: bool = True
    """Whether a format that is not known is refused; else it is an annotation."""


class JsonObject(Struct, frozen=True):
    """Any JSON object."""


class Regex(Struct, frozen=True):
    """A text that *pattern* matches whole, in the syntax of Rust's `regex`."""

    pattern: str


class Lark(Struct, frozen=True):
    """A grammar in llguidance's Lark; it begins at the rule `start`."""

    text: str


class Gbnf(Struct, frozen=True):
    """A grammar in llama.cpp's GBNF; it begins at the rule `root`."""

    text: str


class Choices(Struct, frozen=True):
    """One of *texts*, exactly."""

    texts: tuple[str, ...]


Body: TypeAlias = JsonSchema | JsonObject | Regex | Lark | Gbnf | Choices


class Thought(Struct, frozen=True, kw_only=True):
    """What a model thinks before its answer: free text between two markers."""

    opener: str
    closer: str
    """Up to here nothing is restricted; what the grammar says begins behind it."""
    opened: bool
    """Whether the prompt has opened the thought; else the model may open one, or answer at once."""
    budget: int | None = None
    """Tokens that it may think; then it is made to close. None leaves that to the model."""
    closing: tuple[int, ...] = ()
    """The tokens that close it, where there is a budget: the closer's own, and around it whitespace
    that the model's template writes there."""


class Thinking(Protocol):
    """Follows an answer, and knows its thoughts from its content."""

    def feed(self, piece: bytes) -> None:
        """Take a token's bytes."""

    @property
    def sure(self) -> bool:
        """Whether the answer is within a thought, and is not about to end it."""


class Open(Struct, frozen=True):
    """A free answer that may go over into calls."""

    rules: str
    """Rules in Lark, of which `tool_auto` is what content is."""
    thinking: Callable[[], Thinking]
    """Makes what follows one answer."""
    parallel: bool = True
    """Whether there may be more than one call."""


class Grammar(Struct, frozen=True, kw_only=True):
    """An answer: perhaps a thought, then calls or the body. Without either it is free."""

    body: Body | None = None
    lead: tuple[str, ...] = ()
    """One of these comes before the body, where the model's format has such."""
    calls: str | None = None
    """Rules in Lark, of which `tool_calls` is what may come instead of the body."""
    open: Open | None = None
    """What the content is where there is neither a body nor calls."""
    thought: Thought | None = None
