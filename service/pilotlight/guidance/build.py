"""Translates grammars to llguidance's JSON and Lark. Pure."""

import re
from typing import Any

import msgspec

from pilotlight.guidance.errors import GrammarInvalid
from pilotlight.guidance.grammar import (
    ContentGrammar,
    Gbnf,
    Grammar,
    JsonObject,
    JsonSchema,
    Lark,
    OneOf,
    Reasoning,
    Regex,
)
from pilotlight.guidance.json_schema.check import check_schema, simplified

MAX_TEXT = 64 * 1024
"""Characters of a grammar or a pattern, or of all texts of a `OneOf` together."""

MAX_GBNF_RULES = 1000
"""The conversion visits all rules once for each step of their longest chain of references."""

WHITESPACE = r"\x20|\r?\n(\x20{0,16}|\t{0,8})"
"""Whitespace between JSON tokens: a space, or a new line and its indentation.

Enough for what models write, and bounded: a weak model fills its output with spaces otherwise.
"""

_GAP = r"[\x20\t\r\n]{0,8}"
"""Whitespace between the reasoning and the content; the reasoning parser drops it."""

# Without this, llguidance forces text that is certain in the one tokenization that its tokenizer
# returns, and would need the model's. The model may write it in any tokenization.
_OPTIONS = '%llguidance {"no_forcing": true}\n'

_SCHEMA_OPTIONS = {"whitespace_pattern": WHITESPACE}


def build(grammar: Grammar) -> str | None:
    """Return *grammar* in llguidance's JSON; None if it restricts nothing.

    Raises `GrammarInvalid` for what can be checked without compiling.
    """
    parts: list[dict[str, Any]] = []
    ways = []
    if grammar.calls is not None:
        ways.append("@calls")
        parts.append({"name": "calls"} | _lark(f"start: tool_calls\n{grammar.calls}"))
    if grammar.content is not None:
        prefix = f"({' | '.join(map(_quoted, grammar.prefixes))}) " if grammar.prefixes else ""
        ways.append(f"{prefix}@body")
        parts.append({"name": "body"} | _body(grammar.content))
    if not ways:
        return None if grammar.lazy is None else _encoded(_lark(_lazy(grammar.lazy.rules)))
    start = {"lark_grammar": _start(grammar.reasoning, f"({' | '.join(ways)})")}
    return _encoded(start, *parts)


def _encoded(*parts: dict[str, Any]) -> str:
    return msgspec.json.encode({"grammars": parts}).decode()


def _lazy(rules: str) -> str:
    return f"start: tool_auto\n{rules}"


def _start(reasoning: Reasoning | None, content: str) -> str:
    """Return the start grammar: the reasoning, then the rules that *content* names."""
    if reasoning is None:
        return f"{_OPTIONS}start: {content}\n"
    closer = _quoted(reasoning.closer)
    if reasoning.opened:
        head, begins = "(reasoning GAP)", "TEXT"
    else:
        head, begins = "(reasoning GAP)?", f"GAP {_quoted(reasoning.opener)} TEXT"
    # Lazy: it ends at the first closer. The same token may go on with the body.
    return (
        f"{_OPTIONS}start: {head} {content}\n"
        f"reasoning[lazy]: {begins} {closer}\n"
        f"TEXT: /(?s:.*)/\nGAP: /{_GAP}/\n"
    )


def _body(body: ContentGrammar) -> dict[str, Any]:
    match body:
        case JsonSchema(schema, strict=strict):
            return {"json_schema": supported(schema, strict=strict)}
        case JsonObject():
            return {"json_schema": supported({"type": "object"})}
        case Regex(pattern):
            return _lark(f"start: /{_slashes_escaped(_short(pattern))}/")
        case Lark(text):
            return _lark(_short(text))
        case Gbnf(text):
            return _lark(_from_gbnf(_short(text)))
        case OneOf(texts):
            if not texts:
                raise GrammarInvalid("the list of choices is empty")
            _short("".join(texts))
            return _lark(f"start: {' | '.join(map(_quoted, texts))}")


def supported(schema: Any, *, strict: bool = True) -> Any:
    """Return *schema* rewritten for llguidance; raises `GrammarInvalid` with the fault's pointer.

    An unknown `format` is a fault only if *strict*.
    """
    check_schema(schema, strict=strict)
    return simplified(schema) | {"x-guidance": _SCHEMA_OPTIONS}


def _lark(text: str) -> dict[str, Any]:
    return {
        "lark_grammar": f"{text}\n{_OPTIONS}"
    }  # at the end: errors count the lines of the client


def _short(text: str) -> str:
    if len(text) > MAX_TEXT:
        raise GrammarInvalid(f"the grammar has {len(text)} characters; at most {MAX_TEXT}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise GrammarInvalid("the grammar has an unpaired surrogate") from None
    return text


def _quoted(text: str) -> str:
    """Return *text* as a string of Lark, which has JSON's escapes."""
    return msgspec.json.encode(text).decode()


def _slashes_escaped(pattern: str) -> str:
    r"""Return *pattern* as it is written between two slashes: `/` becomes `\/`, line ends `\n`."""
    escaped = re.sub(r"(?s)\\(.)|/", lambda found: found[0] if found[1] else r"\/", pattern)
    return escaped.replace("\n", r"\n").replace("\r", r"\r")


def _from_gbnf(text: str) -> str:
    from llguidance.gbnf_to_lark import gbnf_to_lark  # noqa: PLC0415 - a start does without it

    rules = text.count("::=")
    if rules > MAX_GBNF_RULES:
        raise GrammarInvalid(f"the grammar has {rules} rules; at most {MAX_GBNF_RULES}")
    try:
        return gbnf_to_lark(_spelled_out(text))
    except GrammarInvalid:
        raise
    except RecursionError:
        raise GrammarInvalid("the grammar is nested too deeply") from None
    except Exception as error:  # the converter raises plain `Exception` too
        raise GrammarInvalid(f"the grammar is not valid GBNF: {error}") from error


def _spelled_out(gbnf: str) -> str:
    r"""Return *gbnf* with `\u00E9` as the character: llguidance's converter drops the zeros."""

    def spell(found: re.Match[str]) -> str:
        digits = found[1] or found[2]
        if digits is None:
            return found[0]
        code = int(digits, 16)
        if code < 0x80:  # noqa: PLR2004 - ASCII, where some characters are syntax
            return f"\\x{code:02X}"
        if code > 0x10FFFF or 0xD800 <= code < 0xE000:  # noqa: PLR2004 - Unicode's limits
            raise GrammarInvalid(f"the grammar is not valid GBNF: {found[0]} is not a character")
        return chr(code)

    return re.sub(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|.)", spell, gbnf, flags=re.DOTALL)
