"""Compiles a grammar for a vocabulary once, and makes a guide for each choice."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from pilotlight.guidance.build import build, supported
from pilotlight.guidance.deep_stack import on_deep_stack
from pilotlight.guidance.errors import GrammarInvalid
from pilotlight.guidance.grammar import Grammar, JsonSchema, Reasoning
from pilotlight.guidance.json_schema.faults import fault_in
from pilotlight.guidance.tokenizer import GuideTokenizer
from pilotlight_backend import ForcingGuide

if TYPE_CHECKING:
    from llguidance import LLMatcher

Guides: TypeAlias = Callable[[], ForcingGuide]
"""Returns a new guide: each choice needs its own."""

_SILENT = 0
_CANNOT = "the grammar is not supported: "
_NO_DETAILS = "<non-verbose/>"
"""What llguidance writes in place of its state without `verbose_errors`."""


def compile_grammar(grammar: Grammar, tokenizer: GuideTokenizer) -> Guides:
    """Compile *grammar* for the vocabulary of *tokenizer*. Takes milliseconds: call it on a thread.

    The limits on a grammar, ours and llguidance's, stop a hostile one after a second or two. Raises
    `GrammarInvalid` for a grammar that is not supported, and `ValueError` for a reasoning budget
    whose closing tokens do not spell the closer.
    """
    from pilotlight.guidance.guides import (  # noqa: PLC0415 - a start does without numpy
        FreeGuide,
        LazyGuide,
        MatcherGuide,
        ReasoningBudgetGuide,
    )

    text = build(grammar)
    try:
        matcher = None if text is None else _cached_matcher(text, tokenizer)
    except GrammarInvalid:
        if isinstance(grammar.content, JsonSchema):
            check_compiles(grammar.content.schema, tokenizer, strict=grammar.content.strict)
        raise
    reasoning, pieces = grammar.reasoning, tokenizer.vocabulary.pieces
    budget = None if reasoning is None else reasoning.budget
    if reasoning is not None and budget is not None:
        _check_closing(reasoning, pieces)

    def content() -> ForcingGuide:
        if matcher is None:
            return FreeGuide()
        made = MatcherGuide(matcher.deep_copy(), len(pieces))
        lazy = grammar.lazy
        if lazy is None or grammar.content is not None or grammar.calls is not None:
            return made
        return LazyGuide(made, lazy.tracker(), pieces, parallel=lazy.parallel)

    def guide() -> ForcingGuide:
        made = content()
        if reasoning is None or budget is None:
            return made
        return ReasoningBudgetGuide(made, reasoning, budget, pieces)

    return guide


def _cached_matcher(text: str, tokenizer: GuideTokenizer) -> "LLMatcher":
    """Return a matcher of *text*, cached: agents send the same tools with every request.

    It must not consume tokens. Its copies share llguidance's lexer cache.
    """
    found: LLMatcher | None = tokenizer.compiled.get(text)
    if found is None:
        found = on_deep_stack(lambda: _matcher(text, tokenizer))
        tokenizer.compiled.put(text, found)
    return found


def check_compiles(schema: Any, tokenizer: GuideTokenizer, *, strict: bool = True) -> None:
    """Raise `GrammarInvalid` with the pointer to what keeps *schema* from compiling.

    Takes milliseconds, and up to a second if it does not compile.
    """

    def fails(part: Any) -> str | None:
        try:
            text = build(Grammar(content=JsonSchema(part, strict=strict)))
            on_deep_stack(lambda: _matcher(text or "", tokenizer))
        except GrammarInvalid as error:
            return str(error).removeprefix(_CANNOT)
        return None

    supported(schema, strict=strict)
    if (fault := fault_in(schema, fails)) is not None:
        raise fault


def _matcher(text: str, tokenizer: GuideTokenizer) -> "LLMatcher":
    """Return a matcher in its initial state; raises `GrammarInvalid` if it allows no token."""
    from llguidance import LLMatcher, LLParserLimits  # noqa: PLC0415 - a start does without it

    limits = LLParserLimits(verbose_errors=False)  # else errors quote the whole grammar
    matcher = LLMatcher(tokenizer.native, text, log_level=_SILENT, limits=limits)
    if matcher.is_error():
        raise GrammarInvalid(f"{_CANNOT}{_reason(matcher)}")
    probe = matcher.deep_copy()
    allowed = probe.compute_bitmask()
    if probe.is_error() or not any(allowed):
        raise GrammarInvalid(
            f"{_CANNOT}no text matches it, or it is too complex ({_reason(probe)})"
        )
    return matcher


def _reason(matcher: "LLMatcher") -> str:
    return matcher.get_error().removesuffix(_NO_DETAILS).strip()


def _check_closing(reasoning: Reasoning, pieces: tuple[bytes, ...]) -> None:
    spelled = b"".join(pieces[token] for token in reasoning.closing)
    if reasoning.closer.encode() not in spelled:
        raise ValueError(f"the closing tokens spell {spelled!r} without {reasoning.closer}")
