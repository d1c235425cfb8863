"""A grammar for a vocabulary, compiled once, and a guide for each answer."""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from pilotlight.guidance.build import build
from pilotlight.guidance.deep_stack import on_deep_stack
from pilotlight.guidance.errors import GrammarInvalid
from pilotlight.guidance.grammar import Grammar, Thought
from pilotlight.guidance.tokens import Tokens
from pilotlight_backend import Guide

if TYPE_CHECKING:
    from llguidance import LLMatcher

Guides: TypeAlias = Callable[[], Guide]
"""Makes a guide that nobody has used: each answer needs its own."""

_SILENT = 0
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
    )

    text = build(grammar)
    matcher = None if text is None else on_deep_stack(lambda: _matcher(text, tokens))
    thought, pieces = grammar.thought, tokens.vocabulary.pieces
    budget = None if thought is None else thought.budget
    if thought is not None and budget is not None:
        _check_closing(thought, pieces)

    def guide() -> Guide:
        made: Guide = (
            FreeGuide() if matcher is None else MatcherGuide(matcher.deep_copy(), len(pieces))
        )
        if thought is None or budget is None:
            return made
        return BudgetedThought(made, thought, budget, pieces)

    return guide


def _matcher(text: str, tokens: Tokens) -> "LLMatcher":
    """Return a matcher before its first token, which every grammar must allow one of."""
    from llguidance import LLMatcher, LLParserLimits  # noqa: PLC0415 - a start does without it

    limits = LLParserLimits(verbose_errors=False)  # else they hold the whole grammar, and its state
    matcher = LLMatcher(tokens.tokenizer, text, log_level=_SILENT, limits=limits)
    if matcher.is_error():
        raise GrammarInvalid(f"the grammar cannot be honoured: {_reason(matcher)}")
    probe = matcher.deep_copy()
    allowed = probe.compute_bitmask()
    if probe.is_error() or not any(allowed):
        raise GrammarInvalid(
            "the grammar cannot be honoured: no text keeps to it, or it is too complex"
            f" ({_reason(probe)})"
        )
    return matcher


def _reason(matcher: "LLMatcher") -> str:
    return matcher.get_error().removesuffix(_NO_DETAILS).strip()


def _check_closing(thought: Thought, pieces: tuple[bytes, ...]) -> None:
    spelled = b"".join(pieces[token] for token in thought.closing)
    if thought.closer.encode() not in spelled:
        raise ValueError(f"the tokens that close a thought spell {spelled!r}: no {thought.closer}")
