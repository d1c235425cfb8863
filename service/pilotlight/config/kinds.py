"""The kinds of values that settings have, with their bounds and what is expected of them."""

from typing import Annotated, Literal

from msgspec import Meta

from pilotlight.config.expected import EXPECTED

CHAT_COMPLETIONS_PATH = "/v1/chat/completions"
"""Where clients expect the chat endpoint."""

Count = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(ge=0, le=1e9)]


def _matching(pattern: str, meaning: str) -> Meta:
    """Return the bound of a string that matches *pattern*, which is *meaning* in errors."""
    return Meta(pattern=pattern, extra={EXPECTED: meaning})


Size = Annotated[
    str,
    _matching(r"^[0-9]{1,15}(\.[0-9]{1,15})?\s*([KMGT]i?)?B?$", "a size, such as 6GB or 512MiB"),
]
Isolation = Literal["none", "process"]
FlashAttention = Literal["auto", "on", "off"]
Speculation = Literal["none", "ngram"]
DraftTokens = Annotated[int, Meta(ge=1, le=256)]
MatchTokens = Annotated[int, Meta(ge=1, le=64)]
CacheType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]
"""The contract's, which is not imported for it before the socket listens."""
UrlPath = Annotated[
    str, _matching(r"^(/[A-Za-z0-9._~-]+)+$", "a path, such as /v1/chat/completions")
]
Url = Annotated[
    str, _matching(r"^https?://[^/\s]+(/\S*)?$", "an address, such as http://localhost:4318")
]
Origin = Annotated[
    str,
    _matching(
        r"^(\*|[A-Za-z][A-Za-z0-9+.-]*://[^\s/?#@*]+)$",
        "origins without a path, such as http://localhost:3000, or *",
    ),
]
HostPattern = Annotated[
    str,
    _matching(
        r"^(\*|(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*)$",
        "hosts without a scheme, such as images.example.com, *.example.com or *",
    ),
]
Word = Annotated[str, Meta(min_length=1, extra={EXPECTED: "a string that is not empty"})]
HeaderName = Annotated[
    str,
    _matching(r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$", "the name of a header, such as X-Forwarded-User"),
]


class Secret:
    """A text that is never shown: not in a log, an error or a traceback."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Hold *text*; raises `ValueError` if it is empty, which is never intended."""
        if not text:
            raise ValueError("it must not be empty")
        self._text = text

    def reveal(self) -> str:
        """Return the text."""
        return self._text

    def __repr__(self) -> str:
        """Return a placeholder."""
        return "Secret(…)"


class ConfigError(Exception):
    """A setting is unknown or has a bad value; the message is one line that names it."""


def parse_size(text: str) -> int:
    """Return the bytes of a size: `512MiB`, `6GB`, `1.5Gi`, `1000`."""
    digits = text.rstrip("KMGTiB ")
    unit = text[len(digits) :].strip().removesuffix("B")
    base = 1024 if unit.endswith("i") else 1000
    return int(float(digits) * base ** " KMGT".index(unit[:1] or " "))
