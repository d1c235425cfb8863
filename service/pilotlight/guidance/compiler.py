"""A grammar for a vocabulary, compiled once, and a guide for each answer."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from pilotlight.guidance.build import build, supported
from pilotlight.guidance.deep_stack import on_deep_stack
from pilotlight.guidance.errors import GrammarInvalid
from pilotlight.guidance.faults import fault_in
from pilotlight.guidance.grammar import Grammar, JsonSchema, Thought
from pilotlight.guidance.tokens import Tokens
from pilotlight_backend import Guide

if TYPE_CHECKING:
    from llguidance import LLMatcher

Guides: TypeAlias = Callable[[], Guide]
"""Makes a guide that nobody has used: each answer needs its own."""

_SILENT = 0
_CANNOT = "the grammar cannot be honoured: "
_NO_DETAILS = "<non-verbose/>"
"""What llguidance puts in place of its state."""


def compile_grammar(grammar: Grammar, tokens: Tokens) -> Guides:
    """Compile *grammar* for the model of *tokens*; some milliseconds mostly, so on a thread.

    The limits on a grammar, ours and llguidance's, end what is meant to be expensive after a second
    or two. Raises `GrammarInvalid` for a grammar that cannot be honoured, and `ValueError` for a
    budget without the tokens that close a thought.
    """
    from pilotlight.guidance.guides import (  # noqa: PLC0415 - a start does without numpy
        BudgetedThought,
        FreeGuide,
        MatcherGuide,
        OpenGuide,
    )

    text = build(grammar)
    try:
        matcher = None if text is None else _kept_matcher(text, tokens)
    except GrammarInvalid:
        if isinstance(grammar.body, JsonSchema):
            check_compiles(grammar.body.schema, tokens, strict=grammar.body.strict)
        raise
    thought, pieces = grammar.thought, tokens.vocabulary.pieces
    budget = None if thought is None else thought.budget
    if thought is not None and budget is not None:
        _check_closing(thought, pieces)

    def content() -> Guide:
        if matcher is None:
            return FreeGuide()
        made = MatcherGuide(matcher.deep_copy(), len(pieces))
        is_open = grammar.open is not None and grammar.body is None and grammar.calls is None
        if not is_open or grammar.open is None:
            return made
        return OpenGuide(made, grammar.open.thinking(), pieces, parallel=grammar.open.parallel)

    def guide() -> Guide:
        made = content()
        if thought is None or budget is None:
            return made
        return BudgetedThought(made, thought, budget, pieces)

    return guide


def _kept_matcher(text: str, tokens: Tokens) -> "LLMatcher":
    """Return a matcher of *text*, kept from an earlier request: agents send their tools each time.

    Nobody may feed it; copies share what it has learnt of its tokens.
    """
    found: LLMatcher | None = tokens.compiled.get(text)
    if found is None:
        found = on_deep_stack(lambda: _matcher(text, tokens))
        tokens.compiled.put(text, found)
    return found


def check_compiles(schema: Any, tokens: Tokens, *, strict: bool = True) -> None:
    """Raise `GrammarInvalid` with the place of what keeps *schema* from being compiled.

    Milliseconds, and a second at the most where it does not compile.
    """

    def fails(part: Any) -> str | None:
        try:
            text = build(Grammar(body=JsonSchema(part, strict=strict)))
            on_deep_stack(lambda: _matcher(text or "", tokens))
        except GrammarInvalid as error:
            return str(error).removeprefix(_CANNOT)
        return None

    supported(schema, strict=strict)
    if (fault := fault_in(schema, fails)) is not None:
        raise fault


def _matcher(text: str, tokens: Tokens) -> "LLMatcher":
    """Return a matcher before its first token, which every grammar must allow one of."""
    from llguidance import LLMatcher, LLParserLimits  # noqa: PLC0415 - a start does without it

    limits = LLParserLimits(verbose_errors=False)  # else they hold the whole grammar, and its state
    matcher = LLMatcher(tokens.tokenizer, text, log_level=_SILENT, limits=limits)
    if matcher.is_error():
        raise GrammarInvalid(f"{_CANNOT}{_reason(matcher)}")
    probe = matcher.deep_copy()
    allowed = probe.compute_bitmask()
    if probe.is_error() or not any(allowed):
        raise GrammarInvalid(
            f"{_CANNOT}no text keeps to it, or it is too complex ({_reason(probe)})"
        )
    return matcher


def _reason(matcher: "LLMatcher") -> str:
    return matcher.get_error().removesuffix(_NO_DETAILS).strip()


def _check_closing(thought: Thought, pieces: tuple[bytes, ...]) -> None:
    spelled = b"".join(pieces[token] for token in thought.closing)
    if thought.closer.encode() not in spelled:
        raise ValueError(f"the tokens that close a thought spell {spelled!r}: no {thought.closer}")
