"""From a grammar to a guide: what an answer may say, and how long it may think first.

    tokens = Tokens.of(engine.vocabulary())              # once for each model, on a thread
    guides = compile_grammar(grammar, tokens)            # once for each request, on a thread
    GenerateRequest(..., guide=guides())                 # a fresh one for each choice

llguidance says in each step which tokens keep to a grammar. It and numpy are imported when the
first of these is called: a start imports neither.
"""

from pilotlight.guidance.build import supported
from pilotlight.guidance.compiler import Guides, check_compiles, compile_grammar
from pilotlight.guidance.errors import GrammarInvalid, GuidanceError, SchemaUnsupported
from pilotlight.guidance.grammar import (
    Body,
    Choices,
    Gbnf,
    Grammar,
    JsonObject,
    JsonSchema,
    Lark,
    Open,
    Regex,
    Thinking,
    Thought,
)
from pilotlight.guidance.schema import check_size
from pilotlight.guidance.tokens import Tokens

__all__ = [
    "Body",
    "Choices",
    "Gbnf",
    "Grammar",
    "GrammarInvalid",
    "GuidanceError",
    "Guides",
    "JsonObject",
    "JsonSchema",
    "Lark",
    "Open",
    "Regex",
    "SchemaUnsupported",
    "Thinking",
    "Thought",
    "Tokens",
    "check_compiles",
    "check_size",
    "compile_grammar",
    "supported",
]
