"""What an output must match, as plain values; `build` translates them for llguidance."""

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from msgspec import Struct


class JsonSchema(Struct, frozen=True):
    """A JSON value that is valid by *schema*, with properties in the order of the schema."""

    schema: Any
    """As decoded from JSON: an object, or true for any value."""
    strict: bool = True
    """Whether an unknown `format` is refused; otherwise it is an annotation."""


class JsonObject(Struct, frozen=True):
    """Any JSON object."""


class Regex(Struct, frozen=True):
    """A text that *pattern* matches as a whole, in the syntax of Rust's `regex`."""

    pattern: str


class Lark(Struct, frozen=True):
    """A grammar in llguidance's Lark, from the rule `start`."""

    text: str


class Gbnf(Struct, frozen=True):
    """A grammar in llama.cpp's GBNF, from the rule `root`."""

    text: str


class OneOf(Struct, frozen=True):
    """One of *texts*, exactly."""

    texts: tuple[str, ...]


ContentGrammar: TypeAlias = JsonSchema | JsonObject | Regex | Lark | Gbnf | OneOf


class Reasoning(Struct, frozen=True, kw_only=True):
    """The reasoning before the content: free text between two markers."""

    opener: str
    closer: str
    """Nothing is restricted up to here; the grammar begins behind it."""
    opened: bool
    """Whether the prompt opened the reasoning; otherwise the model may open it, or not reason."""
    budget: int | None = None
    """Tokens of reasoning until the closer is forced; None means no limit."""
    closing: tuple[int, ...] = ()
    """The tokens that the budget forces: the closer, and the whitespace that the model's template
    writes around it."""


class TracksReasoning(Protocol):
    """Follows an output and separates its reasoning from its content."""

    def feed(self, piece: bytes) -> None:
        """Take a token's bytes."""

    @property
    def in_reasoning(self) -> bool:
        """Whether the output is within reasoning, and no marker has begun that may end it."""


class LazyGrammar(Struct, frozen=True):
    """Free text in which a trigger begins tool calls, as in llama.cpp's lazy grammars."""

    rules: str
    """Rules in Lark; `tool_auto` matches the content."""
    tracker: Callable[[], TracksReasoning]
    """Returns a new tracker, for one output."""
    parallel: bool = True
    """Whether more than one call is allowed."""


class Grammar(Struct, frozen=True, kw_only=True):
    """An output: reasoning if the model reasons, then tool calls or the body; else free text."""

    content: ContentGrammar | None = None
    prefixes: tuple[str, ...] = ()
    """One of these precedes the body, in formats that mark the beginning of the content."""
    calls: str | None = None
    """Rules in Lark; `tool_calls` matches what may come instead of the body."""
    lazy: LazyGrammar | None = None
    """Matches the content if there is neither a body nor calls."""
    reasoning: Reasoning | None = None
