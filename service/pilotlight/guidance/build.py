"""Grammars as llguidance reads them. Pure."""

import re
from typing import Any

import msgspec

from pilotlight.guidance.errors import GrammarInvalid
from pilotlight.guidance.grammar import (
    Body,
    Choices,
    Gbnf,
    Grammar,
    JsonObject,
    JsonSchema,
    Lark,
    Regex,
    Thought,
)
from pilotlight.guidance.schema import check_schema, simplified

MAX_TEXT = 64 * 1024
"""Characters of a grammar or an expression, or of all choices together."""

MAX_GBNF_RULES = 1000
"""The conversion goes over all rules as often as they lead to each other in a row."""

WHITESPACE = r"\x20|\r?\n(\x20{0,16}|\t{0,8})"
"""Where JSON may have whitespace: a space, or a new line and its indentation.

All that people and models write, and an end to it: a weak model would fill its answer with spaces.
"""

_GAP = r"[\x20\t\r\n]{0,8}"
"""What may stand between a thought and the answer; the reasoning parser drops it."""

# A model chooses among all ways to spell what may come: without this, llguidance would have text
# that is certain spelled in the one way that its tokeniser knows, and so needs the model's.
_OPTIONS = '%llguidance {"no_forcing": true}\n'

_SCHEMA_OPTIONS = {"whitespace_pattern": WHITESPACE}


def build(grammar: Grammar) -> str | None:
    """Return *grammar* in llguidance's JSON; None where it restricts nothing.

    Raises `GrammarInvalid` for what can be told without compiling.
    """
    parts: list[dict[str, Any]] = []
    ways = []
    if grammar.calls is not None:
        ways.append("@calls")
        parts.append({"name": "calls"} | _lark(f"start: tool_calls\n{grammar.calls}"))
    if grammar.body is not None:
        lead = f"({' | '.join(map(_quoted, grammar.lead))}) " if grammar.lead else ""
        ways.append(f"{lead}@body")
        parts.append({"name": "body"} | _body(grammar.body))
    if not ways:
        return None if grammar.open is None else _encoded(_lark(_open(grammar.open.rules)))
    start = {"lark_grammar": _start(grammar.thought, f"({' | '.join(ways)})")}
    return _encoded(start, *parts)


def _encoded(*parts: dict[str, Any]) -> str:
    return msgspec.json.encode({"grammars": parts}).decode()


def _open(rules: str) -> str:
    return f"start: tool_auto\n{rules}"


def _start(thought: Thought | None, answer: str) -> str:
    """Return the grammar that calls and body are put into, as *answer* names them."""
    if thought is None:
        return f"{_OPTIONS}start: {answer}\n"
    closer = _quoted(thought.closer)
    if thought.opened:
        head, begins = "(thought GAP)", "TEXT"
    else:
        head, begins = "(thought GAP)?", f"GAP {_quoted(thought.opener)} TEXT"
    # Lazy: it ends with the first closer. Behind it the body's first token may have begun.
    return (
        f"{_OPTIONS}start: {head} {answer}\n"
        f"thought[lazy]: {begins} {closer}\n"
        f"TEXT: /(?s:.*)/\nGAP: /{_GAP}/\n"
    )


def _body(body: Body) -> dict[str, Any]:
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
        case Choices(texts):
            if not texts:
                raise GrammarInvalid("there are no choices to choose from")
            _short("".join(texts))
            return _lark(f"start: {' | '.join(map(_quoted, texts))}")


def supported(schema: Any, *, strict: bool = True) -> Any:
    """Return *schema* as llguidance takes it; raises `GrammarInvalid` with the place of a fault.

    Formats that are not known are a fault only where the caller is *strict*.
    """
    check_schema(schema, strict=strict)
    return simplified(schema) | {"x-guidance": _SCHEMA_OPTIONS}


def _lark(text: str) -> dict[str, Any]:
    return {"lark_grammar": f"{text}\n{_OPTIONS}"}  # behind it: errors name the caller's lines


def _short(text: str) -> str:
    if len(text) > MAX_TEXT:
        raise GrammarInvalid(f"the grammar has {len(text)} characters, more than {MAX_TEXT}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise GrammarInvalid("the grammar has half a surrogate pair, which is no text") from None
    return text


def _quoted(text: str) -> str:
    """Return *text* as a string of Lark, whose escapes are JSON's."""
    return msgspec.json.encode(text).decode()


def _slashes_escaped(pattern: str) -> str:
    r"""Return *pattern* for between two slashes: its own become `\/`, and line ends `\n`."""
    escaped = re.sub(r"(?s)\\(.)|/", lambda found: found[0] if found[1] else r"\/", pattern)
    return escaped.replace("\n", r"\n").replace("\r", r"\r")


def _from_gbnf(text: str) -> str:
    from llguidance.gbnf_to_lark import gbnf_to_lark  # noqa: PLC0415 - a start does without it

    rules = text.count("::=")
    if rules > MAX_GBNF_RULES:
        raise GrammarInvalid(f"the grammar has {rules} rules, more than {MAX_GBNF_RULES}")
    try:
        return gbnf_to_lark(_spelled_out(text))
    except GrammarInvalid:
        raise
    except RecursionError:
        raise GrammarInvalid("the grammar is nested too deep") from None
    except Exception as error:  # its own kinds, and plain `Exception`
        raise GrammarInvalid(f"the grammar is no GBNF: {error}") from error


def _spelled_out(gbnf: str) -> str:
    r"""Return *gbnf* with `\u00E9` as the character: the conversion drops zeros of such escapes."""

    def spell(found: re.Match[str]) -> str:
        digits = found[1] or found[2]
        if digits is None:
            return found[0]
        code = int(digits, 16)
        if code < 0x80:  # noqa: PLR2004 - ASCII, where some characters mean something
            return f"\\x{code:02X}"
        if code > 0x10FFFF or 0xD800 <= code < 0xE000:  # noqa: PLR2004 - the ends of Unicode
            raise GrammarInvalid(f"the grammar is no GBNF: there is no character {found[0]}")
        return chr(code)

    return re.sub(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|.)", spell, gbnf, flags=re.DOTALL)
