"""Constrained decoding: grammars and JSON Schemas become guides for an engine.

    tokenizer = GuideTokenizer.of(engine.vocabulary())   # once for each model, on a thread
    guides = compile_grammar(grammar, tokenizer)         # once for each request, on a thread
    GenerateRequest(..., guide=guides())                 # a new one for each choice

llguidance computes in each step which tokens match a grammar. It and numpy are imported with the
first call: a start imports neither.
"""

from pilotlight.guidance.build import supported
from pilotlight.guidance.compiler import Guides, check_compiles, compile_grammar
from pilotlight.guidance.errors import GrammarInvalid, GuidanceError, SchemaUnsupported
from pilotlight.guidance.grammar import (
    ContentGrammar,
    Gbnf,
    Grammar,
    JsonObject,
    JsonSchema,
    Lark,
    LazyGrammar,
    OneOf,
    Reasoning,
    Regex,
    TracksReasoning,
)
from pilotlight.guidance.json_schema.check import check_size
from pilotlight.guidance.tokenizer import GuideTokenizer

__all__ = [
    "ContentGrammar",
    "Gbnf",
    "Grammar",
    "GrammarInvalid",
    "GuidanceError",
    "GuideTokenizer",
    "Guides",
    "JsonObject",
    "JsonSchema",
    "Lark",
    "LazyGrammar",
    "OneOf",
    "Reasoning",
    "Regex",
    "SchemaUnsupported",
    "TracksReasoning",
    "check_compiles",
    "check_size",
    "compile_grammar",
    "supported",
]
