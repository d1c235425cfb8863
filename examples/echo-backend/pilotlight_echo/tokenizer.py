"""The vocabulary: a token for each byte of UTF-8, then the control tokens."""

import re
from collections.abc import Sequence

from pilotlight_backend.verbatim import Span, parts

CONTROL = ("<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>")
PIECES = (*(bytes([byte]) for byte in range(256)), *(name.encode() for name in CONTROL))
"""The bytes of each token, by id."""
_IDS = {name: PIECES.index(name.encode()) for name in CONTROL}
END, USER, ASSISTANT = _IDS["<|end|>"], _IDS["<|user|>"], _IDS["<|assistant|>"]

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "<|{{ message.role }}|>{{ message.content or '' }}<|end|>"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)

_NAMES = re.compile("(" + "|".join(map(re.escape, CONTROL)) + ")")


def encode(text: str, *, special: bool, verbatim: Sequence[Span] = ()) -> list[int]:
    """Return the ids of *text*; see `Engine.tokenize`."""
    ids: list[int] = []
    for part, stays in parts(text, verbatim):
        named = special and not stays
        for word in _NAMES.split(part) if named else (part,):
            if named and word in _IDS:
                ids.append(_IDS[word])
            else:  # a lone surrogate, which UTF-8 cannot encode, becomes `?`
                ids += word.encode("utf-8", "replace")
    return ids
