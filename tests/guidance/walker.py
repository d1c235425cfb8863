"""A model without weights: it chooses by chance, and likes to end what it has begun."""

import numpy as np

from pilotlight.guidance import GuideTokenizer
from pilotlight_backend import Vocabulary

END = 300
PIECES = (
    *(bytes([byte]) for byte in range(256)),
    *(b"<think>", b"</think>", b"<tool_call>", b"", b"ab", b'{"', b'":', b'",', b"> ", b">\n\n{"),
    *(
        b"true",
        b"\xc3\xa9",
        b"\xf0\x9f",
        b"\xa6\x99",
        b"null",
        b'"}',
        b"}]",
        b"A",
        b"A",
        b"\xff\xff",
    ),
    *(b"nk>", b"</thi", b"nk>\n\nyes", b"k>{"),
)
PIECES += (b"",) * (END - len(PIECES)) + (b"<|im_end|>", b"<|endoftext|>")
VOCABULARY = Vocabulary(PIECES, frozenset({END, END + 1}))
SIZE = len(PIECES)
_CLOSING = [*b'"}],', END]


def tokens() -> GuideTokenizer:
    return GuideTokenizer.of(VOCABULARY)


def allowed(guide, size=SIZE):
    """Return the tokens that may come next."""
    logits = np.zeros(size, dtype=np.float32)
    guide.restrict(logits)
    return set(np.flatnonzero(np.isfinite(logits)).tolist())


def walk(guide, seed, *, limit=4000):
    """Return the bytes of an answer, and whether it ended."""
    chance = np.random.default_rng(seed)
    text = b""
    for _ in range(limit):
        logits = chance.normal(0, 2, len(PIECES)).astype(np.float32)
        logits[_CLOSING] += 6
        guide.restrict(logits)
        token = int(logits.argmax())
        assert np.isfinite(logits[token]), text
        guide.accept(token)
        if token in VOCABULARY.ends:
            return text, True
        text += PIECES[token]
    return text, False


def say(guide, text):
    """Feed *text*, byte by byte; return how much of it was allowed."""
    for index, byte in enumerate(text):
        if byte not in allowed(guide):
            return index
        guide.accept(byte)
    return len(text)


def accepts(guide, text):
    """Return whether *text* may be said, and be all that is said."""
    return say(guide, text) == len(text) and END in allowed(guide)


class SamplingGuide:
    """A guide that forces nothing: an engine samples each token."""

    def __init__(self, guide):
        self.restrict = guide.restrict
        self.accept = guide.accept
