"""One format of tool calls: how a chat template shows it, how it is read, how it is constrained."""

from collections.abc import Sequence

from msgspec import Struct

from pilotlight.output.tool_calls.grammars.lark import Function, GrammarWriter
from pilotlight.output.tool_calls.grammars.trigger import Trigger, lazy_rules
from pilotlight.output.tool_calls.readers.call_reader import ReaderFactory


class ToolCallFormat(Struct, frozen=True):
    """One way to write calls."""

    name: str
    signs: tuple[tuple[str, ...], ...]
    """The chat template of a model that writes this format contains all strings of one of these,"""
    lacks: tuple[str, ...]
    """and none of these, which are signs of others."""
    openers: tuple[str, ...]
    """Each begins a call wherever it is in content."""
    reader: ReaderFactory
    grammar: GrammarWriter
    """How a call is written, for constrained decoding."""
    triggers: tuple[Trigger, ...]
    """What begins a call in free text, as the readers have it."""
    never: str = ""
    """An expression of what readers take for a call and the grammar cannot go on from, where
    content begins or behind an opener; `$names` stands for the functions'."""
    goes_on: bool = True
    """Whether text may follow a call; not where a separator would be such text."""
    start: str | None = None
    """Begins a call too where the answer begins with it, whitespace aside; any text does "" ."""

    @property
    def markers(self) -> frozenset[str]:
        """The openers behind which the grammar holds, so that nothing but a call can follow."""
        fixed = {one.marker for one in self.triggers if not one.expression}
        return frozenset(self.openers) & fixed

    def lazy_grammar(
        self, functions: Sequence[Function], *, parallel: bool, closer: str = ""
    ) -> str:
        """Write the rules of `tool_auto`: free text, that may go over into calls.

        *closer* is what ends a thought before the content, in the format of the model's thoughts.
        """
        rules = lazy_rules(
            self.triggers,
            self.never,
            functions,
            goes_on=self.goes_on and parallel,
            closer=closer,
        )
        return rules + self.grammar(functions, parallel=parallel)

    def matches(self, chat_template: str) -> bool:
        """Tell whether a model with this template writes the format, as far as is seen."""
        return any(
            all(word in chat_template for word in words) for words in self.signs
        ) and not any(word in chat_template for word in self.lacks)
