"""One format of tool calls: how a chat template shows it, how it is read, how it is constrained."""

from collections.abc import Sequence

from msgspec import Struct

from pilotlight.output.tool_calls.grammars.lark import Function, GrammarWriter
from pilotlight.output.tool_calls.grammars.trigger import Trigger, lazy_rules
from pilotlight.output.tool_calls.readers.call_reader import ReaderFactory


class ToolCallFormat(Struct, frozen=True):
    """One way in which models write tool calls."""

    name: str
    signs: tuple[tuple[str, ...], ...]
    """The chat template of a model with this format contains all strings of one of these,"""
    lacks: tuple[str, ...]
    """and none of these, which are signs of other formats."""
    openers: tuple[str, ...]
    """Tags that begin a call anywhere in content."""
    reader: ReaderFactory
    grammar: GrammarWriter
    """Writes the grammar of calls, for constrained decoding."""
    triggers: tuple[Trigger, ...]
    """What begins a call in free text; the readers must accept the same."""
    never: str = ""
    """A regex of beginnings of content that the reader takes for a call and the grammar cannot
    continue; `$names` stands for the functions' names. The grammar excludes them."""
    text_after_calls: bool = True
    """Whether text may follow a call; false if a separator between calls could be such text."""
    start: str | None = None
    """Begins a call at the start of the output, whitespace aside; "" means that any text does."""

    @property
    def markers(self) -> frozenset[str]:
        """The openers that are triggers: nothing but a call can follow them."""
        fixed = {one.marker for one in self.triggers if not one.expression}
        return frozenset(self.openers) & fixed

    def lazy_grammar(
        self, functions: Sequence[Function], *, parallel: bool, closer: str = ""
    ) -> str:
        """Return the rules of `tool_auto`: free text, in which a trigger begins calls.

        *closer* ends the reasoning before the content; "" if the model does not reason.
        """
        rules = lazy_rules(
            self.triggers,
            self.never,
            functions,
            text_after_calls=self.text_after_calls and parallel,
            closer=closer,
        )
        return rules + self.grammar(functions, parallel=parallel)

    def matches(self, chat_template: str) -> bool:
        """Return whether *chat_template* shows this format."""
        return any(
            all(word in chat_template for word in words) for words in self.signs
        ) and not any(word in chat_template for word in self.lacks)
