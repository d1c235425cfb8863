"""Finds the end of a JSON value in text that arrives in pieces."""

import re
from typing import Literal

_CLOSERS = {"{": "}", "[": "]"}
_BARE_START = re.compile(r"[-0-9tfn]")
_BARE_END = re.compile(r"[\s,\]}]")
_STRUCTURE = re.compile(r'["\[\]{}]')
_STRING = re.compile(r'["\\]')


class JsonValue:
    """Follows one JSON value from its first character to its last, without copying or decoding.

    It reads strings, escapes and brackets only: a value is `broken` if its first character or a
    bracket is wrong. The decoder checks the rest. A number or a word ends at the whitespace, comma
    or bracket behind it.
    """

    def __init__(self) -> None:
        self.state: Literal["open", "complete", "broken"] = "open"
        self._closers: list[str] = []
        """The closing brackets to come, innermost last."""
        self._within: Literal["", "structure", "string", "escape", "bare"] = ""

    def feed(self, text: str) -> int:
        """Return how many characters of *text* belong to the value: all, while it is open."""
        at = 0
        while at < len(text) and self.state == "open":
            if self._within == "structure":
                at = self._structure(text, at)
            elif self._within == "string":
                at = self._string(text, at)
            elif self._within == "escape":
                self._within = "string"
                at += 1
            elif self._within == "bare":
                at = self._bare(text, at)
            else:
                at = self._begin(text, at)
        return at

    def _begin(self, text: str, at: int) -> int:
        if text[at] in _CLOSERS or text[at] == '"':
            return self._descend(text[at], at)
        if _BARE_START.match(text, at):
            self._within = "bare"
        else:
            self.state = "broken"
        return at

    def _descend(self, opener: str, at: int) -> int:
        if opener == '"':
            self._within = "string"
        else:
            self._closers.append(_CLOSERS[opener])
            self._within = "structure"
        return at + 1

    def _structure(self, text: str, at: int) -> int:
        match = _STRUCTURE.search(text, at)
        if match is None:
            return len(text)
        at = match.start()
        if match[0] in _CLOSERS or match[0] == '"':
            return self._descend(match[0], at)
        if match[0] != self._closers[-1]:
            self.state = "broken"
            return at
        self._closers.pop()
        return self._ascend(at)

    def _string(self, text: str, at: int) -> int:
        match = _STRING.search(text, at)
        if match is None:
            return len(text)
        if match[0] == "\\":
            self._within = "escape"
            return match.end()
        return self._ascend(match.start())

    def _ascend(self, at: int) -> int:
        if self._closers:
            self._within = "structure"
        else:
            self.state = "complete"
        return at + 1

    def _bare(self, text: str, at: int) -> int:
        match = _BARE_END.search(text, at)
        if match is None:
            return len(text)
        self.state = "complete"
        return match.start()
